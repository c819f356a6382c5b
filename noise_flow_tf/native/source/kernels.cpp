// The kernels for one instruction set, NF_TARGET. All but the table at the end is local to this
// file: a function shared with another one could end up with instructions that a processor lacks.
#include "gradients.h"

namespace {

int latent(const NfFlow& batch, const float* noise, float* latent, float* log_prob) {
  const Flow flow(batch, true, false);
  if (!flow.ready) return NF_NO_MEMORY;
  return compute_windows<true>(flow, noise, latent, log_prob);
}

int noise(const NfFlow& batch, const float* latent, float* noise) {
  const Flow flow(batch, true, false);
  if (!flow.ready) return NF_NO_MEMORY;
  return compute_windows<false>(flow, latent, noise, nullptr);
}

int64_t saved_size(const NfFlow& batch) {
  Flow flow(batch, false, false);
  if (!flow.ready) return -1;
  return Layout(flow, flow.arena).size;
}

int forward(const NfFlow& batch, const float* noise, float* saved, float* latent, float* log_prob,
            float* moments) {
  Flow flow(batch, false, false);
  if (!flow.ready) return NF_NO_MEMORY;
  if (!flow.B) return NF_OK;
  Forward pass(flow, flow.arena, noise, saved, latent, log_prob, moments);
  if (flow.arena.failed()) return NF_NO_MEMORY;
  pass.run();
  return NF_OK;
}

int gradient(const NfFlow& batch, const float* saved, const float* latent,
             const NfGradients& gradients) {
  Flow flow(batch, false, true);
  if (!flow.ready) return NF_NO_MEMORY;
  if (!flow.B) {
    for (int64_t i = 0; i < flow.params; ++i) gradients.params[i] = 0;
    return NF_OK;
  }
  Backward pass(flow, flow.arena, saved, latent, gradients);
  if (flow.arena.failed()) return NF_NO_MEMORY;
  pass.run();
  return NF_OK;
}

}  // namespace

#define NF_JOIN(a, b) a##b
#define NF_TABLE(target) NF_JOIN(nf_kernels_, target)

extern "C" {
extern const NfKernels NF_TABLE(NF_TARGET);
const NfKernels NF_TABLE(NF_TARGET) = {latent, noise, saved_size, forward, gradient};
}

// The C interface: it checks arguments and chooses the kernels for this processor at run time.
#include "core.h"
#include "processor.h"

#include <string.h>

#define NF_API extern "C" __attribute__((visibility("default")))

extern "C" {
#ifdef NF_HAVE_AVX512
extern const NfKernels nf_kernels_avx512;
#endif
#ifdef NF_HAVE_AVX2
extern const NfKernels nf_kernels_avx2;
#endif
#ifdef NF_HAVE_NEON
extern const NfKernels nf_kernels_neon;
#endif
#ifdef NF_HAVE_PORTABLE
extern const NfKernels nf_kernels_portable;
#endif
}

namespace {

struct Target {
  const char* name;
  const NfKernels* kernels;
  bool (*runs)();
};

bool always() { return true; }

const Target targets[] = {
#ifdef NF_HAVE_AVX512
    {"avx512", &nf_kernels_avx512, has_avx512},
#endif
#ifdef NF_HAVE_AVX2
    {"avx2", &nf_kernels_avx2, has_avx2},
#endif
#ifdef NF_HAVE_NEON
    {"neon", &nf_kernels_neon, always},
#endif
#ifdef NF_HAVE_PORTABLE
    {"portable", &nf_kernels_portable, always},
#endif
    {nullptr, nullptr, always}};

const Target* chosen = nullptr;

const Target& target() {
  const Target* now = __atomic_load_n(&chosen, __ATOMIC_ACQUIRE);
  if (now) return *now;
  const Target* first = targets;
  while (!first->runs()) ++first;
  __atomic_store_n(&chosen, first, __ATOMIC_RELEASE);
  return *first;
}

bool valid(const NfFlow& flow) {
  if (flow.n_ops < 0 || flow.batch < 0 || flow.height < 1 || flow.width < 1 || flow.threads < 1)
    return false;
  for (int i = 0; i < flow.n_ops; ++i) {
    const int32_t code = flow.ops[2 * i], w = flow.ops[2 * i + 1];
    if (code < NF_SIGNAL || code > NF_COUPLING || (code == NF_COUPLING && w < 1)) return false;
  }
  return target().kernels != nullptr;
}

}  // namespace

int64_t nf_params_of(int32_t code, int64_t w, int64_t batch) {
  switch (code) {
    case NF_SIGNAL: return 2 * batch;
    case NF_GAIN: return batch;
    case NF_MIX: return 16 + 4 + 4 + 6 + 6;
    default: return 18 * w + 3 * w + w * w + 3 * w + 36 * (w + 1) + 4 + 4 + 1;
  }
}

NF_API int nf_abi(void) { return 1; }

NF_API const char* nf_target(void) { return target().name; }

NF_API int nf_choose(const char* name) {
  for (const Target* t = targets; t->name; ++t)
    if (!strcmp(t->name, name) && t->runs()) {
      __atomic_store_n(&chosen, t, __ATOMIC_RELEASE);
      return NF_OK;
    }
  return NF_BAD_ARGUMENT;
}

NF_API int nf_latent(const int32_t* ops, int32_t n_ops, const float* params, int64_t batch,
                     int64_t height, int64_t width, const float* noise, const float* clean,
                     float* latent, float* log_prob, int32_t threads) {
  const NfFlow flow = {ops, n_ops, params, batch, height, width, clean, 0, threads};
  return valid(flow) ? target().kernels->latent(flow, noise, latent, log_prob) : NF_BAD_ARGUMENT;
}

NF_API int nf_noise(const int32_t* ops, int32_t n_ops, const float* params, int64_t batch,
                    int64_t height, int64_t width, const float* latent, const float* clean,
                    float* noise, int32_t threads) {
  const NfFlow flow = {ops, n_ops, params, batch, height, width, clean, 0, threads};
  return valid(flow) ? target().kernels->noise(flow, latent, noise) : NF_BAD_ARGUMENT;
}

NF_API int64_t nf_saved_size(const int32_t* ops, int32_t n_ops, int64_t batch, int64_t height,
                             int64_t width) {
  const NfFlow flow = {ops, n_ops, nullptr, batch, height, width, nullptr, 0, 1};
  return valid(flow) ? target().kernels->saved_size(flow) : -1;
}

NF_API int nf_forward(const int32_t* ops, int32_t n_ops, const float* params, int64_t batch,
                      int64_t height, int64_t width, const float* noise, const float* clean,
                      int32_t training, float* saved, float* latent, float* log_prob,
                      float* moments, int32_t threads) {
  const NfFlow flow = {ops, n_ops, params, batch, height, width, clean, training, threads};
  if (!valid(flow)) return NF_BAD_ARGUMENT;
  return target().kernels->forward(flow, noise, saved, latent, log_prob, moments);
}

NF_API int nf_gradient(const int32_t* ops, int32_t n_ops, const float* params, int64_t batch,
                       int64_t height, int64_t width, const float* clean, int32_t training,
                       const float* saved, const float* latent, const float* d_latent,
                       const float* d_log_prob, float* d_params, float* d_noise, float* d_clean,
                       int32_t threads) {
  const NfFlow flow = {ops, n_ops, params, batch, height, width, clean, training, threads};
  const NfGradients gradients = {d_latent, d_log_prob, d_params, d_noise, d_clean};
  if (!valid(flow)) return NF_BAD_ARGUMENT;
  return target().kernels->gradient(flow, saved, latent, gradients);
}

// The interface of the compiled core of Noise Flow, and what its files share.
//
// Images are NHWC float32 with 4 channels. A flow is a list of steps from the data side to the
// latent side; its parameters lie in one vector, step by step, B being the number of images:
//
//   SIGNAL    beta1 [B], beta2 [B]         variance = beta1 max(clean, 0) + beta2
//   GAIN      gamma [B]
//   MIX       permutation [4, 4], signs [4], log_diagonal [4], lower [6], upper [6]
//   COUPLING  kernel1 [3, 3, 2, w], bias1 [w], mean1 [w], variance1 [w],
//             kernel2 [w, w], bias2 [w], mean2 [w], variance2 [w],
//             kernel3 [3, 3, w + 1, 4], bias3 [4], logs [4], rescaling
//
// All functions but nf_saved_size return 0, 1 if there is no memory, or 2 for bad arguments.
#ifndef NOISE_FLOW_CORE_H
#define NOISE_FLOW_CORE_H

#include <stdint.h>

enum { NF_OK = 0, NF_NO_MEMORY = 1, NF_BAD_ARGUMENT = 2 };
enum { NF_SIGNAL = 1, NF_GAIN = 2, NF_MIX = 3, NF_COUPLING = 4 };

// A flow and its batch. `ops` is [n_ops][2]: code and, for couplings, the width w.
struct NfFlow {
  const int32_t* ops;
  int32_t n_ops;
  const float* params;
  int64_t batch, height, width;
  const float* clean;
  int32_t training;
  int32_t threads;
};

struct NfGradients {
  const float* latent_gradient;    // or NULL
  const float* log_prob_gradient;  // [B]
  float* params;
  float* noise;  // or NULL
  float* clean;  // or NULL
};

// What kernels.cpp provides for one instruction set.
struct NfKernels {
  int (*latent)(const NfFlow&, const float* noise, float* latent, float* log_prob);
  int (*noise)(const NfFlow&, const float* latent, float* noise);
  int64_t (*saved_size)(const NfFlow&);
  int (*forward)(const NfFlow&, const float* noise, float* saved, float* latent, float* log_prob,
                 float* moments);
  int (*gradient)(const NfFlow&, const float* saved, const float* latent, const NfGradients&);
};

int64_t nf_params_of(int32_t code, int64_t w, int64_t batch);

#endif

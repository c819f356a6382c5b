// The C interface with functions that refuse their arguments: stands for the core.
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "processor.h"

#define NF_API extern "C" __attribute__((visibility("default")))

extern "C" {
extern const char* const nf_kernels_avx512[1];
extern const char* const nf_kernels_avx2[1];
extern const char* const nf_kernels_neon[1];
extern const char* const nf_kernels_portable[1];
}

namespace {

const char* best() {
#ifdef NF_HAVE_AVX512
  if (has_avx512()) return nf_kernels_avx512[0];
#endif
#ifdef NF_HAVE_AVX2
  if (has_avx2()) return nf_kernels_avx2[0];
#endif
#ifdef NF_HAVE_NEON
  return nf_kernels_neon[0];
#else
  return nf_kernels_portable[0];
#endif
}

const char* chosen = nullptr;

}  // namespace

NF_API int nf_abi() { return 1; }
NF_API const char* nf_target() { return chosen ? chosen : best(); }
NF_API int nf_choose(const char* target) {
  if (strcmp(target, best()) != 0) return 2;
  chosen = best();
  return 0;
}
NF_API int nf_latent(const int32_t*, int, const float*, int64_t, int64_t, int64_t, const float*,
                     const float*, float*, float*, int) {
  return 2;
}
NF_API int nf_noise(const int32_t*, int, const float*, int64_t, int64_t, int64_t, const float*,
                    const float*, float*, int) {
  return 2;
}
NF_API int64_t nf_saved_size(const int32_t*, int, int64_t, int64_t, int64_t) { return 0; }
NF_API int nf_forward(const int32_t*, int, const float*, int64_t, int64_t, int64_t, const float*,
                      const float*, int, float*, float*, float*, float*, int) {
  return 2;
}
NF_API int nf_gradient(const int32_t*, int, const float*, int64_t, int64_t, int64_t, const float*,
                       int, const float*, const float*, const float*, const float*, float*, float*,
                       float*, int) {
  return 2;
}

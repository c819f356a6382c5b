// Vectors of NF_LANES floats, written with the compilers' vector extensions.
#ifndef NOISE_FLOW_SIMD_H
#define NOISE_FLOW_SIMD_H

#include <stdint.h>
#include <string.h>

#define NF_INLINE static inline __attribute__((always_inline))
#define NF_INLINE_METHOD inline __attribute__((always_inline))

namespace {

constexpr int L = NF_LANES;

typedef float V __attribute__((vector_size(L * 4)));
typedef int32_t I __attribute__((vector_size(L * 4)));
typedef double D __attribute__((vector_size(L * 8)));
typedef float Unaligned __attribute__((vector_size(L * 4), aligned(4), may_alias));
typedef float Four __attribute__((vector_size(16)));
typedef float UnalignedFour __attribute__((vector_size(16), aligned(4), may_alias));

NF_INLINE V load(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
NF_INLINE void store(float* p, V v) { *reinterpret_cast<Unaligned*>(p) = v; }
NF_INLINE V splat(float a) { return a - V{}; }
NF_INLINE V bits(I i) { return reinterpret_cast<V>(i); }
NF_INLINE I bits(V v) { return reinterpret_cast<I>(v); }

// Lanes 0 to n - 1 are all ones, the others zero.
NF_INLINE I first_lanes(int64_t n) {
  I mask;
  for (int k = 0; k < L; ++k) mask[k] = k < n ? -1 : 0;
  return mask;
}

// The sum of all lanes, by halves.
NF_INLINE double sum(Four v) { return static_cast<double>((v[0] + v[2]) + (v[1] + v[3])); }
#if NF_LANES >= 8
typedef float Eight __attribute__((vector_size(32)));
NF_INLINE double sum(Eight v) {
  return sum(__builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7));
}
#endif
#if NF_LANES >= 16
NF_INLINE double sum(V v) {
  return sum(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
             __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
}
#endif

// A sum over the rows of an image: in float over about 32 vectors, in double over all.
class Total {
 public:
  explicit Total(int64_t columns) : together_(columns < 32 * L ? 32 * L / columns : 1) {}
  NF_INLINE_METHOD void add(V v) { now_ += v; }
  NF_INLINE_METHOD void end_row() {
    if (++rows_ >= together_) flush();
  }
  NF_INLINE_METHOD double value() {
    flush();
    return all_;
  }

 private:
  V now_ = {};
  double all_ = 0;
  int64_t rows_ = 0, together_;

  NF_INLINE_METHOD void flush() {
    all_ += sum(now_);
    now_ = V{};
    rows_ = 0;
  }
};

NF_INLINE V square_root(V v) {
  for (int k = 0; k < L; ++k) v[k] = __builtin_sqrtf(v[k]);
  return v;
}

// The ReLU of TensorFlow: NaN stays NaN.
NF_INLINE V relu(V v) { return v < 0 ? V{} : v; }

// The coefficients of exp and log are those of the Cephes library (S. Moshier).
// exp(x) as 2^n times a polynomial.
NF_INLINE V exponential(V x, I* n) {
  const V rounded = (x * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
  V r = x - rounded * 0.693359375f;
  r = r + rounded * 2.12194440e-4f;
  V p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  *n = __builtin_convertvector(rounded, I);
  return p * (r * r) + r + 1.0f;
}

NF_INLINE V exponential(V x) {
  const V low = splat(-104.0f), high = splat(89.0f);
  x = x < low ? low : x;
  x = x > high ? high : x;
  I n;
  const V p = exponential(x, &n);
  const I half = n >> 1;  // two factors, as 2^n may not be a normal number
  return p * bits((half + 127) << 23) * bits((n - half + 127) << 23);
}

constexpr float MODERATE = 80.0f;

// The same for x from -MODERATE to MODERATE.
NF_INLINE V exponential_of_moderate(V x) {
  I n;
  const V p = exponential(x, &n);
  return p * bits((n + 127) << 23);
}

NF_INLINE V logarithm(V x) {
  const I small = x < 1.17549435e-38f;
  V m = small ? x * 16777216.0f : x;
  I e = (bits(m) >> 23) - 126;
  m = bits((bits(m) & 0x007fffff) | 0x3f000000);  // in [0.5, 1)
  const I less = m < 0.707106781186547524f;
  e = e + less;  // a true lane is -1
  m = (less ? m + m : m) - 1.0f;
  const V n = __builtin_convertvector(small ? e - 24 : e, V);
  V p = m * 7.0376836292e-2f - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  const V z = m * m;
  V y = p * m * z + n * -2.12194440e-4f - 0.5f * z;
  y = m + y + n * 0.693359375f;
  y = x < __builtin_inff() ? y : x;  // infinity and NaN
  y = x == 0.0f ? splat(-__builtin_inff()) : y;
  return x < 0.0f ? splat(__builtin_nanf("")) : y;
}

// x P(x^2) / Q(x^2), fitted for the least relative error up to where tanh is 1 in float32.
NF_INLINE V hyperbolic_tangent(V x) {
  const V far = splat(9.02f);
  x = x < -far ? -far : x;
  x = x > far ? far : x;
  const V z = x * x;
  V p = z * 1.3319469083e-8f + 2.0583818696e-5f;
  p = p * z + 3.4940571059e-3f;
  p = p * z + 1.3379737735e-1f;
  p = p * z + 1.0f;
  V q = z * 7.7621967876e-7f + 3.2831283170e-4f;
  q = q * z + 2.5871161371e-2f;
  q = q * z + 4.6713054180e-1f;
  q = q * z + 1.0f;
  V y = x * p / q;
  y = y > 1.0f ? splat(1.0f) : y;
  return y < -1.0f ? splat(-1.0f) : y;
}

// Four pixels of four channels to four channels of four pixels, and back.
NF_INLINE void transpose(Four r[4]) {
  const Four a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
  const Four b = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
  const Four c = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
  const Four d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
  r[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
  r[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  r[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
  r[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

// n pixels of an NHWC row to four rows.
static void separate(const float* pixels, int64_t n, float* const rows[4]) {
  int64_t x = 0;
  for (; x + 4 <= n; x += 4) {
    Four r[4];
    for (int i = 0; i < 4; ++i) r[i] = *reinterpret_cast<const UnalignedFour*>(pixels + 4 * (x + i));
    transpose(r);
    for (int c = 0; c < 4; ++c) *reinterpret_cast<UnalignedFour*>(rows[c] + x) = r[c];
  }
  for (; x < n; ++x)
    for (int c = 0; c < 4; ++c) rows[c][x] = pixels[4 * x + c];
}

// n pixels of four rows to an NHWC row.
static void interleave(const float* const rows[4], int64_t n, float* pixels) {
  int64_t x = 0;
  for (; x + 4 <= n; x += 4) {
    Four r[4];
    for (int c = 0; c < 4; ++c) r[c] = *reinterpret_cast<const UnalignedFour*>(rows[c] + x);
    transpose(r);
    for (int i = 0; i < 4; ++i) *reinterpret_cast<UnalignedFour*>(pixels + 4 * (x + i)) = r[i];
  }
  for (; x < n; ++x)
    for (int c = 0; c < 4; ++c) pixels[4 * x + c] = rows[c][x];
}

static double sum_of(const float* p, int64_t n) {
  V total = {};
  int64_t x = 0;
  for (; x + L <= n; x += L) total += load(p + x);
  double rest = 0;
  for (; x < n; ++x) rest += p[x];
  return sum(total) + rest;
}

static double sum_of_squares(const float* p, int64_t n) {
  V total = {};
  int64_t x = 0;
  for (; x + L <= n; x += L) total += load(p + x) * load(p + x);
  double rest = 0;
  for (; x < n; ++x) rest += static_cast<double>(p[x]) * p[x];
  return sum(total) + rest;
}

}  // namespace

#endif

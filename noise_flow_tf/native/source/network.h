// Rows of convolutions: a few output channels at a time, so that all sums stay in registers.
#ifndef NOISE_FLOW_NETWORK_H
#define NOISE_FLOW_NETWORK_H

#include "flow.h"

namespace {

#if NF_LANES >= 16 || defined(__aarch64__)
constexpr int REGISTERS = 32;
#else
constexpr int REGISTERS = 16;
#endif

// Planes of an image with zeros around: one row above and below, and L columns beside.
struct Planes {
  float* data;
  int64_t height, stride;

  static int64_t size(int64_t channels, int64_t height, int64_t columns) {
    return channels * (height + 2) * (L + columns) + 2 * L;
  }
  Planes(float* memory, int64_t height, int64_t columns)
      : data(memory), height(height), stride(L + columns) {}
  // Row -1 to `height`, of which both are zero.
  float* row(int64_t channel, int64_t y) const {
    return data + (channel * (height + 2) + y + 1) * stride + L;
  }
};

// Adds a 3x3 convolution to sums [R][N][NO] of NO outputs at R rows and N vectors from column x on;
// `rows` are R + 2 or more, `step`, for each input. Several rows share their weights: a load of values from an
// unaligned place costs two, and so one row alone waits for its loads. Not inlined, because there
// would be no registers for the sums beside the constants of what comes next.
template <int NO, int R, int N>
static __attribute__((noinline)) void accumulate(const float* const* rows, int64_t step,
                                                 int64_t inputs, const float* weights, int64_t x,
                                                 V* all) {
  V sums[R][N][NO];
  memcpy(sums, all, sizeof(sums));
  for (int64_t c = 0; c < inputs; ++c) {
    for (int ky = 0; ky < 3; ++ky) {
      const float* const* row = rows + step * c + ky;
#pragma GCC unroll 3
      for (int kx = 0; kx < 3; ++kx) {
        V values[R][N];
        for (int r = 0; r < R; ++r)
          for (int n = 0; n < N; ++n) values[r][n] = load(row[r] + x - 1 + kx + n * L);
#pragma GCC unroll 4
        for (int o = 0; o < NO; ++o) {
          const V weight = splat(*weights++);
          for (int r = 0; r < R; ++r)
            for (int n = 0; n < N; ++n) sums[r][n][o] += weight * values[r][n];
        }
      }
    }
  }
  memcpy(all, sums, sizeof(sums));
}

// A 3x3 convolution for NO outputs: init(o, r, x) gives what a sum starts from, emit(r, x, sums)
// takes the result.
template <int NO, int R, int N, typename Init, typename Emit>
NF_INLINE void convolve_block(const float* const* rows, int64_t inputs, const float* weights,
                              int64_t x, const Init& init, const Emit& emit) {
  V sums[R][N][NO];
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n)
      for (int o = 0; o < NO; ++o) sums[r][n][o] = init(o, r, x + n * L);
  if constexpr (2 * R * N * NO <= REGISTERS) {
    accumulate<NO, R, N>(rows, R + 2, inputs, weights, x, sums[0][0]);
  } else {
    for (int r = 0; r < R; ++r)
      accumulate<NO, 1, N>(rows + r, R + 2, inputs, weights, x, sums[r][0]);
  }
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) emit(r, x + n * L, sums[r][n]);
}

// The same for columns `from` to `to`, which are multiples of L.
template <int NO, int R, typename Init, typename Emit>
NF_INLINE void convolve_rows(const float* const* rows, int64_t inputs, const float* weights,
                             int64_t from, int64_t to, const Init& init, const Emit& emit) {
  int64_t x = from;
  for (; x + 2 * L <= to; x += 2 * L)
    convolve_block<NO, R, 2>(rows, inputs, weights, x, init, emit);
  for (; x < to; x += L) convolve_block<NO, R, 1>(rows, inputs, weights, x, init, emit);
}

// A 1x1 convolution of rows to four outputs.
template <typename Init, typename Emit>
NF_INLINE void mix_row(const float* input, int64_t inputs, int64_t step, const float* weights,
                       int64_t from, int64_t to, const Init& init, const Emit& emit) {
  for (int64_t x = from; x < to; x += L) {
    V sums[4];
#pragma GCC unroll 4
    for (int o = 0; o < 4; ++o) sums[o] = init(o, x);
    for (int64_t c = 0; c < inputs; ++c) {
      const V value = load(input + c * step + x);
#pragma GCC unroll 4
      for (int o = 0; o < 4; ++o) sums[o] += splat(weights[4 * c + o]) * value;
    }
    emit(x, sums);
  }
}

// Multiplies the four rows by a matrix, as pixels that are row vectors.
template <typename From>
NF_INLINE void multiply_rows(From* const from[4], float* const to[4], const float m[4][4],
                             int64_t begin, int64_t end) {
  for (int64_t x = begin; x < end; x += L) {
    V in[4];
    for (int i = 0; i < 4; ++i) in[i] = load(from[i] + x);
    for (int j = 0; j < 4; ++j)
      store(to[j] + x, in[0] * splat(m[0][j]) + in[1] * splat(m[1][j]) + in[2] * splat(m[2][j]) +
                           in[3] * splat(m[3][j]));
  }
}

NF_INLINE void zero_tail(float* row, int64_t width, int64_t columns) {
  if (width < columns) memset(row + width, 0, (columns - width) * sizeof(float));
}

// Adds to sums[3][NO] the products of an input plane, shifted by one column to either side, and NO
// output planes: a part of the gradient by a 3x3 kernel.
template <int NO>
NF_INLINE void add_products(const Planes& in, int64_t channel, int64_t shift, const Planes& out,
                            int64_t first, int64_t columns, double sums[3][NO]) {
  for (int64_t from = 0; from < out.height; from += 32) {  // so that float sums stay short
    const int64_t to = from + 32 < out.height ? from + 32 : out.height;
    V total[3][NO] = {};
    for (int64_t y = from; y < to; ++y) {
      const float* a = in.row(channel, y + shift) - 1;
      const float* b = out.row(first, y);
      const int64_t plane = (out.height + 2) * out.stride;
      for (int64_t x = 0; x < columns; x += L) {
        const V left = load(a + x), middle = load(a + x + 1), right = load(a + x + 2);
#pragma GCC unroll 4
        for (int o = 0; o < NO; ++o) {
          const V slope = load(b + o * plane + x);
          total[0][o] += left * slope;
          total[1][o] += middle * slope;
          total[2][o] += right * slope;
        }
      }
    }
    for (int k = 0; k < 3; ++k)
      for (int o = 0; o < NO; ++o) sums[k][o] += sum(total[k][o]);
  }
}

}  // namespace

#endif

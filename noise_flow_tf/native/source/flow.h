// The steps of a flow, with their parameters in the order that the kernels read them.
#ifndef NOISE_FLOW_FLOW_H
#define NOISE_FLOW_FLOW_H

#include <math.h>
#include <stdlib.h>

#include "core.h"
#include "simd.h"

namespace {

constexpr float BATCH_NORM_EPSILON = 1e-4f;
constexpr int LOWER_PLACES[6][2] = {{3, 2}, {3, 1}, {3, 0}, {1, 0}, {2, 1}, {2, 0}};
constexpr int UPPER_PLACES[6][2] = {{0, 1}, {0, 2}, {0, 3}, {2, 3}, {1, 2}, {1, 3}};

NF_INLINE int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

NF_INLINE float inverse_stddev(float variance) {
  return 1.0f / __builtin_sqrtf(variance + BATCH_NORM_EPSILON);
}

// The parameters of a coupling by name, in the order of the flow's vector.
template <typename Float>
struct CouplingParams {
  Float *kernel1, *bias1, *mean1, *variance1, *kernel2, *bias2, *mean2, *variance2, *kernel3,
      *bias3, *logs, *rescaling;

  CouplingParams(Float* p, int64_t w) {
    kernel1 = p;
    bias1 = kernel1 + 18 * w;
    mean1 = bias1 + w;
    variance1 = mean1 + w;
    kernel2 = variance1 + w;
    bias2 = kernel2 + w * w;
    mean2 = bias2 + w;
    variance2 = mean2 + w;
    kernel3 = variance2 + w;
    bias3 = kernel3 + 36 * (w + 1);
    logs = bias3 + 4;
    rescaling = logs + 4;
  }
};

struct Mix {
  double permutation[4][4], lower[4][4], upper[4][4], matrix[4][4], inverse[4][4];
  double log_det;  // of one pixel

  explicit Mix(const float* p) {
    const float *signs = p + 16, *log_diagonal = signs + 4, *l = log_diagonal + 4, *u = l + 6;
    log_det = 0;
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) {
        permutation[i][j] = p[4 * i + j];
        lower[i][j] = i == j;
        upper[i][j] = 0;
      }
    for (int i = 0; i < 4; ++i) {
      upper[i][i] = signs[i] * exp(static_cast<double>(log_diagonal[i]));
      log_det += log_diagonal[i];
    }
    for (int k = 0; k < 6; ++k) {
      lower[LOWER_PLACES[k][0]][LOWER_PLACES[k][1]] = l[k];
      upper[UPPER_PLACES[k][0]][UPPER_PLACES[k][1]] = u[k];
    }
    double product[4][4];
    multiply(lower, upper, product);
    multiply(permutation, product, matrix);
    // inverse = U^-1 L^-1 P^T, column by column
    for (int column = 0; column < 4; ++column) {
      double x[4];
      for (int i = 0; i < 4; ++i) {
        x[i] = permutation[column][i];
        for (int j = 0; j < i; ++j) x[i] -= lower[i][j] * x[j];
      }
      for (int i = 3; i >= 0; --i) {
        for (int j = i + 1; j < 4; ++j) x[i] -= upper[i][j] * x[j];
        x[i] /= upper[i][i];
        inverse[i][column] = x[i];
      }
    }
  }

  static void multiply(const double a[4][4], const double b[4][4], double product[4][4]) {
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) {
        product[i][j] = 0;
        for (int k = 0; k < 4; ++k) product[i][j] += a[i][k] * b[k][j];
      }
  }
};

// One step. The hidden channels of a coupling are padded to `wp`, a multiple of four, by channels
// whose weights are zero. A 3x3 kernel lies as [block of outputs][input][3][3][output in block].
struct Step {
  int code;
  int64_t w, wp;
  const float* params;
  int64_t offset;       // of its parameters in the vector
  float matrix[4][4];   // of a mix towards the latent, and back
  float inverse[4][4];
  double log_det;       // of one pixel of a mix
  float *k1, *b1, *k2, *b2, *k3;       // towards the output of the network
  float *k1_back, *k2_back, *k3_back;  // towards its input
  float rescaling;
  // [first row + 2 last row][4][border_length]: the last layer's bias and border channel
  float* border;
  int64_t border_length;

  const float* border_row(int64_t y, int64_t height, int channel) const {
    const int kind = (y == 0) + 2 * (y == height - 1);
    return border + (4 * kind + channel) * border_length;
  }
};

// exp of a coupling's log-scale, whose size is at most that of the rescaling.
NF_INLINE V scale_of(const Step& step, V log_scale) {
  return fabsf(step.rescaling) <= MODERATE ? exponential_of_moderate(log_scale)
                                           : exponential(log_scale);
}

// Memory that is freed together.
class Arena {
 public:
  ~Arena() {
    while (last_) {
      Block* before = last_->before;
      free(last_);
      last_ = before;
    }
  }

  // Zeros; aligned to 64 bytes. NULL once there is no memory.
  template <typename T>
  T* zeros(int64_t count) {
    const size_t size = round_up(count * sizeof(T), 64) + 128;
    Block* block = static_cast<Block*>(calloc(size, 1));
    if (!block) {
      failed_ = true;
      return nullptr;
    }
    block->before = last_;
    last_ = block;
    const uintptr_t start = reinterpret_cast<uintptr_t>(block) + sizeof(Block);
    return reinterpret_cast<T*>(round_up(start, 64));
  }

  bool failed() const { return failed_; }

 private:
  struct Block {
    Block* before;
  };
  Block* last_ = nullptr;
  bool failed_ = false;
};

class Flow {
 public:
  Arena arena;
  Step* steps;
  const int n;
  const int64_t B, H, W;
  int64_t widest = 0;   // wp of the widest coupling
  int64_t params = 0;   // in the vector
  int couplings = 0;
  const float* const clean;
  const bool training;
  const int threads;
  bool ready;

  // With `folded`, batch norm by its averages is part of the kernels; with `back`, those of the
  // gradient are made.
  Flow(const NfFlow& flow, bool folded, bool back)
      : n(flow.n_ops), B(flow.batch), H(flow.height), W(flow.width), clean(flow.clean),
        training(flow.training), threads(flow.threads) {
    steps = arena.zeros<Step>(n + 1);
    for (int i = 0; i < n && !arena.failed(); ++i) {
      Step& s = steps[i];
      s.code = flow.ops[2 * i];
      s.w = s.code == NF_COUPLING ? flow.ops[2 * i + 1] : 0;
      s.wp = round_up(s.w, 4);
      s.offset = params;
      if (s.wp > widest) widest = s.wp;
      couplings += s.code == NF_COUPLING;
      params += nf_params_of(s.code, s.w, B);
      if (!flow.params) continue;
      s.params = flow.params + s.offset;
      if (s.code == NF_MIX) set_mix(s);
      if (s.code == NF_COUPLING) set_coupling(s, folded, back);
    }
    ready = !arena.failed();
  }

 private:
  static void set_mix(Step& s) {
    const Mix mix(s.params);
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) {
        s.matrix[i][j] = static_cast<float>(mix.matrix[i][j]);
        s.inverse[i][j] = static_cast<float>(mix.inverse[i][j]);
      }
    s.log_det = mix.log_det;
  }

  void set_coupling(Step& s, bool folded, bool back) {
    const CouplingParams<const float> p(s.params, s.w);
    const int64_t w = s.w, wp = s.wp;
    s.k1 = arena.zeros<float>(18 * wp);
    s.b1 = arena.zeros<float>(wp);
    s.k2 = arena.zeros<float>(wp * wp);
    s.b2 = arena.zeros<float>(wp);
    s.k3 = arena.zeros<float>(36 * wp);
    s.border_length = round_up(W, L) + 2 * L;
    s.border = arena.zeros<float>(16 * s.border_length);
    s.rescaling = *p.rescaling;
    if (back) {
      s.k1_back = arena.zeros<float>(18 * wp);
      s.k2_back = arena.zeros<float>(wp * wp);
      s.k3_back = arena.zeros<float>(36 * wp);
    }
    if (arena.failed()) return;
    for (int64_t o = 0; o < w; ++o) {
      const float scale1 = folded ? inverse_stddev(p.variance1[o]) : 1.0f;
      const float scale2 = folded ? inverse_stddev(p.variance2[o]) : 1.0f;
      s.b1[o] = (p.bias1[o] - (folded ? p.mean1[o] : 0.0f)) * scale1;
      s.b2[o] = (p.bias2[o] - (folded ? p.mean2[o] : 0.0f)) * scale2;
      for (int tap = 0; tap < 9; ++tap)
        for (int c = 0; c < 2; ++c) {
          const float weight = p.kernel1[(tap * 2 + c) * w + o] * scale1;
          s.k1[((o / 4 * 2 + c) * 9 + tap) * 4 + o % 4] = weight;
          if (back) s.k1_back[(o * 9 + 8 - tap) * 2 + c] = weight;
        }
      for (int64_t c = 0; c < w; ++c) {
        const float weight = p.kernel2[c * w + o] * scale2;
        s.k2[(o / 4 * wp + c) * 4 + o % 4] = weight;
        if (back) s.k2_back[(c / 4 * wp + o) * 4 + c % 4] = weight;
      }
    }
    float base[4], edge[3][3][4];
    for (int o = 0; o < 4; ++o) {
      const float scale = static_cast<float>(exp(3.0 * p.logs[o]));
      base[o] = p.bias3[o] * scale;
      for (int tap = 0; tap < 9; ++tap) {
        for (int64_t c = 0; c < w; ++c) {
          const float weight = p.kernel3[(tap * (w + 1) + c) * 4 + o] * scale;
          s.k3[(c * 9 + tap) * 4 + o] = weight;
          if (back) s.k3_back[((c / 4 * 4 + o) * 9 + 8 - tap) * 4 + c % 4] = weight;
        }
        edge[tap / 3][tap % 3][o] = p.kernel3[(tap * (w + 1) + w) * 4 + o] * scale;
      }
    }
    for (int kind = 0; kind < 4; ++kind)
      for (int o = 0; o < 4; ++o) {
        float* row = s.border + (4 * kind + o) * s.border_length;
        for (int64_t x = 0; x < W; ++x) {
          row[x] = base[o];
          for (int ky = 0; ky < 3; ++ky)
            for (int kx = 0; kx < 3; ++kx) {
              const bool above = ky == 0 && kind & 1, below = ky == 2 && kind & 2;
              const bool beside = x + kx < 1 || x + kx > W;
              if (above || below || beside) row[x] += edge[ky][kx][o];
            }
        }
      }
  }
};

}  // namespace

#endif

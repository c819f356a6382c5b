// Values without gradients: each image is cut into windows that fit into the cache.
#ifndef NOISE_FLOW_WINDOWS_H
#define NOISE_FLOW_WINDOWS_H

#include "network.h"
#include "team.h"

namespace {

constexpr int64_t WINDOW_HEIGHT = 192, WINDOW_WIDTH = 512;
constexpr double LOG_2PI = 1.8378770664093454836;

struct Range {
  int64_t from, to;
};

// The part of an image that is computed together: what it yields, and what that depends on.
struct Window {
  int64_t image;
  Range rows, columns;              // yielded, in the image
  Range outer_rows, outer_columns;  // with the margin
};

class Windows {
 public:
  explicit Windows(const Flow& flow) : flow_(flow), margin_(2 * flow.couplings) {
    down_ = (flow.H + WINDOW_HEIGHT - 1) / WINDOW_HEIGHT;
    across_ = (flow.W + WINDOW_WIDTH - 1) / WINDOW_WIDTH;
    height = least(flow.H, (flow.H + down_ - 1) / down_ + 2 * margin_);
    width = least(flow.W, (flow.W + across_ - 1) / across_ + 2 * margin_);
  }

  int64_t height, width;  // the largest, with the margin

  int64_t per_image() const { return down_ * across_; }

  Window get(int64_t number) const {
    const int64_t place = number % per_image();
    Window w;
    w.image = number / per_image();
    cut(flow_.H, down_, place / across_, w.rows, w.outer_rows);
    cut(flow_.W, across_, place % across_, w.columns, w.outer_columns);
    return w;
  }

 private:
  const Flow& flow_;
  int64_t margin_, down_, across_;

  static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

  void cut(int64_t length, int64_t parts, int64_t part, Range& inner, Range& outer) const {
    inner = {part * length / parts, (part + 1) * length / parts};
    outer.from = inner.from - margin_ > 0 ? inner.from - margin_ : 0;
    outer.to = least(inner.to + margin_, length);
  }
};

// What one thread needs to compute windows, one after the other.
class Worker {
 public:
  static int64_t memory(const Flow& flow, const Windows& windows) {
    const int64_t columns = round_up(windows.width, L);
    return Planes::size(4, windows.height, columns) + Planes::size(flow.widest, 2, columns) +
           2 * flow.widest * columns + 4 * columns + 4 * flow.widest * 2 + 16 * L;
  }

  Worker(const Flow& flow, const Windows& windows, float* memory)
      : flow_(flow), windows_(windows), memory_(memory) {}

  // Computes a window of the latent from the noise, or of the noise from the latent, and returns
  // the sum over its pixels of the log-density's terms (for noise, of nothing).
  template <bool TO_LATENT>
  double compute(const Window& window, const float* input, float* output) {
    begin(window);
    for (int64_t y = 0; y < height_; ++y) {
      float* rows[4] = {state_.row(0, y), state_.row(1, y), state_.row(2, y), state_.row(3, y)};
      separate(pixels(input, y, 0), width_, rows);
      for (float* row : rows) zero_tail(row, width_, columns_);
    }
    double log_density = 0;
    int64_t margin = 2 * flow_.couplings;
    for (int k = 0; k < flow_.n; ++k) {
      const Step& step = flow_.steps[TO_LATENT ? k : flow_.n - 1 - k];
      if (step.code == NF_COUPLING) margin -= 2;
      const Range rows = {grow(inner_rows_.from, -margin, height_),
                          grow(inner_rows_.to, margin, height_)};
      const Range columns = {grow(inner_columns_.from, -margin, width_) / L * L,
                             round_up(grow(inner_columns_.to, margin, width_), L)};
      if (step.code == NF_COUPLING) {
        log_density += coupling<TO_LATENT>(step, rows, columns);
      } else {
        log_density += pointwise<TO_LATENT>(step, window.image, rows, columns);
      }
    }
    for (int64_t y = inner_rows_.from; y < inner_rows_.to; ++y) {
      const int64_t x = inner_columns_.from, n = inner_columns_.to - x;
      const float* rows[4];
      for (int c = 0; c < 4; ++c) {
        rows[c] = state_.row(c, y) + x;
        if (TO_LATENT) log_density -= 0.5 * sum_of_squares(rows[c], n);
      }
      if (output) interleave(rows, n, const_cast<float*>(pixels(output, y, x)));
    }
    return log_density;
  }

 private:
  const Flow& flow_;
  const Windows& windows_;
  float* memory_;
  int64_t image_ = 0, top_ = 0, left_ = 0, height_ = 0, width_ = 0, columns_ = 0;
  Range inner_rows_, inner_columns_;
  Planes state_{nullptr, 0, 0}, ring_{nullptr, 0, 0};
  float *hidden_ = nullptr, *scratch_ = nullptr;
  const float** pointers_ = nullptr;

  static int64_t grow(int64_t at, int64_t by, int64_t length) {
    const int64_t there = at + by;
    return there < 0 ? 0 : there > length ? length : there;
  }

  const float* pixels(const float* image, int64_t y, int64_t x) const {
    return image + 4 * ((image_ * flow_.H + top_ + y) * flow_.W + left_ + x);
  }

  void begin(const Window& w) {
    const int64_t height = w.outer_rows.to - w.outer_rows.from;
    const int64_t columns = round_up(w.outer_columns.to - w.outer_columns.from, L);
    image_ = w.image;
    top_ = w.outer_rows.from;
    left_ = w.outer_columns.from;
    width_ = w.outer_columns.to - w.outer_columns.from;
    inner_rows_ = {w.rows.from - top_, w.rows.to - top_};
    inner_columns_ = {w.columns.from - left_, w.columns.to - left_};
    if (height == height_ && columns == columns_ && state_.data) return;
    height_ = height;
    columns_ = columns;
    float* next = memory_;
    memset(next, 0, memory(flow_, windows_) * sizeof(float));
    state_ = Planes(next, height_, columns_);
    next += Planes::size(4, height_, columns_);
    ring_ = Planes(next, 2, columns_);
    next += Planes::size(flow_.widest, 2, columns_);
    hidden_ = next;
    next += 2 * flow_.widest * columns_;
    scratch_ = next;
    next += 4 * columns_;
    next += reinterpret_cast<uintptr_t>(next) % sizeof(float*) / sizeof(float);
    pointers_ = reinterpret_cast<const float**>(next);
  }

  // Row y of a hidden channel, of the four that are kept.
  float* ring(int64_t channel, int64_t y) const {
    return ring_.row(channel, (y + 4) % 4 - 1);
  }

  template <bool TO_LATENT>
  double pointwise(const Step& step, int64_t image, const Range& rows, const Range& columns) {
    const int64_t inner_width = inner_columns_.to - inner_columns_.from;
    if (step.code == NF_GAIN) {
      const float gamma = step.params[image];
      for (int64_t y = rows.from; y < rows.to; ++y)
        for (int c = 0; c < 4; ++c) {
          float* row = state_.row(c, y);
          for (int64_t x = columns.from; x < columns.to; x += L)
            store(row + x, TO_LATENT ? load(row + x) / gamma : load(row + x) * gamma);
          zero_tail(row, width_, columns_);
        }
      const int64_t pixels = (inner_rows_.to - inner_rows_.from) * inner_width;
      return -4.0 * pixels * log(static_cast<double>(gamma));
    }
    if (step.code == NF_MIX) {
      for (int64_t y = rows.from; y < rows.to; ++y) {
        float* planes[4] = {state_.row(0, y), state_.row(1, y), state_.row(2, y), state_.row(3, y)};
        multiply_rows(planes, planes, TO_LATENT ? step.matrix : step.inverse, columns.from,
                      columns.to);
      }
      return step.log_det * (inner_rows_.to - inner_rows_.from) * inner_width;
    }
    const float beta1 = step.params[image], beta2 = step.params[flow_.B + image];
    double log_variance = 0;
    for (int64_t y = rows.from; y < rows.to; ++y) {
      float* variances[4];
      for (int c = 0; c < 4; ++c) variances[c] = scratch_ + c * columns_;
      separate(pixels(flow_.clean, y, 0), width_, variances);
      const bool inside = y >= inner_rows_.from && y < inner_rows_.to;
      for (int c = 0; c < 4; ++c) {
        float *row = state_.row(c, y), *scale = variances[c];
        zero_tail(scale, width_, columns_);
        for (int64_t x = columns.from; x < columns.to; x += L) {
          const V variance = relu(load(scale + x)) * beta1 + beta2;
          const V stddev = square_root(variance);
          store(row + x, TO_LATENT ? load(row + x) / stddev : load(row + x) * stddev);
          if (TO_LATENT && inside) store(scale + x, logarithm(variance));
        }
        zero_tail(row, width_, columns_);
        if (TO_LATENT && inside)
          log_variance += sum_of(scale + inner_columns_.from, inner_width);
      }
    }
    return -0.5 * log_variance;
  }

  // The rows and columns that a coupling yields, two rows at a time; it needs two more around.
  template <bool TO_LATENT>
  double coupling(const Step& step, const Range& rows, const Range& columns) {
    const Range wide = {columns.from >= L ? columns.from - L : 0,
                        columns.to + L <= columns_ ? columns.to + L : columns_};
    hidden_pair(step, rows.from - 1, wide);
    double log_det = 0;
    int64_t y = rows.from;
    for (; y + 2 <= rows.to; y += 2) {
      hidden_pair(step, y + 1, wide);
      log_det += last_layer<TO_LATENT, 2>(step, y, columns);
    }
    if (y < rows.to) {
      hidden_or_zero(step, y + 1, wide);
      log_det += last_layer<TO_LATENT, 1>(step, y, columns);
    }
    return log_det;
  }

  void hidden_pair(const Step& step, int64_t y, const Range& columns) {
    if (y >= 0 && y + 2 <= height_) return hidden<2>(step, y, columns);
    hidden_or_zero(step, y, columns);
    hidden_or_zero(step, y + 1, columns);
  }

  void hidden_or_zero(const Step& step, int64_t y, const Range& columns) {
    if (y >= 0 && y < height_) return hidden<1>(step, y, columns);
    for (int64_t c = 0; c < step.wp; ++c) memset(ring(c, y), 0, columns_ * sizeof(float));
  }

  // The hidden layers in R rows from y on.
  template <int R>
  void hidden(const Step& step, int64_t y, const Range& columns) {
    const float* rows[2 * (R + 2)];
    for (int i = 0; i < 2 * (R + 2); ++i)
      rows[i] = state_.row(i / (R + 2), y + i % (R + 2) - 1);
    float* to[R][4];
    const auto begin = [&](const float* bias) {
      return [bias](int i, int64_t = 0, int64_t = 0) { return splat(bias[i]); };
    };
    const auto set_rows = [&](int64_t o) {
      for (int r = 0; r < R; ++r)
        for (int i = 0; i < 4; ++i) to[r][i] = ring(o + i, y + r);
    };
    if (step.wp == 4) {  // the second layer from the first one's registers
      set_rows(0);
      convolve_rows<4, R>(rows, 2, step.k1, columns.from, columns.to, begin(step.b1),
                          [&](int r, int64_t x, const V* first) {
                            V sums[4];
#pragma GCC unroll 4
                            for (int o = 0; o < 4; ++o) sums[o] = splat(step.b2[o]);
#pragma GCC unroll 4
                            for (int c = 0; c < 4; ++c) {
                              const V value = relu(first[c]);
#pragma GCC unroll 4
                              for (int o = 0; o < 4; ++o) sums[o] += splat(step.k2[4 * c + o]) * value;
                            }
                            for (int o = 0; o < 4; ++o) store(to[r][o] + x, relu(sums[o]));
                          });
      zero_tails(to);
      return;
    }
    for (int64_t o = 0; o < step.wp; o += 4)
      convolve_rows<4, R>(rows, 2, step.k1 + o * 18, columns.from, columns.to, begin(step.b1 + o),
                          [&](int r, int64_t x, const V* sums) {
                            float* place = hidden_ + (r * step.wp + o) * columns_ + x;
                            for (int i = 0; i < 4; ++i) store(place + i * columns_, relu(sums[i]));
                          });
    for (int64_t o = 0; o < step.wp; o += 4) {
      set_rows(o);
      for (int r = 0; r < R; ++r)
        mix_row(hidden_ + r * step.wp * columns_, step.wp, columns_, step.k2 + o * step.wp,
                columns.from, columns.to, begin(step.b2 + o), [&](int64_t x, const V* sums) {
                  for (int i = 0; i < 4; ++i) store(to[r][i] + x, relu(sums[i]));
                });
      zero_tails(to);
    }
  }

  template <int R>
  void zero_tails(float* const (&rows)[R][4]) const {
    for (int r = 0; r < R; ++r)
      for (float* row : rows[r]) zero_tail(row, width_, columns_);
  }

  template <bool TO_LATENT, int R>
  double last_layer(const Step& step, int64_t y, const Range& columns) {
    for (int64_t c = 0; c < step.wp; ++c)
      for (int k = 0; k < R + 2; ++k) pointers_[(R + 2) * c + k] = ring(c, y + k - 1);
    const float* border[R][4];
    float *second[R][2], *log_scales[R][2];
    for (int r = 0; r < R; ++r) {
      for (int o = 0; o < 4; ++o) border[r][o] = step.border_row(top_ + y + r, flow_.H, o) + left_;
      for (int i = 0; i < 2; ++i) {
        second[r][i] = state_.row(2 + i, y + r);
        log_scales[r][i] = scratch_ + (2 * r + i) * columns_;
      }
    }
    convolve_rows<4, R>(
        pointers_, step.wp, step.k3, columns.from, columns.to,
        [&](int o, int r, int64_t x) { return load(border[r][o] + x); },
        [&](int r, int64_t x, const V* sums) {
          for (int i = 0; i < 2; ++i) {
            const V shift = sums[i], log_scale = hyperbolic_tangent(sums[2 + i]) * step.rescaling;
            const V scale = scale_of(step, TO_LATENT ? log_scale : -log_scale);
            float* row = second[r][i] + x;
            store(row, TO_LATENT ? load(row) * scale + shift : (load(row) - shift) * scale);
            if (TO_LATENT) store(log_scales[r][i] + x, log_scale);
          }
        });
    double log_det = 0;
    const int64_t x = inner_columns_.from, n = inner_columns_.to - x;
    for (int r = 0; r < R; ++r) {
      for (float* row : second[r]) zero_tail(row, width_, columns_);
      if (TO_LATENT && y + r >= inner_rows_.from && y + r < inner_rows_.to)
        log_det += sum_of(log_scales[r][0] + x, n) + sum_of(log_scales[r][1] + x, n);
    }
    return log_det;
  }
};

// Computes all windows of all images; `terms` [B * windows] takes the log-density of each.
template <bool TO_LATENT>
int compute_windows(const Flow& flow, const float* input, float* output, float* log_prob) {
  const Windows windows(flow);
  const int64_t count = flow.B * windows.per_image();
  const int threads = flow.threads < count ? flow.threads : static_cast<int>(count);
  if (!count) return NF_OK;
  Arena arena;
  const int64_t size = round_up(Worker::memory(flow, windows), 16);
  float* memory = arena.zeros<float>(size * threads);
  double* terms = arena.zeros<double>(count);
  if (arena.failed()) return NF_NO_MEMORY;
  int64_t next = 0;
  Team::run(threads, [&](int thread, Team&) {
    Worker worker(flow, windows, memory + size * thread);
    int64_t number;
    while ((number = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < count)
      terms[number] = worker.template compute<TO_LATENT>(windows.get(number), input, output);
  });
  if (!log_prob) return NF_OK;
  for (int64_t image = 0; image < flow.B; ++image) {
    double total = -0.5 * LOG_2PI * 4 * flow.H * flow.W;
    for (int64_t k = 0; k < windows.per_image(); ++k)
      total += terms[image * windows.per_image() + k];
    log_prob[image] = static_cast<float>(total);
  }
  return NF_OK;
}

}  // namespace

#endif

// Values that are kept for the gradient, and the gradient. Images are whole here, and a layer is
// computed for all of them before the next, as batch norm's moments are those of the batch.
#ifndef NOISE_FLOW_GRADIENTS_H
#define NOISE_FLOW_GRADIENTS_H

#include "windows.h"

namespace {

constexpr int64_t MOST_GROUPS = 64;

// Sums over a batch are taken image by image, then over groups of images, and then over groups, so
// that they do not depend on the number of threads.
struct Groups {
  int64_t images, count;

  explicit Groups(int64_t images)
      : images(images), count(images < MOST_GROUPS ? images : MOST_GROUPS) {}
  int64_t begin(int64_t group) const { return group * images / count; }
};

// Where the values of a step are kept, for each image one after the other: `y`, what it yields
// towards the latent, or of a coupling what it takes; `t`, the tanh of the log-scale; `h1` and
// `h2`, the hidden layers before batch norm; and both layers' mean and inverse standard deviation.
struct Kept {
  int64_t y, t, h1, h2, moments;
};

class Layout {
 public:
  const Flow& flow;
  const int64_t columns, plane;
  Kept* kept;
  int64_t size = 0;

  Layout(const Flow& flow, Arena& arena)
      : flow(flow), columns(round_up(flow.W, L)), plane(flow.H * columns) {
    kept = arena.zeros<Kept>(flow.n + 1);
    if (!kept) return;
    for (int i = 0; i < flow.n; ++i) {
      const Step& step = flow.steps[i];
      const bool shared = i && step.code == NF_COUPLING && flow.steps[i - 1].code == NF_MIX;
      kept[i].y = shared ? kept[i - 1].y : take(4);
      if (step.code != NF_COUPLING) continue;
      kept[i].t = take(2);
      kept[i].h1 = take(step.wp);
      kept[i].h2 = take(step.wp);
      kept[i].moments = size;
      size += round_up(4 * step.wp, 16);
    }
  }

 private:
  int64_t take(int64_t channels) {
    const int64_t at = size;
    size += flow.B * channels * plane;
    return at;
  }
};

// Mean, and sum of squared differences from it, of one channel of one image.
struct Spread {
  double mean, squares;
};

// Common parts of the two passes.
class Pass {
 public:
  const Flow& flow;
  const Layout layout;
  const Groups groups;
  const int threads;

  Pass(const Flow& flow, Arena& arena)
      : flow(flow), layout(flow, arena), groups(flow.B),
        threads(flow.threads < groups.count ? flow.threads : static_cast<int>(groups.count)) {}

 protected:
  int64_t H() const { return flow.H; }
  int64_t W() const { return flow.W; }
  int64_t columns() const { return layout.columns; }
  int64_t plane() const { return layout.plane; }

  template <typename Work>
  void each_image(int thread, const Team& team, const Work& work) const {
    for (int64_t g = thread; g < groups.count; g += team.size())
      for (int64_t b = groups.begin(g); b < groups.begin(g + 1); ++b) work(b, g);
  }

  // The normalised value, before the ReLU.
  NF_INLINE V normalise(V value, float mean, float inverse) {
    return (value - mean) * inverse;
  }
};

class Forward : public Pass {
 public:
  Forward(const Flow& flow, Arena& arena, const float* noise, float* saved, float* latent,
          float* log_prob, float* moments)
      : Pass(flow, arena), noise_(noise), saved_(saved), latent_(latent), log_prob_(log_prob),
        moments_(moments) {
    work_ = arena.zeros<float>(flow.B * 4 * plane());
    log_dets_ = arena.zeros<double>(flow.B);
    for (Spread*& spreads : spreads_) spreads = arena.zeros<Spread>(flow.B * flow.widest + 1);
    scratch_size_ = round_up(
        Planes::size(2 + flow.widest, H(), columns()) + 4 * columns() + 2 * flow.widest, 16);
    scratch_ = arena.zeros<float>(threads * scratch_size_);
    pointers_ = arena.zeros<const float*>(threads * (3 * flow.widest + 1));
  }

  void run() {
    Team::run(threads, [&](int thread, Team& team) { run(thread, team); });
  }

 private:
  const float* noise_;
  float *saved_, *latent_, *log_prob_, *moments_;
  float *work_, *scratch_;
  double* log_dets_;
  Spread* spreads_[2];
  int64_t scratch_size_;
  const float** pointers_;

  float* work(int64_t image, int64_t channel) const {
    return work_ + (4 * image + channel) * plane();
  }

  void run(int thread, Team& team) {
    float* scratch = scratch_ + thread * scratch_size_;
    each_image(thread, team, [&](int64_t b, int64_t) {
      for (int64_t y = 0; y < H(); ++y) {
        float* rows[4];
        for (int c = 0; c < 4; ++c) rows[c] = work(b, c) + y * columns();
        separate(noise_ + 4 * (b * H() + y) * W(), W(), rows);
        for (float* row : rows) zero_tail(row, W(), columns());
      }
    });
    int64_t done = 0;
    for (int i = 0; i < flow.n; ++i) {
      const Step& step = flow.steps[i];
      if (step.code == NF_COUPLING) {
        coupling(step, layout.kept[i], thread, team, scratch, done);
        done += 4 * step.w;
      } else {
        each_image(thread, team, [&](int64_t b, int64_t) {
          log_dets_[b] += pointwise(step, b, saved_ + layout.kept[i].y + b * 4 * plane(), scratch);
        });
      }
    }
    each_image(thread, team, [&](int64_t b, int64_t) {
      double squares = 0;
      for (int64_t y = 0; y < H(); ++y) {
        const float* rows[4];
        for (int c = 0; c < 4; ++c) {
          rows[c] = work(b, c) + y * columns();
          squares += sum_of_squares(rows[c], W());
        }
        interleave(rows, W(), latent_ + 4 * (b * H() + y) * W());
      }
      const double normal = -0.5 * (squares + LOG_2PI * 4 * H() * W());
      log_prob_[b] = static_cast<float>(normal + log_dets_[b]);
    });
  }

  // From work_ to `y` and to work_.
  double pointwise(const Step& step, int64_t b, float* y, float* scratch) const {
    const int64_t count = 4 * plane();
    float* from = work(b, 0);
    double log_det = 0;
    if (step.code == NF_GAIN) {
      const float gamma = step.params[b];
      for (int64_t x = 0; x < count; x += L) store(y + x, load(from + x) / gamma);
      log_det = -4.0 * H() * W() * log(static_cast<double>(gamma));
    } else if (step.code == NF_MIX) {
      float* in[4] = {from, from + plane(), from + 2 * plane(), from + 3 * plane()};
      float* out[4] = {y, y + plane(), y + 2 * plane(), y + 3 * plane()};
      multiply_rows(in, out, step.matrix, 0, plane());
      log_det = step.log_det * H() * W();
    } else {
      const float beta1 = step.params[b], beta2 = step.params[flow.B + b];
      const I tail = first_lanes(W() - (columns() - L));
      Total log_variances(columns());
      for (int64_t row = 0; row < H(); ++row) {
        float* variances[4];
        for (int c = 0; c < 4; ++c) variances[c] = scratch + c * columns();
        separate(flow.clean + 4 * (b * H() + row) * W(), W(), variances);
        for (int c = 0; c < 4; ++c) {
          const int64_t at = c * plane() + row * columns();
          for (int64_t x = 0; x < columns(); x += L) {
            const V variance = relu(load(variances[c] + x)) * beta1 + beta2;
            store(y + at + x, load(from + at + x) / square_root(variance));
            const V log_variance = logarithm(variance);
            log_variances.add(x + L > W() ? bits(bits(log_variance) & tail) : log_variance);
          }
          zero_tail(y + at, W(), columns());
        }
        log_variances.end_row();
      }
      log_det = -0.5 * log_variances.value();
    }
    memcpy(from, y, count * sizeof(float));
    return log_det;
  }

  // `done` is the number of moments before those of this coupling.
  void coupling(const Step& step, const Kept& kept, int thread, Team& team, float* scratch,
                int64_t done) {
    const int64_t wp = step.wp;
    const CouplingParams<const float> params(step.params, step.w);
    float *means = scratch + 4 * columns(), *inverses = means + flow.widest;
    // two planes of y, then those of the hidden layer
    const Planes image(inverses + flow.widest, H(), columns());
    float* stored = saved_ + kept.moments;
    const float** rows = pointers_ + thread * (3 * flow.widest + 1);

    each_image(thread, team, [&](int64_t b, int64_t) { first_layer(step, kept, b, image); });
    team.barrier();
    moments(step, 0, params.mean1, params.variance1, means, inverses, thread, stored, done);
    each_image(thread, team, [&](int64_t b, int64_t) {
      second_layer(step, kept, b, means, inverses);
    });
    team.barrier();
    moments(step, 1, params.mean2, params.variance2, means, inverses, thread, stored + 2 * wp,
            done + 2 * step.w);
    each_image(thread, team, [&](int64_t b, int64_t) {
      log_dets_[b] += last_layer(step, kept, b, image, means, inverses, rows);
    });
  }

  void first_layer(const Step& step, const Kept& kept, int64_t b, const Planes& image) {
    float* y = saved_ + kept.y + b * 4 * plane();
    memcpy(y, work(b, 0), 4 * plane() * sizeof(float));
    for (int c = 0; c < 2; ++c)
      for (int64_t r = 0; r < H(); ++r)
        memcpy(image.row(c, r), y + c * plane() + r * columns(), columns() * sizeof(float));
    float* hidden = saved_ + kept.h1 + b * step.wp * plane();
    for (int64_t r = 0; r < H(); ++r) {
      const float* rows[6];
      for (int i = 0; i < 6; ++i) rows[i] = image.row(i / 3, r + i % 3 - 1);
      for (int64_t o = 0; o < step.wp; o += 4) {
        float* to = hidden + o * plane() + r * columns();
        convolve_row<4>(
            rows, 2, step.k1 + o * 18, 0, columns(),
            [&](int i, int64_t) { return splat(step.b1[o + i]); },
            [&](int64_t x, const V* sums) {
              for (int i = 0; i < 4; ++i) store(to + i * plane() + x, sums[i]);
            });
        for (int i = 0; i < 4; ++i) zero_tail(to + i * plane(), W(), columns());
      }
    }
    if (flow.training) spread(hidden, step.wp, spreads_[0] + b * step.wp);
  }

  void second_layer(const Step& step, const Kept& kept, int64_t b, const float* means,
                    const float* inverses) {
    const int64_t wp = step.wp;
    const float* first = saved_ + kept.h1 + b * wp * plane();
    float* hidden = saved_ + kept.h2 + b * wp * plane();
    for (int64_t r = 0; r < H(); ++r) {
      const int64_t row = r * columns();
      for (int64_t o = 0; o < wp; o += 4) {
        for (int64_t x = 0; x < columns(); x += L) {
          V sums[4];
          for (int i = 0; i < 4; ++i) sums[i] = splat(step.b2[o + i]);
          const float* weights = step.k2 + o * wp;
          for (int64_t c = 0; c < wp; ++c) {
            const V value =
                relu(normalise(load(first + c * plane() + row + x), means[c], inverses[c]));
            for (int i = 0; i < 4; ++i) sums[i] += splat(weights[4 * c + i]) * value;
          }
          for (int i = 0; i < 4; ++i) store(hidden + (o + i) * plane() + row + x, sums[i]);
        }
        for (int i = 0; i < 4; ++i) zero_tail(hidden + (o + i) * plane() + row, W(), columns());
      }
    }
    if (flow.training) spread(hidden, wp, spreads_[1] + b * wp);
  }

  double last_layer(const Step& step, const Kept& kept, int64_t b, const Planes& image,
                    const float* means, const float* inverses, const float** rows) {
    const float* hidden = saved_ + kept.h2 + b * step.wp * plane();
    for (int64_t c = 0; c < step.wp; ++c)
      for (int64_t r = 0; r < H(); ++r) {
        float* to = image.row(2 + c, r);
        const float* from = hidden + c * plane() + r * columns();
        for (int64_t x = 0; x < columns(); x += L)
          store(to + x, relu(normalise(load(from + x), means[c], inverses[c])));
        zero_tail(to, W(), columns());
      }
    float* tanhs = saved_ + kept.t + b * 2 * plane();
    const I tail = first_lanes(W() - (columns() - L));
    Total tanh_total(columns());
    for (int64_t r = 0; r < H(); ++r) {
      for (int64_t i = 0; i < 3 * step.wp; ++i) rows[i] = image.row(2 + i / 3, r + i % 3 - 1);
      const float* border[4];
      for (int o = 0; o < 4; ++o) border[o] = step.border_row(r, H(), o);
      float *out = work(b, 2) + r * columns(), *t = tanhs + r * columns();
      convolve_row<4>(
          rows, step.wp, step.k3, 0, columns(),
          [&](int o, int64_t x) { return load(border[o] + x); },
          [&](int64_t x, const V* sums) {
            for (int i = 0; i < 2; ++i) {
              V value = hyperbolic_tangent(sums[2 + i]);
              if (x + L > W()) value = bits(bits(value) & tail);
              float* z = out + i * plane() + x;
              store(t + i * plane() + x, value);
              store(z, load(z) * exponential(value * step.rescaling) + sums[i]);
              tanh_total.add(value);
            }
          });
      for (int i = 0; i < 2; ++i) zero_tail(out + i * plane(), W(), columns());
      tanh_total.end_row();
    }
    return step.rescaling * tanh_total.value();
  }

  void spread(const float* planes, int64_t channels, Spread* spreads) const {
    const double count = static_cast<double>(H()) * W();
    const I tail = first_lanes(W() - (columns() - L));
    for (int64_t c = 0; c < channels; ++c) {
      const float* p = planes + c * plane();
      Total values(columns()), differences(columns()), squares(columns());
      for (int64_t r = 0; r < H(); ++r) {
        for (int64_t x = 0; x < columns(); x += L) values.add(load(p + r * columns() + x));
        values.end_row();
      }
      const float mean = static_cast<float>(values.value() / count);
      for (int64_t r = 0; r < H(); ++r) {
        for (int64_t x = 0; x < columns(); x += L) {
          V difference = load(p + r * columns() + x) - mean;
          if (x + L > W()) difference = bits(bits(difference) & tail);
          differences.add(difference);
          squares.add(difference * difference);
        }
        differences.end_row();
        squares.end_row();
      }
      const double rest = differences.value();  // of the mean, which was rounded
      spreads[c] = {mean + rest / count, squares.value() - rest * rest / count};
    }
  }

  // The mean and inverse standard deviation that normalise a hidden layer, to this thread's copy;
  // one thread also stores them for the gradient, and the batch's moments for the caller.
  void moments(const Step& step, int layer, const float* averages, const float* average_variances,
               float* means, float* inverses, int thread, float* stored, int64_t done) {
    const double count = static_cast<double>(H()) * W();
    for (int64_t c = 0; c < step.wp; ++c) {
      float mean = c < step.w ? averages[c] : 0.0f;
      float variance = c < step.w ? average_variances[c] : 1.0f;
      if (flow.training) {
        double total = 0, squares = 0;
        for (int64_t b = 0; b < flow.B; ++b) total += spreads_[layer][b * step.wp + c].mean;
        const double middle = total / flow.B;
        for (int64_t b = 0; b < flow.B; ++b) {
          const Spread& of_image = spreads_[layer][b * step.wp + c];
          const double difference = of_image.mean - middle;
          squares += of_image.squares + count * difference * difference;
        }
        mean = static_cast<float>(middle);
        variance = static_cast<float>(squares / (count * flow.B));
        if (thread == 0 && c < step.w) {
          moments_[done + c] = mean;
          moments_[done + step.w + c] = variance;
        }
      }
      means[c] = mean;
      inverses[c] = inverse_stddev(variance);
      if (thread == 0) {
        stored[c] = mean;
        stored[step.wp + c] = inverses[c];
      }
    }
  }
};

// A channel's sums over an image: of the slopes, and of their products with the normalised values.
struct Slopes {
  double level, slope;
};

class Backward : public Pass {
 public:
  Backward(const Flow& flow, Arena& arena, const float* saved, const float* latent,
           const NfGradients& to)
      : Pass(flow, arena), saved_(saved), latent_(latent), to_(to) {
    work_ = arena.zeros<float>(flow.B * 4 * plane());
    slopes_of_ = arena.zeros<float>(flow.B * flow.widest * plane() + 16);
    for (Slopes*& slopes : slopes_) slopes = arena.zeros<Slopes>(flow.B * flow.widest + 1);
    totals_ = arena.zeros<double>(groups.count * flow.params + 1);
    scratch_size_ =
        round_up(Planes::size(4 + flow.widest, H(), columns()) + 4 * columns() +
                     flow.widest * (2 + columns()), 16);
    scratch_ = arena.zeros<float>(threads * scratch_size_);
    pointers_ = arena.zeros<const float*>(threads * (3 * flow.widest + 1));
  }

  void run() {
    memset(to_.params, 0, flow.params * sizeof(float));
    Team::run(threads, [&](int thread, Team& team) { run(thread, team); });
    for (int i = 0; i < flow.n; ++i) finish(flow.steps[i]);
  }

 private:
  const float *saved_, *latent_;
  const NfGradients& to_;
  float *work_;       // the gradient by what the present step yields
  float *slopes_of_;  // the gradient by a normalised hidden layer
  float *scratch_;
  Slopes* slopes_[2];
  double* totals_;  // [group][parameter]
  int64_t scratch_size_;
  const float** pointers_;

  float* work(int64_t image, int64_t channel) const {
    return work_ + (4 * image + channel) * plane();
  }

  double* totals(const Step& step, int64_t group) const {
    return totals_ + group * flow.params + step.offset;
  }

  void run(int thread, Team& team) {
    float* scratch = scratch_ + thread * scratch_size_;
    each_image(thread, team, [&](int64_t b, int64_t) {
      const float slope = -to_.log_prob_gradient[b];
      for (int64_t y = 0; y < H(); ++y) {
        float* rows[4];
        for (int c = 0; c < 4; ++c) rows[c] = work(b, c) + y * columns();
        const int64_t at = 4 * (b * H() + y) * W();
        separate(latent_ + at, W(), rows);
        for (int c = 0; c < 4; ++c)
          for (int64_t x = 0; x < W(); ++x) rows[c][x] *= slope;
        if (to_.latent_gradient)
          for (int c = 0; c < 4; ++c)
            for (int64_t x = 0; x < W(); ++x) rows[c][x] += to_.latent_gradient[at + 4 * x + c];
        if (to_.clean) memset(to_.clean + at, 0, 4 * W() * sizeof(float));
      }
    });
    for (int i = flow.n - 1; i >= 0; --i) {
      const Step& step = flow.steps[i];
      const Kept& kept = layout.kept[i];
      if (step.code == NF_COUPLING) {
        coupling(step, kept, thread, team, scratch);
        continue;
      }
      each_image(thread, team, [&](int64_t b, int64_t g) {
        const float* y = saved_ + kept.y + b * 4 * plane();
        if (step.code == NF_MIX) mix(step, b, y, totals(step, g));
        if (step.code == NF_GAIN) gain(step, b, y);
        if (step.code == NF_SIGNAL) signal(step, b, y, scratch);
      });
    }
    if (!to_.noise) return;
    each_image(thread, team, [&](int64_t b, int64_t) {
      for (int64_t y = 0; y < H(); ++y) {
        const float* rows[4];
        for (int c = 0; c < 4; ++c) rows[c] = work(b, c) + y * columns();
        interleave(rows, W(), to_.noise + 4 * (b * H() + y) * W());
      }
    });
  }

  // Until `finish`, the place of the permutation has the sums of y_i * gradient_j.
  void mix(const Step& step, int64_t b, const float* y, double* totals) const {
    for (int64_t from = 0; from < plane(); from += 1024) {  // so that float sums stay short
      const int64_t to = from + 1024 < plane() ? from + 1024 : plane();
      V products[4][4] = {};
      for (int64_t x = from; x < to; x += L) {
        V slopes[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) slopes[j] = load(work(b, j) + x);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          const V value = load(y + i * plane() + x);
#pragma GCC unroll 4
          for (int j = 0; j < 4; ++j) products[i][j] += value * slopes[j];
        }
        for (int i = 0; i < 4; ++i)
          store(work(b, i) + x, slopes[0] * step.matrix[i][0] + slopes[1] * step.matrix[i][1] +
                                      slopes[2] * step.matrix[i][2] + slopes[3] * step.matrix[i][3]);
      }
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) totals[4 * i + j] += sum(products[i][j]);
    }
  }

  void gain(const Step& step, int64_t b, const float* y) const {
    const float gamma = step.params[b];
    Total products(columns());
    for (int c = 0; c < 4; ++c)
      for (int64_t r = 0; r < H(); ++r) {
        const int64_t at = c * plane() + r * columns();
        for (int64_t x = at; x < at + columns(); x += L) {
          float* slope = work(b, 0) + x;
          products.add(load(slope) * load(y + x));
          store(slope, load(slope) / gamma);
        }
        products.end_row();
      }
    const double dimensions = 4.0 * H() * W();
    to_.params[step.offset + b] =
        static_cast<float>(-(products.value() + dimensions * to_.log_prob_gradient[b]) / gamma);
  }

  void signal(const Step& step, int64_t b, const float* y, float* scratch) const {
    const float beta1 = step.params[b], beta2 = step.params[flow.B + b];
    const float slope_of_log = to_.log_prob_gradient[b];
    const I tail = first_lanes(W() - (columns() - L));
    Total by_beta1(columns()), by_beta2(columns());
    for (int64_t r = 0; r < H(); ++r) {
      float* cleans[4];
      for (int c = 0; c < 4; ++c) cleans[c] = scratch + c * columns();
      const int64_t pixels = 4 * (b * H() + r) * W();
      separate(flow.clean + pixels, W(), cleans);
      for (int c = 0; c < 4; ++c) {
        for (int64_t x = 0; x < columns(); x += L) {
          const int64_t at = c * plane() + r * columns() + x;
          const V clean = load(cleans[c] + x);
          const V intensity = relu(clean);
          const V variance = intensity * beta1 + beta2;
          float* slope = work(b, 0) + at;
          V by_variance = -0.5f * (load(slope) * load(y + at) + slope_of_log) / variance;
          if (x + L > W()) by_variance = bits(bits(by_variance) & tail);
          by_beta1.add(by_variance * intensity);
          by_beta2.add(by_variance);
          store(slope, load(slope) / square_root(variance));
          store(cleans[c] + x, clean < 0 ? V{} : by_variance * beta1);
        }
        zero_tail(work(b, c) + r * columns(), W(), columns());
      }
      by_beta1.end_row();
      by_beta2.end_row();
      if (!to_.clean) continue;
      for (int c = 0; c < 4; ++c)
        for (int64_t x = 0; x < W(); ++x) to_.clean[pixels + 4 * x + c] += cleans[c][x];
    }
    to_.params[step.offset + b] = static_cast<float>(by_beta1.value());
    to_.params[step.offset + flow.B + b] = static_cast<float>(by_beta2.value());
  }

  void coupling(const Step& step, const Kept& kept, int thread, Team& team, float* scratch) {
    const int64_t wp = step.wp;
    const float* stored = saved_ + kept.moments;
    float* row_slopes = scratch + 4 * columns();
    float *levels = row_slopes + flow.widest * columns(), *tilts = levels + flow.widest;
    const Planes image(tilts + flow.widest, H(), columns());
    const float** rows = pointers_ + thread * (3 * flow.widest + 1);
    each_image(thread, team, [&](int64_t b, int64_t g) {
      last_layer(step, kept, b, totals(step, g), image, stored + 2 * wp);
    });
    team.barrier();
    means(1, step, levels, tilts);
    each_image(thread, team, [&](int64_t b, int64_t g) {
      second_layer(step, kept, b, totals(step, g), row_slopes, stored, levels, tilts);
    });
    team.barrier();
    means(0, step, levels, tilts);
    each_image(thread, team, [&](int64_t b, int64_t g) {
      first_layer(step, kept, b, totals(step, g), image, stored, levels, tilts, rows);
    });
  }

  // The batch's means of each channel's slopes, and of their products with the values; zero if the
  // moments are not the batch's.
  void means(int layer, const Step& step, float* levels, float* tilts) const {
    const double count = static_cast<double>(flow.B) * H() * W();
    for (int64_t c = 0; c < step.wp; ++c) {
      Slopes total = {};
      for (int64_t b = 0; flow.training && b < flow.B; ++b) {
        total.level += slopes_[layer][b * step.wp + c].level;
        total.slope += slopes_[layer][b * step.wp + c].slope;
      }
      levels[c] = static_cast<float>(total.level / count);
      tilts[c] = static_cast<float>(total.slope / count);
    }
  }

  void last_layer(const Step& step, const Kept& kept, int64_t b, double* totals,
                  const Planes& image, const float* moments) const {
    const int64_t wp = step.wp, w = step.w;
    const CouplingParams<double> by(totals, w);
    const float *y = saved_ + kept.y + b * 4 * plane(), *t = saved_ + kept.t + b * 2 * plane();
    const float* hidden = saved_ + kept.h2 + b * wp * plane();
    const float slope_of_log = to_.log_prob_gradient[b];
    // `image` has four planes of slopes, then those of the hidden layer.
    const I tail = first_lanes(W() - (columns() - L));
    Total by_rescaling(columns());
    for (int64_t r = 0; r < H(); ++r)
      for (int i = 0; i < 2; ++i) {
        float *shifts = image.row(i, r), *scales = image.row(2 + i, r);
        for (int64_t x = 0; x < columns(); x += L) {
          const int64_t at = (2 + i) * plane() + r * columns() + x;
          const V slope = load(work(b, 0) + at), tanh = load(t + at - 2 * plane());
          const V scale = exponential(tanh * step.rescaling);
          V by_log_scale = slope * load(y + at) * scale + slope_of_log;
          if (x + L > W()) by_log_scale = bits(bits(by_log_scale) & tail);
          by_rescaling.add(by_log_scale * tanh);
          store(shifts + x, slope);
          store(scales + x, by_log_scale * step.rescaling * (1.0f - tanh * tanh));
          store(work(b, 0) + at, slope * scale);
        }
        by_rescaling.end_row();
      }
    *by.rescaling += by_rescaling.value();
    add_border(image, by, w);
    for (int64_t c = 0; c < wp; ++c)
      for (int64_t r = 0; r < H(); ++r) {
        float* to = image.row(4 + c, r);
        const float* from = hidden + c * plane() + r * columns();
        for (int64_t x = 0; x < columns(); x += L)
          store(to + x, relu(normalise(load(from + x), moments[c], moments[wp + c])));
        zero_tail(to, W(), columns());
      }
    for (int64_t c = 0; c < w; ++c)
      for (int ky = 0; ky < 3; ++ky) {
        double sums[3][4] = {};
        add_products<4>(image, 4 + c, ky - 1, image, 0, columns(), sums);
        for (int kx = 0; kx < 3; ++kx)
          for (int o = 0; o < 4; ++o)
            by.kernel3[((ky * 3 + kx) * (w + 1) + c) * 4 + o] += sums[kx][o];
      }
    float* slopes = slopes_of_ + b * wp * plane();
    for (int64_t r = 0; r < H(); ++r) {
      const float* rows[12];
      for (int i = 0; i < 12; ++i) rows[i] = image.row(i / 3, r + i % 3 - 1);
      for (int64_t o = 0; o < wp; o += 4)
        convolve_row<4>(
            rows, 4, step.k3_back + o * 36, 0, columns(), [&](int, int64_t) { return V{}; },
            [&](int64_t x, const V* sums) {
              for (int i = 0; i < 4; ++i) {
                const V value = load(image.row(4 + o + i, r) + x);
                store(slopes + (o + i) * plane() + r * columns() + x, value > 0 ? sums[i] : V{});
              }
            });
    }
    add_slopes(slopes, hidden, step, moments, slopes_[1] + b * wp);
  }

  // The gradient by the bias, and by the last kernel's weights of the border channel.
  void add_border(const Planes& slopes, const CouplingParams<double>& by, int64_t w) const {
    for (int o = 0; o < 4; ++o) {
      Total all(this->columns());
      double left = 0, right = 0;
      for (int64_t r = 0; r < H(); ++r) {
        const float* row = slopes.row(o, r);
        for (int64_t x = 0; x < this->columns(); x += L) all.add(load(row + x));
        all.end_row();
        left += row[0];
        right += row[W() - 1];
      }
      by.bias3[o] += all.value();
      const int64_t ends[3] = {0, -1, H() - 1};
      const double columns[3] = {left, 0, right};
      for (int ky = 0; ky < 3; ++ky)
        for (int kx = 0; kx < 3; ++kx) {
          double total = columns[kx];
          if (ends[ky] >= 0) {
            const float* row = slopes.row(o, ends[ky]);
            total += sum_of(row, W());
            if (kx != 1) total -= row[kx ? W() - 1 : 0];
          }
          by.kernel3[((ky * 3 + kx) * (w + 1) + w) * 4 + o] += total;
        }
    }
  }

  // Sums over an image, of the slopes of normalised values, for batch norm's gradient.
  void add_slopes(const float* slopes, const float* hidden, const Step& step, const float* moments,
                  Slopes* sums) const {
    for (int64_t c = 0; c < step.wp; ++c) {
      Total level(columns()), slope(columns());
      for (int64_t r = 0; r < H(); ++r) {
        const int64_t at = c * plane() + r * columns();
        for (int64_t x = at; x < at + columns(); x += L) {
          const V value = load(slopes + x);  // zero beyond the image
          level.add(value);
          slope.add(value * normalise(load(hidden + x), moments[c], moments[step.wp + c]));
        }
        level.end_row();
        slope.end_row();
      }
      sums[c] = {level.value(), slope.value()};
    }
  }

  // The gradient by a hidden layer before batch norm, from that by its normalised values.
  NF_INLINE V through_batch_norm(V slope, V value, float mean, float inverse, float level,
                                        float tilt) {
    return (slope - level - normalise(value, mean, inverse) * tilt) * inverse;
  }

  void second_layer(const Step& step, const Kept& kept, int64_t b, double* totals, float* row_slopes,
                    const float* moments, const float* levels, const float* tilts) const {
    const int64_t wp = step.wp, w = step.w;
    const CouplingParams<double> by(totals, w);
    const float *first = saved_ + kept.h1 + b * wp * plane();
    const float *second = saved_ + kept.h2 + b * wp * plane();
    const float *mean1 = moments, *inverse1 = moments + wp;
    const float *mean2 = moments + 2 * wp, *inverse2 = moments + 3 * wp;
    float* slopes = slopes_of_ + b * wp * plane();
    for (int64_t c = 0; c < wp; ++c)
      averages(step, b, c, slopes_[1], inverse2, by.mean2, by.variance2, by.bias2);
    for (int64_t c = 0; c < wp; ++c)
      for (int64_t r = 0; r < H(); ++r) {
        const int64_t at = c * plane() + r * columns();
        for (int64_t x = at; x < at + columns(); x += L)
          store(slopes + x, through_batch_norm(load(slopes + x), load(second + x), mean2[c],
                                               inverse2[c], levels[c], tilts[c]));
        zero_tail(slopes + at, W(), columns());
      }
    for (int64_t c = 0; c < wp; c += 4)
      for (int64_t o = 0; o < wp; o += 4)
        add_block(first + c * plane(), mean1 + c, inverse1 + c, slopes + o * plane(), by, w, c, o);
    for (int64_t r = 0; r < H(); ++r) {
      const int64_t row = r * columns();
      for (int64_t o = 0; o < wp; ++o)
        memcpy(row_slopes + o * columns(), slopes + o * plane() + row, columns() * sizeof(float));
      for (int64_t c = 0; c < wp; c += 4)
        mix_row(
            row_slopes, wp, columns(), step.k2_back + c * wp, 0, columns(),
            [&](int, int64_t) { return V{}; },
            [&](int64_t x, const V* sums) {
              for (int i = 0; i < 4; ++i) {
                const int64_t at = (c + i) * plane() + row + x;
                const V value = normalise(load(first + at), mean1[c + i], inverse1[c + i]);
                store(slopes + at, value > 0 ? sums[i] : V{});
              }
            });
    }
    add_slopes(slopes, first, step, moments, slopes_[0] + b * wp);
  }

  // Adds to the gradient by kernel2 the products of four inputs and four slopes.
  void add_block(const float* inputs, const float* means, const float* inverses,
                 const float* slopes, const CouplingParams<double>& by, int64_t w, int64_t c,
                 int64_t o) const {
    for (int64_t from = 0; from < plane(); from += 1024) {  // so that float sums stay short
      const int64_t to = from + 1024 < plane() ? from + 1024 : plane();
      V products[4][4] = {};
      for (int64_t x = from; x < to; x += L) {
        V slope[4];
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) slope[k] = load(slopes + k * plane() + x);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          const V value = relu(normalise(load(inputs + i * plane() + x), means[i], inverses[i]));
#pragma GCC unroll 4
          for (int k = 0; k < 4; ++k) products[i][k] += value * slope[k];
        }
      }
      for (int i = 0; i < 4 && c + i < w; ++i)
        for (int k = 0; k < 4 && o + k < w; ++k)
          by.kernel2[(c + i) * w + o + k] += sum(products[i][k]);
    }
  }

  void first_layer(const Step& step, const Kept& kept, int64_t b, double* totals,
                   const Planes& image, const float* moments, const float* levels, const float* tilts,
                   const float** rows) const {
    const int64_t wp = step.wp, w = step.w;
    const CouplingParams<double> by(totals, w);
    const float *first = saved_ + kept.h1 + b * wp * plane(), *mean1 = moments;
    const float *y = saved_ + kept.y + b * 4 * plane(), *inverse1 = moments + wp;
    const float* slopes = slopes_of_ + b * wp * plane();
    // `image` has two planes of y, then those of slopes.
    for (int c = 0; c < 2; ++c)
      for (int64_t r = 0; r < H(); ++r)
        memcpy(image.row(c, r), y + c * plane() + r * columns(), columns() * sizeof(float));
    for (int64_t c = 0; c < wp; ++c) {
      averages(step, b, c, slopes_[0], inverse1, by.mean1, by.variance1, by.bias1);
      for (int64_t r = 0; r < H(); ++r) {
        const int64_t at = c * plane() + r * columns();
        float* to = image.row(2 + c, r);
        for (int64_t x = 0; x < columns(); x += L)
          store(to + x, through_batch_norm(load(slopes + at + x), load(first + at + x), mean1[c],
                                             inverse1[c], levels[c], tilts[c]));
        zero_tail(to, W(), columns());
      }
    }
    for (int c = 0; c < 2; ++c)
      for (int ky = 0; ky < 3; ++ky)
        for (int64_t o = 0; o < wp; o += 4) {
          double sums[3][4] = {};
          add_products<4>(image, c, ky - 1, image, 2 + o, columns(), sums);
          for (int kx = 0; kx < 3; ++kx)
            for (int i = 0; i < 4 && o + i < w; ++i)
              by.kernel1[((ky * 3 + kx) * 2 + c) * w + o + i] += sums[kx][i];
        }
    for (int64_t r = 0; r < H(); ++r) {
      for (int64_t i = 0; i < 3 * wp; ++i) rows[i] = image.row(2 + i / 3, r + i % 3 - 1);
      float* to[2] = {work(b, 0) + r * columns(), work(b, 1) + r * columns()};
      convolve_row<2>(
          rows, wp, step.k1_back, 0, columns(),
          [&](int o, int64_t x) { return load(to[o] + x); },
          [&](int64_t x, const V* sums) {
            for (int o = 0; o < 2; ++o) store(to[o] + x, sums[o]);
          });
      for (float* row : to) zero_tail(row, W(), columns());
    }
  }

  // Outside training, adds an image's part of the gradient by the averages and the bias. In
  // training the averages are not used, and a bias before batch norm changes nothing.
  void averages(const Step& step, int64_t b, int64_t c, const Slopes* slopes, const float* inverses,
                double* by_mean, double* by_variance, double* by_bias) const {
    if (flow.training || c >= step.w) return;
    const Slopes& s = slopes[b * step.wp + c];
    const double inverse = inverses[c];
    by_bias[c] += s.level * inverse;
    by_mean[c] -= s.level * inverse;
    by_variance[c] -= 0.5 * s.slope * inverse * inverse;
  }

  // Adds up the groups, and turns sums into the gradient by the parameters.
  void finish(const Step& step) const {
    if (step.code != NF_MIX && step.code != NF_COUPLING) return;
    const int64_t count = nf_params_of(step.code, step.w, flow.B);
    double* total = totals(step, 0);
    for (int64_t g = 1; g < groups.count; ++g)
      for (int64_t i = 0; i < count; ++i) total[i] += totals(step, g)[i];
    float* to = to_.params + step.offset;
    if (step.code == NF_MIX) {
      finish_mix(step, total, to);
      return;
    }
    const CouplingParams<const float> params(step.params, step.w);
    const CouplingParams<double> by(total, step.w);
    for (int o = 0; o < 4; ++o) {
      const double scale = exp(3.0 * params.logs[o]);
      double by_log = 0;
      for (int64_t i = o; i < 36 * (step.w + 1); i += 4) {
        by.kernel3[i] *= scale;
        by_log += by.kernel3[i] * params.kernel3[i];
      }
      by.bias3[o] *= scale;
      by.logs[o] = 3 * (by_log + by.bias3[o] * params.bias3[o]);
    }
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(total[i]);
  }

  void finish_mix(const Step& step, const double* total, float* to) const {
    const Mix mix(step.params);
    double by_matrix[4][4], by_product[4][4] = {}, by_lower[4][4] = {}, by_upper[4][4] = {};
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) {
        by_matrix[i][j] = 0;
        for (int k = 0; k < 4; ++k) by_matrix[i][j] += mix.inverse[k][i] * total[4 * k + j];
      }
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j)
        for (int k = 0; k < 4; ++k) by_product[i][j] += mix.permutation[k][i] * by_matrix[k][j];
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j)
        for (int k = 0; k < 4; ++k) {
          by_lower[i][j] += by_product[i][k] * mix.upper[j][k];
          by_upper[i][j] += mix.lower[k][i] * by_product[k][j];
        }
    double log_slopes = 0;
    for (int64_t b = 0; b < flow.B; ++b) log_slopes += to_.log_prob_gradient[b];
    for (int i = 0; i < 4; ++i)
      to[20 + i] = static_cast<float>(by_upper[i][i] * mix.upper[i][i] + log_slopes * H() * W());
    for (int k = 0; k < 6; ++k) {
      to[24 + k] = static_cast<float>(by_lower[LOWER_PLACES[k][0]][LOWER_PLACES[k][1]]);
      to[30 + k] = static_cast<float>(by_upper[UPPER_PLACES[k][0]][UPPER_PLACES[k][1]]);
    }
  }
};

}  // namespace

#endif

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
// towards the latent, or of a coupling what it takes; `t`, the tanh of the log-scale; `h1`, the first
// hidden layer before batch norm; and both layers' mean and inverse standard deviation. Memory is
// slower than arithmetic here: the second hidden layer is computed again.
struct Kept {
  int64_t y, t, h1, moments;
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

  // Computes an image's second hidden layer before batch norm from the first one; emit(o, r, x, v)
  // takes channels o to o + 3 of a vector at column x of row r.
  template <typename Emit>
  NF_INLINE_METHOD void second_layer_of(const Step& step, const float* first, const float* means,
                                        const float* inverses, const Emit& emit) const {
    for (int64_t r = 0; r < H(); ++r)
      for (int64_t o = 0; o < step.wp; o += 4)
        for (int64_t x = 0; x < columns(); x += L) {
          V sums[4];
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) sums[i] = splat(step.b2[o + i]);
          const float* weights = step.k2 + o * step.wp;
          for (int64_t c = 0; c < step.wp; ++c) {
            const V value = relu(normalise(load(first + c * plane() + r * columns() + x), means[c],
                                           inverses[c]));
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) sums[i] += splat(weights[4 * c + i]) * value;
          }
          emit(o, r, x, sums);
        }
  }

  // Zeros beyond the image in `channels` planes.
  void zero_tails(float* planes, int64_t channels) const {
    for (int64_t row = 0; W() < columns() && row < channels * H(); ++row)
      zero_tail(planes + row * columns(), W(), columns());
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
    log_dets_ = arena.zeros<double>(flow.B);
    for (Spread*& spreads : spreads_) spreads = arena.zeros<Spread>(flow.B * flow.widest + 1);
    scratch_size_ = round_up(4 * columns() + (4 + flow.widest) * plane() + 4 * flow.widest +
                                 Planes::size(2 + flow.widest, H(), columns()), 16);
    scratch_ = arena.zeros<float>(threads * scratch_size_);
    pointers_ = arena.zeros<const float*>(threads * (3 * flow.widest + 1));
  }

  void run() {
    Team::run(threads, [&](int thread, Team& team) { run(thread, team); });
  }

 private:
  // Of one thread: rows; an image's four planes; the second hidden layer; the moments that
  // normalise both; two planes of y and those of the hidden layer, with zeros around; pointers.
  struct Scratch {
    float *rows, *state, *second, *mean1, *inverse1, *mean2, *inverse2;
    Planes image;
    const float** pointers;
  };

  const float* noise_;
  float *saved_, *latent_, *log_prob_, *moments_;
  float* scratch_;
  double* log_dets_;
  Spread* spreads_[2];
  int64_t scratch_size_;
  const float** pointers_;

  void run(int thread, Team& team) {
    float* rows = scratch_ + thread * scratch_size_;
    float* state = rows + 4 * columns();
    float* second = state + 4 * plane();
    float* m = second + flow.widest * plane();
    const int64_t w = flow.widest;
    const Scratch scratch = {
        rows, state, second, m, m + w, m + 2 * w, m + 3 * w, Planes(m + 4 * w, H(), columns()),
        pointers_ + thread * (3 * w + 1)};
    int next = 0;
    each_image(thread, team, [&](int64_t b, int64_t) {
      read(b, state);
      next = up_to_moments(0, b, state, scratch);
    });
    int64_t done = 0;  // moments of the couplings before
    while (next < flow.n) {
      const int now = next;
      const Step& step = flow.steps[now];
      const Kept& kept = layout.kept[now];
      float* stored = saved_ + kept.moments;
      const CouplingParams<const float> params(step.params, step.w);
      team.barrier();
      moments(step, 0, params.mean1, params.variance1, scratch.mean1, scratch.inverse1, thread,
              stored, done);
      if (flow.training) {
        each_image(thread, team, [&](int64_t b, int64_t) {
          second_layer(step, saved_ + kept.h1 + b * step.wp * plane(), b, scratch);
        });
        team.barrier();
      }
      moments(step, 1, params.mean2, params.variance2, scratch.mean2, scratch.inverse2, thread,
              stored + 2 * step.wp, done + 2 * step.w);
      each_image(thread, team, [&](int64_t b, int64_t) {
        log_dets_[b] += last_layer(step, kept, b, scratch);
        next = up_to_moments(now + 1, b, state, scratch);
      });
      done += 4 * step.w;
      if (next == now) break;  // this thread has no image
    }
  }

  void read(int64_t b, float* state) const {
    for (int64_t y = 0; y < H(); ++y) {
      float* rows[4];
      for (int c = 0; c < 4; ++c) rows[c] = state + c * plane() + y * columns();
      separate(noise_ + 4 * (b * H() + y) * W(), W(), rows);
    }
    zero_tails(state, 4);
  }

  // Computes the steps from `number` on up to a hidden layer whose moments are needed, or to the
  // end; returns the coupling's number.
  int up_to_moments(int number, int64_t b, const float* state, const Scratch& scratch) {
    for (; number < flow.n; ++number) {
      const Step& step = flow.steps[number];
      float* y = saved_ + layout.kept[number].y + b * 4 * plane();
      if (step.code == NF_COUPLING) {
        if (state != y) memcpy(y, state, 4 * plane() * sizeof(float));
        first_layer(step, y, b, saved_ + layout.kept[number].h1 + b * step.wp * plane(), scratch);
        return number;
      }
      log_dets_[b] += pointwise(step, b, state, y, scratch.rows);
      state = y;
    }
    double squares = 0;
    for (int64_t y = 0; y < H(); ++y) {
      const float* rows[4];
      for (int c = 0; c < 4; ++c) {
        rows[c] = state + c * plane() + y * columns();
        squares += sum_of_squares(rows[c], W());
      }
      interleave(rows, W(), latent_ + 4 * (b * H() + y) * W());
    }
    const double normal = -0.5 * (squares + LOG_2PI * 4 * H() * W());
    log_prob_[b] = static_cast<float>(normal + log_dets_[b]);
    return flow.n;
  }

  double pointwise(const Step& step, int64_t b, const float* from, float* y, float* scratch) const {
    if (step.code == NF_GAIN) {
      const float gamma = step.params[b];
      for (int64_t x = 0; x < 4 * plane(); x += L) store(y + x, load(from + x) / gamma);
      zero_tails(y, 4);
      return -4.0 * H() * W() * log(static_cast<double>(gamma));
    }
    if (step.code == NF_MIX) {
      const float* in[4];
      float* out[4];
      for (int c = 0; c < 4; ++c) {
        in[c] = from + c * plane();
        out[c] = y + c * plane();
      }
      multiply_rows(in, out, step.matrix, 0, plane());
      return step.log_det * H() * W();
    }
    const float beta1 = step.params[b], beta2 = step.params[flow.B + b];
    const I tail = first_lanes(W() - (columns() - L));
    Total log_variances(columns());
    for (int64_t r = 0; r < H(); ++r) {
      float* variances[4];
      for (int c = 0; c < 4; ++c) variances[c] = scratch + c * columns();
      separate(flow.clean + 4 * (b * H() + r) * W(), W(), variances);
      for (int c = 0; c < 4; ++c) {
        const int64_t at = c * plane() + r * columns();
        for (int64_t x = 0; x < columns(); x += L) {
          const V variance = relu(load(variances[c] + x)) * beta1 + beta2;
          store(y + at + x, load(from + at + x) / square_root(variance));
          const V log_variance = logarithm(variance);
          log_variances.add(x + L > W() ? bits(bits(log_variance) & tail) : log_variance);
        }
      }
      log_variances.end_row();
    }
    zero_tails(y, 4);
    return -0.5 * log_variances.value();
  }

  void first_layer(const Step& step, const float* y, int64_t b, float* hidden,
                   const Scratch& scratch) {
    const Planes& image = scratch.image;
    for (int c = 0; c < 2; ++c)
      for (int64_t r = 0; r < H(); ++r)
        memcpy(image.row(c, r), y + c * plane() + r * columns(), columns() * sizeof(float));
    for (int64_t r = 0; r < H(); ++r) {
      const float* rows[6];
      for (int i = 0; i < 6; ++i) rows[i] = image.row(i / 3, r + i % 3 - 1);
      for (int64_t o = 0; o < step.wp; o += 4) {
        float* to = hidden + o * plane() + r * columns();
        convolve_rows<4, 1>(
            rows, 2, step.k1 + o * 18, 0, columns(),
            [&](int i, int, int64_t) { return splat(step.b1[o + i]); },
            [&](int, int64_t x, const V* sums) {
              for (int i = 0; i < 4; ++i) store(to + i * plane() + x, sums[i]);
            });
      }
    }
    zero_tails(hidden, step.wp);
    if (flow.training) spread(hidden, step.wp, spreads_[0] + b * step.wp);
  }

  void second_layer(const Step& step, const float* first, int64_t b, const Scratch& scratch) {
    second_layer_of(step, first, scratch.mean1, scratch.inverse1,
                    [&](int64_t o, int64_t r, int64_t x, const V* sums) {
                      float* to = scratch.second + o * plane() + r * columns() + x;
                      for (int i = 0; i < 4; ++i) store(to + i * plane(), sums[i]);
                    });
    zero_tails(scratch.second, step.wp);
    spread(scratch.second, step.wp, spreads_[1] + b * step.wp);
  }

  // From y to the state.
  double last_layer(const Step& step, const Kept& kept, int64_t b, const Scratch& scratch) {
    const float* y = saved_ + kept.y + b * 4 * plane();
    const Planes& image = scratch.image;
    second_layer_of(step, saved_ + kept.h1 + b * step.wp * plane(), scratch.mean1,
                    scratch.inverse1, [&](int64_t o, int64_t r, int64_t x, const V* sums) {
                      for (int i = 0; i < 4; ++i)
                        store(image.row(2 + o + i, r) + x,
                              relu(normalise(sums[i], scratch.mean2[o + i],
                                             scratch.inverse2[o + i])));
                    });
    for (int64_t c = 0; c < step.wp; ++c)
      for (int64_t r = 0; r < H(); ++r) zero_tail(image.row(2 + c, r), W(), columns());
    float *tanhs = saved_ + kept.t + b * 2 * plane(), *state = scratch.state;
    memcpy(state, y, 2 * plane() * sizeof(float));
    const I tail = first_lanes(W() - (columns() - L));
    Total tanh_total(columns());
    const float** rows = scratch.pointers;
    for (int64_t r = 0; r < H(); ++r) {
      for (int64_t i = 0; i < 3 * step.wp; ++i) rows[i] = image.row(2 + i / 3, r + i % 3 - 1);
      const float* border[4];
      for (int o = 0; o < 4; ++o) border[o] = step.border_row(r, H(), o);
      convolve_rows<4, 1>(
          rows, step.wp, step.k3, 0, columns(),
          [&](int o, int, int64_t x) { return load(border[o] + x); },
          [&](int, int64_t x, const V* sums) {
            for (int i = 0; i < 2; ++i) {
              V value = hyperbolic_tangent(sums[2 + i]);
              if (x + L > W()) value = bits(bits(value) & tail);
              const int64_t at = (2 + i) * plane() + r * columns() + x;
              store(tanhs + at - 2 * plane(), value);
              store(state + at, load(y + at) * scale_of(step, value * step.rescaling) + sums[i]);
              tanh_total.add(value);
            }
          });
      tanh_total.end_row();
    }
    zero_tails(state, 4);
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
                     flow.widest * (2 + columns() + plane()), 16);
    scratch_ = arena.zeros<float>(threads * scratch_size_);
    pointers_ = arena.zeros<const float*>(threads * (3 * flow.widest + 1));
  }

  void run() {
    for (int64_t i = 0; i < flow.params; ++i) to_.params[i] = 0;
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

  // Of one thread: rows; rows of all hidden channels; the second hidden layer; the means of the
  // slopes; planes with zeros around: four, and those of the hidden layer; pointers.
  struct Scratch {
    float *rows, *hidden_rows, *second, *levels, *tilts;
    Planes image;
    const float** pointers;
  };

  void run(int thread, Team& team) {
    const int64_t w = flow.widest;
    float* rows = scratch_ + thread * scratch_size_;
    float* hidden_rows = rows + 4 * columns();
    float* second = hidden_rows + w * columns();
    float* means = second + w * plane();
    const Scratch scratch = {rows, hidden_rows, second, means, means + w,
                             Planes(means + 2 * w, H(), columns()),
                             pointers_ + thread * (3 * w + 1)};
    int next = flow.n;
    each_image(thread, team, [&](int64_t b, int64_t g) {
      start(b);
      next = down_to_moments(flow.n - 1, b, g, scratch);
    });
    while (next >= 0 && next < flow.n) {
      const int now = next;
      const Step& step = flow.steps[now];
      const Kept& kept = layout.kept[now];
      const float* moments = saved_ + kept.moments;
      team.barrier();
      slope_means(1, step, scratch);
      each_image(thread, team, [&](int64_t b, int64_t g) {
        second_layer(step, kept, b, totals(step, g), scratch, moments);
      });
      team.barrier();
      slope_means(0, step, scratch);
      each_image(thread, team, [&](int64_t b, int64_t g) {
        first_layer(step, kept, b, totals(step, g), scratch, moments);
        next = down_to_moments(now - 1, b, g, scratch);
      });
    }
  }

  // The gradient by the latent.
  void start(int64_t b) const {
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
  }

  // Goes back from step `number` to where the means of slopes are needed, or to the noise; returns
  // the coupling's number, or -1.
  int down_to_moments(int number, int64_t b, int64_t g, const Scratch& scratch) const {
    for (; number >= 0; --number) {
      const Step& step = flow.steps[number];
      const Kept& kept = layout.kept[number];
      const float* y = saved_ + kept.y + b * 4 * plane();
      if (step.code == NF_COUPLING) {
        last_layer(step, kept, b, totals(step, g), scratch, saved_ + kept.moments);
        return number;
      }
      if (step.code == NF_MIX) mix(step, b, y, totals(step, g));
      if (step.code == NF_GAIN) gain(step, b, y);
      if (step.code == NF_SIGNAL) signal(step, b, y, scratch.rows);
    }
    for (int64_t y = 0; to_.noise && y < H(); ++y) {
      const float* rows[4];
      for (int c = 0; c < 4; ++c) rows[c] = work(b, c) + y * columns();
      interleave(rows, W(), to_.noise + 4 * (b * H() + y) * W());
    }
    return -1;
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

  // The batch's means of each channel's slopes, and of their products with the values; zero if the
  // moments are not the batch's.
  void slope_means(int layer, const Step& step, const Scratch& scratch) const {
    const double count = static_cast<double>(flow.B) * H() * W();
    for (int64_t c = 0; c < step.wp; ++c) {
      Slopes total = {};
      for (int64_t b = 0; flow.training && b < flow.B; ++b) {
        total.level += slopes_[layer][b * step.wp + c].level;
        total.slope += slopes_[layer][b * step.wp + c].slope;
      }
      scratch.levels[c] = static_cast<float>(total.level / count);
      scratch.tilts[c] = static_cast<float>(total.slope / count);
    }
  }

  void last_layer(const Step& step, const Kept& kept, int64_t b, double* totals,
                  const Scratch& scratch, const float* moments) const {
    const int64_t wp = step.wp, w = step.w;
    const Planes& image = scratch.image;
    const float *mean2 = moments + 2 * wp, *inverse2 = moments + 3 * wp;
    const CouplingParams<double> by(totals, w);
    const float *y = saved_ + kept.y + b * 4 * plane(), *t = saved_ + kept.t + b * 2 * plane();
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
          const V scale = scale_of(step, tanh * step.rescaling);
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
    second_layer_of(step, saved_ + kept.h1 + b * wp * plane(), moments, moments + wp,
                    [&](int64_t o, int64_t r, int64_t x, const V* sums) {
                      for (int i = 0; i < 4; ++i) {
                        const V value = normalise(sums[i], mean2[o + i], inverse2[o + i]);
                        store(scratch.second + (o + i) * plane() + r * columns() + x, value);
                        store(image.row(4 + o + i, r) + x, relu(value));
                      }
                    });
    for (int64_t c = 0; c < wp; ++c)
      for (int64_t r = 0; r < H(); ++r) zero_tail(image.row(4 + c, r), W(), columns());
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
        convolve_rows<4, 1>(
            rows, 4, step.k3_back + o * 36, 0, columns(), [&](int, int, int64_t) { return V{}; },
            [&](int, int64_t x, const V* sums) {
              for (int i = 0; i < 4; ++i) {
                const V value = load(image.row(4 + o + i, r) + x);
                store(slopes + (o + i) * plane() + r * columns() + x, value > 0 ? sums[i] : V{});
              }
            });
    }
    add_slopes(slopes, scratch.second, wp, slopes_[1] + b * wp);
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
  void add_slopes(const float* slopes, const float* normalised, int64_t channels,
                  Slopes* sums) const {
    for (int64_t c = 0; c < channels; ++c) {
      Total level(columns()), slope(columns());
      for (int64_t r = 0; r < H(); ++r) {
        const int64_t at = c * plane() + r * columns();
        for (int64_t x = at; x < at + columns(); x += L) {
          const V value = load(slopes + x);  // zero beyond the image
          level.add(value);
          slope.add(value * load(normalised + x));
        }
        level.end_row();
        slope.end_row();
      }
      sums[c] = {level.value(), slope.value()};
    }
  }

  // The gradient by a hidden layer before batch norm, from that by its normalised values.
  NF_INLINE V through_batch_norm(V slope, V normalised, float inverse, float level, float tilt) {
    return (slope - level - normalised * tilt) * inverse;
  }

  void second_layer(const Step& step, const Kept& kept, int64_t b, double* totals,
                    const Scratch& scratch, const float* moments) const {
    const int64_t wp = step.wp, w = step.w;
    const CouplingParams<double> by(totals, w);
    const float *first = saved_ + kept.h1 + b * wp * plane();
    const float *mean1 = moments, *inverse1 = moments + wp;
    const float *mean2 = moments + 2 * wp, *inverse2 = moments + 3 * wp;
    float* slopes = slopes_of_ + b * wp * plane();
    for (int64_t c = 0; c < wp; ++c)
      averages(step, b, c, slopes_[1], inverse2, by.mean2, by.variance2, by.bias2);
    second_layer_of(step, first, mean1, inverse1,
                    [&](int64_t o, int64_t r, int64_t x, const V* sums) {
                      for (int i = 0; i < 4; ++i) {
                        const int64_t c = o + i;
                        float* slope = slopes + c * plane() + r * columns() + x;
                        store(slope, through_batch_norm(
                                         load(slope), normalise(sums[i], mean2[c], inverse2[c]),
                                         inverse2[c], scratch.levels[c], scratch.tilts[c]));
                      }
                    });
    zero_tails(slopes, wp);
    for (int64_t c = 0; c < wp; c += 4)
      for (int64_t o = 0; o < wp; o += 4)
        add_block(first + c * plane(), mean1 + c, inverse1 + c, slopes + o * plane(), by, w, c, o);
    float* normalised = scratch.second;
    for (int64_t r = 0; r < H(); ++r) {
      const int64_t row = r * columns();
      for (int64_t o = 0; o < wp; ++o)
        memcpy(scratch.hidden_rows + o * columns(), slopes + o * plane() + row,
               columns() * sizeof(float));
      for (int64_t c = 0; c < wp; c += 4)
        mix_row(
            scratch.hidden_rows, wp, columns(), step.k2_back + c * wp, 0, columns(),
            [&](int, int64_t) { return V{}; },
            [&](int64_t x, const V* sums) {
              for (int i = 0; i < 4; ++i) {
                const int64_t at = (c + i) * plane() + row + x;
                const V value = normalise(load(first + at), mean1[c + i], inverse1[c + i]);
                store(normalised + at, value);
                store(slopes + at, value > 0 ? sums[i] : V{});
              }
            });
    }
    add_slopes(slopes, normalised, wp, slopes_[0] + b * wp);
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
                   const Scratch& scratch, const float* moments) const {
    const int64_t wp = step.wp, w = step.w;
    const Planes& image = scratch.image;
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
          store(to + x, through_batch_norm(
                            load(slopes + at + x),
                            normalise(load(first + at + x), mean1[c], inverse1[c]), inverse1[c],
                            scratch.levels[c], scratch.tilts[c]));
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
      const float** rows = scratch.pointers;
      for (int64_t i = 0; i < 3 * wp; ++i) rows[i] = image.row(2 + i / 3, r + i % 3 - 1);
      float* to[2] = {work(b, 0) + r * columns(), work(b, 1) + r * columns()};
      convolve_rows<2, 1>(
          rows, wp, step.k1_back, 0, columns(),
          [&](int o, int, int64_t x) { return load(to[o] + x); },
          [&](int, int64_t x, const V* sums) {
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

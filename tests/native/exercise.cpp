// Runs the compiled core on random flows, images and threads: under AddressSanitizer and
// UndefinedBehaviorSanitizer it finds reads and writes outside of arrays, and it fails if the noise
// of a latent is not the noise that the latent is of.
//
//   exercise TRIALS [SEED]               random flows and shapes
//   exercise --time TARGET [BATCH]       milliseconds of each function on the paper's flow
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <vector>

#include "core.h"

extern "C" {
const char* nf_target(void);
int nf_choose(const char*);
int nf_latent(const int32_t*, int32_t, const float*, int64_t, int64_t, int64_t, const float*,
              const float*, float*, float*, int32_t);
int nf_noise(const int32_t*, int32_t, const float*, int64_t, int64_t, int64_t, const float*,
             const float*, float*, int32_t);
int64_t nf_saved_size(const int32_t*, int32_t, int64_t, int64_t, int64_t);
int nf_forward(const int32_t*, int32_t, const float*, int64_t, int64_t, int64_t, const float*,
               const float*, int32_t, float*, float*, float*, float*, int32_t);
int nf_gradient(const int32_t*, int32_t, const float*, int64_t, int64_t, int64_t, const float*,
                int32_t, const float*, const float*, const float*, const float*, float*, float*,
                float*, int32_t);
}

static uint64_t state;

static double uniform(double low, double high) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return low + (high - low) * static_cast<double>(state >> 40) / (1 << 24);
}

static int below(int n) { return static_cast<int>(uniform(0, n)); }

static std::vector<float> values(int64_t count, double low, double high) {
  std::vector<float> v(count);
  for (float& x : v) x = static_cast<float>(uniform(low, high));
  return v;
}

struct Case {
  std::vector<int32_t> ops;
  std::vector<float> params, clean, noise;
  int64_t batch, height, width;
  int32_t n() const { return static_cast<int32_t>(ops.size() / 2); }
  int64_t pixels() const { return batch * height * width * 4; }
};

static void add(Case& c, int32_t code, int32_t w) {
  c.ops.push_back(code);
  c.ops.push_back(code == NF_COUPLING ? w : 0);
  std::vector<float> p = values(nf_params_of(code, w, c.batch), -0.2, 0.2);
  if (code == NF_SIGNAL || code == NF_GAIN)
    for (float& x : p) x = static_cast<float>(code == NF_GAIN ? uniform(0.5, 2) : uniform(1e-3, 2e-3));
  if (code == NF_MIX) {
    for (int i = 0; i < 16; ++i) p[i] = (i / 4 + 1) % 4 == i % 4;
    for (int i = 16; i < 20; ++i) p[i] = below(2) ? 1.0f : -1.0f;
  }
  if (code == NF_COUPLING)
    for (int i = 0; i < w; ++i) p[18 * w + 2 * w + i] = p[18 * w + 5 * w + w * w + i] = 1.5f;
  c.params.insert(c.params.end(), p.begin(), p.end());
}

static void fill(Case& c) {
  c.clean = values(c.pixels(), -0.1, 1.0);
  c.noise = values(c.pixels(), -0.05, 0.05);
}

static int check(int result, const char* what) {
  if (result) printf("%s returned %d\n", what, result);
  return result;
}

static int run(const Case& c, int threads) {
  const int64_t count = c.pixels();
  std::vector<float> latent(count), noise(count), log_prob(c.batch), kept_log_prob(c.batch);
  int64_t moments = 1;
  for (int i = 0; i < c.n(); ++i) moments += 4 * c.ops[2 * i + 1];
  const int32_t* ops = c.ops.data();
  int bad = check(nf_latent(ops, c.n(), c.params.data(), c.batch, c.height, c.width, c.noise.data(),
                            c.clean.data(), latent.data(), log_prob.data(), threads), "latent");
  bad |= check(nf_noise(ops, c.n(), c.params.data(), c.batch, c.height, c.width, latent.data(),
                        c.clean.data(), noise.data(), threads), "noise");
  for (int64_t i = 0; i < count; ++i)
    if (!(fabsf(noise[i] - c.noise[i]) < 1e-3f)) {
      printf("noise %g came back as %g\n", c.noise[i], noise[i]);
      return 1;
    }
  std::vector<float> saved(nf_saved_size(ops, c.n(), c.batch, c.height, c.width));
  std::vector<float> mean(moments), by_params(c.params.size()), by_noise(count), by_clean(count);
  const std::vector<float> by_log_prob(c.batch, -1.0f);
  for (int training = 0; training < 2; ++training) {
    bad |= check(nf_forward(ops, c.n(), c.params.data(), c.batch, c.height, c.width,
                            c.noise.data(), c.clean.data(), training, saved.data(), latent.data(),
                            kept_log_prob.data(), mean.data(), threads), "forward");
    for (int64_t b = 0; !training && b < c.batch; ++b)
      if (!(fabsf(log_prob[b] - kept_log_prob[b]) < 1e-5f * (4 * c.height * c.width + fabsf(log_prob[b])) + 1e-2f)) {
        printf("log_prob %g and %g\n", log_prob[b], kept_log_prob[b]);
        bad = 1;
      }
    for (int all = 0; all < 2; ++all)
      bad |= check(nf_gradient(ops, c.n(), c.params.data(), c.batch, c.height, c.width,
                               c.clean.data(), training, saved.data(), latent.data(),
                               all ? latent.data() : nullptr, by_log_prob.data(), by_params.data(),
                               all ? by_noise.data() : nullptr, all ? by_clean.data() : nullptr,
                               threads), "gradient");
  }
  return bad;
}

static Case paper(int64_t batch) {
  Case c;
  c.batch = batch;
  c.height = c.width = 32;
  add(c, NF_SIGNAL, 0);
  for (int i = 0; i < 8; ++i) {
    if (i == 4) add(c, NF_GAIN, 0);
    add(c, NF_MIX, 0);
    add(c, NF_COUPLING, 4);
  }
  fill(c);
  return c;
}

static double seconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

static int time_all(const char* target, int64_t batch) {
  if (nf_choose(target)) return check(2, target);
  const Case c = paper(batch);
  std::vector<float> latent(c.pixels()), noise(c.pixels()), log_prob(batch), mean(4 * 4 * 8);
  std::vector<float> saved(nf_saved_size(c.ops.data(), c.n(), batch, 32, 32));
  std::vector<float> by_params(c.params.size());
  const std::vector<float> by_log_prob(batch, -1.0f);
  double least[4] = {1e9, 1e9, 1e9, 1e9};
  for (int k = 0; k < 40; ++k) {
    const double a = seconds();
    nf_latent(c.ops.data(), c.n(), c.params.data(), batch, 32, 32, c.noise.data(), c.clean.data(),
              latent.data(), log_prob.data(), 1);
    const double b = seconds();
    nf_noise(c.ops.data(), c.n(), c.params.data(), batch, 32, 32, latent.data(), c.clean.data(),
             noise.data(), 1);
    const double d = seconds();
    nf_forward(c.ops.data(), c.n(), c.params.data(), batch, 32, 32, c.noise.data(), c.clean.data(),
               1, saved.data(), latent.data(), log_prob.data(), mean.data(), 1);
    const double e = seconds();
    nf_gradient(c.ops.data(), c.n(), c.params.data(), batch, 32, 32, c.clean.data(), 1,
                saved.data(), latent.data(), nullptr, by_log_prob.data(), by_params.data(), nullptr,
                nullptr, 1);
    const double f = seconds();
    const double now[4] = {b - a, d - b, e - d, f - e};
    for (int i = 0; i < 4; ++i)
      if (now[i] < least[i]) least[i] = now[i];
  }
  const char* names[4] = {"latent", "noise", "forward", "gradient"};
  for (int i = 0; i < 4; ++i)
    printf("%s %s: %.2f ms, %.0f patches a second\n", target, names[i], least[i] * 1e3,
           batch / least[i]);
  return 0;
}

int main(int count, char** arguments) {
  if (count > 2 && !strcmp(arguments[1], "--time"))
    return time_all(arguments[2], count > 3 ? atoi(arguments[3]) : 138);
  const int trials = count > 1 ? atoi(arguments[1]) : 100;
  state = count > 2 ? atoi(arguments[2]) : 1;
  const char* targets[] = {"portable", "avx2", "avx512", "neon"};
  int bad = 0, ran = 0;
  for (int trial = 0; trial < trials && !bad; ++trial) {
    if (nf_choose(targets[trial % 4])) continue;
    ++ran;
    Case c;
    c.batch = below(5);
    c.height = 1 + below(trial % 50 ? 20 : 250);
    c.width = 1 + below(trial % 50 ? 40 : 600);
    const int w = 1 + below(9), steps = below(7);
    if (below(2)) add(c, NF_SIGNAL, 0);
    for (int i = 0; i < steps; ++i) {
      if (below(4)) add(c, NF_MIX, 0);
      if (!below(4)) add(c, NF_GAIN, 0);
      if (below(4)) add(c, NF_COUPLING, w);
    }
    fill(c);
    bad = run(c, 1 + below(5));
    if (bad) printf("trial %d on %s\n", trial, nf_target());
  }
  printf("%d flows%s\n", ran, bad ? ": failed" : "");
  return bad;
}

/* test_loss.c - the losses against their published formulas written plainly in long double, their derivatives
 * against central differences, and their behaviour at the edges: large differences, kinks, limits, ties.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "train/loss.h"

static const double none = NAN;

static train_loss of(loss_kind kind) {
  return (train_loss){.kind = kind, .gamma = 2, .margin = 1, .tempered_t = 0.5, .temperature = 2};
}

static void near(double got, long double want, double tolerance, const char *what, loss_kind k, double at) {
  if (!(fabs(got - (double)want) <= tolerance * (1 + fabs((double)want))))
    fail_msg("%s at %g: %s is %.17g, expected %.17g", loss_words[k].text, at, what, got, (double)want);
}

static long double sig(long double x) { return 1 / (1 + expl(-x)); }

/* The formulas as the papers print them; good for moderate values only. */
static long double formula(const train_loss *l, double c, double r, double margin) {
  long double x = (long double)c - r, m = isnan(margin) ? l->margin : margin;
  switch (l->kind) {
    case LOSS_BT: return -logl(sig(x - (isnan(margin) ? 0 : margin)));
    case LOSS_FOCAL: return -powl(1 - sig(x), l->gamma) * logl(sig(x));
    case LOSS_FOCAL_PENALTY: return -powl(1 - 2 * fmaxl(sig(x) - 0.5L, 0), l->gamma) * logl(sig(x));
    case LOSS_HINGE: return fmaxl(0, m - x);
    case LOSS_MARGIN_MSE: return (x - m) * (x - m);
    case LOSS_CE: return -logl(sig(c)) - logl(1 - sig(r));
    case LOSS_TEMPERED_LOG: return -(powl(sig(x), 1 - l->tempered_t) - 1) / (1 - l->tempered_t);
    case LOSS_TEMPERATURE_BT: return -logl(sig(x / l->temperature));
    default: return -logl(expl(c) / (expl(c) + expl(r)));
  }
}

static void values_are_the_formulas(void **state) {
  (void)state;
  double d[2];
  for (loss_kind k = 0; k < LOSS_KINDS; k++)
    for (double c = -4; c <= 4; c += 0.37)
      for (double r = -4; r <= 4; r += 0.53)
        for (int variant = 0; variant < 3; variant++) {
          train_loss l = of(k);
          l.gamma = 1 + variant * 0.75;
          l.margin = variant * 0.8;
          l.tempered_t = variant * 0.4;
          l.temperature = 0.5 + variant;
          near(loss_pair(&l, c, r, none, d), formula(&l, c, r, none), 1e-12, "the value", k, c - r);
        }
}

/* Where it says so, with numbers worked out by hand. */
static void values_by_hand(void **state) {
  (void)state;
  static const struct {
    loss_kind kind;
    double want;
  } at_zero[] = {{LOSS_BT, M_LN2},
                 {LOSS_FOCAL, M_LN2 / 4},
                 {LOSS_FOCAL_PENALTY, M_LN2},
                 {LOSS_HINGE, 1},
                 {LOSS_MARGIN_MSE, 1},
                 {LOSS_CE, 2 * M_LN2},
                 {LOSS_TEMPERED_LOG, 2 - M_SQRT2},
                 {LOSS_TEMPERATURE_BT, M_LN2},
                 {LOSS_PLACKETT_LUCE, M_LN2}};
  double d[2];
  for (size_t i = 0; i < sizeof at_zero / sizeof *at_zero; i++) {
    train_loss l = of(at_zero[i].kind);
    near(loss_pair(&l, 0, 0, none, d), at_zero[i].want, 1e-15, "the value", l.kind, 0);
  }
  train_loss l = of(LOSS_TEMPERED_LOG);
  l.tempered_t = 0; /* 1 - s(D) */
  near(loss_pair(&l, log(3), 0, none, d), 0.25, 1e-15, "the value", l.kind, log(3));
  l = of(LOSS_CE); /* depends on both rewards, not on their difference alone */
  near(loss_pair(&l, log(3), log(3), none, d), logl(4.0L / 3) + logl(4), 1e-15, "the value", l.kind, 0);
}

static void slopes_match_differences(void **state) {
  (void)state;
  rng g = rng_new(1, 0);
  for (loss_kind k = 0; k < LOSS_KINDS; k++)
    for (int i = 0; i < 400; i++) {
      train_loss l = of(k);
      l.gamma = 0.5 + 3 * rng_uniform(&g);
      l.margin = 2 * rng_uniform(&g);
      l.tempered_t = 0.99 * rng_uniform(&g);
      l.temperature = 0.25 + 3 * rng_uniform(&g);
      bool takes_margin = k == LOSS_BT || k == LOSS_HINGE || k == LOSS_MARGIN_MSE;
      double margin = takes_margin && i % 2 ? 3 * rng_uniform(&g) : none;
      double c = 16 * rng_uniform(&g) - 8, r = 16 * rng_uniform(&g) - 8, h = 1e-5, d[2], unused[2];
      double m = isnan(margin) ? l.margin : margin;
      if (k == LOSS_HINGE && fabs(c - r - m) < 1e-3) continue;
      if (k == LOSS_FOCAL_PENALTY && fabs(c - r) < 1e-3) continue;
      loss_pair(&l, c, r, margin, d);
      double up = loss_pair(&l, c + h, r, margin, unused), down = loss_pair(&l, c - h, r, margin, unused);
      near(d[0], (up - down) / (2 * h), 2e-8, "d/dchosen", k, c - r);
      up = loss_pair(&l, c, r + h, margin, unused), down = loss_pair(&l, c, r - h, margin, unused);
      near(d[1], (up - down) / (2 * h), 2e-8, "d/drejected", k, c - r);
    }
}

/* A margin of the row: BT shifts by it, hinge and margin-mse take it for theirs. */
static void row_margins(void **state) {
  (void)state;
  double d[2], e[2];
  train_loss l = of(LOSS_BT);
  l.margin = 7; /* the option is not BT's */
  near(loss_pair(&l, 2, 0.5, 1.25, d), log1pl(expl(-0.25L)), 1e-15, "the value", l.kind, 1.5);
  near(loss_pair(&l, 2, 0.5, none, d), log1pl(expl(-1.5L)), 1e-15, "the value", l.kind, 1.5);
  for (loss_kind k = LOSS_HINGE; k <= LOSS_MARGIN_MSE; k++) {
    train_loss a = of(k), b = of(k);
    b.margin = 3.5;
    assert_true(loss_pair(&a, 1, 0.5, 3.5, d) == loss_pair(&b, 1, 0.5, none, e));
    assert_true(d[0] == e[0] && d[1] == e[1]);
  }
  l = of(LOSS_HINGE);
  assert_true(loss_pair(&l, 0.5, 0, 0, d) == 0); /* a margin of 0 is a margin */
  assert_true(d[0] == 0 && d[1] == 0);
}

static void large_differences_stay_finite(void **state) {
  (void)state;
  static const double far[] = {-700, -80, -40, 40, 80, 700};
  for (loss_kind k = 0; k < LOSS_KINDS; k++)
    for (size_t i = 0; i < 6; i++) {
      train_loss l = of(k);
      double d[2], x = far[i], v = loss_pair(&l, x / 2, -x / 2, none, d);
      if (!isfinite(v) || !isfinite(d[0]) || !isfinite(d[1]) || v < 0)
        fail_msg("%s at %g: %g, derivatives %g %g", loss_words[k].text, x, v, d[0], d[1]);
      if (fabs(x) > 80) continue;
      long double tail = expl(-fabsl((long double)x)); /* the leading terms of each formula */
      if (k == LOSS_BT || k == LOSS_PLACKETT_LUCE) {
        double want = x > 0 ? (double)tail : -x;
        if (fabs(v - want) > 1e-13 * want)
          fail_msg("%s at %g: %.17g, expected %.17g", loss_words[k].text, x, v, want);
      }
      if (k == LOSS_FOCAL && x == 40) assert_true(fabs(v / exp(-120) - 1) < 1e-9); /* q^2 · q */
      if (k == LOSS_TEMPERED_LOG && x > 0) assert_true(fabs(v / (double)tail - 1) < 1e-9);
      if (x < 0 && k != LOSS_TEMPERED_LOG) assert_true(d[0] < -0.49 && d[1] > 0.49); /* still pulls */
    }
}

static long double softplus_l(long double x) { return x > 0 ? x + log1pl(expl(-x)) : log1pl(expl(x)); }

/* The formulas once more, in long double and in a form that keeps its digits far out. */
static long double far_formula(const train_loss *l, long double c, long double r, double margin) {
  long double x = c - r, m = isnan(margin) ? l->margin : margin, minus_log_p = softplus_l(-x);
  long double q = expl(-softplus_l(x)), s = 1 - l->tempered_t; /* 1 - s(D) */
  switch (l->kind) {
    case LOSS_FOCAL: return powl(q, l->gamma) * minus_log_p;
    case LOSS_FOCAL_PENALTY: return (x > 0 ? powl(2 * q, l->gamma) : 1) * minus_log_p;
    case LOSS_HINGE: return fmaxl(0, m - x);
    case LOSS_MARGIN_MSE: return (x - m) * (x - m);
    case LOSS_CE: return softplus_l(-c) + softplus_l(r);
    case LOSS_TEMPERED_LOG: return -expm1l(-s * minus_log_p) / s;
    case LOSS_TEMPERATURE_BT: return softplus_l(-x / l->temperature);
    default: return softplus_l(-(x - (isnan(margin) ? 0 : margin)));
  }
}

/* Up to 80 apart, where the values reach from 1e-104 to 6561, values and both derivatives keep their leading
 * digits. */
static void digits_far_out(void **state) {
  (void)state;
  static const double gammas[] = {0, 0.5, 2}, tempered[] = {0, 0.5, 1 - 1e-9}, temperatures[] = {0.5, 2, 10};
  for (loss_kind k = 0; k < LOSS_KINDS; k++)
    for (int variant = 0; variant < 3; variant++)
      for (double x = -80; x <= 80; x += 10)
        for (int shift = -1; shift <= 1; shift++) {
          train_loss l = of(k);
          l.gamma = gammas[variant];
          l.tempered_t = tempered[variant];
          l.temperature = temperatures[variant];
          double c = x / 2 + 20 * shift, r = c - x, d[2], v = loss_pair(&l, c, r, none, d);
          if (x == 0 && k == LOSS_FOCAL_PENALTY) continue; /* the kink */
          /* the differences themselves are good to about 1e-14 of the value */
          long double h = 1e-5L, want = far_formula(&l, c, r, none);
          long double slope[2] = {(far_formula(&l, c + h, r, none) - far_formula(&l, c - h, r, none)) / (2 * h),
                                  (far_formula(&l, c, r + h, none) - far_formula(&l, c, r - h, none)) / (2 * h)};
          if (fabs(v - (double)want) > 1e-12 * fabs((double)want))
            fail_msg("%s at %g: %.17g, expected %.17Lg", loss_words[k].text, x, v, want);
          for (int i = 0; i < 2; i++)
            if (fabs(d[i] - (double)slope[i]) > 1e-7 * fabs((double)slope[i]) + 1e-14 * v)
              fail_msg("%s at %g: derivative %d is %.17g, expected %.17Lg", loss_words[k].text, x, i, d[i],
                       slope[i]);
        }
}

/* Exactly at the hinge's corner there is no pull, and just before it the whole. */
static void hinge_at_its_corner(void **state) {
  (void)state;
  train_loss l = of(LOSS_HINGE);
  double d[2];
  assert_true(loss_pair(&l, 1, 0, none, d) == 0 && d[0] == 0 && d[1] == 0);
  assert_true(loss_pair(&l, nextafter(1, 0), 0, none, d) > 0 && d[0] == -1 && d[1] == 1);
}

static void focal_penalty_has_its_kink_at_zero(void **state) {
  (void)state;
  train_loss f = of(LOSS_FOCAL_PENALTY), b = of(LOSS_BT);
  double d[2], e[2];
  for (double x = -6; x <= 0; x += 0.25) { /* no weight where the order is wrong */
    near(loss_pair(&f, x, 0, none, d), loss_pair(&b, x, 0, none, e), 1e-15, "the value", f.kind, x);
    near(d[0], e[0], 1e-15, "d/dchosen", f.kind, x);
  }
  loss_pair(&f, 1e-9, 0, none, d); /* from the right: -(gamma p log 2 + q) with p = q = 1/2 */
  near(d[0], -(2 * 0.5L * logl(2) + 0.5L), 1e-8, "d/dchosen", f.kind, 1e-9);
  near(loss_pair(&f, 1e-12, 0, none, d), logl(2), 1e-11, "the value", f.kind, 1e-12);
}

static void tempered_log_tends_to_the_logarithm(void **state) {
  (void)state;
  train_loss t = of(LOSS_TEMPERED_LOG), b = of(LOSS_BT);
  t.tempered_t = 1 - 1e-9;
  double d[2], e[2];
  for (double x = -20; x <= 20; x += 0.5) {
    near(loss_pair(&t, x, 0, none, d), loss_pair(&b, x, 0, none, e), 1e-6, "the value", t.kind, x);
    near(d[0], e[0], 1e-6, "d/dchosen", t.kind, x);
  }
}

static void special_cases_agree(void **state) {
  (void)state;
  double d[2], e[2];
  train_loss b = of(LOSS_BT), f = of(LOSS_FOCAL), t = of(LOSS_TEMPERATURE_BT);
  f.gamma = 0;
  t.temperature = 1;
  for (double x = -9; x <= 9; x += 0.3) {
    double want = loss_pair(&b, x, 0, none, e);
    near(loss_pair(&f, x, 0, none, d), want, 1e-14, "the value", f.kind, x);
    near(d[0], e[0], 1e-14, "d/dchosen", f.kind, x);
    near(loss_pair(&t, x, 0, none, d), want, 1e-14, "the value", t.kind, x);
    near(d[0], e[0], 1e-14, "d/dchosen", t.kind, x);
  }
}

/* ---- rankings ---- */

static void plackett_luce_by_hand(void **state) {
  (void)state;
  train_loss l = of(LOSS_PLACKETT_LUCE);
  const float r[] = {(float)0.25, -1, 2, 0.5f};
  const double score[] = {2, 4, 1, 3}; /* the order is 1, 3, 0, 2 */
  double d[4];
  long double e[4], want = 0;
  static const int order[] = {1, 3, 0, 2};
  for (int i = 0; i < 4; i++) e[i] = expl(r[order[i]]);
  for (int i = 0; i < 3; i++) {
    long double below = 0;
    for (int j = i; j < 4; j++) below += e[j];
    want -= logl(e[i] / below);
  }
  near(loss_ranking(&l, r, score, 4, d), want, 1e-14, "the value", l.kind, 0);
  double sum = d[0] + d[1] + d[2] + d[3];
  assert_true(fabs(sum) < 1e-14); /* a shift of all rewards changes nothing */
}

static void plackett_luce_of_two_is_bt(void **state) {
  (void)state;
  train_loss l = of(LOSS_PLACKETT_LUCE), b = of(LOSS_BT);
  for (float x = -80; x <= 80; x += 2.5f) {
    const float r[] = {x, 0.5f};
    const double score[] = {1, 0}, reversed[] = {-3, 4};
    double d[2], e[2];
    near(loss_ranking(&l, r, score, 2, d), loss_pair(&b, x, 0.5, none, e), 1e-12, "the value", l.kind, x);
    near(d[0], e[0], 1e-12, "d/dchosen", l.kind, x);
    near(d[1], e[1], 1e-12, "d/drejected", l.kind, x);
    near(loss_ranking(&l, r, reversed, 2, d), loss_pair(&b, 0.5, x, none, e), 1e-12, "the value", l.kind, x);
    near(d[1], e[0], 1e-12, "d/dchosen", l.kind, x);
  }
}

/* Losses from LOSS_MSE on know no order. */
static void ties_have_no_order(void **state) {
  (void)state;
  const float r[] = {1, 2, 3};
  const double equal[] = {5, 5, 5}, tied_top[] = {7, 7, 1};
  double d[3];
  for (loss_kind k = 0; k < LOSS_MSE; k++) {
    train_loss l = of(k);
    memset(d, 0xff, sizeof d);
    assert_true(loss_ranking(&l, r, equal, 3, d) == 0);
    assert_true(d[0] == 0 && d[1] == 0 && d[2] == 0);
    assert_true(loss_ranking(&l, r, equal, 1, d) == 0);
  }
  /* two tied above a third: each is compared with what lies below it, never with the other */
  train_loss l = of(LOSS_PLACKETT_LUCE);
  long double want = logl(1 + expl(2)) + logl(1 + expl(1));
  near(loss_ranking(&l, r, tied_top, 3, d), want, 1e-14, "the value", l.kind, 0);
  near(d[2], sig(2) + sig(1), 1e-14, "d/dlast", l.kind, 0);
}

static void other_losses_average_the_ordered_pairs(void **state) {
  (void)state;
  const float r[] = {0.5f, -1.5f, 2, 0.25f};
  const double score[] = {3, 3, 1, 2}; /* five ordered pairs */
  static const int pair[5][2] = {{0, 2}, {0, 3}, {1, 2}, {1, 3}, {3, 2}};
  for (loss_kind k = 0; k < LOSS_PLACKETT_LUCE; k++) {
    train_loss l = of(k);
    double d[4], want = 0, slope[4] = {0}, e[2];
    for (int i = 0; i < 5; i++) {
      want += loss_pair(&l, r[pair[i][0]], r[pair[i][1]], none, e) / 5;
      slope[pair[i][0]] += e[0] / 5;
      slope[pair[i][1]] += e[1] / 5;
    }
    near(loss_ranking(&l, r, score, 4, d), want, 1e-14, "the value", k, 0);
    for (int i = 0; i < 4; i++) near(d[i], slope[i], 1e-14, "a derivative", k, i);
  }
}

/* --ranking chooses apart from the loss: Plackett-Luce beside any loss of pairs, all pairs beside any. */
static void ranking_kind_chooses(void **state) {
  (void)state;
  const float r[] = {0.5f, -1.5f, 2, 0.25f};
  const double score[] = {3, 4, 1, 2};
  train_loss pl = of(LOSS_PLACKETT_LUCE), bt = of(LOSS_BT);
  double d[4], e[4], want = loss_ranking(&pl, r, score, 4, d), pairs = loss_ranking(&bt, r, score, 4, e);
  assert_true(fabs(want - pairs) > 0.1);
  for (loss_kind k = 0; k < LOSS_MSE; k++) {
    train_loss l = of(k);
    double f[4];
    l.ranking = RANKING_PLACKETT_LUCE;
    assert_true(loss_ranking(&l, r, score, 4, f) == want && memcmp(f, d, sizeof f) == 0);
  }
  pl.ranking = RANKING_ALL_PAIRS; /* of two, Plackett-Luce is Bradley-Terry */
  double f[4];
  assert_true(loss_ranking(&pl, r, score, 4, f) == pairs && memcmp(f, e, sizeof f) == 0);
}

/* Rewards up to 80 apart: nothing overflows, derivatives sum to zero and keep their sign. */
static void rankings_far_out(void **state) {
  (void)state;
  static const float far[][3] = {{40, 0, -40}, {-40, 0, 40}, {80, 0, 0}, {0, 0, 80}, {-80, 80, 0}};
  const double score[] = {3, 2, 1};
  for (loss_kind k = 0; k < LOSS_MSE; k++)
    for (ranking_kind w = RANKING_PLACKETT_LUCE; w <= RANKING_ALL_PAIRS; w++)
      for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        train_loss l = of(k);
        l.ranking = w;
        double d[3], v = loss_ranking(&l, far[i], score, 3, d), sum = d[0] + d[1] + d[2];
        if (!isfinite(v) || v < 0 || !isfinite(sum)) fail_msg("%s, %d: %g", loss_words[k].text, w, v);
        bool of_difference = w == RANKING_PLACKETT_LUCE || k != LOSS_CE;
        if (of_difference && fabs(sum) > 1e-12 * (1 + fabs(d[0])))
          fail_msg("%s: derivatives sum to %g", loss_words[k].text, sum);
        if (w == RANKING_PLACKETT_LUCE && i == 1) { /* upside down: log(e^80 + e^40 + 1) - 0, then 40 - 0 */
          near(v, 80 + 40, 1e-12, "the value", k, 80);
          near(d[0], -1, 1e-12, "d/dbest", k, 80);
          near(d[2], 2, 1e-12, "d/dworst", k, 80);
        }
      }
}

static void ranking_slopes_match_differences(void **state) {
  (void)state;
  rng g = rng_new(2, 0);
  for (int trial = 0; trial < 100; trial++)
    for (loss_kind k = 0; k < LOSS_KINDS; k++) {
      if (k == LOSS_HINGE || k == LOSS_FOCAL_PENALTY) continue; /* kinks: tested pair by pair */
      enum { N = 5 };
      float r[N];
      double score[N], d[N], unused[N];
      for (int i = 0; i < N; i++) {
        r[i] = (float)((int)(rng_uniform(&g) * 256) - 128) / 32; /* exact in float, also beside h */
        score[i] = (double)(int)(rng_uniform(&g) * 4);
      }
      train_loss l = of(k);
      loss_ranking(&l, r, score, N, d);
      const float h = 1.0f / 4096;
      for (int i = 0; i < N; i++) {
        float kept = r[i];
        r[i] = kept + h;
        double up = loss_ranking(&l, r, score, N, unused);
        r[i] = kept - h;
        double down = loss_ranking(&l, r, score, N, unused);
        r[i] = kept;
        near(d[i], (up - down) / (2 * (double)h), 1e-6, "a derivative", k, i);
      }
    }
}

static void centering(void **state) {
  (void)state;
  train_loss l = of(LOSS_BT);
  const float two[] = {1.5f, -0.25f}, three[] = {1, 2, 4.5f};
  double d[3] = {10, 20, 30};
  assert_true(loss_center(&l, two, 2, d) == 0 && d[0] == 10 && d[1] == 20); /* off */
  l.center = 0.01;
  near(loss_center(&l, two, 2, d), 0.01L * 1.25L * 1.25L, 1e-15, "the value", l.kind, 0); /* C (r_c + r_r)² */
  near(d[0], 10 + 0.01L * 2 * 1.25L, 1e-15, "a derivative", l.kind, 0); /* added to what was there */
  near(d[1], 20 + 0.01L * 2 * 1.25L, 1e-15, "a derivative", l.kind, 0);
  double e[3] = {0};
  near(loss_center(&l, three, 3, e), 0.01L * 25, 1e-15, "the value", l.kind, 0); /* twice the mean is 5 */
  near(e[2], 0.01L * 2 * 5 * 2 / 3, 1e-15, "a derivative", l.kind, 0);
}

/* What PyTorch's autograd gives (tests/reference/make_losses.py). */
static void values_and_slopes_are_pytorchs(void **state) {
  (void)state;
  FILE *f = fopen("tests/data/losses.txt", "r");
  assert_non_null(f);
  char name[32];
  size_t pairs[LOSS_KINDS] = {0}, rankings = 0;
  while (fscanf(f, "%31s", name) == 1) {
    const bool absolute = strcmp(name, "mse") == 0 || strcmp(name, "bce") == 0;
    if (absolute || strcmp(name, "ranking") == 0) {
      enum { MOST = 8 };
      size_t n;
      double x[3 * MOST + 1], d[MOST];
      float r[MOST];
      assert_int_equal(fscanf(f, "%zu", &n), 1);
      assert_true(n <= MOST);
      for (size_t i = 0; i < 3 * n + 1; i++) assert_int_equal(fscanf(f, "%lf", &x[i]), 1);
      for (size_t i = 0; i < n; i++) r[i] = (float)x[i];
      train_loss l = of(!absolute ? LOSS_PLACKETT_LUCE : *name == 'm' ? LOSS_MSE : LOSS_BCE);
      near(loss_ranking(&l, r, x + n, n, d), x[2 * n], 1e-12, "the value", l.kind, (double)n);
      for (size_t i = 0; i < n; i++) near(d[i], x[2 * n + 1 + i], 1e-12, "a derivative", l.kind, (double)n);
      rankings += !absolute;
      pairs[l.kind] += absolute;
      continue;
    }
    loss_kind k = 0;
    while (k < LOSS_KINDS && strcmp(name, loss_words[k].text) != 0) k++;
    assert_true(k < LOSS_KINDS);
    double p, margin, c, r, want[3], got[3];
    assert_int_equal(fscanf(f, "%lf %lf %lf %lf %lf %lf %lf", &p, &margin, &c, &r, &want[0], &want[1], &want[2]),
                     7);
    train_loss l = of(k);
    l.gamma = l.margin = l.tempered_t = l.temperature = p;
    got[0] = loss_pair(&l, c, r, margin, got + 1);
    for (int i = 0; i < 3; i++) /* relative, far out too: PyTorch's own 1 - s(D) is good to 1e-12 there */
      if (!(fabs(got[i] - want[i]) <= 1e-11 * fabs(want[i]) + 1e-300))
        fail_msg("%s %g at %g, %g: %.17g, PyTorch has %.17g (%d)", name, p, c, r, got[i], want[i], i);
    pairs[k]++;
  }
  fclose(f);
  for (loss_kind k = 0; k < LOSS_PLACKETT_LUCE; k++) assert_true(pairs[k] >= 24);
  assert_int_equal(rankings, 10);
  assert_true(pairs[LOSS_MSE] == 6 && pairs[LOSS_BCE] == 6);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values_are_the_formulas),
      cmocka_unit_test(values_by_hand),
      cmocka_unit_test(slopes_match_differences),
      cmocka_unit_test(row_margins),
      cmocka_unit_test(large_differences_stay_finite),
      cmocka_unit_test(digits_far_out),
      cmocka_unit_test(hinge_at_its_corner),
      cmocka_unit_test(focal_penalty_has_its_kink_at_zero),
      cmocka_unit_test(tempered_log_tends_to_the_logarithm),
      cmocka_unit_test(special_cases_agree),
      cmocka_unit_test(plackett_luce_by_hand),
      cmocka_unit_test(plackett_luce_of_two_is_bt),
      cmocka_unit_test(ties_have_no_order),
      cmocka_unit_test(other_losses_average_the_ordered_pairs),
      cmocka_unit_test(ranking_kind_chooses),
      cmocka_unit_test(rankings_far_out),
      cmocka_unit_test(ranking_slopes_match_differences),
      cmocka_unit_test(centering),
      cmocka_unit_test(values_and_slopes_are_pytorchs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* loss.c - loss values and derivatives (see loss.h). */
#include "train/loss.h"

#include <math.h>

const option_word loss_words[LOSS_KINDS + 1] = {{"bt", LOSS_BT},
                                                {"focal", LOSS_FOCAL},
                                                {"focal-penalty", LOSS_FOCAL_PENALTY},
                                                {"hinge", LOSS_HINGE},
                                                {"margin-mse", LOSS_MARGIN_MSE},
                                                {"ce", LOSS_CE},
                                                {"tempered-log", LOSS_TEMPERED_LOG},
                                                {"temperature-bt", LOSS_TEMPERATURE_BT},
                                                {"plackett-luce", LOSS_PLACKETT_LUCE},
                                                {"mse", LOSS_MSE},
                                                {"bce", LOSS_BCE},
                                                {NULL, 0}};

/* log(1 + e^x) without overflow or loss of small values. */
static double softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }
static double sigmoid(double x) {
  if (x >= 0) return 1 / (1 + exp(-x));
  double e = exp(x);
  return e / (1 + e);
}

double loss_pair(const train_loss *l, double c, double r, double margin, double d[2]) {
  double x = c - r, m = isnan(margin) ? l->margin : margin, value = 0, slope = 0;
  double p = sigmoid(x), q = sigmoid(-x), minus_log_p = softplus(-x);
  switch (l->kind) {
    case LOSS_BT:
    case LOSS_PLACKETT_LUCE:
    case LOSS_MSE: /* takes no pairs, as the next */
    case LOSS_BCE:
    case LOSS_KINDS:
      if (!isnan(margin)) x -= margin;
      value = softplus(-x);
      slope = -sigmoid(-x);
      break;
    case LOSS_FOCAL:
    case LOSS_FOCAL_PENALTY: {
      bool penalty = l->kind == LOSS_FOCAL_PENALTY;
      if (penalty && x <= 0) { /* below the kink the weight is 1 */
        value = minus_log_p;
        slope = -q;
        break;
      }
      double w = pow(penalty ? 2 * q : q, l->gamma); /* dw/dD = -gamma p w in both */
      value = w * minus_log_p;
      slope = -w * (l->gamma * p * minus_log_p + q);
      break;
    }
    case LOSS_HINGE:
      value = x < m ? m - x : 0;
      slope = x < m ? -1 : 0;
      break;
    case LOSS_MARGIN_MSE:
      value = (x - m) * (x - m);
      slope = 2 * (x - m);
      break;
    case LOSS_CE:
      d[0] = -sigmoid(-c);
      d[1] = sigmoid(r);
      return softplus(-c) + softplus(r);
    case LOSS_TEMPERED_LOG: {
      double s = 1 - l->tempered_t;
      value = -expm1(-s * minus_log_p) / s;
      slope = -exp(-s * minus_log_p) * q;
      break;
    }
    case LOSS_TEMPERATURE_BT:
      value = softplus(-x / l->temperature);
      slope = -sigmoid(-x / l->temperature) / l->temperature;
      break;
  }
  d[0] = slope;
  d[1] = -slope;
  return value;
}

static double plackett_luce(const float *r, const double *score, size_t n, double *d) {
  double loss = 0;
  for (size_t i = 0; i < n; i++) {
    double max = r[i], sum = 0;
    bool any = false;
    for (size_t j = 0; j < n; j++)
      if (score[j] < score[i]) {
        any = true;
        if (r[j] > max) max = r[j];
      }
    if (!any) continue;
    for (size_t j = 0; j < n; j++)
      if (j == i || score[j] < score[i]) sum += exp(r[j] - max);
    loss += max + log(sum) - r[i];
    d[i] -= 1;
    for (size_t j = 0; j < n; j++)
      if (j == i || score[j] < score[i]) d[j] += exp(r[j] - max) / sum;
  }
  return loss;
}

ranking_kind loss_ranking_kind(const train_loss *l) {
  if (l->ranking != RANKING_BY_LOSS) return l->ranking;
  return l->kind == LOSS_PLACKETT_LUCE ? RANKING_PLACKETT_LUCE : RANKING_ALL_PAIRS;
}

bool loss_is_absolute(const train_loss *l) { return l->kind == LOSS_MSE || l->kind == LOSS_BCE; }

static double absolute(const train_loss *l, const float *r, const double *score, size_t n, double *d) {
  double loss = 0;
  for (size_t i = 0; i < n; i++) {
    double x = r[i], y = score[i];
    loss += (l->kind == LOSS_MSE ? (x - y) * (x - y) : y * softplus(-x) + (1 - y) * softplus(x)) / (double)n;
    d[i] = (l->kind == LOSS_MSE ? 2 * (x - y) : (1 - y) * sigmoid(x) - y * sigmoid(-x)) / (double)n;
  }
  return loss;
}

double loss_ranking(const train_loss *l, const float *r, const double *score, size_t n, double *d) {
  if (loss_is_absolute(l)) return absolute(l, r, score, n, d);
  for (size_t i = 0; i < n; i++) d[i] = 0;
  if (loss_ranking_kind(l) == RANKING_PLACKETT_LUCE) return plackett_luce(r, score, n, d);
  double loss = 0, pairs = 0, g[2];
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++) pairs += score[i] > score[j];
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      if (score[i] > score[j]) {
        loss += loss_pair(l, r[i], r[j], NAN, g) / pairs;
        d[i] += g[0] / pairs;
        d[j] += g[1] / pairs;
      }
  return loss;
}

double loss_center(const train_loss *l, const float *r, size_t n, double *d) {
  if (l->center == 0) return 0;
  double sum = 0, scale = 2.0 / (double)n;
  for (size_t i = 0; i < n; i++) sum += scale * r[i];
  for (size_t i = 0; i < n; i++) d[i] += 2 * l->center * sum * scale;
  return l->center * sum * sum;
}

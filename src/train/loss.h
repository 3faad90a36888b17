/* loss.h - the losses of reward modelling: values and gradients for one pair or one ranking.
 *
 * D = r_chosen - r_rejected. All in double precision, stable for any finite D.
 *   bt               -log s(D - m)                          Bradley & Terry 1952; m: the row's margin (Llama 2)
 *   focal            -(1 - s(D))^g log s(D)                 Lin et al. 2017
 *   focal-penalty    -(1 - 2 max(s(D) - 1/2, 0))^g log s(D) Cai et al. 2024 (InternLM2)
 *   hinge            max(0, m - D)
 *   margin-mse       (D - m)^2
 *   ce               -log s(r_c) - log(1 - s(r_r))
 *   tempered-log     -(s(D)^(1-t) - 1)/(1 - t)              Carta et al. 2020; t in [0, 1)
 *   temperature-bt   -log s(D/T)
 *   plackett-luce    -sum_i log(e^r_i / (e^r_i + sum of e^r_j over j ranked below i))   equal scores: no order
 *   mse, bce         of each response by itself and its score y: (r - y)^2; -y log s(r) - (1 - y) log(1 - s(r))
 * The set and the notation follow the Skywork-Reward report (arXiv 2410.18451, section on losses).
 */
#ifndef TRAIN_LOSS_H
#define TRAIN_LOSS_H

#include "train/train.h"

/* The loss of one pair; d[0], d[1]: its derivatives by r_chosen and r_rejected. margin: NAN when the row has none.
 */
double loss_pair(const train_loss *l, double chosen, double rejected, double margin, double d[2]);

/* Plackett-Luce or all pairs: what l->ranking means with l->kind. */
ranking_kind loss_ranking_kind(const train_loss *l);
/* The loss of a ranking of n responses by their scores: Plackett-Luce, or the loss's mean over its ordered pairs,
 * as l->ranking says. d[n]: derivatives. A ranking without any order has loss 0. */
double loss_ranking(const train_loss *l, const float *reward, const double *score, size_t n, double *d);

/* Does the loss take each response by itself, with a score that is a value, not a rank? Then a row's loss is the
 * mean over its responses, by loss_ranking. */
bool loss_is_absolute(const train_loss *l);

/* The centering term C (2·mean(r))² of one row (for a pair (r_c + r_r)², Eisenstein et al. 2023); adds its
 * derivatives to d. */
double loss_center(const train_loss *l, const float *reward, size_t n, double *d);

#endif

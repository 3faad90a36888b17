/* scores_ranks.c - items scored by a model on several ranks: blocks of items go round, and every rank gets all
 * scores.
 */
#include <string.h>

#include "base/log.h"
#include "eval/eval_int.h"

enum { BLOCK_ITEMS = 32 };

static bool is_rank_s(const comm *ranks, size_t block, int rank) {
  return block % (size_t)ranks->size == (size_t)rank;
}

static rw_status score_own(eval_scores *s, const eval_data *d, scorer *model, rw_error *err) {
  const comm *ranks = scorer_context(model)->ranks;
  rw_status st = RW_OK;
  progress p;
  progress_start(&p, scorer_context(model), eval_suite_words[d->suite].text, "items", d->n_items);
  for (size_t i = 0; !st && i < d->n_items; i += BLOCK_ITEMS) {
    size_t n = d->n_items - i < BLOCK_ITEMS ? d->n_items - i : BLOCK_ITEMS;
    if (is_rank_s(ranks, i / BLOCK_ITEMS, ranks->rank)) st = scores_of_items(s, d, model, i, n, err);
    progress_set(&p, i + n, NULL); /* the others are about as far */
  }
  progress_end(&p);
  rw_error late;
  rw_status end = scorer_attend(model, st ? &late : err);
  return st ? st : end;
}

/* ---- what a rank tells ---- */

/* Of each of its items the scores; then of those without one the item, the length of the reason, and the reason. */
static void pack(str *out, const eval_scores *s, const eval_data *d, const comm *ranks) {
  for (size_t i = 0; i < d->n_items; i++)
    if (is_rank_s(ranks, i / BLOCK_ITEMS, ranks->rank))
      str_add(out, (const char *)&s->score[d->items[i].first], d->items[i].n_branches * sizeof *s->score);
  for (size_t i = 0; i < d->n_items; i++) {
    if (!s->why[i]) continue;
    const size_t head[2] = {i, strlen(s->why[i])};
    str_add(out, (const char *)head, sizeof head);
    str_add(out, s->why[i], head[1]);
  }
}

static rw_status unpack(eval_scores *s, const eval_data *d, const comm *ranks, int from, slice told,
                        rw_error *err) {
  const char *p = told.p, *end = told.p + told.len;
  for (size_t i = 0; i < d->n_items; i++) {
    size_t bytes = d->items[i].n_branches * sizeof *s->score;
    if (!is_rank_s(ranks, i / BLOCK_ITEMS, from)) continue;
    memcpy(&s->score[d->items[i].first], p, bytes);
    p += bytes;
  }
  while (p < end) {
    size_t head[2];
    memcpy(head, p, sizeof head);
    char *why = mem_strndup(p + sizeof head, head[1]);
    rw_status st = why ? scores_unscored(s, d, head[0], why, err) : rw_nomem(err, "scores");
    mem_free(why);
    RW_TRY(st);
    p += sizeof head + head[1];
  }
  return RW_OK;
}

/* The text of every rank, side by side in *all, rank r's at bytes [at[r], at[r + 1]). */
static rw_status gather(comm *ranks, const str *own, size_t *sizes, size_t *at, char **all, rw_error *err) {
  size_t n = (size_t)ranks->size;
  for (size_t i = 0; i <= n; i++) at[i] = i * sizeof *sizes;
  sizes[ranks->rank] = own->len;
  RW_TRY(ranks->gather(ranks, sizes, at, err));
  at[0] = 0;
  for (size_t i = 0; i < n; i++) at[i + 1] = at[i] + sizes[i];
  char *p = *all = mem_alloc(at[n] + 1, 1);
  RW_TRY(comm_agree(ranks, p ? RW_OK : rw_nomem(err, "scores"), err));
  if (p && own->len) memcpy(p + at[ranks->rank], own->p, own->len);
  return ranks->gather(ranks, p, at, err);
}

static rw_status share(eval_scores *s, const eval_data *d, comm *ranks, rw_error *err) {
  size_t n = (size_t)ranks->size, *sizes = mem_zalloc(n, sizeof *sizes), *at = mem_zalloc(n + 1, sizeof *at);
  str own = {0};
  char *all = NULL;
  uint64_t sums[2] = {s->truncated, s->dropped};
  pack(&own, s, d, ranks);
  bool ok = sizes && at && !own.oom;
  rw_status st = comm_agree(ranks, ok ? RW_OK : rw_nomem(err, "scores"), err);
  if (!st && ok) st = gather(ranks, &own, sizes, at, &all, err);
  for (int r = 0; !st && ok && r < ranks->size; r++)
    if (r != ranks->rank) st = unpack(s, d, ranks, r, (slice){all + at[r], at[r + 1] - at[r]}, err);
  st = comm_agree(ranks, st, err);
  if (!st) st = comm_sum(ranks, sums, 2, err);
  s->truncated = sums[0];
  s->dropped = sums[1];
  str_free(&own);
  mem_free(all);
  mem_free(sizes);
  mem_free(at);
  return st;
}

rw_status eval_scores_ranks(eval_scores *s, const eval_data *d, scorer *model, rw_error *err) {
  comm *ranks = scorer_context(model)->ranks;
  if (ranks->size == 1) return eval_scores_model(s, d, model, err);
  RW_TRY(comm_agree(ranks, scores_new(s, d, err), err));
  if (ranks->rank == 0) scores_warn_overlong(d, model);
  rw_status st = comm_agree(ranks, score_own(s, d, model, err), err);
  if (!st) st = share(s, d, ranks, err);
  if (st) eval_scores_free(s);
  return st;
}

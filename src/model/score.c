/* score.c - rows in, rewards out: renders on all threads, packs whole rows into batches, runs the model.
 *
 * A row is one group: what its branches share is computed once. Batches are cut by tokens in row order; a row
 * longer than the budget is a batch by itself. None of this changes a bit of any score.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "model/golden.h"
#include "model/identity.h"
#include "model/scorer.h"
#include "model/touch.h"

struct scorer {
  model *m, *owned;
  renderer *r, *owned_renderer;
  render_scratch **scratch; /* one a thread */
  rw_context *context;
  int64_t batch_tokens, max_length;
  overlong policy;
  bool share;
};

void scorer_free(scorer *s) {
  if (!s) return;
  for (int i = 0; s->scratch && i < pool_threads(s->context->threads); i++) render_scratch_free(s->scratch[i]);
  mem_free(s->scratch);
  renderer_free(s->owned_renderer);
  model_free(s->owned);
  mem_free(s);
}

rw_status scorer_wrap(scorer **out, model *m, renderer *r, const score_options *o, rw_error *err) {
  *out = NULL;
  scorer *s = mem_zalloc(1, sizeof *s);
  if (!s) return rw_nomem(err, "scorer");
  *s = (scorer){.m = m, .r = r, .context = o->context, .policy = o->overlong, .share = !o->no_share};
  s->batch_tokens = o->batch_tokens > 0 ? o->batch_tokens : model_score_tokens(m);
  s->max_length = o->max_length > 0 ? o->max_length : model_info(m)->max_positions;
  s->scratch = mem_zalloc((size_t)pool_threads(o->context->threads), sizeof(render_scratch *));
  bool ok = s->scratch != NULL;
  for (int i = 0; ok && i < pool_threads(o->context->threads); i++)
    ok = (s->scratch[i] = render_scratch_new(r)) != NULL;
  if (!ok) {
    scorer_free(s);
    return rw_nomem(err, "scorer");
  }
  *out = s;
  return RW_OK;
}

rw_status scorer_open(scorer **out, const score_options *o, rw_error *err) {
  *out = NULL;
  model *m = NULL;
  renderer *r = NULL;
  model_options mo = {.device = o->device,
                      .context = o->context,
                      .base = o->base,
                      .dtype = o->dtype,
                      .head = o->head,
                      .own = o->own};
  rw_status s = model_open(&m, o->model, &mo, err);
  if (!s && !o->no_golden_check) s = golden_check_once(m, o->model, err);
  if (!s && o->prefix_cache) s = model_keep_prefixes(m, o->prefix_cache, err);
  if (!s) {
    model_touch weights;
    model_touch_begin(&weights, m);
    s = renderer_open(&r, text_dir(o->model, model_dir(m)), o->chat_template, o->date, err);
    model_touch_end(&weights);
  }
  if (!s) renderer_append(r, model_info(m)->reward_token_id);
  if (!s) s = scorer_wrap(out, m, r, o, err);
  if (!s) model_warn_length(o->context, model_info(m), o->max_length);
  if (s) {
    renderer_free(r);
    model_free(m);
    return s;
  }
  (*out)->owned = m;
  (*out)->owned_renderer = r;
  return RW_OK;
}

size_t scorer_attributes(const scorer *s, const char *const **names) { return model_attributes(s->m, names); }
bool scorer_is_armorm(const scorer *s) { return model_info(s->m)->head == HEAD_GATED; }
rw_status scorer_attend(scorer *s, rw_error *err) { return model_attend(s->m, err); }
rw_context *scorer_context(const scorer *s) { return s->context; }
prefix_figures scorer_prefix_figures(const scorer *s) { return model_prefix_figures(s->m); }
const char *scorer_device(const scorer *s) { return model_device(s->m); }
const char *scorer_dtype(const scorer *s) { return model_dtype(s->m); }
rw_status scorer_hash(const scorer *s, char out[SHA256_HEX], rw_error *err) {
  return model_weights_hash(s->m, out, err);
}
int64_t scorer_max_length(const scorer *s) { return s->max_length; }
int64_t scorer_batch_tokens(const scorer *s) { return s->batch_tokens; }
const model *scorer_model(const scorer *s) { return s->m; }
const renderer *scorer_renderer(const scorer *s) { return s->r; }

rw_status scorer_score_ids(scorer *s, const id_group *groups, size_t n, float *rewards, const float **attributes,
                           rw_error *err) {
  RW_TRY(model_score(s->m, groups, n, s->share, rewards, err));
  *attributes = model_attribute_values(s->m);
  return RW_OK;
}

void scorer_notes(const scorer *s, render_notes *sum) {
  *sum = (render_notes){0};
  for (int i = 0; i < pool_threads(s->context->threads); i++)
    render_notes_add(sum, render_scratch_notes(s->scratch[i]));
}

/* ---- rendering ---- */

size_t overlong_cut(int32_t *p, size_t len, size_t max, int32_t bos) {
  size_t keep = len > 0 && p[0] == bos && max > 1 ? 1 : 0, cut = len - max;
  memmove(p + keep, p + keep + cut, (len - cut - keep) * sizeof *p);
  return max;
}

typedef struct {
  scorer *s;
  score_item *items;
  ids **branch; /* [items][branches] */
} render_job;

rw_status scorer_render(const scorer *s, render_scratch *scratch, const conversation *c, overlong policy,
                        int64_t most, ids *out, bool *truncated, bool *dropped, rw_error *err) {
  *truncated = *dropped = false;
  RW_TRY(render_ids(s->r, scratch, c, out, err));
  if (out->len == 0) return rw_fail(err, RW_DATA, "the conversation has no tokens");
  if ((int64_t)out->len > most && policy == OVERLONG_ERROR)
    return rw_fail(err, RW_DATA,
                   "%zu tokens, more than " FIELD(max_length) " %lld; use " FIELD(overlong) " truncate or drop",
                   out->len, (long long)most);
  if ((int64_t)out->len > most && policy == OVERLONG_DROP) {
    *dropped = true;
    return rw_fail(err, RW_DATA, "dropped: %zu tokens, more than " FIELD(max_length) " %lld", out->len,
                   (long long)most);
  }
  if ((int64_t)out->len > most) {
    const tokenizer *t = renderer_tokenizer(s->r);
    out->len = overlong_cut(out->p, out->len, (size_t)most, t ? tok_bos(t) : -1);
    *truncated = true;
  }
  return model_check_ids(s->m, out->p, out->len, err);
}

typedef struct {
  const scorer *s;
  const conv_row *rows;
  render_scratch **scratch; /* not the lanes': what it notes is noted again when the rows are scored */
  size_t *longest;          /* [rows] */
} measure_job;

static void measure_task(void *ctx, size_t i, int thread) {
  const measure_job *j = ctx;
  ids buf = {0};
  for (size_t b = 0; b < j->rows[i].n_branches; b++) {
    buf.len = 0;
    if (!render_ids(j->s->r, j->scratch[thread], &j->rows[i].branch[b], &buf, NULL) && buf.len > j->longest[i])
      j->longest[i] = buf.len;
  }
  mem_free(buf.p);
}

overlong scorer_overlong(const scorer *s, const conv_row *rows, size_t n, size_t *n_long, size_t *longest) {
  int threads = pool_threads(s->context->threads);
  measure_job j = {s, rows, mem_zalloc((size_t)threads, sizeof(render_scratch *)), mem_zalloc(n, sizeof(size_t))};
  bool ok = j.scratch && j.longest;
  for (int i = 0; ok && i < threads; i++) ok = (j.scratch[i] = render_scratch_new(s->r)) != NULL;
  *n_long = *longest = 0;
  if (ok) pool_run(s->context->threads, n, measure_task, &j);
  for (size_t i = 0; ok && i < n; i++) {
    *n_long += j.longest[i] > (size_t)s->max_length;
    if (j.longest[i] > *longest) *longest = j.longest[i];
  }
  for (int i = 0; j.scratch && i < threads; i++) render_scratch_free(j.scratch[i]);
  mem_free(j.scratch);
  mem_free(j.longest);
  return s->policy;
}

static rw_status render_branch(render_job *j, score_item *it, size_t b, ids *out, int thread, rw_error *err) {
  scorer *s = j->s;
  bool truncated, dropped;
  rw_status st = scorer_render(s, s->scratch[thread], &it->row->branch[b], s->policy, s->max_length, out,
                               &truncated, &dropped, err);
  if (it->tokens) it->tokens[b] = (uint32_t)out->len;
  it->truncated |= truncated;
  it->dropped |= dropped;
  return st;
}

static void set_error(const scorer *s, score_item *it, const char *why) {
  snprintf(it->error, sizeof it->error, "%.*s", (int)sizeof it->error - 1, why);
  context_spell(s->context, it->error);
  utf8_mend(it->error);
}

static void render_task(void *ctx, size_t i, int thread) {
  render_job *j = ctx;
  score_item *it = &j->items[i];
  it->dropped = it->truncated = false;
  it->error[0] = 0;
  for (size_t b = 0; b < it->row->n_branches; b++) {
    rw_error err;
    it->score[b] = NAN;
    if (it->error[0] == 0 && render_branch(j, it, b, &j->branch[i][b], thread, &err)) set_error(j->s, it, err.text);
  }
}

/* ---- batches ---- */

typedef struct {
  id_group *groups;
  score_item **items; /* items of all groups */
  const int32_t **ids;
  size_t *lens;
  float *rewards;
  size_t n, n_items, branches;
} batch;

/* An item's rewards, the first of them at `at` of the pass that was run. */
static void take_rewards(const scorer *s, const float *rewards, size_t at, score_item *it) {
  const char *const *names;
  size_t n = model_attributes(s->m, &names);
  const float *attributes = model_attribute_values(s->m);
  memcpy(it->score, rewards + at, it->row->n_branches * sizeof(float));
  if (n && it->attributes) memcpy(it->attributes, attributes + at * n, it->row->n_branches * n * sizeof(float));
}

/* A number of the batch was not finite: each item by itself, so that only those whose own number it is fail. */
static rw_status run_apart(scorer *s, const batch *b, rw_error *err) {
  for (size_t i = 0, at = 0; i < b->n_items; at += b->items[i++]->row->n_branches) {
    score_item *it = b->items[i];
    id_group g = {b->ids + at, b->lens + at, it->row->n_branches};
    rw_error why;
    rw_status st = model_score(s->m, &g, 1, s->share, b->rewards, &why);
    if (!st)
      take_rewards(s, b->rewards, 0, it);
    else if (st == RW_NUMERIC)
      set_error(s, it, why.text);
    else
      return err ? *err = why, st : st;
  }
  return RW_OK;
}

static rw_status run_batch(scorer *s, batch *b, rw_error *err) {
  if (b->n == 0) return RW_OK;
  size_t bad;
  rw_status st = model_score(s->m, b->groups, b->n, s->share, b->rewards, err);
  for (size_t i = 0, at = 0; !st && i < b->n_items; at += b->items[i++]->row->n_branches)
    take_rewards(s, b->rewards, at, b->items[i]);
  if (st == RW_NUMERIC && !model_bad_weight(s->m, &bad)) st = run_apart(s, b, err);
  b->n = b->n_items = b->branches = 0;
  return st;
}

/* The group of items first to end - 1, without those that have an error, its branches after the batch's. */
static id_group gather(const render_job *j, size_t first, size_t end, batch *b) {
  id_group g = {b->ids + b->branches, b->lens + b->branches, 0};
  for (size_t i = first; i < end; i++) {
    for (size_t k = 0; !j->items[i].error[0] && k < j->items[i].row->n_branches; k++) {
      b->ids[b->branches + g.n] = j->branch[i][k].p;
      b->lens[b->branches + g.n++] = j->branch[i][k].len;
    }
  }
  return g;
}

static rw_status score_batches(scorer *s, render_job *j, size_t n, batch *b, rw_error *err) {
  size_t tokens = 0;
  for (size_t i = 0, end; i < n; i = end) {
    for (end = i + 1; end < n && j->items[end].joins;) end++;
    id_group g = gather(j, i, end, b);
    if (g.n == 0) continue;
    size_t cost = model_group_tokens(&g, s->share);
    if (b->n > 0 && tokens + cost > (size_t)s->batch_tokens) {
      /* the branches just gathered move to the front of the next batch */
      RW_TRY(run_batch(s, b, err));
      if (log_interrupted(s->context)) return rw_fail(err, RW_INTERRUPTED, "interrupted");
      memmove(b->ids, g.ids, g.n * sizeof *b->ids);
      memmove(b->lens, g.len, g.n * sizeof *b->lens);
      g.ids = b->ids;
      g.len = b->lens;
      tokens = 0;
    }
    for (size_t k = i; k < end; k++)
      if (!j->items[k].error[0]) b->items[b->n_items++] = &j->items[k];
    b->groups[b->n++] = g;
    b->branches += g.n;
    tokens += cost;
  }
  return run_batch(s, b, err);
}

rw_status score_items(scorer *s, score_item *items, size_t n, rw_error *err) {
  size_t branches = 0, at = 0;
  for (size_t i = 0; i < n; i++) branches += items[i].row->n_branches;
  ids *all = mem_zalloc(branches, sizeof *all);
  batch b = {mem_alloc(n, sizeof(id_group)),
             mem_alloc(n, sizeof(score_item *)),
             mem_alloc(branches, sizeof(int32_t *)),
             mem_alloc(branches, sizeof(size_t)),
             mem_alloc(branches, sizeof(float)),
             0,
             0,
             0};
  render_job j = {s, items, mem_alloc(n, sizeof(ids *))};
  rw_status st = RW_OK;
  if (!all || !b.groups || !b.items || !b.ids || !b.lens || !b.rewards || !j.branch) {
    st = rw_nomem(err, "a chunk of rows");
  } else {
    for (size_t i = 0; i < n; i++) {
      j.branch[i] = all + at;
      at += items[i].row->n_branches;
    }
    pool_run(s->context->threads, n, render_task, &j);
    st = score_batches(s, &j, n, &b, err);
  }
  for (size_t i = 0; all && i < branches; i++) mem_free(all[i].p);
  void *p[] = {all, b.groups, b.items, b.ids, b.lens, b.rewards, j.branch};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  return st;
}

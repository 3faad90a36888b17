/* dedup.c - the dedup stage: pairs, or prompts, that stand earlier too. */
#include "curate/stages/dedup.h"

/* ---- in a recipe ---- */

static rw_status read_by(const recipe_reader *r, struct fy_node *v, stage *s) {
  dedup_options *o = s->own;
  return reader_either(r, v, "by", "exact", "near", "exact or near", &o->near);
}

static rw_status read_of(const recipe_reader *r, struct fy_node *v, stage *s) {
  dedup_options *o = s->own;
  return reader_either(r, v, "of", "pair", "prompt", "pair or prompt", &o->of_prompt);
}

static rw_status read_num_perm(const recipe_reader *r, struct fy_node *v, stage *s) {
  dedup_options *o = s->own;
  return reader_int(r, v, "num_perm", 1, 4096, &o->num_perm);
}

static rw_status read_shingle(const recipe_reader *r, struct fy_node *v, stage *s) {
  dedup_options *o = s->own;
  return reader_int(r, v, "shingle", 1, 64, &o->shingle);
}

static rw_status read_threshold(const recipe_reader *r, struct fy_node *v, stage *s) {
  dedup_options *o = s->own;
  RW_TRY(reader_decimal(r, v, "threshold", &o->threshold));
  return o->threshold.digits > 0 ? RW_OK : reader_bad(r, v, "threshold", "more than 0");
}

/* `exact` or `near`, over all sources; or names of sources. */
static rw_status read_value(const recipe_reader *r, struct fy_node *v, stage *s) {
  dedup_options *o = s->own;
  o->near = slice_is(reader_scalar(v), "near");
  return o->near || slice_is(reader_scalar(v), "exact") ? RW_OK : reader_sources(r, v, s);
}

static rw_status dedup_check(const recipe_reader *r, struct fy_node *n, stage *s) {
  dedup_options *o = s->own;
  (void)n;
  if (o->near) {
    if (!o->num_perm) o->num_perm = 128;
    if (!o->shingle) o->shingle = 5;
    if (!o->threshold.digits) o->threshold = (decimal){8, 10};
  } else if (o->num_perm || o->shingle || o->threshold.digits) {
    return rw_fail(r->err, RW_DATA, "%s:%d: dedup: num_perm, shingle and threshold are for by: near", r->r->path,
                   s->line);
  }
  return RW_OK;
}

static void dedup_describe(const curation *r, const stage *s, str *out) {
  const dedup_options *o = s->own;
  (void)r;
  str_printf(out, ": %s, by %s", o->near ? "near" : "exact", o->of_prompt ? "prompt" : "pair");
  if (o->near)
    str_printf(out, ", %.9g of the shingles of %lld words, %lld hash functions", decimal_value(o->threshold),
               (long long)o->shingle, (long long)o->num_perm);
}

/* ---- in a run ---- */

static rw_status dedup_exact(curation *r, const stage *s, rw_error *err) {
  const dedup_options *o = s->own;
  map *seen = map_new();
  rw_status st = seen ? RW_OK : rw_nomem(err, "duplicates");
  for (size_t i = 0; !st && i < r->n; i++) {
    candidate *c = &r->c[i];
    bool was_new;
    if (!curation_wants(r, s, i)) continue;
    int64_t *at =
        map_put(seen, (const char *)(o->of_prompt ? c->prompt : c->pair), sizeof c->pair, (int64_t)i, &was_new);
    if (!at) st = rw_nomem(err, "duplicates");
    if (st || was_new) continue;
    curation_remove(r, s, i, o->of_prompt ? "the same prompt stands earlier" : "the same pair stands earlier");
    c->twin = (size_t)*at + 1;
  }
  map_free(seen);
  return st;
}

static rw_status dedup_run(curation *r, const stage *s, rw_error *err) {
  const dedup_options *o = s->own;
  return o->near ? dedup_near(r, s, err) : dedup_exact(r, s, err);
}

extern const stage_kind stage_dedup;
const stage_kind stage_dedup = {.name = "dedup",
                                .size = sizeof(dedup_options),
                                .keys = (const stage_key[]){{"by", false, read_by},
                                                            {"of", false, read_of},
                                                            {"num_perm", false, read_num_perm},
                                                            {"shingle", false, read_shingle},
                                                            {"threshold", false, read_threshold},
                                                            {NULL}},
                                .value = read_value,
                                .check = dedup_check,
                                .describe = dedup_describe,
                                .asks_keys = true,
                                .run = dedup_run};

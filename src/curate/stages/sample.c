/* sample.c - the sample stage: so many pairs at random. */
#include "base/rng.h"
#include "curate/curation.h"
#include "curate/reader.h"

typedef struct {
  int64_t pairs, seed; /* pairs -1: not said */
} sample_options;

static rw_status read_pairs(const recipe_reader *r, struct fy_node *v, stage *s) {
  sample_options *o = s->own;
  return reader_int(r, v, "pairs", 1, READER_MOST, &o->pairs);
}

static rw_status read_seed(const recipe_reader *r, struct fy_node *v, stage *s) {
  sample_options *o = s->own;
  return reader_int(r, v, "seed", 0, READER_MOST, &o->seed);
}

static rw_status sample_check(const recipe_reader *r, struct fy_node *n, stage *s) {
  const sample_options *o = s->own;
  return o->pairs < 0 ? reader_bad(r, n, "sample", "pairs") : RW_OK;
}

/* The command line's wins over the recipe's. */
static int64_t seed_of(const curation *r, const stage *s) {
  const sample_options *o = s->own;
  return r->o->seed ? *r->o->seed : o->seed;
}

static void sample_describe(const curation *r, const stage *s, str *out) {
  const sample_options *o = s->own;
  str_printf(out, ": %lld pairs, seed %lld", (long long)o->pairs, (long long)seed_of(r, s));
}

static rw_status sample_run(curation *r, const stage *s, rw_error *err) {
  const sample_options *o = s->own;
  size_t *alive = mem_alloc(r->n, sizeof *alive), n = 0;
  if (!alive) return rw_nomem(err, "a sample");
  for (size_t i = 0; i < r->n; i++)
    if (curation_wants(r, s, i)) alive[n++] = i;
  rng g = rng_new((uint64_t)seed_of(r, s), 77);
  rng_shuffle(&g, alive, n);
  for (size_t i = (size_t)o->pairs; i < n; i++) curation_remove(r, s, alive[i], "not drawn");
  mem_free(alive);
  return RW_OK;
}

static void sample_manifest(const curation *r, const stage *s, json_writer *w) {
  const sample_options *o = s->own;
  jw_int(w, "pairs", o->pairs);
  jw_int(w, "seed", seed_of(r, s));
}

extern const stage_kind stage_sample;
const stage_kind stage_sample = {
    .name = "sample",
    .size = sizeof(sample_options),
    .defaults = &(const sample_options){.pairs = -1},
    .keys = (const stage_key[]){{"pairs", false, read_pairs}, {"seed", false, read_seed}, {NULL}},
    .check = sample_check,
    .describe = sample_describe,
    .uses = USES_SEED,
    .run = sample_run,
    .manifest = sample_manifest};

/* split.c - the split stage: some prompts with all their rows are held out of the set, into a file beside it.
 *
 * Which ones depends on a prompt's own text and the seed alone, not on what else is there: a prompt is on the same
 * side in every set that is made with the seed, however it grows. What counts are the user's messages, so that one
 * question under two system prompts, or with other answers between its turns, stays on one side; a row without any
 * counts by all of its prompt.
 */
#include <string.h>

#include "base/log.h"
#include "base/sha256.h"
#include "curate/fetch.h"
#include "curate/stages/write.h"

typedef struct {
  decimal share;
  bool has_share;
  int64_t seed;
  const char *file;
} split_options;

/* ---- in a recipe ---- */

static rw_status read_share(const recipe_reader *r, struct fy_node *v, stage *s) {
  split_options *o = s->own;
  o->has_share = true;
  RW_TRY(reader_decimal(r, v, "held_out", &o->share));
  return o->share.digits > 0 && o->share.digits < o->share.scale
             ? RW_OK
             : reader_bad(r, v, "held_out", "a share of the prompts between 0 and 1, as 0.1");
}

static rw_status read_seed(const recipe_reader *r, struct fy_node *v, stage *s) {
  split_options *o = s->own;
  return reader_int(r, v, "seed", 0, READER_MOST, &o->seed);
}

static rw_status read_file(const recipe_reader *r, struct fy_node *v, stage *s) {
  split_options *o = s->own;
  return write_read_file(r, v, "file", s, &o->file);
}

/* Its own value is the share. */
static rw_status split_check(const recipe_reader *r, struct fy_node *n, stage *s) {
  split_options *o = s->own;
  if (!o->has_share) return reader_bad(r, n, "split", "held_out, a share of the prompts");
  for (const stage *other = r->r->stages; !o->file && other < s; other++)
    if (stage_file(other) && strcmp(stage_file(other), "test.jsonl") == 0)
      return rw_fail(r->err, RW_DATA, "%s:%d: split: test.jsonl is written by line %d already; give another file",
                     r->r->path, s->line, other->line);
  if (!o->file) o->file = "test.jsonl";
  return RW_OK;
}

static const char *split_file(const stage *s) {
  const split_options *o = s->own;
  return o->file;
}

/* The command line's wins over the recipe's. */
static int64_t seed_of(const curation *r, const stage *s) {
  const split_options *o = s->own;
  return r->o->seed ? *r->o->seed : o->seed;
}

static void split_describe(const curation *r, const stage *s, str *out) {
  const split_options *o = s->own;
  str_printf(out, ": holds out %.9g of the prompts, seed %lld, in %s", decimal_value(o->share),
             (long long)seed_of(r, s), o->file);
}

/* ---- in a run ---- */

typedef struct {
  curation *r;
  const stage *s;
  uint64_t limit; /* of a prompt's hash: below, it is held out */
} splitting;

/* Of the texts with their lengths, so that no two lists of messages are the same bytes. */
static void add_messages(sha256 *h, const conversation *c, bool users) {
  for (size_t i = 0; i + 1 < c->n_messages; i++) {
    const message *m = &c->messages[i];
    uint64_t length = m->content.len;
    uint8_t bytes[8];
    if (users && m->role != ROLE_USER) continue;
    for (size_t k = 0; k < 8; k++) bytes[k] = (uint8_t)(length >> 8 * k);
    sha256_add(h, bytes, sizeof bytes);
    sha256_add(h, m->content.p ? m->content.p : "", m->content.len);
  }
}

static bool has_user(const conversation *c) {
  for (size_t i = 0; i + 1 < c->n_messages; i++)
    if (c->messages[i].role == ROLE_USER) return true;
  return false;
}

static rw_status side_of(void *ctx, pair_lane *lane, size_t i, const conv_row *pair, void *result, rw_error *err) {
  const splitting *x = ctx;
  uint64_t seed = (uint64_t)seed_of(x->r, x->s), hash = 0;
  uint8_t sum[32], bytes[8];
  sha256 h;
  (void)lane, (void)i, (void)err;
  for (size_t k = 0; k < 8; k++) bytes[k] = (uint8_t)(seed >> 8 * k);
  sha256_begin(&h);
  sha256_add(&h, bytes, sizeof bytes);
  add_messages(&h, &pair->branch[0], has_user(&pair->branch[0]));
  sha256_end(&h, sum);
  for (size_t k = 0; k < 8; k++) hash = hash << 8 | sum[k];
  *(bool *)result = hash < x->limit;
  return RW_OK;
}

static rw_status take_side(void *ctx, size_t i, void *result, rw_error *err) {
  const splitting *x = ctx;
  (void)err;
  if (!*(const bool *)result) return RW_OK;
  write_mark(x->r, x->s, i);
  curation_remove(x->r, x->s, i, "held out");
  return RW_OK;
}

static rw_status split_run(curation *r, const stage *s, rw_error *err) {
  const split_options *o = s->own;
  unsigned __int128 whole = (unsigned __int128)1 << 64;
  splitting x = {r, s, (uint64_t)(whole * (uint64_t)o->share.digits / (uint64_t)o->share.scale)};
  pair_job job = {.result_size = sizeof(bool), .work = side_of, .sink = take_side, .ctx = &x};
  size_t before = curation_alive(r), wanted = 0;
  uint8_t *want = curation_wanted(r, s, err);
  rw_status st = want ? RW_OK : RW_NOMEM;
  for (size_t i = 0; !st && i < r->n; i++) wanted += want[i];
  if (!st) st = curation_fetch(r, want, &job, err);
  mem_free(want);
  size_t held = before - curation_alive(r);
  if (!st && wanted > 0 && (held == 0 || held == wanted))
    log_warn(r->o->context,
             "%s:%d: split: %zu of %zu rows are held out; another share or seed parts so few prompts",
             r->recipe.path, s->line, held, wanted);
  return st;
}

static void split_manifest(const curation *r, const stage *s, json_writer *w) {
  const split_options *o = s->own;
  jw_num(w, "held_out", decimal_value(o->share));
  jw_int(w, "seed", seed_of(r, s));
  jw_string(w, "file", o->file);
}

extern const stage_kind stage_split;
const stage_kind stage_split = {
    .name = "split",
    .size = sizeof(split_options),
    .keys =
        (const stage_key[]){
            {"held_out", false, read_share}, {"seed", false, read_seed}, {"file", false, read_file}, {NULL}},
    .check = split_check,
    .file = split_file,
    .parts = true,
    .describe = split_describe,
    .uses = USES_SEED,
    .run = split_run,
    .manifest = split_manifest};

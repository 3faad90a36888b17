/* filter.c - the filter stage: rows by one of their fields, or by their texts.
 *
 * By a field: a row is looked at when it is read, while its fields are at hand; the stage acts on the pairs that
 * are left when its turn comes. A pair passes when each of its rows does; a row without the field, or with null,
 * does not. Of a list, one element is enough. By texts: the pairs are read again; each of the texts that are asked
 * about must pass.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "curate/fetch.h"
#include "curate/stages/filter.h"
#include "text/render.h"

enum { MAX_VALUES = 32 };

typedef enum { OF_ALL, OF_PROMPT, OF_CHOSEN, OF_REJECTED, OF_RESPONSES } filter_of;

/* The field is one of the values, a number within the range, or a text that passes the test; or the texts of the
 * pair do. */
typedef struct {
  const char *field, *reason; /* reason: why a pair goes */
  slice values[MAX_VALUES];
  size_t n;
  filter_range range;
  bool has_of, has_share;
  filter_of of;
  filter_test test;
} filter_options;

/* ---- in a recipe ---- */

static rw_status read_field(const recipe_reader *r, struct fy_node *v, stage *s) {
  filter_options *o = s->own;
  slice name = reader_scalar(v);
  if (!name.p || name.len == 0) return reader_bad(r, v, "field", "a field's name");
  return reader_text(r, name, &o->field);
}

static rw_status read_value(const recipe_reader *r, struct fy_node *v, const char *key, filter_options *o) {
  slice text = reader_scalar(v);
  if (!text.p || o->n == MAX_VALUES) return reader_bad(r, v, key, "a text, a number, true or false; at most 32");
  RW_TRY(reader_text(r, text, &o->values[o->n].p));
  o->values[o->n++].len = text.len;
  return RW_OK;
}

static rw_status read_equals(const recipe_reader *r, struct fy_node *v, stage *s) {
  return read_value(r, v, "equals", s->own);
}

static rw_status read_in(const recipe_reader *r, struct fy_node *v, stage *s) {
  void *it = NULL;
  if (fy_node_sequence_is_empty(v)) return reader_bad(r, v, "in", "at least one value");
  for (struct fy_node *e; (e = fy_node_sequence_iterate(v, &it));) RW_TRY(read_value(r, e, "in", s->own));
  return RW_OK;
}

static rw_status read_min(const recipe_reader *r, struct fy_node *v, stage *s) {
  filter_options *o = s->own;
  o->range.has_min = true;
  return reader_number(r, v, "min", &o->range.min);
}

static rw_status read_max(const recipe_reader *r, struct fy_node *v, stage *s) {
  filter_options *o = s->own;
  o->range.has_max = true;
  return reader_number(r, v, "max", &o->range.max);
}

static rw_status read_of(const recipe_reader *r, struct fy_node *v, stage *s) {
  static const char *const names[] = {"all", "prompt", "chosen", "rejected", "responses"};
  filter_options *o = s->own;
  o->has_of = true;
  for (size_t i = 0; i < 5; i++)
    if (slice_is(reader_scalar(v), names[i])) return o->of = (filter_of)i, RW_OK;
  return reader_bad(r, v, "of", "prompt, chosen, rejected, responses or all");
}

static rw_status read_share(const recipe_reader *r, struct fy_node *v, stage *s) {
  filter_options *o = s->own;
  decimal share;
  RW_TRY(reader_decimal(r, v, "share", &share));
  o->has_share = true;
  o->test.range = (filter_range){.has_min = true, .min = decimal_value(share)};
  return RW_OK;
}

/* One test a stage. */
static rw_status open_test(const recipe_reader *r, struct fy_node *v, stage *s, filter_test **t) {
  filter_options *o = s->own;
  *t = &o->test;
  return o->test.kind ? reader_bad(r, v, "filter", "one test a stage") : RW_OK;
}

static rw_status read_words(const recipe_reader *r, struct fy_node *v, stage *s) {
  filter_test *t;
  RW_TRY(open_test(r, v, s, &t));
  return filter_read_length(r, v, "words", TEST_WORDS, t);
}

static rw_status read_characters(const recipe_reader *r, struct fy_node *v, stage *s) {
  filter_test *t;
  RW_TRY(open_test(r, v, s, &t));
  return filter_read_length(r, v, "characters", TEST_CHARACTERS, t);
}

static rw_status read_tokens(const recipe_reader *r, struct fy_node *v, stage *s) {
  filter_test *t;
  RW_TRY(open_test(r, v, s, &t));
  return filter_read_length(r, v, "tokens", TEST_TOKENS, t);
}

static rw_status read_script(const recipe_reader *r, struct fy_node *v, stage *s) {
  filter_test *t;
  RW_TRY(open_test(r, v, s, &t));
  return filter_read_script(r, v, t);
}

static rw_status read_matches(const recipe_reader *r, struct fy_node *v, stage *s) {
  filter_test *t;
  RW_TRY(open_test(r, v, s, &t));
  return filter_read_regex(r, v, "matches", TEST_MATCHES, t);
}

static rw_status read_without(const recipe_reader *r, struct fy_node *v, stage *s) {
  filter_test *t;
  RW_TRY(open_test(r, v, s, &t));
  return filter_read_regex(r, v, "without", TEST_WITHOUT, t);
}

static void add_reason(const filter_options *o, str *why) {
  static const char *const texts[] = {"its prompt or a response", "its prompt", "its chosen response",
                                      "its rejected response", "a response"};
  if (o->test.kind) return filter_test_reason(&o->test, o->field ? o->field : texts[o->of], why);
  str_printf(why, "%s is ", o->field);
  filter_add_range(&o->range, why);
  for (size_t i = 0; i < o->n; i++)
    str_printf(why, "%s%.*s",
               i == 0         ? "not "
               : i + 1 < o->n ? ", "
                              : " or ",
               (int)o->values[i].len, o->values[i].p);
}

static rw_status filter_check(const recipe_reader *r, struct fy_node *n, stage *s) {
  filter_options *o = s->own;
  str why = {0};
  int tests = (o->range.has_min || o->range.has_max) + (o->n > 0) + (o->test.kind != TEST_NONE);
  bool by_text = o->test.kind != TEST_NONE;
  if (tests != 1 || (!o->field && !by_text))
    return reader_bad(r, n, "filter",
                      "field, and one of: equals; in, a list; min and max; or words, characters, tokens, script, "
                      "matches or without, of the field or of the texts");
  if (o->has_of && (o->field || !by_text)) return reader_bad(r, n, "of", "no field beside it, and a test of texts");
  if (o->has_share && o->test.kind != TEST_SCRIPT) return reader_bad(r, n, "share", "script beside it");
  if (o->field && o->test.kind == TEST_TOKENS)
    return reader_bad(r, n, "tokens", "no field beside it: tokens are counted of the prompt and the responses");
  if (o->test.kind == TEST_SCRIPT && !o->has_share) o->test.range = (filter_range){.has_min = true, .min = 0.5};
  add_reason(o, &why);
  rw_status st = why.oom ? rw_nomem(r->err, "recipe") : reader_text(r, (slice){why.p, why.len}, &o->reason);
  str_free(&why);
  return st;
}

static void filter_close(void *own) {
  filter_options *o = own;
  filter_test_close(&o->test);
}

static void filter_describe(const curation *r, const stage *s, str *out) {
  const filter_options *o = s->own;
  (void)r;
  str_printf(out, ": removes where %s", o->reason);
}

/* ---- in a run ---- */

/* Strings by their text, everything else as written, numbers by their value: `equals: 1` takes 1.0 too. */
static bool is_value(json_doc *d, json_val v, slice want) {
  double x;
  char text[64], *end = text;
  slice s = json_string(d, v);
  if (s.p) return slice_eq(s, want);
  if (slice_eq(json_raw(d, v), want)) return true;
  if (!json_number(d, v, &x) || want.len == 0 || want.len >= sizeof text) return false;
  memcpy(text, want.p, want.len);
  text[want.len] = 0;
  double y = strtod(text, &end);
  return *end == 0 && x == y;
}

static bool is_within(const filter_range *r, double x) {
  return (!r->has_min || x >= r->min) && (!r->has_max || x <= r->max);
}

/* A field's own text; of another kind than a string it passes no test. */
static rw_status ask_text(const filter_options *o, filter_lane *l, json_doc *d, json_val v, bool *pass,
                          rw_error *err) {
  message m = conv_message(ROLE_USER, json_string(d, v));
  double got;
  return m.content.p ? filter_test_texts(&o->test, NULL, l, &m, 1, pass, &got, err) : RW_OK;
}

static rw_status ask(const filter_options *o, filter_lane *l, json_doc *d, json_val v, bool *pass, rw_error *err) {
  double x;
  *pass = false;
  if (o->test.kind) return ask_text(o, l, d, v, pass, err);
  if (o->range.has_min || o->range.has_max) *pass = json_number(d, v, &x) && is_within(&o->range, x);
  for (size_t i = 0; i < o->n && !*pass; i++) *pass = is_value(d, v, o->values[i]);
  return RW_OK;
}

static rw_status filter_row(const stage *s, json_doc *d, bool *has, bool *pass, rw_error *err) {
  const filter_options *o = s->own;
  filter_lane l = {0};
  rw_status st = RW_OK;
  *has = *pass = !o->field; /* by texts: filter_run reads them */
  json_val v = o->field ? row_path(d, 0, o->field) : JSON_NONE;
  if (v == JSON_NONE || json_kind(d, v) == JSON_NULL) return RW_OK;
  *has = true;
  bool list = json_kind(d, v) == JSON_ARRAY;
  for (json_val e = list ? json_first(d, v) : v; !st && e != JSON_NONE && !*pass;
       e = list ? json_next(d, e) : JSON_NONE)
    st = ask(o, &l, d, e, pass, err);
  filter_lane_close(&l);
  return st;
}

static rw_status by_field(curation *r, const stage *s, rw_error *err) {
  const filter_options *o = s->own;
  uint64_t bit = (uint64_t)1 << s->index;
  for (size_t i = 0; i < r->n_inputs; i++)
    if (stage_is_for(s, r->inputs[i].src) && r->inputs[i].rows > 0 && !(r->inputs[i].has & bit))
      return rw_fail(err, RW_DATA, "%s:%d: filter: no row of %s has the field %s", r->recipe.path, s->line,
                     r->inputs[i].path, o->field);
  for (size_t i = 0; i < r->n; i++)
    if (!(r->c[i].pass & bit) && curation_wants(r, s, i)) curation_remove(r, s, i, o->reason);
  return RW_OK;
}

/* ---- by texts ---- */

typedef struct {
  curation *r;
  const stage *s;
  renderer *text; /* has the tokenizer */
} filtering;

typedef struct {
  bool failed;
  const char *what;
  double got; /* NAN: no number */
} verdict;

static void close_lane(void *ctx, void *own) {
  (void)ctx;
  filter_lane_close(own);
}

/* The first of its texts that does not pass, of those that are asked about. */
static rw_status ask_pair(void *ctx, pair_lane *lane, size_t i, const conv_row *pair, void *result, rw_error *err) {
  const filtering *f = ctx;
  const filter_options *o = f->s->own;
  const tokenizer *t = f->text ? renderer_tokenizer(f->text) : NULL;
  verdict *v = result;
  bool pass = true;
  rw_status st = RW_OK;
  (void)i;
  for (size_t b = 0; !st && pass && b < pair->n_branches; b++) {
    const conversation *c = &pair->branch[b];
    size_t before = c->n_messages - 1;
    bool response = o->of == OF_ALL || o->of == OF_RESPONSES ||
                    (pair->kind == ROW_PAIR && o->of == (b ? OF_REJECTED : OF_CHOSEN));
    if (b == 0 && (o->of == OF_ALL || o->of == OF_PROMPT)) {
      v->what = "prompt";
      st = filter_test_texts(&o->test, t, lane->own, c->messages, before, &pass, &v->got, err);
    }
    if (st || !pass || !response) continue;
    v->what = pair->kind != ROW_PAIR ? "response" : b ? "rejected" : "chosen";
    st = filter_test_texts(&o->test, t, lane->own, c->messages + before, 1, &pass, &v->got, err);
  }
  v->failed = !pass;
  return st ? rw_prefix(err, st, "%s:%d: filter", f->r->recipe.path, f->s->line) : RW_OK;
}

static rw_status take_pair(void *ctx, size_t i, void *result, rw_error *err) {
  const filtering *f = ctx;
  const filter_options *o = f->s->own;
  const verdict *v = result;
  (void)err;
  if (!v->failed) return RW_OK;
  if (isnan(v->got))
    curation_note(f->r, i, "%s fails", v->what);
  else
    curation_note(f->r, i, "%s has %.9g", v->what, v->got);
  curation_remove(f->r, f->s, i, o->reason);
  return RW_OK;
}

static rw_status by_texts(curation *r, const stage *s, rw_error *err) {
  const filter_options *o = s->own;
  filtering f = {.r = r, .s = s};
  pair_job job = {.result_size = sizeof(verdict),
                  .lane_size = sizeof(filter_lane),
                  .lane_close = close_lane,
                  .work = ask_pair,
                  .sink = take_pair,
                  .ctx = &f};
  uint8_t *want = curation_wanted(r, s, err);
  rw_status st = want ? RW_OK : RW_NOMEM;
  if (!st && o->test.kind == TEST_TOKENS) st = renderer_open(&f.text, r->o->tokenizer, NULL, NULL, err);
  if (!st && f.text) st = renderer_need_text(f.text, err);
  if (!st) st = curation_fetch(r, want, &job, err);
  renderer_free(f.text);
  mem_free(want);
  return st;
}

static rw_status filter_run(curation *r, const stage *s, rw_error *err) {
  const filter_options *o = s->own;
  return o->field ? by_field(r, s, err) : by_texts(r, s, err);
}

static bool filter_ready(const curation *r, const stage *s) {
  const filter_options *o = s->own;
  return o->test.kind != TEST_TOKENS || r->o->tokenizer;
}

extern const stage_kind stage_filter;
const stage_kind stage_filter = {.name = "filter",
                                 .size = sizeof(filter_options),
                                 .keys = (const stage_key[]){{"field", false, read_field},
                                                             {"equals", false, read_equals},
                                                             {"in", true, read_in},
                                                             {"min", false, read_min},
                                                             {"max", false, read_max},
                                                             {"of", false, read_of},
                                                             {"share", false, read_share},
                                                             {"words", false, read_words},
                                                             {"characters", false, read_characters},
                                                             {"tokens", false, read_tokens},
                                                             {"script", false, read_script},
                                                             {"matches", false, read_matches},
                                                             {"without", false, read_without},
                                                             {NULL}},
                                 .check = filter_check,
                                 .close = filter_close,
                                 .describe = filter_describe,
                                 .uses = USES_TOKENIZER,
                                 .ready = filter_ready,
                                 .needs = FIELD(tokenizer),
                                 .why = "counting tokens needs a tokenizer: " FIELD(tokenizer) " DIR",
                                 .row = filter_row,
                                 .run = filter_run};

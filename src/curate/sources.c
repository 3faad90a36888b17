/* sources.c - the table of sources, and what their files share. */
#include <math.h>
#include <string.h>

#include "base/sha256.h"
#include "curate/source.h"

/* One line a source: src/curate/sources/ has a file that defines source_NAME. */
#define SOURCES(X)   \
  X(magpie_ultra)    \
  X(magpie_pro_31)   \
  X(magpie_pro)      \
  X(magpie_air)      \
  X(wildguardmix)    \
  X(offsetbias)      \
  X(helpsteer2)      \
  X(helpsteer3)      \
  X(preference_700k) \
  X(nectar)          \
  X(hh_rlhf)         \
  X(ultrafeedback)   \
  X(tulu3)           \
  X(arena)           \
  X(pairs)           \
  X(rows)

#define X(name) extern const source source_##name;
SOURCES(X)
#undef X
#define X(name) &source_##name,
const source *const curate_sources[] = {SOURCES(X) NULL};
#undef X

const source *curate_source(slice name) {
  for (size_t i = 0; curate_sources[i]; i++)
    if (slice_is(name, curate_sources[i]->name)) return curate_sources[i];
  return NULL;
}

rw_status src_scan(const source *src, json_doc *d, arena *a, scan *out, rw_error *err) {
  return src->rows ? src->of_rows->scan(src->rows, d, a, out, err) : src->scan(d, a, out, err);
}

rw_status src_pairs(const source *src, json_doc *d, arena *a, row_form form, const scan *row, scan_list *out,
                    rw_error *err) {
  return src->rows ? src->of_rows->pairs(src->rows, d, a, form, row, out, err) : src->pairs(d, form, row, out, err);
}

rw_status src_conv(const source *src, json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err) {
  return src->rows ? src->of_rows->text(src->rows, d, a, s, out, err) : src->text(d, a, s, out, err);
}

rw_status src_text(json_doc *d, json_val obj, const char *field, slice *out, rw_error *err) {
  return json_text(d, json_get(d, obj, field), field, out, err);
}

rw_status src_number(json_doc *d, json_val obj, const char *field, double *out, rw_error *err) {
  json_val v = json_get(d, obj, field);
  return json_number(d, v, out) && isfinite(*out) ? RW_OK : json_wrong(d, v, field, "a number", err);
}

bool src_null(json_doc *d, json_val obj, const char *field) {
  json_val v = json_get(d, obj, field);
  return v == JSON_NONE || json_kind(d, v) == JSON_NULL;
}

void src_hash(slice text, uint64_t out[2]) { sha256_key(text.p, text.len, out); }

void src_hash_messages(const message *m, size_t n, uint64_t out[2]) {
  uint8_t sum[SHA256_BYTES];
  sha256 all;
  sha256_begin(&all);
  for (size_t i = 0; i < n; i++) {
    uint64_t head[2] = {(uint64_t)m[i].role, m[i].content.len};
    sha256_add(&all, head, sizeof head);
    sha256_add(&all, m[i].content.p, m[i].content.len);
  }
  sha256_end(&all, sum);
  memcpy(out, sum, 2 * sizeof *out);
}

void src_hash_texts(scan *s, slice chosen, slice rejected) {
  if (s->keyless) return;
  src_hash(chosen, s->texts[0]);
  src_hash(rejected, s->texts[1]);
}

bool src_put(scan_list *out, scan s) { return vec_push(out->s, out->n, out->cap, s); }

rw_status src_branches(conv_row *out, arena *a, row_kind kind, size_t n, rw_error *err) {
  out->kind = kind;
  out->n_branches = n;
  out->n_chosen = kind == ROW_PAIR ? 1 : 0;
  out->branch = arena_alloc(a, n, sizeof *out->branch);
  return out->branch ? RW_OK : rw_nomem(err, "a row");
}

static rw_status exchange(conversation *c, arena *a, slice prompt, slice response, rw_error *err) {
  c->n_messages = 2;
  c->messages = arena_alloc(a, 2, sizeof *c->messages);
  if (!c->messages) return rw_nomem(err, "a row");
  c->messages[0] = conv_message(ROLE_USER, prompt);
  c->messages[1] = conv_message(ROLE_ASSISTANT, response);
  return RW_OK;
}

rw_status src_pair(conv_row *out, arena *a, slice prompt, slice chosen, slice rejected, rw_error *err) {
  RW_TRY(src_branches(out, a, ROW_PAIR, 2, err));
  RW_TRY(exchange(&out->branch[0], a, prompt, chosen, err));
  return exchange(&out->branch[1], a, prompt, rejected, err);
}

rw_status src_single(conv_row *out, arena *a, slice prompt, slice response, rw_error *err) {
  RW_TRY(src_branches(out, a, ROW_SINGLE, 1, err));
  return exchange(&out->branch[0], a, prompt, response, err);
}

bool src_pick(scan *s, const double *score, size_t n) {
  double sum = 0;
  size_t hi = 0, lo = 0;
  if (n < 2) {
    s->drop = n == 0 ? "no response" : "one response";
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    if (isnan(score[i])) {
      s->drop = "a response without a score";
      return false;
    }
    sum += score[i];
    if (score[i] > score[hi]) hi = i;
    if (score[i] < score[lo]) lo = i;
  }
  s->score = sum / (double)n;
  s->chosen = (uint32_t)hi;
  s->rejected = (uint32_t)lo;
  if (score[hi] == score[lo]) s->drop = "equal scores";
  return true;
}

void src_picked(scan *s, slice chosen, slice rejected) {
  if (!s->drop && slice_eq(chosen, rejected)) s->drop = "equal texts";
  src_hash_texts(s, chosen, rejected);
}

void src_best_worst(scan *s, const double *score, const slice *text, size_t n) {
  if (src_pick(s, score, n)) src_picked(s, text[s->chosen], text[s->rejected]);
}

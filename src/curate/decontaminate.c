/* decontaminate.c - the index of a benchmark's word n-grams, and checking one training row against it.
 *
 * Every n-gram of the benchmark is a rolling hash in one table; a bit array in front of it answers most misses. A
 * hit is then compared word by word, so an answer is never a collision. Memory grows with the benchmark only.
 */
#include "curate/decontaminate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "curate/words.h"
#include "format/rows.h"

enum { FILTER_BITS = 22, AHEAD = 16 /* words of the filter that are fetched at once */ };
static const uint64_t BASE = 0x9e3779b97f4a7c15u; /* base of the rolling hash; odd */

typedef struct {
  size_t row;   /* row of the benchmark */
  slice prompt; /* as written */
  words w;
  bool repeats; /* has an n-gram twice: its longest run is searched otherwise, see longest_common() */
} prompt;

typedef struct {
  slice *text;
  size_t n;
} texts;

typedef struct {
  slice id, subset; /* p NULL: absent */
  slice file;
  texts chosen, rejected;
} bench_row;

typedef struct {
  uint64_t hash;
  uint32_t prompt, at;
  uint32_t next; /* next of the same slot's chain; UINT32_MAX: last */
} gram;

struct decon_index {
  decon_options o;
  arena *mem;
  bench_row *rows;
  size_t n_rows, cap_rows;
  prompt *prompts;
  size_t n_prompts, cap_prompts;
  gram *grams; /* all n-grams, and the whole of prompts that are shorter */
  size_t n_grams, cap_grams;
  uint32_t *slots;
  size_t n_slots; /* power of two */
  uint64_t *filter;
  uint64_t lead; /* BASE^(ngram-1) */
};

typedef struct { /* a run of a prompt's words */
  uint64_t hash;
  uint32_t at;
} window;

struct decon_scratch {
  const decon_index *d;
  words w;
  slice message; /* the message that has the words */
  decon_match *m;
  size_t n, cap;
  uint32_t *of_row; /* 1 + the row's match in this check; valid where stamp says so */
  uint32_t *stamp, now;
  uint32_t *searched, search; /* [prompts] with repeats: the message of the last search for a longest run */
  window *windows;
  size_t cap_windows;
  str text; /* spans */
  size_t *span_at;
  size_t cap_spans;
};

static size_t slot_of(const decon_index *d, uint64_t h) { return (size_t)(h * BASE >> 20) & (d->n_slots - 1); }
static uint64_t *filter_word(const decon_index *d, uint64_t h) {
  return &d->filter[h * BASE >> (64 - FILTER_BITS + 6)];
}
static uint64_t filter_bit(uint64_t h) { return (uint64_t)1 << (h * BASE >> (64 - FILTER_BITS) & 63); }
static void filter_set(decon_index *d, uint64_t h) { *filter_word(d, h) |= filter_bit(h); }
static bool filter_has(const decon_index *d, uint64_t h) { return *filter_word(d, h) & filter_bit(h); }

/* Hash of w[0..n), by the same polynomial that rolls. A whole short prompt gets its length mixed in. */
static uint64_t run_hash(const word *w, size_t n) {
  uint64_t h = 0;
  for (size_t i = 0; i < n; i++) h = h * BASE + w[i].hash;
  return h;
}
static uint64_t short_hash(const word *w, size_t n) { return run_hash(w, n) ^ ((uint64_t)(n + 1) << 56); }

static bool same_word(const words *a, size_t i, const words *b, size_t j) {
  return a->w[i].hash == b->w[j].hash && a->w[i].len == b->w[j].len &&
         memcmp(a->text.p + a->w[i].at, b->text.p + b->w[j].at, a->w[i].len) == 0;
}

/* ---- reading the benchmark ---- */

static slice keep(decon_index *d, slice s) { return s.p ? (slice){arena_strndup(d->mem, s.p, s.len), s.len} : s; }

static rw_status add_gram(decon_index *d, uint64_t hash, size_t p, size_t at, rw_error *err) {
  gram g = {hash, (uint32_t)p, (uint32_t)at, UINT32_MAX};
  return d->n_grams < UINT32_MAX && vec_push(d->grams, d->n_grams, d->cap_grams, g)
             ? RW_OK
             : rw_nomem(err, "the benchmark's index");
}

static rw_status add_prompt(decon_index *d, slice text, rw_error *err) {
  prompt p = {.row = d->n_rows - 1, .prompt = keep(d, text)};
  if (!p.prompt.p || !words_of(&p.w, text, d->o.gist) || !vec_push(d->prompts, d->n_prompts, d->cap_prompts, p)) {
    words_free(&p.w);
    return rw_nomem(err, "the benchmark's index");
  }
  size_t n = (size_t)d->o.ngram, at = d->n_prompts - 1;
  if (p.w.n == 0) return RW_OK;
  if (p.w.n < n) return d->o.gist ? RW_OK : add_gram(d, short_hash(p.w.w, p.w.n), at, 0, err);
  uint64_t h = run_hash(p.w.w, n);
  for (size_t i = 0;; i++) {
    RW_TRY(add_gram(d, h, at, i, err));
    if (i + n >= p.w.n) return RW_OK;
    h = (h - p.w.w[i].hash * d->lead) * BASE + p.w.w[i + n].hash;
  }
}

/* A response: a string, or messages, of which the last one's content. */
static slice text_of(json_doc *doc, json_val v) {
  if (json_kind(doc, v) != JSON_ARRAY) return json_string(doc, v);
  json_val last = JSON_NONE;
  for (json_val e = json_first(doc, v); e != JSON_NONE; e = json_next(doc, e)) last = e;
  return json_string(doc, json_get(doc, last, "content"));
}

/* One response, or a list of them (RewardBench 2, RM-Bench). */
static rw_status keep_texts(decon_index *d, json_doc *doc, json_val v, texts *out, rw_error *err) {
  bool list = json_kind(doc, v) == JSON_ARRAY && json_kind(doc, json_first(doc, v)) != JSON_OBJECT;
  size_t n = list ? json_count(doc, v) : 1;
  if (v == JSON_NONE || n == 0) return RW_OK;
  out->text = arena_alloc(d->mem, n, sizeof *out->text);
  if (!out->text) return rw_nomem(err, "the benchmark's index");
  for (json_val e = list ? json_first(doc, v) : v; out->n < n; e = list ? json_next(doc, e) : e) {
    slice text = text_of(doc, e);
    out->text[out->n] = keep(d, text);
    if (text.p && !out->text[out->n].p) return rw_nomem(err, "the benchmark's index");
    out->n++;
  }
  return RW_OK;
}

/* JudgeBench's two responses are chosen and rejected by its label. */
static rw_status keep_responses(decon_index *d, json_doc *doc, bench_row *r, rw_error *err) {
  json_val chosen = json_get(doc, 0, "chosen"), rejected = json_get(doc, 0, "rejected");
  slice label = json_string(doc, json_get(doc, 0, "label"));
  bool a = slice_is(label, "A>B"), b = slice_is(label, "B>A");
  if (chosen == JSON_NONE && rejected == JSON_NONE && (a || b)) {
    chosen = json_get(doc, 0, a ? "response_A" : "response_B");
    rejected = json_get(doc, 0, a ? "response_B" : "response_A");
  }
  RW_TRY(keep_texts(d, doc, chosen, &r->chosen, err));
  return keep_texts(d, doc, rejected, &r->rejected, err);
}

/* RM-Bench's rows have a domain and JudgeBench's a source where others have a subset. */
static slice subset_of(json_doc *doc) {
  static const char *const fields[] = {"subset", "domain", "source"};
  slice s = {0};
  for (size_t i = 0; i < 3 && !s.p; i++) s = json_string(doc, json_get(doc, 0, fields[i]));
  return s;
}

/* file: kept by the index. */
static rw_status add_row(decon_index *d, json_doc *doc, slice file, uint64_t line, rw_error *err) {
  json_val p = json_get(doc, 0, "prompt"), id = json_get(doc, 0, "id");
  static const char *const others[] = {"question", "instruction", "problem", "turns", "text"};
  for (size_t i = 0; p == JSON_NONE && i < sizeof others / sizeof *others; i++) p = json_get(doc, 0, others[i]);
  if (d->o.bench_field) p = json_get(doc, 0, d->o.bench_field);
  if (id == JSON_NONE) id = json_get(doc, 0, "pair_id");
  char number[32];
  slice name = json_raw(doc, id);
  if (id == JSON_NONE)
    name = (slice){number, (size_t)snprintf(number, sizeof number, "%llu", (unsigned long long)line)};
  bench_row r = {.id = keep(d, name), .subset = keep(d, subset_of(doc)), .file = file};
  RW_TRY(keep_responses(d, doc, &r, err));
  if (!vec_push(d->rows, d->n_rows, d->cap_rows, r)) return rw_nomem(err, "the benchmark's index");
  if (json_kind(doc, p) == JSON_ARRAY) {
    for (json_val m = json_first(doc, p); m != JSON_NONE; m = json_next(doc, m)) {
      slice turn = json_string(doc, m); /* MT-Bench's turns */
      if (turn.p) {
        RW_TRY(add_prompt(d, turn, err));
        continue;
      }
      slice role = json_string(doc, json_get(doc, m, "role")), text = json_string(doc, json_get(doc, m, "content"));
      if (!role.p || !text.p) return rw_fail(err, RW_DATA, "prompt: expected messages with role and content");
      if (slice_is(role, "user")) RW_TRY(add_prompt(d, text, err));
    }
    return RW_OK;
  }
  slice text = json_string(doc, p);
  if (!text.p)
    return rw_fail(err, RW_DATA, "%s: expected a string or messages, got %s",
                   d->o.bench_field ? d->o.bench_field : "prompt",
                   p != JSON_NONE     ? json_kind_name(json_kind(doc, p))
                   : d->o.bench_field ? "nothing"
                                      : "nothing; `reward decontaminate --field bench:NAME` reads it elsewhere");
  return add_prompt(d, text, err);
}

static rw_status read_bench(decon_index *d, const char *path, rw_context *context, rw_error *err) {
  rows_in *in;
  RW_TRY(rows_open(&in, path, context, err));
  json_doc *doc = json_new();
  slice file = keep(d, slice_of(path));
  rw_status s = doc && file.p ? RW_OK : rw_nomem(err, path);
  slice row;
  uint64_t line;
  while (!s && !(s = rows_next(in, &row, &line, err)) && row.p) {
    s = json_parse(doc, row.p, row.len, err);
    if (!s && json_kind(doc, 0) != JSON_OBJECT) s = rw_fail(err, RW_DATA, "row: expected an object");
    if (!s) s = add_row(d, doc, file, line, err);
    if (s) {
      const char *name = rows_file(in, &line);
      rw_prefix(err, s, "%s:%llu", name, (unsigned long long)line);
    }
  }
  json_free(doc);
  rows_close(in);
  return s;
}

/* An n-gram that the same prompt has again further on: one entry stands for both, at the first place. */
static bool merge_repeat(decon_index *d, size_t slot, const gram *g) {
  prompt *p = &d->prompts[g->prompt];
  for (uint32_t i = d->slots[slot]; i != UINT32_MAX && d->grams[i].prompt == g->prompt; i = d->grams[i].next) {
    gram *other = &d->grams[i];
    size_t k = 0;
    if (other->hash != g->hash) continue;
    while (k < (size_t)d->o.ngram && same_word(&p->w, g->at + k, &p->w, other->at + k)) k++;
    if (k < (size_t)d->o.ngram) continue;
    other->at = g->at;
    return p->repeats = true;
  }
  return false;
}

static rw_status build_table(decon_index *d, rw_error *err) {
  for (d->n_slots = 1024; d->n_slots < 2 * d->n_grams; d->n_slots *= 2) {
  }
  d->slots = mem_alloc(d->n_slots, sizeof *d->slots);
  d->filter = mem_zalloc((1 << FILTER_BITS) / 64, sizeof *d->filter);
  if (!d->slots || !d->filter) return rw_nomem(err, "the benchmark's index");
  memset(d->slots, 0xff, d->n_slots * sizeof *d->slots);
  for (size_t i = d->n_grams; i-- > 0;) { /* backwards, so that chains run in the benchmark's order */
    size_t s = slot_of(d, d->grams[i].hash);
    if (merge_repeat(d, s, &d->grams[i])) continue;
    d->grams[i].next = d->slots[s];
    d->slots[s] = (uint32_t)i;
    filter_set(d, d->grams[i].hash);
  }
  return RW_OK;
}

rw_status decon_open(decon_index **out, const char *const *bench, size_t n, const decon_options *o,
                     rw_context *context, rw_error *err) {
  *out = NULL;
  if (o->ngram < 1 || o->ngram > 64)
    return rw_fail(err, RW_USAGE, FIELD(ngram) ": expected 1 to 64, got %lld", (long long)o->ngram);
  decon_index *d = mem_zalloc(1, sizeof *d);
  if (!d) return rw_nomem(err, "the benchmark's index");
  d->o = *o;
  d->lead = 1;
  for (int64_t i = 1; i < o->ngram; i++) d->lead *= BASE;
  d->mem = arena_new();
  rw_status s = d->mem ? RW_OK : rw_nomem(err, "the benchmark's index");
  for (size_t i = 0; !s && i < n; i++) s = read_bench(d, bench[i], context, err);
  if (!s) s = build_table(d, err);
  if (s)
    decon_free(d);
  else
    *out = d;
  return s;
}

void decon_free(decon_index *d) {
  if (!d) return;
  for (size_t i = 0; i < d->n_prompts; i++) words_free(&d->prompts[i].w);
  void *p[] = {d->rows, d->prompts, d->grams, d->slots, d->filter};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  arena_free(d->mem);
  mem_free(d);
}

size_t decon_rows(const decon_index *d) { return d->n_rows; }
slice decon_row_subset(const decon_index *d, size_t i) { return d->rows[i].subset; }
slice decon_row_file(const decon_index *d, size_t i) { return d->rows[i].file; }

/* ---- checking ---- */

decon_scratch *decon_scratch_new(const decon_index *d) {
  decon_scratch *s = mem_zalloc(1, sizeof *s);
  if (!s) return NULL;
  s->d = d;
  s->of_row = mem_zalloc(d->n_rows, sizeof *s->of_row);
  s->stamp = mem_zalloc(d->n_rows, sizeof *s->stamp);
  s->searched = mem_zalloc(d->n_prompts, sizeof *s->searched);
  if (s->of_row && s->stamp && s->searched) return s;
  decon_scratch_free(s);
  return NULL;
}

void decon_scratch_free(decon_scratch *s) {
  if (!s) return;
  words_free(&s->w);
  str_free(&s->text);
  void *p[] = {s->m, s->of_row, s->stamp, s->span_at, s->searched, s->windows};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  mem_free(s);
}

/* Notes that words [at, at+n) of the message match those of the prompt from `from` on; the longest run of a row is
 * kept. */
static rw_status note(decon_scratch *s, const prompt *p, size_t turn, size_t at, size_t from, size_t n,
                      rw_error *err) {
  bool seen = s->stamp[p->row] == s->now;
  if (seen && s->m[s->of_row[p->row]].words >= n) return RW_OK;
  if (!seen) {
    const bench_row *r = &s->d->rows[p->row];
    decon_match m = {.bench = p->row, .id = r->id, .subset = r->subset.p ? r->subset : SLICE("")};
    s->stamp[p->row] = s->now;
    s->of_row[p->row] = (uint32_t)s->n;
    if (!vec_push(s->m, s->n, s->cap, m) ||
        !mem_grow((void **)&s->span_at, &s->cap_spans, s->n, sizeof *s->span_at))
      return rw_nomem(err, "matches");
  }
  size_t k = s->of_row[p->row];
  const word *first = &s->w.w[at], *last = &s->w.w[at + n - 1];
  s->span_at[k] = s->text.len;
  s->m[k].words = n;
  s->m[k].message = turn;
  s->m[k].prompt = p->prompt;
  s->m[k].text = s->message;
  s->m[k].from = first->from;
  s->m[k].to = last->to;
  s->m[k].bench_from = p->w.w[from].from;
  s->m[k].bench_to = p->w.w[from + n - 1].to;
  s->m[k].span.len = last->at + last->len - first->at;
  str_add(&s->text, s->w.text.p + first->at, s->m[k].span.len);
  return s->text.oom ? rw_nomem(err, "matches") : RW_OK;
}

static int by_hash(const void *a, const void *b) {
  const window *x = a, *y = b;
  if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
  return x->at < y->at ? -1 : x->at > y->at;
}

/* The hashes of all runs of n words: rolls over w[0..count), calling for each. */
#define EACH_RUN(w, count, n, h, i)                                              \
  for (uint64_t lead_ = power(n), h = run_hash(w, n), i = 0; i + (n) <= (count); \
       h = i + (n) < (count) ? (h - (w)[i].hash * lead_) * BASE + (w)[i + (n)].hash : 0, i++)

static uint64_t power(size_t n) {
  uint64_t x = 1;
  while (--n > 0) x *= BASE;
  return x;
}

/* The first run of n words of the message that the prompt has too: its place in both. */
static bool first_common(decon_scratch *s, const prompt *p, size_t n, size_t *at, size_t *from) {
  size_t count = 0, lo, hi;
  if (n > s->w.n || n > p->w.n) return false;
  EACH_RUN(p->w.w, p->w.n, n, h, i) s->windows[count++] = (window){h, (uint32_t)i};
  qsort(s->windows, count, sizeof *s->windows, by_hash);
  EACH_RUN(s->w.w, s->w.n, n, h, i) {
    for (lo = 0, hi = count; lo < hi;) {
      size_t mid = (lo + hi) / 2;
      if (s->windows[mid].hash < h)
        lo = mid + 1;
      else
        hi = mid;
    }
    /* equal hashes are equal words but for a collision, so that the first is compared and seldom a second */
    for (; lo < count && s->windows[lo].hash == h; lo++) {
      size_t k = 0;
      while (k < n && same_word(&s->w, i + k, &p->w, s->windows[lo].at + k)) k++;
      if (k < n) continue;
      *at = i;
      *from = s->windows[lo].at;
      return true;
    }
  }
  return false;
}

/* Where a prompt repeats itself, the pairs of equal places are as many as the product of the two lengths. Its
 * longest run in common is found by halving instead: a common run of n words has one of n - 1. */
static rw_status longest_common(decon_scratch *s, const prompt *p, size_t turn, rw_error *err) {
  size_t lo = (size_t)s->d->o.ngram, hi = (s->w.n < p->w.n ? s->w.n : p->w.n) + 1, at = 0, from = 0;
  if (!mem_grow((void **)&s->windows, &s->cap_windows, p->w.n, sizeof *s->windows)) return rw_nomem(err, "matches");
  if (!first_common(s, p, lo, &at, &from)) return RW_OK;
  while (hi - lo > 1) {
    size_t mid = (lo + hi) / 2;
    if (first_common(s, p, mid, &at, &from))
      lo = mid;
    else
      hi = mid;
  }
  return note(s, p, turn, at, from, lo, err);
}

/* All prompts whose gram has this hash, against the message's words from `at` on. */
static rw_status check_hits(decon_scratch *s, uint64_t hash, size_t turn, size_t at, size_t n, bool whole,
                            rw_error *err) {
  const decon_index *d = s->d;
  for (uint32_t g = d->slots[slot_of(d, hash)]; g != UINT32_MAX; g = d->grams[g].next) {
    if (d->grams[g].hash != hash) continue;
    const prompt *p = &d->prompts[d->grams[g].prompt];
    size_t from = d->grams[g].at, run = 0;
    if ((p->w.n < (size_t)d->o.ngram) != whole) continue;
    if (p->repeats) {
      uint32_t *seen = &s->searched[d->grams[g].prompt];
      if (*seen != s->search) RW_TRY(longest_common(s, p, turn, err));
      *seen = s->search;
      continue;
    }
    if (at > 0 && from > 0 && same_word(&s->w, at - 1, &p->w, from - 1))
      continue; /* seen as part of a longer run */
    while (at + run < s->w.n && from + run < p->w.n && same_word(&s->w, at + run, &p->w, from + run)) run++;
    if (run < n || (whole && p->w.n != n)) continue;
    RW_TRY(note(s, p, turn, at, from, run, err));
  }
  return RW_OK;
}

static rw_status check_message(decon_scratch *s, slice text, size_t turn, rw_error *err) {
  const decon_index *d = s->d;
  size_t n = (size_t)d->o.ngram;
  if (!words_of(&s->w, text, d->o.gist)) return rw_nomem(err, "a prompt's words");
  const word *w = s->w.w;
  s->message = text;
  s->search++;
  if (s->w.n == 0) return RW_OK;
  if (s->w.n < n) {
    uint64_t h = short_hash(w, s->w.n);
    return !d->o.gist && filter_has(d, h) ? check_hits(s, h, turn, 0, s->w.n, true, err) : RW_OK;
  }
  uint64_t h = run_hash(w, n), ahead[AHEAD];
  for (size_t i = 0, end = s->w.n - n + 1; i < end;) {
    size_t k = 0;
    for (; k < AHEAD && i + k < end; k++) {
      if (i + k > 0) h = (h - w[i + k - 1].hash * d->lead) * BASE + w[i + k + n - 1].hash;
      ahead[k] = h;
      __builtin_prefetch(filter_word(d, h));
    }
    for (size_t from = i; i < from + k; i++)
      if (filter_has(d, ahead[i - from])) RW_TRY(check_hits(s, ahead[i - from], turn, i, n, false, err));
  }
  return RW_OK;
}

static bool among(const texts *t, slice text) {
  for (size_t i = 0; i < t->n; i++)
    if (t->text[i].p && slice_eq(t->text[i], text)) return true;
  return false;
}

static int preference(const bench_row *b, const conv_row *row) {
  int p = 0;
  if (row->kind != ROW_PAIR) return 0;
  for (size_t i = 0; i < row->n_branches; i++) {
    const conversation *c = &row->branch[i];
    if (c->n_messages == 0) continue;
    slice text = c->messages[c->n_messages - 1].content;
    bool preferred = i < row->n_chosen;
    if (among(preferred ? &b->chosen : &b->rejected, text))
      p |= preferred ? DECON_SAME_CHOSEN : DECON_SAME_REJECTED;
    if (among(preferred ? &b->rejected : &b->chosen, text)) p |= DECON_FLIPPED;
  }
  return p;
}

/* Branches share their prompts as a rule: a message that the first branch has at the same place is not checked
 * again. */
static bool seen_before(const conv_row *row, size_t b, size_t i) {
  const conversation *first = &row->branch[0], *c = &row->branch[b];
  return b > 0 && i < first->n_messages && conv_same_message(&first->messages[i], &c->messages[i]);
}

rw_status decon_check(const decon_index *d, decon_scratch *s, const conv_row *row, const decon_match **m, size_t *n,
                      rw_error *err) {
  s->n = 0;
  s->now++;
  str_clear(&s->text);
  for (size_t b = 0; b < row->n_branches; b++) {
    const conversation *c = &row->branch[b];
    if (c->ids)
      return rw_fail(err, RW_DATA,
                     "row: expected text or messages, got token ids, whose words cannot be compared; give the rows "
                     "from before tokenizing");
    size_t user = 0;
    for (size_t i = 0; i < c->n_messages; i++) {
      if (c->messages[i].role != ROLE_USER) continue;
      if (!seen_before(row, b, i)) RW_TRY(check_message(s, c->messages[i].content, user, err));
      user++;
    }
    if (c->text.p) RW_TRY(check_message(s, c->text, 0, err));
  }
  for (size_t i = 0; i < s->n; i++) {
    s->m[i].span.p = s->text.p + s->span_at[i];
    s->m[i].preference = preference(&d->rows[s->m[i].bench], row);
  }
  /* the benchmark's order, whatever order the words were met in */
  for (size_t i = 1; i < s->n; i++) {
    decon_match x = s->m[i];
    size_t j = i;
    for (; j > 0 && s->m[j - 1].bench > x.bench; j--) s->m[j] = s->m[j - 1];
    s->m[j] = x;
  }
  *m = s->m;
  *n = s->n;
  return RW_OK;
}

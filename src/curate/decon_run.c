/* decon_run.c - `reward decontaminate`: training files through the index, into clean and removed rows and a report.
 */
#include <stdio.h>
#include <string.h>

#include "reward/decontaminate.h"
#include "reward/log.h"
#include "reward/report.h"
#include "reward/rows.h"

enum { SHOWN_MATCHES = 60 }; /* in report.html, longest first */

typedef struct {
  size_t rows, hit;
} tally;

typedef struct {
  size_t words, rows;       /* rows: with the same two texts, shown once */
  char *heading, *texts[2]; /* owned */
  rep_marked view[2];
} shown;

typedef struct {
  const decon_run_options *o;
  decon_index *d;
  const char *path;
  rows_out *clean, *removed;
  struct lane {
    json_doc *doc;
    arena *mem;
    decon_scratch *scratch;
  } * lanes;
  decon_counts counts;
  size_t same_chosen, same_rejected, flipped;
  uint8_t *matched; /* of benchmark rows */
  map *by_source;   /* source → index of tallies */
  tally *tallies;
  slice *sources;
  size_t n_sources, cap_tallies, cap_sources;
  shown shown[SHOWN_MATCHES];
  size_t n_shown;
  arena *mem;
  json_doc *doc, *views;
  progress p;
} run;

/* The messages of a row without a response: instruction or prompt (a text, a transcript, or messages), or messages
 * that a user ends. None: n 0. */
static rw_status read_prompt(json_doc *d, message **m, size_t *n, arena *a, rw_error *err) {
  static const char *const fields[] = {"messages", "instruction", "prompt"};
  *n = 0;
  if (json_get(d, 0, "chosen") != JSON_NONE || json_get(d, 0, "rejected") != JSON_NONE) return RW_OK;
  for (size_t i = 0; i < 3; i++) {
    json_val v = json_get(d, 0, fields[i]);
    slice text = json_string(d, v);
    if (json_kind(d, v) == JSON_ARRAY) return conv_messages(m, n, d, v, fields[i], a, err);
    if (!text.p) continue;
    if (conv_from_transcript(text, m, n, a, NULL) == RW_OK) return RW_OK;
    if (!(*m = arena_alloc(a, 1, sizeof **m))) return rw_nomem(err, "a row");
    (*m)[0] = (message){ROLE_USER, text};
    *n = 1;
    return RW_OK;
  }
  return RW_OK;
}

/* A training row; one that holds no response counts by its user messages. */
static rw_status read_row(json_doc *d, conv_row *row, arena *a, rw_error *err) {
  rw_status s = conv_read(row, d, 0, a, err);
  if (s != RW_DATA || json_kind(d, 0) != JSON_OBJECT) return s;
  message *m = NULL;
  size_t n = 0;
  rw_error other;
  rw_status t = read_prompt(d, &m, &n, a, &other);
  if (t || n == 0) return s; /* the row's first error says more */
  slice source = row->source;
  *row = (conv_row){.kind = ROW_SINGLE, .n_branches = 1, .source = source};
  row->branch = arena_alloc(a, 1, sizeof *row->branch);
  if (!row->branch) return rw_nomem(err, "a row");
  *row->branch = (conversation){.messages = m, .n_messages = n};
  return RW_OK;
}

static size_t characters(slice s, size_t bytes) {
  size_t n = 0;
  for (size_t i = 0; i < bytes && i < s.len; i++) n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
  return n;
}

/* Result: source, a newline, then nothing (clean), or the match list as JSON, a newline, and for each match the
 * training message, the benchmark's prompt and the bytes of the span in each, as JSON too. */
static rw_status work(void *ctx, int thread, slice row, uint64_t line, str *out, rw_error *err) {
  run *r = ctx;
  struct lane *l = &r->lanes[thread];
  const decon_match *m;
  conv_row c;
  size_t n;
  arena_reset(l->mem);
  rw_status s = json_parse(l->doc, row.p, row.len, err);
  if (!s) s = read_row(l->doc, &c, l->mem, err);
  if (!s) s = decon_check(r->d, l->scratch, &c, &m, &n, err);
  if (s) return rw_context(err, s, "%s:%llu", r->path, (unsigned long long)line);
  for (size_t i = 0; i < c.source.len; i++) str_addc(out, c.source.p[i] == '\n' ? ' ' : c.source.p[i]);
  str_addc(out, '\n');
  if (n == 0) return RW_OK;
  str_addc(out, '[');
  for (size_t i = 0; i < n; i++) {
    str_addz(out, i ? ", {\"bench_id\": " : "{\"bench_id\": ");
    str_add(out, m[i].id.p, m[i].id.len);
    str_addz(out, ", \"span\": ");
    str_json(out, m[i].span.p, m[i].span.len);
    str_printf(out, ", \"words\": %zu, \"message\": %zu", m[i].words, m[i].message);
    str_printf(out, ", \"train_chars\": [%zu, %zu], \"bench_chars\": [%zu, %zu]", characters(m[i].text, m[i].from),
               characters(m[i].text, m[i].to), characters(m[i].prompt, m[i].bench_from),
               characters(m[i].prompt, m[i].bench_to));
    if (m[i].subset.len) {
      str_addz(out, ", \"subset\": ");
      str_json(out, m[i].subset.p, m[i].subset.len);
    }
    if (m[i].preference)
      str_printf(out, ", \"preference\": \"%s\"",
                 m[i].preference & DECON_FLIPPED       ? "flipped"
                 : m[i].preference & DECON_SAME_CHOSEN ? "same chosen"
                                                       : "same rejected");
    str_printf(out, ", \"bench_row\": %zu}", m[i].bench);
  }
  str_addz(out, "]\n[");
  for (size_t i = 0; i < n; i++) {
    str_addz(out, i ? ", [" : "[");
    str_json(out, m[i].prompt.p, m[i].prompt.len);
    str_printf(out, ", %zu, %zu, ", m[i].bench_from, m[i].bench_to);
    str_json(out, m[i].text.p, m[i].text.len);
    str_printf(out, ", %zu, %zu]", m[i].from, m[i].to);
  }
  str_addc(out, ']');
  return RW_OK;
}

static void free_shown(shown *m) {
  mem_free(m->heading);
  mem_free(m->texts[0]);
  mem_free(m->texts[1]);
}

/* Keeps a match for report.html when it is among the longest. v: its view, as work() wrote it. */
static rw_status show(run *r, size_t words, slice id, slice subset, slice source, json_val v, rw_error *err) {
  size_t at = r->n_shown;
  while (at > 0 && r->shown[at - 1].words < words) at--;
  json_val text = json_first(r->views, v), train = json_at(r->views, v, 3);
  slice both[2] = {json_string(r->views, text), json_string(r->views, train)};
  for (size_t i = at; i-- > 0 && r->shown[i].words == words;)
    if (slice_eq(r->shown[i].view[0].text, both[0]) && slice_eq(r->shown[i].view[1].text, both[1]))
      return r->shown[i].rows++, RW_OK;
  if (at == SHOWN_MATCHES) return RW_OK;
  shown m = {.words = words, .rows = 1};
  m.heading = mem_printf("%zu words: benchmark %.*s%s%.*s, training row %zu%s%.*s", words, (int)subset.len,
                         subset.p, subset.len ? " " : "", (int)id.len, id.p, r->counts.train_rows,
                         source.len ? " of " : "", (int)source.len, source.p);
  for (int k = 0; k < 2; k++, text = train) {
    json_val place = json_next(r->views, text);
    int64_t from = 0, to = 0;
    json_int(r->views, place, &from);
    json_int(r->views, json_next(r->views, place), &to);
    m.texts[k] = mem_strndup(both[k].p ? both[k].p : "", both[k].len);
    m.view[k] = (rep_marked){
        k ? "training prompt" : "benchmark prompt", {m.texts[k], both[k].len}, (size_t)from, (size_t)(to - from)};
  }
  if (!m.heading || !m.texts[0] || !m.texts[1]) {
    free_shown(&m);
    return rw_nomem(err, "matches");
  }
  if (r->n_shown == SHOWN_MATCHES) free_shown(&r->shown[--r->n_shown]);
  memmove(r->shown + at + 1, r->shown + at, (r->n_shown++ - at) * sizeof *r->shown);
  r->shown[at] = m;
  return RW_OK;
}

static rw_status count_match(run *r, json_val m, json_val view, slice source, bool first, rw_error *err) {
  json_doc *d = r->doc;
  int64_t bench = 0, words = 0;
  json_int(d, json_get(d, m, "bench_row"), &bench);
  json_int(d, json_get(d, m, "words"), &words);
  slice p = json_string(d, json_get(d, m, "preference")), subset = json_string(d, json_get(d, m, "subset"));
  r->counts.matched += !r->matched[bench];
  r->matched[bench] = 1;
  if (first && p.p) {
    r->same_chosen += slice_is(p, "same chosen");
    r->same_rejected += slice_is(p, "same rejected");
    r->flipped += slice_is(p, "flipped");
  }
  return show(r, (size_t)words, json_raw(d, json_get(d, m, "bench_id")), subset.p ? subset : SLICE(""), source,
              view, err);
}

static rw_status source_tally(run *r, slice source, tally **out, rw_error *err) {
  bool was_new;
  int64_t *i = map_put(r->by_source, source.p, source.len, (int64_t)r->n_sources, &was_new);
  if (!i) return rw_nomem(err, "sources");
  if (was_new) {
    slice name = {arena_strndup(r->mem, source.p, source.len), source.len};
    size_t n = r->n_sources;
    if (!name.p || !mem_grow((void **)&r->tallies, &r->cap_tallies, n + 1, sizeof *r->tallies) ||
        !vec_push(r->sources, r->n_sources, r->cap_sources, name))
      return rw_nomem(err, "sources");
    r->tallies[n] = (tally){0, 0};
  }
  *out = &r->tallies[*i];
  return RW_OK;
}

/* The row with its matches; a field contamination that it had from before gives way. */
static rw_status write_removed(run *r, slice row, slice list, rw_error *err) {
  str s = {0};
  size_t n = 0;
  RW_TRY(json_parse(r->doc, row.p, row.len, err));
  if (json_get(r->doc, 0, "contamination") == JSON_NONE) {
    size_t end = row.len;
    while (end > 0 && row.p[end - 1] != '}') end--;
    str_add(&s, row.p, end - 1);
    n = json_count(r->doc, 0);
  } else {
    str_addc(&s, '{');
    for (json_val v = json_first(r->doc, 0); v != JSON_NONE; v = json_next(r->doc, v)) {
      slice key = json_key(r->doc, v), raw = json_raw(r->doc, v);
      if (slice_is(key, "contamination")) continue;
      str_addz(&s, n++ ? ", " : "");
      str_json(&s, key.p, key.len);
      str_addz(&s, ": ");
      str_add(&s, raw.p, raw.len);
    }
  }
  str_addz(&s, n ? ", \"contamination\": " : "\"contamination\": ");
  str_add(&s, list.p, list.len);
  str_addc(&s, '}');
  rw_status st = s.oom ? rw_nomem(err, "a row") : rows_write(r->removed, s.p, s.len, err);
  str_free(&s);
  return st;
}

static slice up_to_newline(slice *rest) {
  const char *nl = memchr(rest->p, '\n', rest->len);
  slice first = {rest->p, nl ? (size_t)(nl - rest->p) : rest->len};
  *rest = nl ? (slice){nl + 1, rest->len - first.len - 1} : (slice){rest->p + rest->len, 0};
  return first;
}

static rw_status sink(void *ctx, slice row, uint64_t line, slice result, rw_error *err) {
  run *r = ctx;
  (void)line;
  slice source = up_to_newline(&result), list = up_to_newline(&result);
  tally *t = NULL;
  RW_TRY(source_tally(r, source, &t, err));
  r->counts.train_rows++;
  t->rows++;
  progress_set(&r->p, r->counts.train_rows, NULL);
  if (list.len == 0) return rows_write(r->clean, row.p, row.len, err);
  r->counts.contaminated++;
  t->hit++;
  RW_TRY(json_parse(r->doc, list.p, list.len, err));
  RW_TRY(json_parse(r->views, result.p, result.len, err));
  json_val first = json_first(r->doc, 0), view = json_first(r->views, 0);
  for (json_val m = first; m != JSON_NONE; m = json_next(r->doc, m), view = json_next(r->views, view))
    RW_TRY(count_match(r, m, view, source, m == first, err));
  return write_removed(r, row, list, err);
}

static rw_status run_file(run *r, const char *path, rw_error *err) {
  rows_in *in;
  rows_pass pass = {work, sink, r};
  r->path = rows_label(path);
  RW_TRY(rows_open(&in, path, err));
  rw_status s = rows_run(in, r->o->threads, &pass, err);
  rows_close(in);
  return s;
}

/* ---- reports ---- */

/* Benchmark rows and matched ones of each subset, as a map's worth of pairs in first-seen order. */
static rw_status subsets(const run *r, slice **names, tally **t, size_t *n, rw_error *err) {
  size_t cap_n = 0, cap_t = 0;
  map *seen = map_new();
  *names = NULL, *t = NULL, *n = 0;
  rw_status s = seen ? RW_OK : rw_nomem(err, "subsets");
  for (size_t i = 0; !s && i < decon_rows(r->d); i++) {
    slice name = decon_row_subset(r->d, i);
    bool was_new;
    if (!name.p) name = SLICE("");
    int64_t *k = map_put(seen, name.p, name.len, (int64_t)*n, &was_new);
    if (!k || !mem_grow((void **)t, &cap_t, *n + 1, sizeof **t)) s = rw_nomem(err, "subsets");
    if (!s && was_new) {
      (*t)[*n] = (tally){0, 0};
      if (!vec_push(*names, *n, cap_n, name)) s = rw_nomem(err, "subsets");
    }
    if (s) break;
    (*t)[*k].rows++;
    (*t)[*k].hit += r->matched[i] > 0;
  }
  map_free(seen);
  return s;
}

static void add_tallies(str *s, const char *name, const char *rows, const char *hit, const slice *names,
                        const tally *t, size_t n) {
  str_printf(s, ",\n  \"%s\": {", name);
  for (size_t i = 0; i < n; i++) {
    str_addz(s, i ? ",\n    " : "\n    ");
    str_json(s, names[i].len ? names[i].p : "(none)", names[i].len ? names[i].len : 6);
    str_printf(s, ": {\"%s\": %zu, \"%s\": %zu}", rows, t[i].rows, hit, t[i].hit);
  }
  str_addz(s, n ? "\n  }" : "}");
}

static rw_status write_json(const run *r, const slice *names, const tally *t, size_t n, rw_error *err) {
  str s = {0};
  char *path = file_join(r->o->out, "report.json");
  const decon_counts *c = &r->counts;
  str_printf(&s,
             "{\n  \"ngram\": %lld,\n  \"preset\": \"%s\",\n  \"train_rows\": %zu,\n  \"bench_rows\": %zu,\n  "
             "\"bench_prompts_matched\": %zu,\n"
             "  \"train_prompts_contaminated\": %zu,\n  \"preference\": {\"same_chosen\": %zu, \"same_rejected\": "
             "%zu, \"flipped\": %zu}",
             (long long)r->o->options.ngram, r->o->options.gist ? "gist" : "default", c->train_rows, c->bench_rows,
             c->matched, c->contaminated, r->same_chosen, r->same_rejected, r->flipped);
  add_tallies(&s, "sources", "train_rows", "contaminated", r->sources, r->tallies, r->n_sources);
  add_tallies(&s, "subsets", "bench_rows", "matched", names, t, n);
  str_addz(&s, "\n}\n");
  rw_status st = path && !s.oom ? file_put(path, s.p, s.len, err) : rw_nomem(err, "report.json");
  mem_free(path);
  str_free(&s);
  return st;
}

static rw_status write_html(const run *r, const slice *names, const tally *t, size_t n, rw_error *err) {
  rep_page *p = rep_page_new("Contamination", "Training prompts that share words with a benchmark's prompts.");
  const decon_counts *c = &r->counts;
  rep_fact_int(p, "training rows", (int64_t)c->train_rows);
  rep_fact_int(p, "contaminated", (int64_t)c->contaminated);
  rep_fact_int(p, "benchmark rows", (int64_t)c->bench_rows);
  rep_fact_int(p, "matched", (int64_t)c->matched);
  rep_text(p, "A match is %lld consecutive words in common, or the whole of a shorter prompt.",
           (long long)r->o->options.ngram);
  rep_table *st = rep_table_new((const char *[]){"source", ">training rows", ">contaminated"}, 3);
  for (size_t i = 0; i < r->n_sources; i++) {
    rep_cell_text(st, r->sources[i].len ? r->sources[i] : SLICE("(none)"));
    rep_cell_int(st, (int64_t)r->tallies[i].rows);
    rep_cell_int(st, (int64_t)r->tallies[i].hit);
  }
  rep_put_table(p, st, "By source of the training rows");
  rep_table *bt = rep_table_new((const char *[]){"subset", ">rows", ">matched"}, 3);
  for (size_t i = 0; i < n; i++) {
    rep_cell_text(bt, names[i].len ? names[i] : SLICE("(none)"));
    rep_cell_int(bt, (int64_t)t[i].rows);
    rep_cell_int(bt, (int64_t)t[i].hit);
  }
  rep_put_table(p, bt, "By subset of the benchmark");
  if (r->n_shown > 0) rep_section(p, "Matches, longest first");
  for (size_t i = 0; i < r->n_shown; i++) {
    const shown *m = &r->shown[i];
    char *more = m->rows > 1 ? mem_printf("%s; %zu matches of these two texts", m->heading, m->rows) : NULL;
    rep_texts(p, more ? more : m->heading, m->view, 2);
    mem_free(more);
  }
  char *path = file_join(r->o->out, "report.html");
  rw_status s = path ? rep_page_write(p, path, err) : rw_nomem(err, "report.html");
  mem_free(path);
  rep_table_free(st);
  rep_table_free(bt);
  rep_page_free(p);
  return s;
}

static rw_status prepare(run *r, rw_error *err) {
  const decon_run_options *o = r->o;
  RW_TRY(decon_open(&r->d, o->bench, o->n_bench, &o->options, err));
  int threads = pool_threads(o->threads);
  r->counts.bench_rows = decon_rows(r->d);
  r->mem = arena_new();
  r->by_source = map_new();
  r->doc = json_new();
  r->views = json_new();
  r->matched = mem_zalloc(decon_rows(r->d), 1);
  r->lanes = mem_zalloc((size_t)threads, sizeof *r->lanes);
  bool ok = r->mem && r->by_source && r->doc && r->views && r->matched && r->lanes;
  for (int i = 0; ok && i < threads; i++) {
    r->lanes[i].doc = json_new();
    r->lanes[i].mem = arena_new();
    r->lanes[i].scratch = decon_scratch_new(r->d);
    ok = r->lanes[i].doc && r->lanes[i].mem && r->lanes[i].scratch;
  }
  char *clean = file_join(o->out, "clean.jsonl"), *removed = file_join(o->out, "removed.jsonl");
  rw_status s = ok && clean && removed ? RW_OK : rw_nomem(err, "decontamination");
  if (!s) s = rows_create(&r->clean, clean, err);
  if (!s) s = rows_create(&r->removed, removed, err);
  mem_free(clean);
  mem_free(removed);
  return s;
}

static rw_status whole(run *r, rw_error *err) {
  slice *names = NULL;
  tally *t = NULL;
  size_t n = 0;
  RW_TRY(prepare(r, err));
  progress_start(&r->p, "decontaminating", "rows", 0);
  for (size_t i = 0; i < r->o->n_train; i++) RW_TRY(run_file(r, r->o->train[i], err));
  progress_end(&r->p);
  rw_status s = subsets(r, &names, &t, &n, err);
  if (!s) s = write_html(r, names, t, n, err);
  rows_out *clean = r->clean, *removed = r->removed;
  if (!s) {
    r->removed = NULL;
    s = rows_commit(removed, err);
  }
  if (!s) {
    r->clean = NULL;
    s = rows_commit(clean, err);
  }
  if (!s) s = write_json(r, names, t, n, err);
  mem_free(names);
  mem_free(t);
  return s;
}

rw_status decon_run(const decon_run_options *o, decon_counts *counts, rw_error *err) {
  run r = {.o = o};
  rw_status s = whole(&r, err);
  *counts = r.counts;
  rows_abort(r.clean);
  rows_abort(r.removed);
  for (int i = 0; r.lanes && i < pool_threads(o->threads); i++) {
    json_free(r.lanes[i].doc);
    arena_free(r.lanes[i].mem);
    decon_scratch_free(r.lanes[i].scratch);
  }
  void *p[] = {r.lanes, r.matched, r.tallies, r.sources};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  map_free(r.by_source);
  json_free(r.doc);
  json_free(r.views);
  for (size_t i = 0; i < r.n_shown; i++) free_shown(&r.shown[i]);
  arena_free(r.mem);
  decon_free(r.d);
  return s;
}

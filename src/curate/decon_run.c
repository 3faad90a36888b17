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
  size_t words;
  slice id, subset, span, bench, train;
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
  shown *shown;
  size_t n_shown, cap_shown;
  arena *mem;
  json_doc *doc;
  progress p;
} run;

/* A training row; one that holds only a prompt (or an instruction) counts by it. */
static rw_status read_row(json_doc *d, conv_row *row, arena *a, rw_error *err) {
  rw_status s = conv_read(row, d, 0, a, err);
  if (!s) return s;
  static const char *const fields[] = {"instruction", "prompt"};
  for (size_t i = 0; i < 2; i++) {
    slice text = json_string(d, json_get(d, 0, fields[i]));
    if (!text.p || json_get(d, 0, "chosen") != JSON_NONE) continue;
    slice source = row->source;
    *row = (conv_row){
        .kind = ROW_SINGLE, .n_branches = 1, .source = source, .branch = arena_alloc(a, 1, sizeof(conversation))};
    if (!row->branch) return rw_nomem(err, "a row");
    row->branch->messages = arena_alloc(a, 1, sizeof(message));
    if (!row->branch->messages) return rw_nomem(err, "a row");
    row->branch->messages[0] = (message){ROLE_USER, text};
    row->branch->n_messages = 1;
    return RW_OK;
  }
  return s;
}

/* Result: source, a newline, then nothing (clean) or the match list as JSON. */
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
    str_json(out, m[i].id.p, m[i].id.len);
    str_addz(out, ", \"span\": ");
    str_json(out, m[i].span.p, m[i].span.len);
    str_printf(out, ", \"words\": %zu, \"message\": %zu", m[i].words, m[i].message);
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
  str_addc(out, ']');
  return RW_OK;
}

static slice kept(run *r, slice s) {
  size_t n = s.len < 600 ? s.len : 600;
  while (n < s.len && n > 0 && ((unsigned char)s.p[n] & 0xC0) == 0x80) n--;
  return (slice){arena_strndup(r->mem, s.p ? s.p : "", n), n};
}

static rw_status count_match(run *r, json_doc *d, json_val m, slice row, bool first, rw_error *err) {
  int64_t bench = 0, words = 0;
  json_int(d, json_get(d, m, "bench_row"), &bench);
  json_int(d, json_get(d, m, "words"), &words);
  slice p = json_string(d, json_get(d, m, "preference"));
  if (!r->matched[bench]++) r->counts.matched++;
  if (r->matched[bench] == 255) r->matched[bench] = 254;
  if (first && p.p) {
    r->same_chosen += slice_is(p, "same chosen");
    r->same_rejected += slice_is(p, "same rejected");
    r->flipped += slice_is(p, "flipped");
  }
  shown s = {(size_t)words,
             kept(r, json_string(d, json_get(d, m, "bench_id"))),
             kept(r, json_string(d, json_get(d, m, "subset"))),
             kept(r, json_string(d, json_get(d, m, "span"))),
             {0},
             kept(r, row)};
  size_t at = r->n_shown;
  while (at > 0 && r->shown[at - 1].words < s.words) at--;
  if (at >= SHOWN_MATCHES) return RW_OK;
  if (r->n_shown < SHOWN_MATCHES && !vec_push(r->shown, r->n_shown, r->cap_shown, s))
    return rw_nomem(err, "matches");
  memmove(r->shown + at + 1, r->shown + at, (r->n_shown - at - 1) * sizeof *r->shown);
  r->shown[at] = s;
  return RW_OK;
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

static rw_status sink(void *ctx, slice row, uint64_t line, slice result, rw_error *err) {
  run *r = ctx;
  (void)line;
  const char *nl = memchr(result.p, '\n', result.len);
  slice source = {result.p, (size_t)(nl - result.p)}, list = {nl + 1, result.len - source.len - 1};
  tally *t = NULL;
  RW_TRY(source_tally(r, source, &t, err));
  r->counts.train_rows++;
  t->rows++;
  progress_set(&r->p, r->counts.train_rows, NULL);
  if (list.len == 0) return rows_write(r->clean, row.p, row.len, err);
  r->counts.contaminated++;
  t->hit++;
  RW_TRY(json_parse(r->doc, list.p, list.len, err));
  bool first = true;
  for (json_val m = json_first(r->doc, 0); m != JSON_NONE; m = json_next(r->doc, m), first = false)
    RW_TRY(count_match(r, r->doc, m, row, first, err));
  str s = {0};
  size_t end = row.len;
  while (end > 0 && row.p[end - 1] != '}') end--;
  str_add(&s, row.p, end - 1);
  str_addz(&s, ", \"contamination\": ");
  str_add(&s, list.p, list.len);
  str_addc(&s, '}');
  rw_status st = s.oom ? rw_nomem(err, "a row") : rows_write(r->removed, s.p, s.len, err);
  str_free(&s);
  return st;
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
  rep_fact(p, "training rows", "%zu", c->train_rows);
  rep_fact(p, "contaminated", "%zu", c->contaminated);
  rep_fact(p, "benchmark rows", "%zu", c->bench_rows);
  rep_fact(p, "matched", "%zu", c->matched);
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
  rep_section(p, "Matches, longest first");
  rep_table *mt =
      rep_table_new((const char *[]){"benchmark id", "subset", ">words", "shared words", "training row"}, 5);
  for (size_t i = 0; i < r->n_shown; i++) {
    const shown *m = &r->shown[i];
    rep_cell_text(mt, m->id);
    rep_cell_text(mt, m->subset);
    rep_cell_int(mt, (int64_t)m->words);
    rep_cell_text(mt, m->span);
    rep_cell_text(mt, m->train);
  }
  rep_put_table(p, mt, NULL);
  char *path = file_join(r->o->out, "report.html");
  rw_status s = path ? rep_page_write(p, path, err) : rw_nomem(err, "report.html");
  mem_free(path);
  rep_table_free(st);
  rep_table_free(bt);
  rep_table_free(mt);
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
  r->matched = mem_zalloc(decon_rows(r->d), 1);
  r->lanes = mem_zalloc((size_t)threads, sizeof *r->lanes);
  bool ok = r->mem && r->by_source && r->doc && r->matched && r->lanes;
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
  void *p[] = {r.lanes, r.matched, r.tallies, r.sources, r.shown};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  map_free(r.by_source);
  json_free(r.doc);
  arena_free(r.mem);
  decon_free(r.d);
  return s;
}

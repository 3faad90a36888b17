/* decon_run.c - `reward decontaminate`: training files through the index, into clean and removed rows and a report.
 */
#include <stdio.h>
#include <string.h>

#include "curate/source.h"
#include "reward/decontaminate.h"
#include "reward/log.h"
#include "reward/report.h"
#include "reward/rows.h"

enum { SHOWN_MATCHES = 60 }; /* in report.html, longest first */

/* Of a source: its training rows; of a subset or a file of the benchmark: its benchmark rows. */
typedef struct {
  size_t rows;
  size_t contaminated; /* training rows */
  size_t matched;      /* benchmark rows */
  size_t last;         /* the training row that counted last, from 1: one that matches several rows counts once */
} tally;

/* Tallies by name, in the order in which the names were met. */
typedef struct {
  map *ids;
  slice *names;
  tally *t;
  size_t n, cap_names, cap_t;
} tallies;

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
    json_doc *turns; /* of a HelpSteer2 prompt, which its source writes as JSON */
    str turns_text;
  } * lanes;
  decon_counts counts;
  size_t same_chosen, same_rejected, flipped; /* contaminated rows; one can count in several */
  uint8_t *matched;                           /* of benchmark rows */
  tallies sources, subsets, files;
  map *met; /* which source matched which benchmark row: no more entries than the matches found */
  shown shown[SHOWN_MATCHES];
  size_t n_shown;
  arena *mem;
  json_doc *doc, *views;
  progress p;
} run;

/* The messages of a row without a response: instruction or prompt (a text, a transcript, or messages), or messages
 * that a user ends, of which those after the last answer do not count. None: n 0. */
static rw_status read_prompt(json_doc *d, message **m, size_t *n, arena *a, rw_error *err) {
  static const char *const fields[] = {"messages", "instruction", "prompt"};
  *n = 0;
  if (json_get(d, 0, "chosen") != JSON_NONE || json_get(d, 0, "rejected") != JSON_NONE) return RW_OK;
  for (size_t i = 0; i < 3; i++) {
    json_val v = json_get(d, 0, fields[i]);
    slice text = json_string(d, v);
    if (json_kind(d, v) == JSON_ARRAY) {
      RW_TRY(conv_messages(m, n, d, v, fields[i], a, err));
      size_t end = *n;
      while (i == 0 && end > 0 && (*m)[end - 1].role != ROLE_ASSISTANT) end--;
      if (end > 0) *n = end;
      return RW_OK;
    }
    if (!text.p) continue;
    if (conv_from_transcript(text, m, n, a, NULL) == RW_OK) return RW_OK;
    if (!(*m = arena_alloc(a, 1, sizeof **m))) return rw_nomem(err, "a row");
    (*m)[0] = (message){ROLE_USER, text};
    *n = 1;
    return RW_OK;
  }
  return RW_OK;
}

/* A raw row of HelpSteer2 has all turns in one text, with marks between them: split as its source does. */
static rw_status split_turns(struct lane *l, conversation *c, rw_error *err) {
  static const scan none = {0};
  slice prompt = c->messages[0].content;
  if (!memmem(prompt.p, prompt.len, "\n<extra_id_1>", 13)) return RW_OK;
  if (!json_string(l->doc, json_get(l->doc, 0, "response")).p) return RW_OK;
  str_clear(&l->turns_text);
  RW_TRY(curate_source(SLICE("helpsteer2"))->text(l->doc, l->mem, &none, 0, &l->turns_text, err));
  if (l->turns_text.oom) return rw_nomem(err, "a row");
  RW_TRY(json_parse(l->turns, l->turns_text.p, l->turns_text.len, err));
  return conv_messages(&c->messages, &c->n_messages, l->turns, 0, "prompt", l->mem, err);
}

/* A training row; one that holds no response counts by its user messages. */
static rw_status read_row(struct lane *l, conv_row *row, rw_error *err) {
  json_doc *d = l->doc;
  arena *a = l->mem;
  rw_status s = conv_read(row, d, 0, a, err);
  if (!s && row->kind == ROW_SINGLE && row->branch->messages) return split_turns(l, row->branch, err);
  if (s != RW_DATA || json_kind(d, 0) != JSON_OBJECT) return s;
  message *m = NULL;
  size_t n = 0;
  rw_error other;
  rw_status t = read_prompt(d, &m, &n, a, &other);
  if (t || n == 0) return s; /* the row's first error says more */
  slice origin = row->source;
  *row = (conv_row){.kind = ROW_SINGLE, .n_branches = 1, .source = origin};
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

/* "same chosen, flipped": the names of decon_preference bits. */
static void add_preference(str *out, int bits) {
  static const char *const names[] = {"same chosen", "same rejected", "flipped"};
  bool first = true;
  for (int k = 0; k < 3; k++)
    if (bits >> k & 1) {
      str_printf(out, "%s%s", first ? "" : ", ", names[k]);
      first = false;
    }
}

/* Result: the decon_preference bits over all matches as a digit, the source, a newline, then nothing (clean), or
 * the match list as JSON, a newline, and for each match the training message, the benchmark's prompt and the bytes
 * of the span in each, as JSON too. */
static rw_status work(void *ctx, int thread, slice row, uint64_t line, str *out, rw_error *err) {
  run *r = ctx;
  struct lane *l = &r->lanes[thread];
  const decon_match *m;
  conv_row c;
  size_t n;
  arena_reset(l->mem);
  rw_status s = json_parse(l->doc, row.p, row.len, err);
  if (!s) s = read_row(l, &c, err);
  if (!s) s = decon_check(r->d, l->scratch, &c, &m, &n, err);
  if (s) return rw_context(err, s, "%s:%llu", r->path, (unsigned long long)line);
  int bits = 0;
  for (size_t i = 0; i < n; i++) bits |= m[i].preference;
  str_addc(out, (char)('0' + bits));
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
    if (m[i].preference) {
      str_addz(out, ", \"preference\": \"");
      add_preference(out, m[i].preference);
      str_addc(out, '"');
    }
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
static rw_status show(run *r, size_t words, slice id, slice subset, slice origin, json_val v, rw_error *err) {
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
                         origin.len ? " of " : "", (int)origin.len, origin.p);
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

/* The tally of a name, made when new; NULL: no memory. A name that is not there counts as "(none)". */
static tally *tally_of(tallies *t, slice name, arena *a) {
  bool was_new;
  if (name.len == 0) name = SLICE("(none)");
  int64_t *i = map_put(t->ids, name.p, name.len, (int64_t)t->n, &was_new);
  if (!i) return NULL;
  if (was_new) {
    name.p = arena_strndup(a, name.p, name.len);
    if (!name.p || !mem_grow((void **)&t->t, &t->cap_t, t->n + 1, sizeof *t->t)) return NULL;
    t->t[t->n] = (tally){0};
    if (!vec_push(t->names, t->n, t->cap_names, name)) return NULL;
  }
  return &t->t[*i];
}

static void tallies_free(tallies *t) {
  map_free(t->ids);
  mem_free(t->names);
  mem_free(t->t);
}

static rw_status count_bench(run *r, tallies *of, slice name, size_t bench, rw_error *err) {
  tally *t = tally_of(of, name, r->mem);
  if (!t) return rw_nomem(err, "matches");
  t->matched += !r->matched[bench];
  t->contaminated += t->last != r->counts.train_rows;
  t->last = r->counts.train_rows;
  return RW_OK;
}

/* from: the row's source, which has a tally. */
static rw_status count_match(run *r, json_val m, json_val view, slice origin, tally *from, rw_error *err) {
  json_doc *d = r->doc;
  int64_t at = 0, words = 0;
  json_int(d, json_get(d, m, "bench_row"), &at);
  json_int(d, json_get(d, m, "words"), &words);
  size_t bench = (size_t)at, pair[2] = {(size_t)(from - r->sources.t), bench};
  bool was_new;
  if (!map_put(r->met, (const char *)pair, sizeof pair, 0, &was_new)) return rw_nomem(err, "matches");
  from->matched += was_new;
  slice subset = decon_row_subset(r->d, bench);
  RW_TRY(count_bench(r, &r->subsets, subset, bench, err));
  RW_TRY(count_bench(r, &r->files, decon_row_file(r->d, bench), bench, err));
  r->counts.matched += !r->matched[bench];
  r->matched[bench] = 1;
  return show(r, (size_t)words, json_raw(d, json_get(d, m, "bench_id")), subset.p ? subset : SLICE(""), origin,
              view, err);
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
  int bits = result.p[0] - '0';
  result.p++, result.len--;
  slice origin = up_to_newline(&result), list = up_to_newline(&result);
  tally *t = tally_of(&r->sources, origin, r->mem);
  if (!t) return rw_nomem(err, "sources");
  r->counts.train_rows++;
  t->rows++;
  progress_set(&r->p, r->counts.train_rows, NULL);
  if (list.len == 0) return rows_write(r->clean, row.p, row.len, err);
  r->counts.contaminated++;
  t->contaminated++;
  r->same_chosen += (bits & DECON_SAME_CHOSEN) != 0;
  r->same_rejected += (bits & DECON_SAME_REJECTED) != 0;
  r->flipped += (bits & DECON_FLIPPED) != 0;
  RW_TRY(json_parse(r->doc, list.p, list.len, err));
  RW_TRY(json_parse(r->views, result.p, result.len, err));
  json_val view = json_first(r->views, 0);
  for (json_val m = json_first(r->doc, 0); m != JSON_NONE;
       m = json_next(r->doc, m), view = json_next(r->views, view))
    RW_TRY(count_match(r, m, view, origin, t, err));
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

/* ---- the Skywork-Reward report's own numbers (arXiv 2410.18451): RewardBench, >7-gram ---- */

typedef struct {
  const char *name;
  size_t train_rows, matched, contaminated;
} published;
static const published published_sources[] = {{"preference-700k", 0, 800, 15349}, {"nectar", 0, 381, 2394}};
/* Sets of several sources, known by their rows. */
static const published published_sets[] = {{"80K v0.1", 81973, 673, 5402}, {"80K v0.2", 77016, 460, 445}};

static size_t rows_of(const tallies *t, const char *name) {
  int64_t *i = map_get(t->ids, name, strlen(name));
  return i ? t->t[*i].rows : 0;
}

static bool is_rewardbench(const run *r) {
  return r->counts.bench_rows == 2985 && rows_of(&r->subsets, "math-prm") == 447 &&
         rows_of(&r->subsets, "hep-cpp") == 164;
}

/* NULL: the report has no number for it. */
static const published *published_source(const run *r, slice name) {
  for (size_t i = 0; i < 2 && is_rewardbench(r); i++)
    if (slice_is(name, published_sources[i].name)) return &published_sources[i];
  return NULL;
}

static const published *published_set(const run *r) {
  if (!is_rewardbench(r)) return NULL;
  for (size_t i = 0; i < r->sources.n; i++)
    if (!curate_source(r->sources.names[i])) return NULL;
  for (size_t i = 0; i < 2; i++)
    if (r->counts.train_rows == published_sets[i].train_rows) return &published_sets[i];
  return NULL;
}

static bool any_published(const run *r) {
  bool any = published_set(r) != NULL;
  for (size_t i = 0; i < r->sources.n; i++) any = any || published_source(r, r->sources.names[i]);
  return any;
}

static void add_published(str *s, const run *r) {
  const published *set = published_set(r);
  const char *sep = "";
  if (!any_published(r)) return;
  str_addz(s, ",\n  \"report\": {\"sources\": {");
  for (size_t i = 0; i < r->sources.n; i++) {
    const published *p = published_source(r, r->sources.names[i]);
    if (!p) continue;
    str_printf(s, "%s\"%s\": {\"bench_prompts_matched\": %zu, \"train_prompts_contaminated\": %zu}", sep, p->name,
               p->matched, p->contaminated);
    sep = ", ";
  }
  str_addc(s, '}');
  if (set)
    str_printf(s, ", \"set\": \"%s\", \"bench_prompts_matched\": %zu, \"train_prompts_contaminated\": %zu",
               set->name, set->matched, set->contaminated);
  str_addc(s, '}');
}

/* ---- reports ---- */

/* The two counts by the contract's names; the one that is a part of `rows` by its older, short name too. */
static void add_tallies(str *s, const char *name, const char *rows, const tallies *t) {
  bool training = strcmp(rows, "train_rows") == 0;
  str_printf(s, ",\n  \"%s\": {", name);
  for (size_t i = 0; i < t->n; i++) {
    const tally *y = &t->t[i];
    str_addz(s, i ? ",\n    " : "\n    ");
    str_json(s, t->names[i].p, t->names[i].len);
    str_printf(s,
               ": {\"%s\": %zu, \"%s\": %zu, \"bench_prompts_matched\": %zu, "
               "\"train_prompts_contaminated\": %zu}",
               rows, y->rows, training ? "contaminated" : "matched", training ? y->contaminated : y->matched,
               y->matched, y->contaminated);
  }
  str_addz(s, t->n ? "\n  }" : "}");
}

static rw_status write_json(const run *r, rw_error *err) {
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
  add_tallies(&s, "sources", "train_rows", &r->sources);
  add_tallies(&s, "subsets", "bench_rows", &r->subsets);
  add_tallies(&s, "benchmarks", "bench_rows", &r->files);
  add_published(&s, r);
  str_addz(&s, "\n}\n");
  rw_status st = path && !s.oom ? file_put(path, s.p, s.len, err) : rw_nomem(err, "report.json");
  mem_free(path);
  str_free(&s);
  return st;
}

static void put_tallies(rep_page *p, const tallies *t, const char *name, const char *rows, const char *caption) {
  rep_table *table =
      rep_table_new((const char *[]){name, rows, ">training rows contaminated", ">benchmark prompts matched"}, 4);
  for (size_t i = 0; i < t->n; i++) {
    rep_cell_text(table, t->names[i]);
    rep_cell_int(table, (int64_t)t->t[i].rows);
    rep_cell_int(table, (int64_t)t->t[i].contaminated);
    rep_cell_int(table, (int64_t)t->t[i].matched);
  }
  rep_put_table(p, table, caption);
  rep_table_free(table);
}

static void put_published(rep_page *p, const run *r) {
  const published *set = published_set(r);
  rep_table *t =
      rep_table_new((const char *[]){"training rows", ">contaminated", ">report", ">matched", ">report"}, 5);
  for (size_t i = 0; i < r->sources.n; i++) {
    const published *y = published_source(r, r->sources.names[i]);
    if (!y) continue;
    rep_cell(t, "%s", y->name);
    rep_cell_int(t, (int64_t)r->sources.t[i].contaminated);
    rep_cell_int(t, (int64_t)y->contaminated);
    rep_cell_int(t, (int64_t)r->sources.t[i].matched);
    rep_cell_int(t, (int64_t)y->matched);
  }
  if (set) {
    rep_cell(t, "%s", set->name);
    rep_cell_int(t, (int64_t)r->counts.contaminated);
    rep_cell_int(t, (int64_t)set->contaminated);
    rep_cell_int(t, (int64_t)r->counts.matched);
    rep_cell_int(t, (int64_t)set->matched);
  }
  rep_put_table(p, t, "Beside the Skywork-Reward report's own numbers (RewardBench, >7-gram)");
  rep_table_free(t);
}

static rw_status write_html(const run *r, rw_error *err) {
  rep_page *p = rep_page_new("Contamination", "Training prompts that share words with a benchmark's prompts.");
  const decon_counts *c = &r->counts;
  rep_fact_int(p, "training rows", (int64_t)c->train_rows);
  rep_fact_int(p, "contaminated", (int64_t)c->contaminated);
  rep_fact_int(p, "benchmark rows", (int64_t)c->bench_rows);
  rep_fact_int(p, "matched", (int64_t)c->matched);
  rep_text(p, "A match is %lld consecutive words in common, or the whole of a shorter prompt.",
           (long long)r->o->options.ngram);
  put_tallies(p, &r->sources, "source", ">training rows", "By source of the training rows");
  if (any_published(r)) put_published(p, r);
  put_tallies(p, &r->subsets, "subset", ">benchmark rows", "By subset of the benchmark");
  if (r->o->n_bench > 1) put_tallies(p, &r->files, "file", ">benchmark rows", "By file of the benchmark");
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
  rep_page_free(p);
  return s;
}

static rw_status prepare(run *r, rw_error *err) {
  const decon_run_options *o = r->o;
  RW_TRY(decon_open(&r->d, o->bench, o->n_bench, &o->options, err));
  int threads = pool_threads(o->threads);
  r->counts.bench_rows = decon_rows(r->d);
  r->mem = arena_new();
  r->met = map_new();
  tallies *all[] = {&r->sources, &r->subsets, &r->files};
  bool ok = true;
  for (size_t i = 0; i < 3; i++) ok = (all[i]->ids = map_new()) && ok;
  r->doc = json_new();
  r->views = json_new();
  r->matched = mem_zalloc(decon_rows(r->d), 1);
  r->lanes = mem_zalloc((size_t)threads, sizeof *r->lanes);
  ok = ok && r->mem && r->met && r->doc && r->views && r->matched && r->lanes;
  for (int i = 0; ok && i < threads; i++) {
    r->lanes[i].doc = json_new();
    r->lanes[i].mem = arena_new();
    r->lanes[i].scratch = decon_scratch_new(r->d);
    r->lanes[i].turns = json_new();
    ok = r->lanes[i].doc && r->lanes[i].mem && r->lanes[i].scratch && r->lanes[i].turns;
  }
  for (size_t i = 0; ok && i < decon_rows(r->d); i++) {
    tally *subset = tally_of(&r->subsets, decon_row_subset(r->d, i), r->mem),
          *file = tally_of(&r->files, decon_row_file(r->d, i), r->mem);
    if ((ok = subset && file)) subset->rows++, file->rows++;
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
  RW_TRY(prepare(r, err));
  progress_start(&r->p, "decontaminating", "rows", 0);
  for (size_t i = 0; i < r->o->n_train; i++) RW_TRY(run_file(r, r->o->train[i], err));
  progress_end(&r->p);
  rw_status s = write_html(r, err);
  rows_out *clean = r->clean, *removed = r->removed;
  if (!s) {
    r->removed = NULL;
    s = rows_commit(removed, err);
  }
  if (!s) {
    r->clean = NULL;
    s = rows_commit(clean, err);
  }
  return s ? s : write_json(r, err);
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
    json_free(r.lanes[i].turns);
    str_free(&r.lanes[i].turns_text);
  }
  mem_free(r.lanes);
  mem_free(r.matched);
  tallies_free(&r.sources);
  tallies_free(&r.subsets);
  tallies_free(&r.files);
  map_free(r.met);
  json_free(r.doc);
  json_free(r.views);
  for (size_t i = 0; i < r.n_shown; i++) free_shown(&r.shown[i]);
  arena_free(r.mem);
  decon_free(r.d);
  return s;
}

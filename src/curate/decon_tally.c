/* decon_tally.c - counting matches by source, subset and file of the benchmark, and telling them as JSON and on a
 * page.
 */
#include "curate/decon_tally.h"

#include <stdio.h>
#include <string.h>

#include "curate/source.h"

enum { SHOWN_MATCHES = 60 }; /* on the page, longest first */

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

struct decon_tally {
  const decon_index *d;
  decon_options o;
  decon_counts counts;
  size_t same_chosen, same_rejected, flipped; /* contaminated rows; one can count in several */
  uint8_t *matched;                           /* of benchmark rows */
  tallies sources, subsets, files;
  map *met; /* which source matched which benchmark row: no more entries than the matches found */
  shown shown[SHOWN_MATCHES];
  size_t n_shown;
  arena *mem;
  json_doc *doc, *views;
};

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

/* The decon_preference bits over all matches as a digit, the source, a newline, then nothing (clean), or the match
 * list as JSON, a newline, and for each match the training message, the benchmark's prompt and the bytes of the
 * span in each, as JSON too. */
void decon_tally_put(str *out, slice origin, const decon_match *m, size_t n) {
  int bits = 0;
  for (size_t i = 0; i < n; i++) bits |= m[i].preference;
  str_addc(out, (char)('0' + bits));
  for (size_t i = 0; i < origin.len; i++) str_addc(out, origin.p[i] == '\n' ? ' ' : origin.p[i]);
  str_addc(out, '\n');
  if (n == 0) return;
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
}

static void free_shown(shown *m) {
  mem_free(m->heading);
  mem_free(m->texts[0]);
  mem_free(m->texts[1]);
}

/* Keeps a match for report.html when it is among the longest. v: its view, as decon_tally_put() wrote it. */
static rw_status show(decon_tally *all, size_t words, slice id, slice subset, slice origin, const char *name,
                      json_val v, rw_error *err) {
  size_t at = all->n_shown;
  while (at > 0 && all->shown[at - 1].words < words) at--;
  json_val text = json_first(all->views, v), train = json_at(all->views, v, 3);
  slice both[2] = {json_string(all->views, text), json_string(all->views, train)};
  for (size_t i = at; i-- > 0 && all->shown[i].words == words;)
    if (slice_eq(all->shown[i].view[0].text, both[0]) && slice_eq(all->shown[i].view[1].text, both[1]))
      return all->shown[i].rows++, RW_OK;
  if (at == SHOWN_MATCHES) return RW_OK;
  shown m = {.words = words, .rows = 1};
  char number[32];
  snprintf(number, sizeof number, "%zu", all->counts.train_rows);
  m.heading = mem_printf("%zu words: benchmark %.*s%s%.*s, training row %s%s%.*s", words, (int)subset.len, subset.p,
                         subset.len ? " " : "", (int)id.len, id.p, name ? name : number, origin.len ? " of " : "",
                         (int)origin.len, origin.p);
  for (int k = 0; k < 2; k++, text = train) {
    json_val place = json_next(all->views, text);
    int64_t from = 0, to = 0;
    json_int(all->views, place, &from);
    json_int(all->views, json_next(all->views, place), &to);
    m.texts[k] = mem_strndup(both[k].p ? both[k].p : "", both[k].len);
    m.view[k] = (rep_marked){
        k ? "training prompt" : "benchmark prompt", {m.texts[k], both[k].len}, (size_t)from, (size_t)(to - from)};
  }
  if (!m.heading || !m.texts[0] || !m.texts[1]) {
    free_shown(&m);
    return rw_nomem(err, "matches");
  }
  if (all->n_shown == SHOWN_MATCHES) free_shown(&all->shown[--all->n_shown]);
  memmove(all->shown + at + 1, all->shown + at, (all->n_shown++ - at) * sizeof *all->shown);
  all->shown[at] = m;
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

static rw_status count_bench(decon_tally *all, tallies *of, slice name, size_t bench, rw_error *err) {
  tally *t = tally_of(of, name, all->mem);
  if (!t) return rw_nomem(err, "matches");
  t->matched += !all->matched[bench];
  t->contaminated += t->last != all->counts.train_rows;
  t->last = all->counts.train_rows;
  return RW_OK;
}

/* from: the row's source, which has a tally. */
static rw_status count_match(decon_tally *all, json_val m, json_val view, slice origin, const char *name,
                             tally *from, rw_error *err) {
  json_doc *d = all->doc;
  int64_t at = 0, words = 0;
  json_int(d, json_get(d, m, "bench_row"), &at);
  json_int(d, json_get(d, m, "words"), &words);
  size_t bench = (size_t)at, pair[2] = {(size_t)(from - all->sources.t), bench};
  bool was_new;
  if (!map_put(all->met, (const char *)pair, sizeof pair, 0, &was_new)) return rw_nomem(err, "matches");
  from->matched += was_new;
  slice subset = decon_row_subset(all->d, bench);
  RW_TRY(count_bench(all, &all->subsets, subset, bench, err));
  RW_TRY(count_bench(all, &all->files, decon_row_file(all->d, bench), bench, err));
  all->counts.matched += !all->matched[bench];
  all->matched[bench] = 1;
  return show(all, (size_t)words, json_raw(d, json_get(d, m, "bench_id")), subset.p ? subset : SLICE(""), origin,
              name, view, err);
}

static slice up_to_newline(slice *rest) {
  const char *nl = memchr(rest->p, '\n', rest->len);
  slice first = {rest->p, nl ? (size_t)(nl - rest->p) : rest->len};
  *rest = nl ? (slice){nl + 1, rest->len - first.len - 1} : (slice){rest->p + rest->len, 0};
  return first;
}

rw_status decon_tally_row(decon_tally *all, slice put, const char *name, slice *list, rw_error *err) {
  int bits = put.p[0] - '0';
  put.p++, put.len--;
  slice origin = up_to_newline(&put);
  *list = up_to_newline(&put);
  tally *t = tally_of(&all->sources, origin, all->mem);
  if (!t) return rw_nomem(err, "sources");
  all->counts.train_rows++;
  t->rows++;
  if (list->len == 0) return RW_OK;
  all->counts.contaminated++;
  t->contaminated++;
  all->same_chosen += (bits & DECON_SAME_CHOSEN) != 0;
  all->same_rejected += (bits & DECON_SAME_REJECTED) != 0;
  all->flipped += (bits & DECON_FLIPPED) != 0;
  RW_TRY(json_parse(all->doc, list->p, list->len, err));
  RW_TRY(json_parse(all->views, put.p, put.len, err));
  json_val view = json_first(all->views, 0);
  for (json_val m = json_first(all->doc, 0); m != JSON_NONE;
       m = json_next(all->doc, m), view = json_next(all->views, view))
    RW_TRY(count_match(all, m, view, origin, name, t, err));
  return RW_OK;
}

decon_counts decon_tally_counts(const decon_tally *all) { return all->counts; }

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

static bool is_rewardbench(const decon_tally *all) {
  return all->counts.bench_rows == 2985 && rows_of(&all->subsets, "math-prm") == 447 &&
         rows_of(&all->subsets, "hep-cpp") == 164;
}

/* NULL: the report has no number for it. */
static const published *published_source(const decon_tally *all, slice name) {
  for (size_t i = 0; i < 2 && is_rewardbench(all); i++)
    if (slice_is(name, published_sources[i].name)) return &published_sources[i];
  return NULL;
}

static const published *published_set(const decon_tally *all) {
  if (!is_rewardbench(all)) return NULL;
  for (size_t i = 0; i < all->sources.n; i++)
    if (!curate_source(all->sources.names[i])) return NULL;
  for (size_t i = 0; i < 2; i++)
    if (all->counts.train_rows == published_sets[i].train_rows) return &published_sets[i];
  return NULL;
}

static bool any_published(const decon_tally *all) {
  bool any = published_set(all) != NULL;
  for (size_t i = 0; i < all->sources.n; i++) any = any || published_source(all, all->sources.names[i]);
  return any;
}

static void add_published(str *s, const char *line, const decon_tally *all) {
  const published *set = published_set(all);
  const char *sep = "";
  if (!any_published(all)) return;
  str_printf(s, ",%s\"report\": {\"sources\": {", line);
  for (size_t i = 0; i < all->sources.n; i++) {
    const published *p = published_source(all, all->sources.names[i]);
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

/* ---- telling ---- */

/* The two counts by the contract's names; the one that is a part of `rows` by its older, short name too. */
static void add_tallies(str *s, const char *line, const char *name, const char *rows, const tallies *t) {
  bool training = strcmp(rows, "train_rows") == 0;
  str_printf(s, ",%s\"%s\": {", line, name);
  for (size_t i = 0; i < t->n; i++) {
    const tally *y = &t->t[i];
    str_printf(s, "%s%s  ", i ? "," : "", line);
    str_json(s, t->names[i].p, t->names[i].len);
    str_printf(s,
               ": {\"%s\": %zu, \"%s\": %zu, \"bench_prompts_matched\": %zu, "
               "\"train_prompts_contaminated\": %zu}",
               rows, y->rows, training ? "contaminated" : "matched", training ? y->contaminated : y->matched,
               y->matched, y->contaminated);
  }
  str_printf(s, "%s}", t->n ? line : "");
}

void decon_tally_json(const decon_tally *all, const char *line, str *out) {
  const decon_counts *c = &all->counts;
  str_printf(out, "\"ngram\": %lld,%s\"preset\": \"%s\",%s\"train_rows\": %zu,%s\"bench_rows\": %zu,",
             (long long)all->o.ngram, line, all->o.gist ? "gist" : "default", line, c->train_rows, line,
             c->bench_rows);
  str_printf(out, "%s\"bench_prompts_matched\": %zu,%s\"train_prompts_contaminated\": %zu,", line, c->matched, line,
             c->contaminated);
  str_printf(out, "%s\"preference\": {\"same_chosen\": %zu, \"same_rejected\": %zu, \"flipped\": %zu}", line,
             all->same_chosen, all->same_rejected, all->flipped);
  add_tallies(out, line, "sources", "train_rows", &all->sources);
  add_tallies(out, line, "subsets", "bench_rows", &all->subsets);
  add_tallies(out, line, "benchmarks", "bench_rows", &all->files);
  add_published(out, line, all);
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

static void put_published(rep_page *p, const decon_tally *all) {
  const published *set = published_set(all);
  rep_table *t =
      rep_table_new((const char *[]){"training rows", ">contaminated", ">report", ">matched", ">report"}, 5);
  for (size_t i = 0; i < all->sources.n; i++) {
    const published *y = published_source(all, all->sources.names[i]);
    if (!y) continue;
    rep_cell(t, "%s", y->name);
    rep_cell_int(t, (int64_t)all->sources.t[i].contaminated);
    rep_cell_int(t, (int64_t)y->contaminated);
    rep_cell_int(t, (int64_t)all->sources.t[i].matched);
    rep_cell_int(t, (int64_t)y->matched);
  }
  if (set) {
    rep_cell(t, "%s", set->name);
    rep_cell_int(t, (int64_t)all->counts.contaminated);
    rep_cell_int(t, (int64_t)set->contaminated);
    rep_cell_int(t, (int64_t)all->counts.matched);
    rep_cell_int(t, (int64_t)set->matched);
  }
  rep_put_table(p, t, "Beside the Skywork-Reward report's own numbers (RewardBench, >7-gram)");
  rep_table_free(t);
}

void decon_tally_page(const decon_tally *all, rep_page *p) {
  const decon_counts *c = &all->counts;
  rep_fact_int(p, "training rows", (int64_t)c->train_rows);
  rep_fact_int(p, "contaminated", (int64_t)c->contaminated);
  rep_fact_int(p, "benchmark rows", (int64_t)c->bench_rows);
  rep_fact_int(p, "matched", (int64_t)c->matched);
  rep_text(p, "A match is %lld consecutive words in common%s.", (long long)all->o.ngram,
           all->o.gist ? "" : ", or the whole of a shorter prompt");
  put_tallies(p, &all->sources, "source", ">training rows", "By source of the training rows");
  if (any_published(all)) put_published(p, all);
  put_tallies(p, &all->subsets, "subset", ">benchmark rows", "By subset of the benchmark");
  if (all->files.n > 1) put_tallies(p, &all->files, "file", ">benchmark rows", "By file of the benchmark");
  if (all->n_shown > 0) rep_section(p, "Matches, longest first");
  for (size_t i = 0; i < all->n_shown; i++) {
    const shown *m = &all->shown[i];
    char *more = m->rows > 1 ? mem_printf("%s; %zu matches of these two texts", m->heading, m->rows) : NULL;
    rep_texts(p, more ? more : m->heading, m->view, 2);
    mem_free(more);
  }
}

/* ---- beginning and end ---- */

static slice base_name(slice path) {
  const char *slash = memrchr(path.p, '/', path.len);
  return slash ? (slice){slash + 1, (size_t)(path.p + path.len - slash - 1)} : path;
}

/* The files by their names alone; from the last on, so that the earlier ones are still whole when they are counted.
 */
static bool shorten(slice *names, size_t n, arena *mem) {
  while (n-- > 0) {
    slice name = base_name(names[n]);
    size_t same = 0;
    for (size_t k = 0; k < n; k++) same += slice_eq(base_name(names[k]), name);
    char *numbered = same ? mem_printf("%.*s (%zu)", (int)name.len, name.p, same + 1) : NULL;
    names[n] = same && numbered ? (slice){arena_strndup(mem, numbered, strlen(numbered)), strlen(numbered)} : name;
    mem_free(numbered);
    if ((same && !numbered) || !names[n].p) return false;
  }
  return true;
}

rw_status decon_tally_new(decon_tally **out, const decon_index *d, const decon_options *o, bool base_names,
                          rw_error *err) {
  decon_tally *all = mem_zalloc(1, sizeof *all);
  if (!(*out = all)) return rw_nomem(err, "matches");
  all->d = d;
  all->o = *o;
  all->counts.bench_rows = decon_rows(d);
  tallies *each[] = {&all->sources, &all->subsets, &all->files};
  bool ok = (all->mem = arena_new()) && (all->met = map_new()) && (all->doc = json_new()) &&
            (all->views = json_new()) && (all->matched = mem_zalloc(decon_rows(d), 1));
  for (size_t i = 0; ok && i < 3; i++) ok = (each[i]->ids = map_new());
  for (size_t i = 0; ok && i < decon_rows(d); i++) {
    tally *subset = tally_of(&all->subsets, decon_row_subset(d, i), all->mem),
          *file = tally_of(&all->files, decon_row_file(d, i), all->mem);
    if ((ok = subset && file)) subset->rows++, file->rows++;
  }
  ok = ok && (!base_names || shorten(all->files.names, all->files.n, all->mem));
  if (ok) return RW_OK;
  decon_tally_free(all);
  *out = NULL;
  return rw_nomem(err, "matches");
}

void decon_tally_free(decon_tally *all) {
  if (!all) return;
  tallies_free(&all->sources);
  tallies_free(&all->subsets);
  tallies_free(&all->files);
  map_free(all->met);
  json_free(all->doc);
  json_free(all->views);
  for (size_t i = 0; i < all->n_shown; i++) free_shown(&all->shown[i]);
  arena_free(all->mem);
  mem_free(all->matched);
  mem_free(all);
}

/* decon_tally.c - counting matches by source, subset and file of the benchmark, and telling them as JSON and on a
 * page.
 */
#include "curate/decon_tally.h"

#include <stdio.h>
#include <string.h>

#include "curate/source.h"

enum { SHOWN_MATCHES = 60 }; /* on the page, longest first */

/* Counts of a source's training rows, or of the benchmark rows of a subset or a file. */
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
  uint8_t *matched;                           /* by benchmark row: was it matched? */
  tallies sources, subsets, files;
  map *met; /* pairs of a source and a benchmark row that it matched: no more than the matches found */
  shown shown[SHOWN_MATCHES];
  size_t n_shown;
  arena *mem;
};

static size_t characters(slice s, size_t bytes) {
  size_t n = 0;
  for (size_t i = 0; i < bytes && i < s.len; i++) n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
  return n;
}

/* "same chosen, flipped": the names of decon_preference bits. */
static void put_preference(json_writer *w, int bits) {
  static const char *const names[] = {"same chosen", "same rejected", "flipped"};
  char text[64];
  size_t n = 0;
  for (int k = 0; k < 3; k++)
    if (bits >> k & 1) n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? ", " : "", names[k]);
  jw_slice(w, "preference", (slice){text, n});
}

/* A stretch of a text, counted in characters. */
static void put_stretch(json_writer *w, const char *name, slice text, size_t from, size_t to) {
  jw_array(w, name);
  jw_uint(w, NULL, characters(text, from));
  jw_uint(w, NULL, characters(text, to));
  jw_end(w);
}

void decon_found_json(const decon_found *f, json_writer *w, const char *name) {
  jw_array(w, name);
  for (const decon_match *m = f->m; m < f->m + f->n; m++) {
    jw_object(w, NULL);
    jw_raw(w, "bench_id", m->id);
    jw_slice(w, "span", m->span);
    jw_uint(w, "words", m->words);
    jw_uint(w, "message", m->message);
    put_stretch(w, "train_chars", m->text, m->from, m->to);
    put_stretch(w, "bench_chars", m->prompt, m->bench_from, m->bench_to);
    if (m->subset.len) jw_slice(w, "subset", m->subset);
    if (m->preference) put_preference(w, m->preference);
    jw_uint(w, "bench_row", m->bench);
    jw_end(w);
  }
  jw_end(w);
}

static bool keep_slice(slice *s, arena *keep) {
  s->p = arena_strndup(keep, s->p, s->len);
  return s->p != NULL;
}

/* A source's name takes one line wherever it is told. */
static bool keep_origin(slice *origin, arena *keep) {
  char *p = arena_strndup(keep, origin->p, origin->len);
  for (size_t i = 0; p && i < origin->len; i++)
    if (p[i] == '\n') p[i] = ' ';
  origin->p = p;
  return p != NULL;
}

bool decon_found_keep(decon_found *out, arena *keep, const conv_row *row, const decon_match *m, size_t n) {
  decon_match *copy = arena_alloc(keep, n, sizeof *copy);
  *out = (decon_found){row->source, copy, n};
  bool ok = copy && keep_origin(&out->origin, keep);
  for (size_t i = 0; ok && i < n; i++) {
    copy[i] = m[i];
    bool same = i > 0 && m[i].text.p == m[i - 1].text.p; /* many rows of the benchmark may match one message */
    if (same) copy[i].text = copy[i - 1].text;
    ok = (same || keep_slice(&copy[i].text, keep)) && keep_slice(&copy[i].span, keep);
  }
  return ok;
}

static void free_shown(shown *m) {
  mem_free(m->heading);
  mem_free(m->texts[0]);
  mem_free(m->texts[1]);
}

/* Keeps a match for report.html when it is among the longest. */
static rw_status show(decon_tally *all, const decon_match *x, slice origin, const char *name, rw_error *err) {
  static const char *const names[2] = {"benchmark prompt", "training prompt"};
  const slice both[2] = {x->prompt, x->text};
  const size_t from[2] = {x->bench_from, x->from}, to[2] = {x->bench_to, x->to};
  size_t at = all->n_shown;
  while (at > 0 && all->shown[at - 1].words < x->words) at--;
  for (size_t i = at; i-- > 0 && all->shown[i].words == x->words;)
    if (slice_eq(all->shown[i].view[0].text, both[0]) && slice_eq(all->shown[i].view[1].text, both[1]))
      return all->shown[i].rows++, RW_OK;
  if (at == SHOWN_MATCHES) return RW_OK;
  shown m = {.words = x->words, .rows = 1};
  char number[32];
  snprintf(number, sizeof number, "%zu", all->counts.train_rows);
  m.heading = mem_printf("%zu words: benchmark %.*s%s%.*s, training row %s%s%.*s", x->words, (int)x->subset.len,
                         x->subset.p, x->subset.len ? " " : "", (int)x->id.len, x->id.p, name ? name : number,
                         origin.len ? " of " : "", (int)origin.len, origin.p);
  for (int k = 0; k < 2; k++) {
    m.texts[k] = mem_strndup(both[k].p, both[k].len);
    m.view[k] = (rep_marked){names[k], {m.texts[k], both[k].len}, from[k], to[k] - from[k]};
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
static rw_status count_match(decon_tally *all, const decon_match *m, slice origin, const char *name, tally *from,
                             rw_error *err) {
  size_t pair[2] = {(size_t)(from - all->sources.t), m->bench};
  bool was_new;
  if (!map_put(all->met, (const char *)pair, sizeof pair, 0, &was_new)) return rw_nomem(err, "matches");
  from->matched += was_new;
  RW_TRY(count_bench(all, &all->subsets, decon_row_subset(all->d, m->bench), m->bench, err));
  RW_TRY(count_bench(all, &all->files, decon_row_file(all->d, m->bench), m->bench, err));
  all->counts.matched += !all->matched[m->bench];
  all->matched[m->bench] = 1;
  return show(all, m, origin, name, err);
}

rw_status decon_tally_row(decon_tally *all, const decon_found *f, const char *name, rw_error *err) {
  int bits = 0;
  tally *t = tally_of(&all->sources, f->origin, all->mem);
  if (!t) return rw_nomem(err, "sources");
  all->counts.train_rows++;
  t->rows++;
  if (f->n == 0) return RW_OK;
  all->counts.contaminated++;
  t->contaminated++;
  for (size_t i = 0; i < f->n; i++) bits |= f->m[i].preference;
  all->same_chosen += (bits & DECON_SAME_CHOSEN) != 0;
  all->same_rejected += (bits & DECON_SAME_REJECTED) != 0;
  all->flipped += (bits & DECON_FLIPPED) != 0;
  for (size_t i = 0; i < f->n; i++) RW_TRY(count_match(all, &f->m[i], f->origin, name, t, err));
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

static void put_report(json_writer *w, const published *p) {
  jw_uint(w, "bench_prompts_matched", p->matched);
  jw_uint(w, "train_prompts_contaminated", p->contaminated);
}

static void add_published(json_writer *w, const decon_tally *all) {
  const published *set = published_set(all);
  if (!any_published(all)) return;
  jw_object(w, "report");
  jw_object(w, "sources");
  for (size_t i = 0; i < all->sources.n; i++) {
    const published *p = published_source(all, all->sources.names[i]);
    if (!p) continue;
    jw_object(w, p->name);
    put_report(w, p);
    jw_end(w);
  }
  jw_end(w);
  if (set) {
    jw_string(w, "set", set->name);
    put_report(w, set);
  }
  jw_end(w);
}

/* ---- telling ---- */

/* The two counts by the contract's names; the one that is a part of `rows` by its older, short name too. */
static void add_tallies(json_writer *w, const char *name, const char *rows, const tallies *t) {
  bool training = strcmp(rows, "train_rows") == 0;
  jw_object_lines(w, name);
  for (size_t i = 0; i < t->n; i++) {
    const tally *y = &t->t[i];
    jw_key(w, t->names[i]);
    jw_object(w, NULL);
    jw_uint(w, rows, y->rows);
    jw_uint(w, training ? "contaminated" : "matched", training ? y->contaminated : y->matched);
    jw_uint(w, "bench_prompts_matched", y->matched);
    jw_uint(w, "train_prompts_contaminated", y->contaminated);
    jw_end(w);
  }
  jw_end(w);
}

void decon_tally_json(const decon_tally *all, json_writer *w) {
  const decon_counts *c = &all->counts;
  jw_int(w, "ngram", all->o.ngram);
  jw_string(w, "preset", all->o.gist ? "gist" : "default");
  jw_uint(w, "train_rows", c->train_rows);
  jw_uint(w, "bench_rows", c->bench_rows);
  jw_uint(w, "bench_prompts_matched", c->matched);
  jw_uint(w, "train_prompts_contaminated", c->contaminated);
  jw_object(w, "preference");
  jw_uint(w, "same_chosen", all->same_chosen);
  jw_uint(w, "same_rejected", all->same_rejected);
  jw_uint(w, "flipped", all->flipped);
  jw_end(w);
  add_tallies(w, "sources", "train_rows", &all->sources);
  add_tallies(w, "subsets", "bench_rows", &all->subsets);
  add_tallies(w, "benchmarks", "bench_rows", &all->files);
  add_published(w, all);
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
  bool ok = (all->mem = arena_new()) && (all->met = map_new()) && (all->matched = mem_zalloc(decon_rows(d), 1));
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
  for (size_t i = 0; i < all->n_shown; i++) free_shown(&all->shown[i]);
  arena_free(all->mem);
  mem_free(all->matched);
  mem_free(all);
}

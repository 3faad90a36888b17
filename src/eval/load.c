/* load.c - benchmark rows into items: what is scored, the subset, the id; everything else of a row is let go. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "eval/eval_int.h"
#include "format/rows.h"

typedef struct {
  rw_context *context;
  eval_data *d;
  json_doc *doc;
  arena *scratch;    /* one row's */
  map *seen;         /* "subset \0 id" to item + 1 */
  map *names;        /* subset name to index */
  const char *where; /* the file at hand */
} loader;

static slice keep(loader *l, slice s, bool *oom) {
  if (!s.p) return s;
  char *p = arena_strndup(l->d->memory, s.p, s.len);
  if (!p) *oom = true;
  return (slice){p, s.len};
}

/* A deep copy of the conversations: conv_read's are gone with the next row. */
static rw_status keep_row(loader *l, const conv_row *in, conv_row *out, rw_error *err) {
  bool oom = false;
  *out = *in;
  out->scores = NULL;
  out->id = keep(l, in->id, &oom);
  out->source = out->prompt = (slice){0};
  out->branch = arena_alloc(l->d->memory, in->n_branches, sizeof *out->branch);
  for (size_t b = 0; out->branch && b < in->n_branches; b++) {
    const conversation *from = &in->branch[b];
    conversation *to = &out->branch[b];
    *to = (conversation){.n_messages = from->n_messages,
                         .n_ids = from->n_ids,
                         .text = keep(l, from->text, &oom),
                         .tools = keep(l, from->tools, &oom),
                         .reference = keep(l, from->reference, &oom),
                         .n_prompt = from->n_prompt};
    if (from->messages) {
      to->messages = arena_alloc(l->d->memory, from->n_messages, sizeof *to->messages);
      if (!to->messages) return rw_nomem(err, "benchmark rows");
      for (size_t i = 0; i < from->n_messages; i++)
        to->messages[i] = (message){.role = from->messages[i].role,
                                    .content = keep(l, from->messages[i].content, &oom),
                                    .other_role = keep(l, from->messages[i].other_role, &oom),
                                    .json = keep(l, from->messages[i].json, &oom),
                                    .parts = from->messages[i].parts};
    }
    if (from->ids) {
      to->ids = arena_alloc(l->d->memory, from->n_ids, sizeof *to->ids);
      if (!to->ids) return rw_nomem(err, "benchmark rows");
      memcpy(to->ids, from->ids, from->n_ids * sizeof *to->ids);
    }
  }
  return oom || !out->branch ? rw_nomem(err, "benchmark rows") : RW_OK;
}

static rw_status want_string(loader *l, const char *field, slice *out, rw_error *err) {
  json_val v = json_get(l->doc, 0, field);
  if (v == JSON_NONE) return rw_fail(err, RW_DATA, "%s: expected a string, got nothing", field);
  if (json_kind(l->doc, v) != JSON_STRING)
    return rw_fail(err, RW_DATA, "%s: expected a string, got %s", field, json_kind_name(json_kind(l->doc, v)));
  *out = json_string(l->doc, v);
  return out->p ? RW_OK : rw_nomem(err, field);
}

/* {"pair_id", "source", "question", "response_A", "response_B", "label"}: the better response is the chosen one. */
static rw_status read_judgebench(loader *l, conv_row *row, item *it, rw_error *err) {
  slice question, response[2], label;
  RW_TRY(want_string(l, "question", &question, err));
  RW_TRY(want_string(l, "response_A", &response[0], err));
  RW_TRY(want_string(l, "response_B", &response[1], err));
  RW_TRY(want_string(l, "label", &label, err));
  it->label_b = slice_is(label, "B>A");
  if (!it->label_b && !slice_is(label, "A>B"))
    return rw_fail(err, RW_DATA, "label: expected \"A>B\" or \"B>A\", got \"%.*s\"", (int)label.len, label.p);
  json_val id = json_get(l->doc, 0, "pair_id");
  *row = (conv_row){.kind = ROW_PAIR, .n_branches = 2, .n_chosen = 1};
  if (id != JSON_NONE)
    row->id = json_kind(l->doc, id) == JSON_STRING ? json_string(l->doc, id) : json_raw(l->doc, id);
  row->branch = arena_alloc(l->scratch, 2, sizeof *row->branch);
  message *m = arena_alloc(l->scratch, 4, sizeof *m);
  if (!row->branch || !m) return rw_nomem(err, "benchmark rows");
  for (size_t b = 0; b < 2; b++) {
    m[2 * b] = conv_message(ROLE_USER, question);
    m[2 * b + 1] = conv_message(ROLE_ASSISTANT, response[it->label_b ? 1 - b : b]);
    row->branch[b] = (conversation){.messages = m + 2 * b, .n_messages = 2};
  }
  return RW_OK;
}

/* Is it a row of the shape that the suite has? */
static rw_status check_shape(eval_suite suite, const conv_row *row, rw_error *err) {
  size_t chosen = row->n_chosen, rejected = row->n_branches - row->n_chosen;
  if (suite == EVAL_PPE_CORRECTNESS || (suite == EVAL_PPE_PREFERENCE && row->n_branches == 0)) return RW_OK;
  if (row->kind != ROW_PAIR)
    return rw_fail(err, RW_DATA, "expected an item with chosen and rejected, got a row without them");
  size_t want = suite == EVAL_RM_BENCH ? 3 : 1;
  if (suite == EVAL_RMB            ? chosen != 1 || rejected < 1
      : suite == EVAL_REWARDBENCH2 ? chosen < 1 || rejected < 1
                                   : chosen != want || rejected != want)
    return rw_fail(err, RW_DATA, "chosen, rejected: expected %s, got %zu and %zu",
                   suite == EVAL_RMB            ? "one chosen response and others"
                   : suite == EVAL_REWARDBENCH2 ? "at least one response each"
                   : want == 3                  ? "three responses each"
                                                : "one response each",
                   chosen, rejected);
  return RW_OK;
}

/* rewardbench2's num_correct, and the id "ref:N" or "tied:N" of its Ties. */
static rw_status read_ties(loader *l, const conv_row *row, item *it, rw_error *err) {
  json_val v = json_get(l->doc, 0, "num_correct");
  int64_t n = (int64_t)row->n_chosen;
  if (v != JSON_NONE && (!json_int(l->doc, v, &n) || n < 1 || (size_t)n > row->n_branches))
    return rw_fail(err, RW_DATA, "num_correct: expected 1 to %zu, got %.*s", row->n_branches,
                   (int)json_raw(l->doc, v).len, json_raw(l->doc, v).p);
  it->num_correct = (uint32_t)n;
  char id[40] = "";
  if (row->id.p && row->id.len < sizeof id) memcpy(id, row->id.p, row->id.len);
  it->tied = strncmp(id, "tied:", 5) == 0;
  const char *number = it->tied ? id + 5 : id + 4;
  char *end = NULL;
  if (it->tied || strncmp(id, "ref:", 4) == 0) it->group = strtoll(number, &end, 10);
  if (!end || end == number || *end)
    return rw_fail(err, RW_DATA, "id: expected ref:N or tied:N in the Ties subset, got \"%.*s\"",
                   (int)(row->id.len > 100 ? 100 : row->id.len), row->id.p ? row->id.p : "");
  return RW_OK;
}

/* name: what the suite's own reader says, else p NULL. */
static rw_status find_subset(loader *l, item *it, slice name, rw_error *err) {
  eval_data *d = l->d;
  const suite_spec *spec = &suite_specs[d->suite];
  if (!name.p) name = SLICE("all");
  if (spec->subset_field &&
      (d->suite != EVAL_PAIRS || json_kind(l->doc, json_get(l->doc, 0, spec->subset_field)) == JSON_STRING))
    RW_TRY(want_string(l, spec->subset_field, &name, err));
  if (spec->fixed) {
    for (size_t k = 0; k < d->n_subsets; k++)
      if (strlen(d->subsets[k].name) == name.len && strncasecmp(d->subsets[k].name, name.p, name.len) == 0) {
        it->subset = (uint32_t)k;
        return RW_OK;
      }
  }
  int section = suite_section(d->suite, name);
  if (spec->fixed || ((d->suite == EVAL_RM_BENCH || d->suite == EVAL_RMB) && section < 0))
    return rw_fail(err, RW_DATA, "%s: expected a subset of %s, got \"%.*s\"; is " FIELD(suite) " right?",
                   spec->subset_field, eval_suite_words[d->suite].text, (int)(name.len > 100 ? 100 : name.len),
                   name.p);
  bool is_new, oom = false;
  int64_t *at = map_put(l->names, name.p, name.len, (int64_t)d->n_subsets, &is_new);
  if (!at) return rw_nomem(err, "subsets");
  it->subset = (uint32_t)*at;
  if (!is_new) return RW_OK;
  subset s = {keep(l, name, &oom).p, section, 0, 0};
  return oom || !vec_push(d->subsets, d->n_subsets, d->cap_subsets, s) ? rw_nomem(err, "subsets") : RW_OK;
}

/* A benchmark that holds an item twice gives another figure than the published one. PPE's question_id need not be
 * an item's alone. */
static rw_status check_id(loader *l, const item *it, rw_error *err) {
  eval_suite suite = l->d->suite;
  if (!it->id.p || suite == EVAL_PAIRS || suite == EVAL_PPE_PREFERENCE || suite == EVAL_PPE_CORRECTNESS)
    return RW_OK;
  str key = {0};
  str_printf(&key, "%u ", it->subset);
  str_add(&key, it->id.p, it->id.len);
  bool is_new = true;
  int64_t *at = key.oom ? NULL : map_put(l->seen, key.p, key.len, (int64_t)l->d->n_items, &is_new);
  str_free(&key);
  if (!at) return rw_nomem(err, "ids");
  if (is_new) return RW_OK;
  const item *first = &l->d->items[*at];
  return rw_fail(err, RW_DATA, "id: \"%.*s\" stands already at %s:%llu in subset %s; remove one",
                 (int)(it->id.len > 100 ? 100 : it->id.len), it->id.p, rows_label(l->d->paths[first->file]),
                 (unsigned long long)first->line, l->d->subsets[it->subset].name);
}

static double response_length(const conversation *c) {
  if (c->ids) return (double)c->n_ids;
  slice s = c->messages ? c->messages[c->n_messages - 1].content : c->text;
  size_t n = 0;
  for (size_t i = 0; i < s.len; i++) n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
  return (double)n;
}

/* The row's id under the suite's own name for it. */
static void own_id(const loader *l, conv_row *row) {
  const char *const *names = suite_specs[l->d->suite].ids;
  for (int k = 0; k < 2 && names[k]; k++) {
    json_val v = json_get(l->doc, 0, names[k]);
    if (json_kind(l->doc, v) == JSON_NULL) continue;
    row->id = json_kind(l->doc, v) == JSON_STRING ? json_string(l->doc, v) : json_raw(l->doc, v);
    return;
  }
}

/* What the suite's rows have beside conversations. */
static rw_status read_own(loader *l, conv_row *row, item *it, slice *subset_name, rw_error *err) {
  eval_data *d = l->d;
  if (d->suite == EVAL_PAIRS) conv_as_pair(row);
  if (d->suite == EVAL_PPE_PREFERENCE || d->suite == EVAL_PPE_CORRECTNESS || d->suite == EVAL_RMB) own_id(l, row);
  if (d->suite == EVAL_PPE_PREFERENCE) return ppe_preference_read(l->doc, row, it, err);
  if (d->suite != EVAL_PPE_CORRECTNESS) return RW_OK;
  RW_TRY(ppe_correctness_read(d, l->doc, l->where, row, it, subset_name, l->scratch, err));
  row->n_chosen = row->n_branches; /* one list */
  return RW_OK;
}

static rw_status add_row(loader *l, slice text, uint32_t file, uint64_t line, rw_error *err) {
  eval_data *d = l->d;
  item it = {.file = file, .line = line, .first = d->n_branches};
  conv_row row;
  slice subset_name = {0};
  RW_TRY(json_parse(l->doc, text.p, text.len, err));
  if (json_kind(l->doc, 0) != JSON_OBJECT)
    return rw_fail(err, RW_DATA, "expected an object, got %s", json_kind_name(json_kind(l->doc, 0)));
  RW_TRY(d->suite == EVAL_JUDGEBENCH
             ? read_judgebench(l, &row, &it, err)
             : conv_read(&row, l->doc, 0, l->context ? l->context->map : NULL, l->scratch, err));
  RW_TRY(read_own(l, &row, &it, &subset_name, err));
  RW_TRY(check_shape(d->suite, &row, err));
  RW_TRY(find_subset(l, &it, subset_name, err));
  if (is_ties(d, it.subset)) RW_TRY(read_ties(l, &row, &it, err));
  it.n_chosen = (uint32_t)row.n_chosen;
  it.n_branches = (uint32_t)row.n_branches;
  it.id = row.id;
  RW_TRY(check_id(l, &it, err));
  conv_row kept;
  RW_TRY(keep_row(l, &row, &kept, err));
  it.id = kept.id;
  if (d->n_items == UINT32_MAX) return rw_fail(err, RW_UNSUPPORTED, "more than %u items", UINT32_MAX);
  size_t n_rows = d->n_items;
  if (!vec_push(d->rows, n_rows, d->cap_rows, kept) || !vec_push(d->items, d->n_items, d->cap_items, it))
    return rw_nomem(err, "benchmark rows");
  for (size_t b = 0; b < row.n_branches; b++)
    if (!vec_push(d->length, d->n_branches, d->cap_branches, response_length(&row.branch[b])))
      return rw_nomem(err, "benchmark rows");
  d->subsets[it.subset].n++;
  arena_reset(l->scratch);
  return RW_OK;
}

static rw_status load_file(loader *l, uint32_t file, rw_error *err) {
  rows_in *in;
  RW_TRY(rows_open(&in, l->d->paths[file], l->context, err));
  rw_status s;
  slice row;
  uint64_t line;
  while (!(s = rows_next(in, &row, &line, err)) && row.p) {
    uint64_t own = line;
    l->where = rows_file(in, &own);
    if ((s = add_row(l, row, file, line, err))) {
      const char *name = rows_file(in, &line);
      s = rw_prefix(err, s, "%s:%llu", name, (unsigned long long)line);
      break;
    }
  }
  rows_close(in);
  return s;
}

static rw_status load_all(loader *l, const char *const *paths, size_t n_paths, rw_error *err) {
  eval_data *d = l->d;
  l->doc = json_new();
  l->scratch = arena_new();
  l->seen = map_new();
  l->names = map_new();
  d->memory = arena_new();
  if (!l->doc || !l->scratch || !l->seen || !l->names || !d->memory) return rw_nomem(err, "benchmark rows");
  for (const subset *s = suite_subsets(d->suite); s->name; s++)
    if (!vec_push(d->subsets, d->n_subsets, d->cap_subsets, *s)) return rw_nomem(err, "subsets");
  d->paths = arena_alloc(d->memory, n_paths, sizeof *d->paths);
  if (!d->paths) return rw_nomem(err, "benchmark rows");
  d->n_paths = n_paths;
  for (size_t i = 0; i < n_paths; i++)
    if (!(d->paths[i] = arena_strndup(d->memory, paths[i], strlen(paths[i])))) return rw_nomem(err, "paths");
  for (size_t i = 0; i < n_paths; i++) RW_TRY(load_file(l, (uint32_t)i, err));
  if (d->n_items == 0)
    return rw_fail(err, RW_DATA, "%s: expected items of %s, got no rows", paths[0],
                   eval_suite_words[d->suite].text);
  return RW_OK;
}

rw_status eval_load(eval_data **out, eval_suite suite, const char *const *paths, size_t n_paths,
                    rw_context *context, rw_error *err) {
  *out = NULL;
  loader l = {.context = context, .d = mem_zalloc(1, sizeof *l.d)};
  if (!l.d) return rw_nomem(err, "benchmark rows");
  l.d->suite = suite;
  rw_status s = load_all(&l, paths, n_paths, err);
  json_free(l.doc);
  arena_free(l.scratch);
  map_free(l.seen);
  map_free(l.names);
  if (s)
    eval_data_free(l.d);
  else
    *out = l.d;
  return s;
}

void eval_data_free(eval_data *d) {
  if (!d) return;
  mem_free(d->items);
  mem_free(d->rows);
  mem_free(d->length);
  mem_free(d->right);
  mem_free(d->pairs);
  mem_free(d->subsets);
  arena_free(d->memory);
  mem_free(d);
}

size_t eval_items(const eval_data *d) { return d->n_items; }

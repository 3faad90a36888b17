/* decon_run.c - `reward decontaminate`: training files through the index, into clean and removed rows and a report.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "curate/decon_tally.h"
#include "curate/source.h"
#include "format/rows.h"

typedef struct {
  const decon_run_options *o;
  decon_index *d;
  decon_tally *all;
  const char *path;
  rows_out *clean, *removed;
  struct lane {
    json_doc *doc;
    arena *mem;
    decon_scratch *scratch;
  } * lanes;
  json_doc *doc;
  size_t rows;
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

/* HelpSteer2 has all turns of a prompt in one text, with marks between them: split as its source does, whatever
 * responses stand beside the prompt. */
static rw_status split_turns(const struct lane *l, const conv_row *row, rw_error *err) {
  slice prompt = json_string(l->doc, json_get(l->doc, 0, "prompt"));
  for (size_t b = 0; prompt.p && b < row->n_branches; b++) {
    conversation *c = &row->branch[b];
    message *m;
    size_t n;
    if (c->n_messages == 0 || c->messages[0].role != ROLE_USER || !slice_eq(c->messages[0].content, prompt))
      continue;
    RW_TRY(src_helpsteer2_turns(prompt, c->n_messages, l->mem, &m, &n, err));
    memcpy(m + n, c->messages + 1, (c->n_messages - 1) * sizeof *m);
    c->messages = m;
    c->n_messages += n - 1;
  }
  return RW_OK;
}

/* A training row; one that holds no response counts by its user messages. */
static rw_status read_row(const struct lane *l, conv_row *row, rw_error *err) {
  json_doc *d = l->doc;
  arena *a = l->mem;
  rw_status s = conv_read(row, d, 0, a, err);
  if (!s) return split_turns(l, row, err);
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
  return split_turns(l, row, err);
}

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
  if (s) return rw_prefix(err, s, "%s:%llu", r->path, (unsigned long long)line);
  decon_tally_put(out, c.source, m, n);
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

static rw_status sink(void *ctx, slice row, uint64_t line, slice result, rw_error *err) {
  run *r = ctx;
  slice list;
  (void)line;
  progress_set(&r->p, ++r->rows, NULL);
  RW_TRY(decon_tally_row(r->all, result, NULL, &list, err));
  return list.len ? write_removed(r, row, list, err) : rows_write(r->clean, row.p, row.len, err);
}

static rw_status run_file(run *r, const char *path, rw_error *err) {
  rows_in *in;
  rows_pass pass = {work, sink, r};
  r->path = rows_label(path);
  RW_TRY(rows_open(&in, path, r->o->context, err));
  rw_status s = rows_run(in, &pass, err);
  rows_close(in);
  return s;
}

static rw_status write_json(const run *r, rw_error *err) {
  str s = {0};
  char *path = file_join(r->o->out, "report.json");
  str_addz(&s, "{\n  ");
  decon_tally_json(r->all, "\n  ", &s);
  str_addz(&s, "\n}\n");
  rw_status st = path && !s.oom ? file_put(path, s.p, s.len, err) : rw_nomem(err, "report.json");
  mem_free(path);
  str_free(&s);
  return st;
}

static rw_status write_html(const run *r, rw_error *err) {
  rep_page *p = rep_page_new("Contamination", "Training prompts that share words with a benchmark's prompts.");
  decon_tally_page(r->all, p);
  char *path = file_join(r->o->out, "report.html");
  rw_status s = path ? rep_page_write(p, path, err) : rw_nomem(err, "report.html");
  mem_free(path);
  rep_page_free(p);
  return s;
}

static rw_status prepare(run *r, rw_error *err) {
  const decon_run_options *o = r->o;
  RW_TRY(decon_open(&r->d, o->bench, o->n_bench, &o->options, o->context, err));
  RW_TRY(decon_tally_new(&r->all, r->d, &o->options, false, err));
  int threads = pool_threads(o->context->threads);
  r->doc = json_new();
  r->lanes = mem_zalloc((size_t)threads, sizeof *r->lanes);
  bool ok = r->doc && r->lanes;
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
  RW_TRY(prepare(r, err));
  progress_start(&r->p, r->o->context, "decontaminating", "rows", 0);
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
  *counts = r.all ? decon_tally_counts(r.all) : (decon_counts){0};
  rows_abort(r.clean);
  rows_abort(r.removed);
  for (int i = 0; r.lanes && i < pool_threads(o->context->threads); i++) {
    json_free(r.lanes[i].doc);
    arena_free(r.lanes[i].mem);
    decon_scratch_free(r.lanes[i].scratch);
  }
  mem_free(r.lanes);
  json_free(r.doc);
  decon_tally_free(r.all);
  decon_free(r.d);
  return s;
}

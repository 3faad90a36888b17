/* decon_run.c - training files through a benchmark's index (see decon_run.h). */
#include "curate/decon_run.h"

#include <string.h>

#include "base/log.h"
#include "curate/source.h"
#include "data/transcript.h"
#include "format/rows.h"

typedef struct {
  const decon_run_options *o;
  decon_index *d;
  decon_tally *all;
  rows_out *clean, *removed;
  json_doc *doc;
  size_t rows;
  progress p;
} run;

/* Texts that one user said, as MT-Bench's turns. */
static rw_status read_turns(json_doc *d, json_val list, const char *field, message **m, size_t *n, arena *a,
                            rw_error *err) {
  *n = 0;
  if (!(*m = arena_alloc(a, json_count(d, list), sizeof **m))) return rw_nomem(err, field);
  for (json_val v = json_first(d, list); v != JSON_NONE; v = json_next(d, v)) {
    slice text;
    RW_TRY(json_text(d, v, field, &text, err));
    (*m)[(*n)++] = conv_message(ROLE_USER, text);
  }
  return RW_OK;
}

/* What a field says: a text, a transcript, turns or messages. n 0: it is absent. */
static rw_status read_field(json_doc *d, const char *field, message **m, size_t *n, arena *a, rw_error *err) {
  json_val v = json_get(d, 0, field), first = json_first(d, v);
  slice text = json_string(d, v);
  *n = 0;
  if (json_kind(d, v) == JSON_ARRAY && first != JSON_NONE && json_kind(d, first) == JSON_STRING)
    return read_turns(d, v, field, m, n, a, err);
  if (json_kind(d, v) == JSON_ARRAY) return conv_messages(m, n, d, v, field, a, err);
  if (!text.p) return RW_OK;
  if (transcript_read(text, m, n, a, NULL) == RW_OK) return RW_OK;
  if (!(*m = arena_alloc(a, 1, sizeof **m))) return rw_nomem(err, "a row");
  (*m)[0] = conv_message(ROLE_USER, text);
  *n = 1;
  return RW_OK;
}

/* The messages of a row without a response: those of the first field that it has; of messages that a user ends,
 * those after the last answer do not count. None: n 0. */
static rw_status read_prompt(json_doc *d, message **m, size_t *n, arena *a, rw_error *err) {
  static const char *const fields[] = {"messages", "instruction", "prompt", "question", "problem", "turns"};
  *n = 0;
  if (json_get(d, 0, "chosen") != JSON_NONE || json_get(d, 0, "rejected") != JSON_NONE) return RW_OK;
  for (size_t i = 0; *n == 0 && i < sizeof fields / sizeof *fields; i++)
    RW_TRY(read_field(d, fields[i], m, n, a, err));
  size_t end = json_get(d, 0, fields[0]) == JSON_NONE ? 0 : *n;
  while (end > 0 && (*m)[end - 1].role != ROLE_ASSISTANT) end--;
  if (end > 0) *n = end;
  return RW_OK;
}

/* HelpSteer2 has all turns of a prompt in one text, with marks between them: split as its source does, whatever
 * responses stand beside the prompt. */
static rw_status split_turns(json_doc *d, arena *a, const conv_row *row, rw_error *err) {
  slice prompt = json_string(d, json_get(d, 0, "prompt"));
  for (size_t b = 0; prompt.p && b < row->n_branches; b++) {
    conversation *c = &row->branch[b];
    message *m;
    size_t n;
    if (c->n_messages == 0 || c->messages[0].role != ROLE_USER || !slice_eq(c->messages[0].content, prompt))
      continue;
    RW_TRY(src_helpsteer2_turns(prompt, c->n_messages, a, &m, &n, err));
    memcpy(m + n, c->messages + 1, (c->n_messages - 1) * sizeof *m);
    c->messages = m;
    c->n_messages += n - 1;
  }
  return RW_OK;
}

static rw_status one_conversation(conv_row *row, message *m, size_t n, slice origin, arena *a, rw_error *err) {
  *row = (conv_row){.kind = ROW_SINGLE, .n_branches = 1, .source = origin};
  if (!(row->branch = arena_alloc(a, 1, sizeof *row->branch))) return rw_nomem(err, "a row");
  *row->branch = (conversation){.messages = m, .n_messages = n};
  return RW_OK;
}

/* A training row; one that holds no response counts by its user messages. */
static rw_status read_row(json_doc *d, arena *a, const row_map *called, const char *field, conv_row *row,
                          rw_error *err) {
  message *m = NULL;
  size_t n = 0;
  if (field) {
    slice origin = json_string(d, json_get(d, 0, "source"));
    RW_TRY(read_field(d, field, &m, &n, a, err));
    if (n == 0) return json_wrong(d, json_get(d, 0, field), field, "a string, turns or messages", err);
    return one_conversation(row, m, n, origin, a, err);
  }
  rw_status s = conv_read(row, d, 0, called, a, NULL); /* many rows have no response: nobody hears of it */
  bool asked = s == RW_DATA && json_kind(d, 0) == JSON_OBJECT && !read_prompt(d, &m, &n, a, NULL);
  if (asked && n > 0) {
    RW_TRY(one_conversation(row, m, n, row->source, a, err));
    s = RW_OK;
  }
  if (!s) return split_turns(d, a, row, err);
  s = conv_read(row, d, 0, called, a, err); /* again, for what it has to say */
  if (!s || !asked || !err) return s;
  rw_error said = *err;
  return rw_fail(err, s, "%s; " FIELD(field) " train:NAME says where the prompt is", said.text);
}

static rw_status open_lane(void *ctx, void *own, rw_error *err) {
  const run *r = ctx;
  decon_scratch **scratch = own;
  *scratch = decon_scratch_new(r->d);
  return *scratch ? RW_OK : rw_nomem(err, "decontamination");
}

static void close_lane(void *ctx, void *own) {
  decon_scratch **scratch = own;
  (void)ctx;
  decon_scratch_free(*scratch);
}

static rw_status work(void *ctx, rows_lane *lane, slice row, uint64_t line, void *result, rw_error *err) {
  const run *r = ctx;
  decon_scratch **scratch = lane->own;
  const decon_match *m;
  conv_row c;
  size_t n;
  (void)line;
  RW_TRY(json_parse(lane->doc, row.p, row.len, err));
  RW_TRY(read_row(lane->doc, lane->mem, r->o->context->map, r->o->options.train_field, &c, err));
  RW_TRY(decon_check(r->d, *scratch, &c, &m, &n, err));
  return decon_found_keep(result, lane->keep, &c, m, n) ? RW_OK : rw_nomem(err, "a row");
}

static bool is_contamination(void *ctx, slice key, json_val v) {
  (void)ctx, (void)v;
  return slice_is(key, "contamination");
}

/* What stands between the braces of an object's text. */
static slice inside(slice object) {
  const char *from = memchr(object.p, '{', object.len), *to = memrchr(object.p, '}', object.len);
  return (slice){from + 1, (size_t)(to - from - 1)};
}

/* The row as it stands, with its matches; a field contamination that it had from before gives way. */
static rw_status write_removed(run *r, slice row, const decon_found *f, rw_error *err) {
  str s = {0};
  json_writer w = {.out = &s};
  RW_TRY(json_parse(r->doc, row.p, row.len, err));
  jw_object(&w, NULL);
  if (json_get(r->doc, 0, "contamination") != JSON_NONE)
    jw_members(&w, r->doc, is_contamination, NULL);
  else if (json_count(r->doc, 0) > 0)
    jw_raw(&w, NULL, inside(row));
  decon_found_json(f, &w, "contamination");
  jw_end(&w);
  rw_status st = s.oom ? rw_nomem(err, "a row") : rows_write(r->removed, s.p, s.len, err);
  str_free(&s);
  return st;
}

static rw_status sink(void *ctx, slice row, uint64_t line, void *result, rw_error *err) {
  run *r = ctx;
  const decon_found *f = result;
  (void)line;
  progress_set(&r->p, ++r->rows, NULL);
  RW_TRY(decon_tally_row(r->all, f, NULL, err));
  return f->n ? write_removed(r, row, f, err) : rows_write(r->clean, row.p, row.len, err);
}

static rw_status run_files(run *r, rw_error *err) {
  rows_job job = {.result_size = sizeof(decon_found),
                  .lane_size = sizeof(decon_scratch *),
                  .lane_open = open_lane,
                  .lane_close = close_lane,
                  .work = work,
                  .sink = sink,
                  .ctx = r};
  rows_file_job *files = mem_zalloc(r->o->n_train, sizeof *files);
  if (!files) return rw_nomem(err, "decontamination");
  for (size_t i = 0; i < r->o->n_train; i++) files[i] = (rows_file_job){.path = r->o->train[i], .ctx = r};
  rw_status s = rows_map_files(files, r->o->n_train, &job, r->o->context, err);
  mem_free(files);
  return s;
}

static rw_status write_json(const run *r, rw_error *err) {
  str s = {0};
  json_writer w = {.out = &s};
  char *path = file_join(r->o->out, "report.json");
  jw_object_lines(&w, NULL);
  decon_tally_json(r->all, &w);
  jw_end(&w);
  str_addc(&s, '\n');
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
  r->doc = json_new();
  char *clean = file_join(o->out, "clean.jsonl"), *removed = file_join(o->out, "removed.jsonl");
  rw_status s = r->doc && clean && removed ? RW_OK : rw_nomem(err, "decontamination");
  if (!s) s = rows_create(&r->clean, clean, err);
  if (!s) s = rows_create(&r->removed, removed, err);
  mem_free(clean);
  mem_free(removed);
  return s;
}

static rw_status whole(run *r, rw_error *err) {
  RW_TRY(prepare(r, err));
  progress_start(&r->p, r->o->context, "decontaminating", "rows", 0);
  RW_TRY(run_files(r, err));
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
  json_free(r.doc);
  decon_tally_free(r.all);
  decon_free(r.d);
  return s;
}

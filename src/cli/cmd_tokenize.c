/* cmd_tokenize.c - `reward tokenize`: rows of text or messages in, the same rows with their ids out. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "format/json_write.h"
#include "format/own_fields.h"
#include "format/rows.h"
#include "text/render.h"

static const char USAGE[] = "tokenize --model DIR [ROWS] [-o OUT] [options]";
static const char ABOUT[] =
    "Adds \"input_ids\" to each row: of {\"text\"} as it is, without special tokens; of {\"messages\"} through "
    "the\n"
    "model's chat template. DIR may hold only tokenizer files. Ids equal those of the model's own fast tokenizer;\n"
    "a control token spelled inside a message is plain text. A row that cannot be tokenized carries \"error\". A "
    "row's\n"
    "own \"input_ids\" and \"error\" are replaced, which a warning counts; all other fields are kept.";
static const char EXAMPLES[] =
    "  echo '{\"text\": \"Hello world\"}' | reward tokenize --model rm\n"
    "  reward tokenize --model rm conversations.jsonl -o ids.jsonl.gz\n";

enum { OURS = 2, SHOWN_BAD_ROWS = 5 };
static const char *const ours[OURS] = {"input_ids", "error"};

typedef struct {
  render_scratch *scratch;
  ids ids;
  str line;
  own_field replaced[OURS];
  const json_doc *doc; /* document of the row at hand */
} lane;

/* A row's output. */
typedef struct {
  slice line;
  const char *error; /* NULL: none */
} tokenized;

typedef struct {
  rw_context *context;
  const renderer *r;
  rows_out *out;
  const rows_in *in;
  size_t failed, done;
  progress p;
  render_notes notes;       /* notes of all lanes */
  own_field replaced[OURS]; /* the same */
} run;

/* Is it a field that is written anew? Counted, unless it says nothing. */
static bool replaced(void *ctx, slice key, json_val v) {
  lane *l = ctx;
  for (size_t i = 0; i < OURS; i++) {
    if (!slice_is(key, ours[i])) continue;
    l->replaced[i].rows += json_kind(l->doc, v) != JSON_NULL;
    return true;
  }
  return false;
}

static rw_status encode(const run *r, rows_lane *rl, slice row, rw_error *err) {
  lane *l = rl->own;
  conv_row c;
  RW_TRY(json_parse(rl->doc, row.p, row.len, err));
  json_val messages = json_get(rl->doc, 0, "messages");
  conversation whole = {0}, *branch = &whole;
  if (messages != JSON_NONE) { /* also one that does not end with the assistant */
    RW_TRY(conv_messages(&whole.messages, &whole.n_messages, rl->doc, messages, "messages", rl->mem, err));
    RW_TRY(conv_tools(&whole.tools, rl->doc, 0, r->context->map, err));
  } else {
    RW_TRY(conv_read(&c, rl->doc, 0, r->context->map, rl->mem, err));
    if (c.kind != ROW_SINGLE)
      return rw_fail(err, RW_DATA, "row: expected text or messages, got a pair or several responses");
    branch = &c.branch[0];
  }
  l->ids.len = 0;
  return render_ids(r->r, l->scratch, branch, &l->ids, err);
}

/* The row's own fields but those that are written anew, then its ids or why it has none (NULL: it has). */
static void write_row(rows_lane *rl, slice row, const char *error) {
  lane *l = rl->own;
  json_writer w = {.out = &l->line};
  l->doc = rl->doc;
  str_clear(&l->line);
  jw_object(&w, NULL);
  bool is_object =
      !error || (json_parse(rl->doc, row.p, row.len, NULL) == RW_OK && json_kind(rl->doc, 0) == JSON_OBJECT);
  if (is_object) jw_members(&w, rl->doc, replaced, l);
  if (error) {
    jw_string(&w, "error", error);
  } else {
    jw_array(&w, "input_ids");
    for (size_t i = 0; i < l->ids.len; i++) jw_int(&w, NULL, l->ids.p[i]);
    jw_end(&w);
  }
  jw_end(&w);
}

static rw_status work(void *ctx, rows_lane *rl, slice row, uint64_t line, void *result, rw_error *err) {
  tokenized *t = result;
  lane *l = rl->own;
  rw_error e;
  (void)line;
  rw_status s = encode(ctx, rl, row, &e);
  if (s == RW_NOMEM) return rw_nomem(err, "a row");
  write_row(rl, row, s ? cli_text(&e) : NULL);
  t->line = rows_keep(rl, (slice){l->line.p, l->line.len});
  t->error = s ? arena_strndup(rl->keep, e.text, strlen(e.text)) : NULL;
  return l->line.oom || !t->line.p || (s && !t->error) ? rw_nomem(err, "a row") : RW_OK;
}

static rw_status sink(void *ctx, slice row, uint64_t line, void *result, rw_error *err) {
  run *r = ctx;
  const tokenized *t = result;
  (void)row;
  if (t->error && r->failed++ < SHOWN_BAD_ROWS) {
    const char *file = rows_file(r->in, &line);
    log_warn(r->context, "%s:%llu: %s", file, (unsigned long long)line, t->error);
  }
  progress_set(&r->p, ++r->done, NULL);
  return rows_write(r->out, t->line.p, t->line.len, err);
}

static rw_status lane_open(void *ctx, void *own, rw_error *err) {
  lane *l = own;
  l->scratch = render_scratch_new(((const run *)ctx)->r);
  return l->scratch ? RW_OK : rw_nomem(err, "rows");
}

static void lane_close(void *ctx, void *own) {
  run *r = ctx;
  lane *l = own;
  if (l->scratch) render_notes_add(&r->notes, render_scratch_notes(l->scratch));
  for (size_t k = 0; k < OURS; k++)
    r->replaced[k] = (own_field){ours[k], r->replaced[k].rows + l->replaced[k].rows};
  render_scratch_free(l->scratch);
  mem_free(l->ids.p);
  str_free(&l->line);
}

static rw_status run_rows(run *r, rows_in *in, rw_error *err) {
  const rows_job job = {.result_size = sizeof(tokenized),
                        .lane_size = sizeof(lane),
                        .lane_open = lane_open,
                        .lane_close = lane_close,
                        .work = work,
                        .sink = sink,
                        .ctx = r};
  progress_start(&r->p, r->context, "tokenizing", "rows", 0);
  rw_status s = rows_map(in, &job, err);
  progress_end(&r->p);
  return s;
}

typedef struct {
  const char *model, *data, *out, *chat_template, *date;
} options;

static const option table[] = {
    {"model", 'm', .kind = OPTION_TEXT, .field = offsetof(options, model), .value = "DIR",
     .help = "a model's directory, or one with only tokenizer files"},
    {"data", .kind = OPTION_TEXT, .field = offsetof(options, data), .value = "ROWS",
     .help = "the rows, instead of naming them as a word (default: stdin)"},
    {"out", 'o', .old = "output", .kind = OPTION_TEXT, .field = offsetof(options, out), .value = "FILE",
     .initial = "-", .help = "where the rows go (.gz, .zst, .parquet by name); - is stdout"},
    {"chat-template", .kind = OPTION_TEXT, .field = offsetof(options, chat_template), .value = "FILE",
     .help = "instead of the model's own (default: its own)"},
    {"date", .kind = OPTION_TEXT, .field = offsetof(options, date), .value = "YYYY-MM-DD",
     .help = "what strftime_now returns (default: 2024-07-26)"},
    {.name = NULL}};

static int run_command(cli *c, void *values) {
  options *o = values;
  if (!o->model) return cli_usage(c, "--model is needed");
  const char *rows = cli_rows(c, o->data);
  if (!rows) return 2;
  int status;
  if ((status = cli_check_output(c, o->out, &rows, 1)) >= 0) return status;
  if (!cli_threads(c)) return 1;
  rw_error err;
  renderer *r = NULL;
  rows_in *in = NULL;
  run t = {.context = c->context};
  rw_status s = rows_open(&in, rows, c->context, &err);
  if (!s) s = cli_model_dir(c, &o->model, &err);
  if (!s) s = renderer_open(&r, text_dir(o->model, c->common.base), o->chat_template, o->date, &err);
  if (!s && !renderer_tokenizer(r))
    s = rw_fail(&err, RW_DATA, "%s: expected tokenizer.json or tokenizer.model in it, found none", o->model);
  if (!s) s = rows_create(&t.out, o->out, &err);
  t.r = r;
  if (!s) {
    t.in = in;
    s = run_rows(&t, in, &err);
  }
  if (!s)
    s = rows_commit(t.out, &err);
  else
    rows_abort(t.out);
  render_notes_warn(c->context, &t.notes);
  if (t.notes.date && !o->date)
    log_note(c->context, "the template asks for the date: 26 Jul 2024 is used; --date sets another");
  own_fields_warn(c->context, t.replaced, OURS);
  if (t.failed) log_warn(c->context, "%zu of %zu rows could not be tokenized", t.failed, t.done);
  renderer_free(r);
  rows_close(in);
  if (s) return cli_fail(c, &err);
  return t.failed ? 1 : 0;
}

const cli_command cmd_tokenize = {.name = "tokenize",
                                  .summary = "texts and conversations to token ids",
                                  .usage = USAGE,
                                  .about = ABOUT,
                                  .examples = EXAMPLES,
                                  .parts = {{table}},
                                  .values = sizeof(options),
                                  .max_words = 1,
                                  .common = CLI_THREADS | CLI_BASE | CLI_QUIET | CLI_ROWS,
                                  .run = run_command};

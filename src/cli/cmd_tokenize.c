/* cmd_tokenize.c - `reward tokenize`: rows of text or messages in, the same rows with their ids out. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
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

enum { OURS = 2 };
static const char *const ours[OURS] = {"input_ids", "error"};

typedef struct {
  json_doc *doc;
  arena *mem;
  render_scratch *scratch;
  ids ids;
  size_t replaced[OURS]; /* rows whose own field of that name was left out */
} lane;

typedef struct {
  const renderer *r;
  lane *lanes;
  rows_out *out;
  const char *path;
  size_t failed, done;
  progress p;
} run;

/* Is it a field that is written anew? Counted, unless it says nothing. */
static bool replaced(void *ctx, slice key, json_val v) {
  lane *l = ctx;
  for (size_t i = 0; i < OURS; i++) {
    if (!slice_is(key, ours[i])) continue;
    l->replaced[i] += json_kind(l->doc, v) != JSON_NULL;
    return true;
  }
  return false;
}

/* The row's own fields but those that are written anew, and the name of the one that follows them. */
static void begin_row(str *out, lane *l, const char *next) {
  str_addc(out, '{');
  json_members(out, l->doc, ", ", replaced, l);
  str_json_key(out, next);
}

static rw_status encode(run *r, lane *l, slice row, str *out, rw_error *err) {
  conv_row c;
  arena_reset(l->mem);
  RW_TRY(json_parse(l->doc, row.p, row.len, err));
  json_val messages = json_get(l->doc, 0, "messages");
  conversation whole = {0}, *branch = &whole;
  if (messages != JSON_NONE) { /* also one that does not end with the assistant */
    RW_TRY(conv_messages(&whole.messages, &whole.n_messages, l->doc, messages, "messages", l->mem, err));
  } else {
    RW_TRY(conv_read(&c, l->doc, 0, l->mem, err));
    if (c.kind != ROW_SINGLE)
      return rw_fail(err, RW_DATA, "row: expected text or messages, got a pair or several responses");
    branch = &c.branch[0];
  }
  l->ids.len = 0;
  RW_TRY(render_ids(r->r, l->scratch, branch, &l->ids, err));
  begin_row(out, l, "input_ids");
  str_addc(out, '[');
  for (size_t i = 0; i < l->ids.len; i++) str_printf(out, i ? ", %d" : "%d", l->ids.p[i]);
  str_addz(out, "]}");
  return RW_OK;
}

static rw_status work(void *ctx, int thread, slice row, uint64_t line, str *out, rw_error *err) {
  run *r = ctx;
  rw_error e;
  size_t from = out->len;
  (void)line;
  rw_status s = encode(r, &r->lanes[thread], row, out, &e);
  if (s == RW_OK) return RW_OK;
  if (s == RW_NOMEM) return rw_nomem(err, "a row");
  out->len = from;
  lane *l = &r->lanes[thread];
  if (json_parse(l->doc, row.p, row.len, NULL) == RW_OK && json_kind(l->doc, 0) == JSON_OBJECT)
    begin_row(out, l, "error");
  else
    str_addz(out, "{\"error\": ");
  str_json(out, e.text, strlen(e.text));
  str_addc(out, '}');
  return RW_OK;
}

static rw_status sink(void *ctx, slice row, uint64_t line, slice result, rw_error *err) {
  run *r = ctx;
  (void)row;
  /* a row of ids ends in "]}", an error in "\"}"; within a message quotes are escaped */
  static const char mark[] = "\"error\": \"";
  if (result.p[result.len - 2] == '"' && r->failed++ < 5) {
    const char *text = result.p, *end = result.p + result.len - 2;
    for (const char *at = text; (at = memmem(at, (size_t)(end - at), mark, sizeof mark - 1));)
      text = at += sizeof mark - 1;
    log_warn(&cli_context, "%s:%llu: %.*s", r->path, (unsigned long long)line, (int)(end - text), text);
  }
  progress_set(&r->p, ++r->done, NULL);
  return rows_write(r->out, result.p, result.len, err);
}

static rw_status run_rows(run *r, rows_in *in, rw_error *err) {
  int n = pool_threads(cli_context.threads);
  r->lanes = mem_zalloc((size_t)n, sizeof *r->lanes);
  if (!r->lanes) return rw_nomem(err, "rows");
  for (int i = 0; i < n; i++) {
    lane *l = &r->lanes[i];
    *l = (lane){.doc = json_new(), .mem = arena_new(), .scratch = render_scratch_new(r->r)};
    if (!l->doc || !l->mem || !l->scratch) return rw_nomem(err, "rows");
  }
  rows_pass pass = {work, sink, r};
  progress_start(&r->p, &cli_context, "tokenizing", "rows", 0);
  rw_status s = rows_run(in, &pass, err);
  progress_end(&r->p);
  return s;
}

static void free_lanes(run *r, int n) {
  for (int i = 0; r->lanes && i < n; i++) {
    json_free(r->lanes[i].doc);
    arena_free(r->lanes[i].mem);
    render_scratch_free(r->lanes[i].scratch);
    mem_free(r->lanes[i].ids.p);
  }
  mem_free(r->lanes);
}

int cmd_tokenize_run(int argc, char **argv) {
  const char *model = NULL, *out = "-", *template_file = NULL, *date = NULL;
  cli_list words = {0};
  const opt table[] = {
      {"model", 'm', OPT_STRING, &model, "DIR", "a model's directory, or one with only tokenizer files", false},
      {"output", 'o', OPT_STRING, &out, "FILE", "where the rows go (.gz, .zst, .parquet by name); - is stdout",
       false},
      {"chat-template", 0, OPT_STRING, &template_file, "FILE", "instead of the model's own (default: its own)",
       false},
      {"date", 0, OPT_STRING, &date, "YYYY-MM-DD", "what strftime_now returns (default: 2024-07-26)", false},
      {NULL, 0, OPT_FLAG, NULL, NULL, NULL, false}};
  int status = cli_parse(argc, argv, table, &words, 1, USAGE, ABOUT, EXAMPLES);
  if (status >= 0) return status;
  if (!model) return cli_usage("--model is needed");
  const char *rows = words.n ? words.items[0] : "-";
  if ((status = cli_check_output(out, &rows, 1)) >= 0) return status;
  if (!cli_threads()) return 1;
  rw_error err;
  renderer *r = NULL;
  rows_in *in = NULL;
  run t = {0};
  rw_status s = rows_open(&in, rows, &cli_context, &err);
  if (!s) s = cli_model_dir(&model, &err);
  if (!s) s = renderer_open(&r, text_dir(model, cli_opts.base), template_file, date, &err);
  if (!s && !renderer_tokenizer(r))
    s = rw_fail(&err, RW_DATA, "%s: expected tokenizer.json or tokenizer.model in it, found none", model);
  if (!s) s = rows_create(&t.out, out, &err);
  t.r = r;
  if (!s) {
    t.path = rows_path(in);
    s = run_rows(&t, in, &err);
  }
  render_notes notes = {0};
  cli_replaced own[OURS] = {{0}};
  for (int i = 0; t.lanes && i < pool_threads(cli_context.threads); i++) {
    if (!t.lanes[i].scratch) continue;
    const render_notes *n = render_scratch_notes(t.lanes[i].scratch);
    notes.escaped += n->escaped;
    notes.changed += n->changed;
    notes.date |= n->date;
    for (size_t k = 0; k < OURS; k++) own[k] = (cli_replaced){ours[k], own[k].rows + t.lanes[i].replaced[k]};
  }
  if (!s)
    s = rows_commit(t.out, &err);
  else
    rows_abort(t.out);
  if (notes.escaped)
    log_warn(&cli_context, "%zu control tokens spelled in contents were encoded as plain text", notes.escaped);
  if (notes.changed)
    log_warn(&cli_context, "the template changed the contents of %zu conversations", notes.changed);
  if (notes.date && !date)
    log_note(&cli_context, "the template asks for the date: 26 Jul 2024 is used; --date sets another");
  cli_say_replaced(own, OURS);
  if (t.failed) log_warn(&cli_context, "%zu of %zu rows could not be tokenized", t.failed, t.done);
  free_lanes(&t, pool_threads(cli_context.threads));
  renderer_free(r);
  rows_close(in);
  if (s) return cli_fail(&err);
  return t.failed ? 1 : 0;
}

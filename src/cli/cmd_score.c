/* cmd_score.c - `reward score`: rows in, the same rows with their scores out. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/journal.h"
#include "format/rows.h"
#include "model/score.h"

static const char USAGE[] = "score --model DIR [ROWS] [-o OUT] [options]";
static const char ABOUT[] =
    "Adds the reward to each row: \"score\", \"scores\" (for responses), or \"chosen_score\" and "
    "\"rejected_score\".\n"
    "The raw logit; the same conversation gets the same bits whatever it is scored with. A row that cannot be\n"
    "scored carries \"error\", and the exit status is 1. A model with several heads also gives \"attributes\"; "
    "ArmoRM\n"
    "gives Magpie's rows (instruction, responses) their rewards_armorm. Token counts (tokens, chosen_tokens,\n"
    "rejected_tokens) are of what was scored: of a row with \"truncated\", after the cut.\n"
    "A row keeps its own fields, but those under a name that its kind of row gets here (score, scores, tokens,\n"
    "attributes; of pairs chosen_score, rejected_score and so on) and error, dropped, truncated are replaced, or\n"
    "left out where this run has nothing to say under it; a warning counts them.\n"
    "Finished rows are kept in OUT.partial until all are there: after an interruption, --resume checks them "
    "against\n"
    "the input and goes on, to the same bytes. Beside OUT, OUT.run.json records model, device, dtype, limits and "
    "counts.";
static const char EXAMPLES[] =
    "  reward score --model rm pairs.jsonl -o scored.jsonl\n"
    "  echo '{\"prompt\": \"2+2?\", \"responses\": [\"4\", \"5\"]}' | reward score --model rm\n"
    "  reward score --model rm rows.jsonl.zst -o - | jq .score\n"
    "  reward score --model rm pairs.jsonl -o scored.jsonl.zst --resume\n";

/* Rows held at a time; at least one. A slow model takes fewer, so that about so many seconds are lost when it is
 * killed; no score depends on it. */
enum { FIRST_CHUNK_ROWS = 16, CHUNK_ROWS = 512, CHUNK_BYTES = 1 << 20, CHUNK_SECONDS = 10 };

/* One row in flight. */
typedef struct {
  char *text;
  size_t len;
  uint64_t line;
  json_doc *doc;
  arena *mem;
  conv_row row;
  bool is_object, readable, magpie;
  char error[256];
} held;

enum { OURS = 16 };

typedef struct {
  scorer *s;
  rows_in *in;
  rows_out *out;    /* stdout and devices; else: */
  journal *journal; /* of finished rows */
  held *rows;
  score_item *items;
  size_t *item_row;
  float *scores, *attributes;
  const char *const *names; /* of attributes */
  size_t n_names;
  bool magpie; /* rows of Magpie's form get rewards_armorm */
  uint32_t *tokens;
  size_t cap_branches, chunk_rows, failed, dropped, truncated, done;
  str record; /* what the scores depend on, as JSON */
  cli_replaced replaced[OURS];
  uint64_t all_tokens;
} run;

/* A number, or a list of them where the row had a list. */
static void add_numbers(str *out, const char *name, const char *plural, bool list, const float *v, size_t n) {
  str_json_key(out, list ? plural : name);
  if (list) str_addc(out, '[');
  for (size_t i = 0; i < n; i++) {
    if (i) str_addz(out, ", ");
    str_json_f32(out, v[i]);
  }
  if (list) str_addc(out, ']');
}

static void add_counts(str *out, const char *name, bool list, const uint32_t *v, size_t n) {
  str_json_key(out, name);
  if (list) str_addc(out, '[');
  for (size_t i = 0; i < n; i++) str_printf(out, i ? ", %u" : "%u", v[i]);
  if (list) str_addc(out, ']');
}

/* {name: number} for each of n conversations, in a list where the row had one. */
static void add_attributes(str *out, const run *r, const char *name, bool list, const float *v, size_t n) {
  str_json_key(out, name);
  if (list) str_addc(out, '[');
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < r->n_names; k++) {
      str_addz(out, k ? ", " : i ? "}, {" : "{");
      str_json(out, r->names[k], strlen(r->names[k]));
      str_addz(out, ": ");
      str_json_f32(out, v[i * r->n_names + k]);
    }
  str_addz(out, list ? n ? "}]" : "]" : "}");
}

/* The column of the public Magpie sets: [{"score": number}, ...], one a response. */
static void add_magpie(str *out, const float *v, size_t n) {
  str_addz(out, ", \"rewards_armorm\": [");
  for (size_t i = 0; i < n; i++) {
    str_addz(out, i ? ", {\"score\": " : "{\"score\": ");
    str_json_f32(out, v[i]);
    str_addc(out, '}');
  }
  str_addc(out, ']');
}

/* The fields that this program writes: a row's own of such a name is left out where it could be taken for one. */
enum { ON_SINGLE = 1 << ROW_SINGLE, ON_RESPONSES = 1 << ROW_RESPONSES, ON_PAIR = 1 << ROW_PAIR, ON_ALL = 7 };
typedef enum { ALWAYS, ATTRIBUTES, MAGPIE } written;
static const struct {
  const char *name;
  int kinds; /* of rows that get it; a row that could not be read is of all */
  written when;
} ours[OURS] = {{"error", ON_ALL, ALWAYS},
                {"dropped", ON_ALL, ALWAYS},
                {"truncated", ON_ALL, ALWAYS},
                {"score", ON_SINGLE, ALWAYS},
                {"scores", ON_RESPONSES, ALWAYS},
                {"tokens", ON_SINGLE | ON_RESPONSES, ALWAYS},
                {"attributes", ON_SINGLE | ON_RESPONSES, ATTRIBUTES},
                {"rewards_armorm", ON_RESPONSES, MAGPIE},
                {"chosen_score", ON_PAIR, ALWAYS},
                {"chosen_scores", ON_PAIR, ALWAYS},
                {"rejected_score", ON_PAIR, ALWAYS},
                {"rejected_scores", ON_PAIR, ALWAYS},
                {"chosen_tokens", ON_PAIR, ALWAYS},
                {"rejected_tokens", ON_PAIR, ALWAYS},
                {"chosen_attributes", ON_PAIR, ATTRIBUTES},
                {"rejected_attributes", ON_PAIR, ATTRIBUTES}};

typedef struct {
  run *r;
  const held *h;
} row_of;

/* Is it a field that this run writes anew? Counted, unless it says nothing. */
static bool replaced(void *ctx, slice key, json_val v) {
  const row_of *of = ctx;
  const held *h = of->h;
  int kind = h->readable ? 1 << h->row.kind : ON_ALL;
  for (size_t i = 0; i < OURS; i++) {
    if (!(ours[i].kinds & kind) || !slice_is(key, ours[i].name)) continue;
    if (ours[i].when == ATTRIBUTES && !of->r->n_names) return false;
    if (ours[i].when == MAGPIE && !h->magpie) return false;
    of->r->replaced[i].name = ours[i].name;
    of->r->replaced[i].rows += json_kind(h->doc, v) != JSON_NULL;
    return true;
  }
  return false;
}

/* What an output row begins with: all that comes from its input row. */
static void begin_row(str *out, run *r, const held *h) {
  str_clear(out);
  str_addc(out, '{');
  if (h->is_object)
    json_members(out, h->doc, ", ", replaced, &(row_of){r, h});
  else
    str_printf(out, "\"line\": %llu", (unsigned long long)h->line);
}

static rw_status write_row(run *r, const held *h, const score_item *it, str *out, rw_error *err) {
  const char *error = h->error[0] ? h->error : it ? it->error : "";
  begin_row(out, r, h);
  if (error[0]) {
    str_json_key(out, "error");
    str_json(out, error, strlen(error));
    if (it && it->dropped) {
      str_addz(out, ", \"dropped\": true");
      r->dropped++;
    }
    if (r->failed++ < 5)
      log_warn(&cli_context, "%s:%llu: %s", rows_path(r->in), (unsigned long long)h->line, error);
  } else if (it) {
    const conv_row *c = it->row;
    for (size_t b = 0; b < c->n_branches; b++) r->all_tokens += it->tokens[b];
    size_t nc = c->n_chosen, nr = c->n_branches - nc;
    if (c->kind == ROW_PAIR) {
      add_numbers(out, "chosen_score", "chosen_scores", c->chosen_is_list, it->score, nc);
      add_numbers(out, "rejected_score", "rejected_scores", c->rejected_is_list, it->score + nc, nr);
      add_counts(out, "chosen_tokens", c->chosen_is_list, it->tokens, nc);
      add_counts(out, "rejected_tokens", c->rejected_is_list, it->tokens + nc, nr);
      if (r->n_names) {
        add_attributes(out, r, "chosen_attributes", c->chosen_is_list, it->attributes, nc);
        add_attributes(out, r, "rejected_attributes", c->rejected_is_list, it->attributes + nc * r->n_names, nr);
      }
    } else {
      bool list = c->kind == ROW_RESPONSES;
      add_numbers(out, "score", "scores", list, it->score, c->n_branches);
      add_counts(out, "tokens", list, it->tokens, c->n_branches);
      if (r->n_names) add_attributes(out, r, "attributes", list, it->attributes, c->n_branches);
      if (h->magpie) add_magpie(out, it->score, c->n_branches);
    }
    if (it->truncated) {
      str_addz(out, ", \"truncated\": true");
      r->truncated++;
    }
  }
  str_addc(out, '}');
  if (out->oom) return rw_nomem(err, "a row");
  return r->journal ? journal_write(r->journal, out->p, out->len, err) : rows_write(r->out, out->p, out->len, err);
}

static rw_status read_chunk(run *r, size_t *n, rw_error *err) {
  size_t bytes = 0;
  *n = 0;
  while (*n < r->chunk_rows && bytes < CHUNK_BYTES) {
    slice row;
    held *h = &r->rows[*n];
    RW_TRY(rows_next(r->in, &row, &h->line, err));
    if (!row.p) break;
    h->text = mem_strndup(row.p, row.len);
    if (!h->text) return rw_nomem(err, "a row");
    h->len = row.len;
    bytes += row.len;
    ++*n;
    rw_error e;
    arena_reset(h->mem);
    h->error[0] = 0;
    h->readable = json_parse(h->doc, h->text, h->len, &e) == RW_OK;
    h->is_object = h->readable && json_kind(h->doc, 0) == JSON_OBJECT;
    h->magpie = h->readable && r->magpie && json_get(h->doc, 0, "instruction") != JSON_NONE &&
                json_get(h->doc, 0, "responses") != JSON_NONE;
    if (h->readable)
      h->readable = (h->magpie ? conv_read_responses : conv_read)(&h->row, h->doc, 0, h->mem, &e) == RW_OK;
    if (!h->readable) snprintf(h->error, sizeof h->error, "%.255s", e.text), utf8_mend(h->error);
  }
  return RW_OK;
}

static rw_status score_chunk(run *r, size_t n, str *line, rw_error *err) {
  size_t branches = 0, items = 0, at = 0;
  for (size_t i = 0; i < n; i++)
    if (r->rows[i].readable) branches += r->rows[i].row.n_branches;
  if (branches > r->cap_branches) {
    mem_free(r->scores);
    mem_free(r->tokens);
    mem_free(r->attributes);
    r->scores = mem_alloc(branches, sizeof *r->scores);
    r->tokens = mem_alloc(branches, sizeof *r->tokens);
    r->attributes = mem_alloc(branches * r->n_names, sizeof *r->attributes);
    r->cap_branches = r->scores && r->tokens && r->attributes ? branches : 0;
    if (r->cap_branches == 0) return rw_nomem(err, "scores");
  }
  for (size_t i = 0; i < n; i++) {
    const held *h = &r->rows[i];
    r->item_row[i] = SIZE_MAX;
    if (!h->readable) continue;
    r->items[items] = (score_item){.row = &h->row,
                                   .score = r->scores + at,
                                   .attributes = r->attributes + at * r->n_names,
                                   .tokens = r->tokens + at};
    r->item_row[i] = items++;
    at += h->row.n_branches;
  }
  RW_TRY(score_items(r->s, r->items, items, err));
  for (size_t i = 0; i < n; i++)
    RW_TRY(write_row(r, &r->rows[i], r->item_row[i] == SIZE_MAX ? NULL : &r->items[r->item_row[i]], line, err));
  return RW_OK;
}

static void drop_chunk(run *r, size_t n) {
  for (size_t i = 0; i < n; i++) {
    mem_free(r->rows[i].text);
    r->rows[i].text = NULL;
  }
}

/* The rows that an interrupted run has left: each must begin as its input row makes it begin. */
static rw_status take_kept(run *r, str *line, rw_error *err) {
  held *h = &r->rows[0];
  slice kept;
  for (;;) {
    RW_TRY(journal_next(r->journal, &kept, err));
    if (!kept.p) break;
    size_t n;
    r->chunk_rows = 1;
    RW_TRY(read_chunk(r, &n, err));
    if (n) begin_row(line, r, h);
    /* after its own fields come ours; a row without any cannot have been scored */
    slice next = line->len > 1 ? SLICE(",") : SLICE("\"error\"");
    bool same = n && !line->oom && kept.len > line->len + next.len && memcmp(kept.p, line->p, line->len) == 0 &&
                memcmp(kept.p + line->len, next.p, next.len) == 0;
    uint64_t at = h->line;
    drop_chunk(r, n);
    if (line->oom) return rw_nomem(err, "a row");
    if (!same)
      return rw_fail(err, RW_USAGE,
                     "%s%s%.0llu: not the input whose rows are kept, from row %zu on; leave out --resume",
                     rows_path(r->in), n ? ":" : "", n ? (unsigned long long)at : 0, r->done + 1);
    RW_TRY(json_parse(h->doc, kept.p, kept.len, err));
    r->failed += json_get(h->doc, 0, "error") != JSON_NONE;
    r->dropped += json_get(h->doc, 0, "dropped") != JSON_NONE;
    r->truncated += json_get(h->doc, 0, "truncated") != JSON_NONE;
    r->done++;
  }
  if (r->done) log_note(&cli_context, "%zu rows are there already", r->done);
  return RW_OK;
}

static rw_status score_file(run *r, rw_error *err) {
  r->rows = mem_zalloc(CHUNK_ROWS, sizeof *r->rows);
  r->items = mem_alloc(CHUNK_ROWS, sizeof *r->items);
  r->item_row = mem_alloc(CHUNK_ROWS, sizeof *r->item_row);
  if (!r->rows || !r->items || !r->item_row) return rw_nomem(err, "rows");
  for (size_t i = 0; i < CHUNK_ROWS; i++) {
    r->rows[i].doc = json_new();
    r->rows[i].mem = arena_new();
    if (!r->rows[i].doc || !r->rows[i].mem) return rw_nomem(err, "rows");
  }
  progress p;
  progress_start(&p, &cli_context, "scoring", "rows", 0);
  str line = {0};
  rw_status s = r->journal ? take_kept(r, &line, err) : RW_OK;
  r->chunk_rows = FIRST_CHUNK_ROWS;
  p.from = r->done;
  for (size_t n = 1; !s && n > 0;) {
    double began = log_seconds();
    s = read_chunk(r, &n, err);
    if (!s) s = score_chunk(r, n, &line, err);
    if (!s && r->journal) s = journal_flush(r->journal, err);
    drop_chunk(r, n);
    uint64_t part, whole;
    rows_position(r->in, &part, &whole);
    p.share = whole ? (double)part / (double)whole : 0;
    progress_set(&p, r->done += n, NULL);
    if (!s && log_interrupted(&cli_context)) s = rw_fail(err, RW_INTERRUPTED, "interrupted");
    double rows = (double)n * CHUNK_SECONDS / (log_seconds() - began + 1e-3);
    r->chunk_rows = rows > CHUNK_ROWS ? CHUNK_ROWS : rows < 1 ? 1 : (size_t)rows;
  }
  progress_end(&p);
  str_free(&line);
  return s;
}

static void free_rows(run *r) {
  for (size_t i = 0; r->rows && i < CHUNK_ROWS; i++) {
    json_free(r->rows[i].doc);
    arena_free(r->rows[i].mem);
    mem_free(r->rows[i].text);
  }
  void *p[] = {r->rows, r->items, r->item_row, r->scores, r->tokens, r->attributes};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
}

static int by_name(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

static int is_model_file(const struct dirent *e) {
  static const char *const ends[] = {".safetensors", ".json", ".jinja"};
  size_t n = strlen(e->d_name);
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
    if (n > strlen(ends[i]) && strcmp(e->d_name + n - strlen(ends[i]), ends[i]) == 0) return 1;
  return 0;
}

/* All that the scores depend on besides the rows, as the journal's first line. */
static void add_record(str *s, const run *r, const score_options *o, const char *over) {
  str_addz(s, "{\"program\": \"reward.c " REWARD_VERSION " score\", \"model\": ");
  str_json(s, o->model, strlen(o->model));
  str_printf(s, ", \"device\": \"%s\", \"dtype\": \"%s\", \"max_length\": %lld, \"overlong\": \"%s\"",
             scorer_device(r->s), scorer_dtype(r->s), (long long)scorer_max_length(r->s), over);
  if (o->chat_template) {
    str_addz(s, ", \"chat_template\": ");
    str_json(s, o->chat_template, strlen(o->chat_template));
  }
  if (o->date) {
    str_addz(s, ", \"date\": ");
    str_json(s, o->date, strlen(o->date));
  }
  /* the weights are known by size and time: hashing them would take as long as reading them */
  struct dirent **e = NULL;
  int n = scandir(o->model, &e, is_model_file, by_name);
  str_addz(s, ", \"files\": [");
  for (int i = 0; i < n; i++) {
    char *path = file_join(o->model, e[i]->d_name);
    struct stat st = {0};
    if (path && stat(path, &st) == 0) {
      str_addz(s, i ? ", [" : "[");
      str_json(s, e[i]->d_name, strlen(e[i]->d_name));
      str_printf(s, ", %lld, %lld.%09ld]", (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    }
    mem_free(path);
    free(e[i]);
  }
  free(e);
  str_addz(s, "]}");
}

/* stdout and devices take rows as they come; a file gets a journal first. */
static rw_status open_output(run *r, const char *out, const score_options *o, const char *over, bool resume,
                             rw_error *err) {
  if (!journal_possible(out)) return rows_create(&r->out, out, err);
  add_record(&r->record, r, o, over);
  return r->record.oom ? rw_nomem(err, out)
                       : journal_open(&r->journal, out, r->record.p, resume, &cli_context, err);
}

/* OUT.run.json: the record and the counts. */
static rw_status write_record(run *r, const char *out, rw_error *err) {
  char *path = mem_printf("%s.run.json", out);
  r->record.len--; /* its last brace */
  str_printf(&r->record, ", \"rows\": %zu, \"failed\": %zu, \"dropped\": %zu, \"truncated\": %zu}\n", r->done,
             r->failed, r->dropped, r->truncated);
  rw_status s = path && !r->record.oom ? file_put(path, r->record.p, r->record.len, err) : rw_nomem(err, out);
  mem_free(path);
  return s;
}

int cmd_score_run(int argc, char **argv) {
  score_options o = {0};
  cli_list words = {0};
  const char *out = "-", *over = "error", *share = "yes";
  bool resume = false;
  const opt table[] = {
      {"model", 'm', OPT_STRING, &o.model, "DIR", "the reward model", false},
      {"output", 'o', OPT_STRING, &out, "FILE", "where the rows go (.gz, .zst, .parquet by name); - is stdout",
       false},
      {"resume", 0, OPT_FLAG, &resume, NULL, "go on with OUT.partial, which an interrupted run has left", false},
      {"batch-tokens", 0, OPT_INT, &o.batch_tokens, "N",
       "tokens of one forward pass; no score depends on it (default: 4096)", false},
      {"max-length", 0, OPT_INT, &o.max_length, "N", "tokens a conversation may have (default: the model's limit)",
       false},
      {"overlong", 0, OPT_STRING, &over, "error|truncate|drop", "what to do with a longer conversation", false},
      {"share", 0, OPT_STRING, &share, "yes|no",
       "compute what a row's responses share once; no score depends on it", false},
      {"no-golden-check", 0, OPT_FLAG, &o.no_golden_check, NULL,
       "go on although the model does not give the scores recorded in its reward.json", false},
      {"chat-template", 0, OPT_STRING, &o.chat_template, "FILE", "instead of the model's own (default: its own)",
       false},
      {"date", 0, OPT_STRING, &o.date, "YYYY-MM-DD", "what strftime_now returns (default: 2024-07-26)", false},
      {NULL, 0, OPT_FLAG, NULL, NULL, NULL, false}};
  int status = cli_parse(argc, argv, table, &words, 1, USAGE, ABOUT, EXAMPLES);
  if (status >= 0) return status;
  if (!o.model) return cli_usage("--model is needed");
  const char *in = words.n ? words.items[0] : "-";
  if ((status = cli_check_output(out, &in, 1)) >= 0) return status;
  if (resume && !journal_possible(out)) return cli_usage("--resume: expected -o FILE with it");
  if (o.batch_tokens < 0 || o.max_length < 0) return cli_usage("--batch-tokens, --max-length: expected 0 or more");
  o.overlong = strcmp(over, "truncate") == 0 ? OVERLONG_TRUNCATE
               : strcmp(over, "drop") == 0   ? OVERLONG_DROP
                                             : OVERLONG_ERROR;
  o.no_share = strcmp(share, "no") == 0;
  o.device = cli_opts.device;
  o.dtype = cli_opts.dtype;
  o.context = cli_threads();
  if (!o.context) return 1;
  rw_error err;
  run r = {0};
  rw_status s = rows_open(&r.in, in, &cli_context, &err);
  if (!s) s = cli_model_dir(&o.model, &err);
  o.base = cli_opts.base;
  if (!s) s = scorer_open(&r.s, &o, &err);
  if (!s)
    log_note(&cli_context, "%s in %s, at most %lld tokens a conversation", scorer_device(r.s), scorer_dtype(r.s),
             (long long)scorer_max_length(r.s));
  if (!s) {
    r.n_names = scorer_attributes(r.s, &r.names);
    r.magpie = scorer_is_armorm(r.s);
    s = open_output(&r, out, &o, over, resume, &err);
  }
  double began = log_seconds();
  if (!s) s = score_file(&r, &err);
  double seconds = log_seconds() - began;
  if (!s) {
    render_notes notes;
    scorer_notes(r.s, &notes);
    log_note(&cli_context, "%llu tokens in %.2f s: %.0f tokens/s", (unsigned long long)r.all_tokens, seconds,
             (double)r.all_tokens / seconds);
    if (notes.escaped)
      log_warn(&cli_context, "%zu control tokens spelled in contents were encoded as plain text", notes.escaped);
    if (notes.changed)
      log_warn(&cli_context, "the template changed the contents of %zu conversations", notes.changed);
    if (r.truncated)
      log_warn(&cli_context,
               "%zu of %zu rows were truncated to %lld tokens; their token counts are of what was scored",
               r.truncated, r.done, (long long)scorer_max_length(r.s));
    cli_say_replaced(r.replaced, OURS);
    if (r.failed)
      log_warn(&cli_context, "%zu of %zu rows could not be scored%s", r.failed, r.done,
               r.dropped == r.failed ? ": all of them too long" : "");
    bool file = r.journal;
    s = file ? journal_commit(r.journal, &err) : rows_commit(r.out, &err);
    if (!s && file) s = write_record(&r, out, &err);
  } else {
    journal_abort(r.journal);
    rows_abort(r.out);
  }
  free_rows(&r);
  str_free(&r.record);
  scorer_free(r.s);
  if (r.in) rows_close(r.in);
  if (s) return cli_fail(&err);
  return r.failed ? 1 : 0;
}

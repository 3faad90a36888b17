/* cmd_score.c - `reward score`: rows in, the same rows with their scores out. */
#include <stdio.h>
#include <string.h>

#include "cli/scoring.h"
#include "format/journal.h"
#include "model/score_file.h"
#include "model/score_row.h"

static const char USAGE[] = "score --model DIR [ROWS | --prompt TEXT --response TEXT] [-o OUT] [options]";
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
    "--group-by FIELD is for candidates that stand in rows of their own: rows with the same FIELD are scored "
    "together,\n"
    "wherever they stand, so that their prompt is computed once; --best tells the best of them in each. All rows "
    "are\n"
    "held in memory for that, and come out in their own order.\n"
    "Finished rows are kept in OUT.partial until all are there: after an interruption, --resume checks them "
    "against\n"
    "the input and goes on, to the same bytes. Many jobs share one file by --task (docs/clusters.md): each leaves "
    "its\n"
    "parts in OUT.parts, a run with --resume scores what is missing and joins them to the same bytes. Beside OUT, "
    "OUT.run.json records model, device, dtype, limits and "
    "counts.";
static const char EXAMPLES[] =
    "  reward score --model rm pairs.jsonl -o scored.jsonl\n"
    "  echo '{\"prompt\": \"2+2?\", \"responses\": [\"4\", \"5\"]}' | reward score --model rm\n"
    "  reward score --model rm --best --prompt '2+2?' --response 4 --response 5 | jq .best_response\n"
    "  reward score --model rm samples.jsonl --group-by prompt --best -o scored.jsonl\n"
    "  producer | reward score --model rm --stream | consumer\n"
    "  reward score --model rm rows.jsonl.zst -o - | jq .score\n"
    "  reward score --model rm pairs.jsonl -o scored.jsonl.zst --resume\n"
    "  reward score --model rm rows.jsonl -o scored.jsonl --task $SLURM_ARRAY_TASK_ID/8   # sbatch --array=1-8\n";

/* The row that --prompt and --response make. */
static void ask(str *row, const char *prompt, const option_list *responses, bool list) {
  json_writer w = {.out = row};
  jw_object(&w, NULL);
  jw_string(&w, "prompt", prompt);
  if (list) jw_array(&w, "responses");
  for (size_t i = 0; i < responses->n; i++) jw_string(&w, list ? NULL : "response", responses->items[i]);
  if (list) jw_end(&w);
  jw_end(&w);
}

static rw_status score_asked(scorer *sc, const char *prompt, const option_list *responses, bool best,
                             const char *out, bool *failed, rw_error *err) {
  score_form form = {.scorer = sc, .best = best};
  str row = {0}, scored = {0};
  rows_out *to;
  score_form_init(&form);
  ask(&row, prompt, responses, best || responses->n > 1);
  rw_status s = row.oom ? rw_nomem(err, "a row") : rows_create(&to, out, err);
  if (!s) {
    s = score_row_json(&form, (slice){row.p, row.len}, &scored, failed, err);
    if (!s) s = rows_write(to, scored.p, scored.len, err);
    if (s)
      rows_abort(to);
    else
      s = rows_commit(to, err);
  }
  str_free(&row);
  str_free(&scored);
  return s;
}

typedef struct {
  score_options score;
  score_file_options file;
  const char *data, *prompt;
  option_list responses;
  const char *task; /* I/N */
  int overlong;
  bool share;
} options;

static const char INPUT[] = "Input and output", SCORING[] = "Scoring";

static const option table[] = {
    {"model", 'm', .kind = OPTION_TEXT, .field = offsetof(options, score.model), .value = "DIR",
     .affects = OPTION_INPUT, .group = INPUT, .help = "the reward model"},
    {"data", .kind = OPTION_TEXT, .field = offsetof(options, data), .value = "ROWS", .affects = OPTION_INPUT,
     .group = INPUT, .help = "the rows, instead of naming them as a word (default: stdin)"},
    {"out", 'o', .old = "output", .kind = OPTION_TEXT, .field = offsetof(options, file.output), .value = "FILE",
     .initial = "-", .affects = OPTION_PUBLISHED, .group = INPUT,
     .help = "where the rows go (.gz, .zst, .parquet by name); - is stdout"},
    {"prompt", .kind = OPTION_TEXT, .field = offsetof(options, prompt), .value = "TEXT", .affects = OPTION_INPUT,
     .group = INPUT, .help = "score the --response texts to this prompt instead of ROWS, and print one row"},
    {"response", .kind = OPTION_LIST, .field = offsetof(options, responses), .value = "TEXT",
     .affects = OPTION_INPUT, .group = INPUT, .help = "a response to --prompt; several where it is repeated"},
    {"best", .kind = OPTION_FLAG, .field = offsetof(options, file.best), .affects = OPTION_BITS, .group = INPUT,
     .help = "add \"best\", the place (from 0) of the highest score, the first of equals, and \"best_response\""},
    {"group-by", .kind = OPTION_TEXT, .field = offsetof(options, file.group_by), .value = "FIELD",
     .affects = OPTION_BITS, .group = INPUT, .help = "score one-candidate rows of equal FIELD together"},
    {"stream", .kind = OPTION_FLAG, .field = offsetof(options, file.stream), .group = INPUT,
     .help = "answer each row before the next is read"},
    {"resume", .kind = OPTION_FLAG, .field = offsetof(options, file.resume), .group = INPUT,
     .help = "go on with OUT.partial, which an interrupted run has left"},
    {"task", .kind = OPTION_TEXT, .field = offsetof(options, task), .value = "I/N", .group = INPUT,
     .help =
         "as job I of N (from 1), score the parts I, I+N, … of ROWS that OUT.parts lacks, and leave them there"},
    {"part-rows", .kind = OPTION_INT, .field = offsetof(options, file.part_rows), .value = "N", .initial = "4096",
     .range = OPTION_BETWEEN(1, 1 << 30), .group = INPUT, .help = "input rows of a part, the same in all jobs"},
    {"batch-tokens", .kind = OPTION_INT, .field = offsetof(options, score.batch_tokens), .value = "N",
     .range = OPTION_COUNT_FROM(0), .group = SCORING,
     .help = "tokens of one forward pass; no score depends on it (default: 4096)"},
    {"max-length", .kind = OPTION_INT, .field = offsetof(options, score.max_length), .value = "N",
     .range = OPTION_COUNT_FROM(0), .affects = OPTION_BITS, .group = SCORING,
     .help = "tokens a conversation may have (default: the model's limit)"},
    {"overlong", .kind = OPTION_CHOICE, .field = offsetof(options, overlong), .words = cli_overlongs,
     .initial = "error", .affects = OPTION_BITS, .group = SCORING, .help = "what to do with a longer conversation"},
    {"share", .kind = OPTION_YES_NO, .field = offsetof(options, share), .initial = "yes", .group = SCORING,
     .help = "compute what a row's responses share once; no score depends on it"},
    {"no-golden-check", .kind = OPTION_FLAG, .field = offsetof(options, score.no_golden_check), .group = SCORING,
     .help = "go on although the model does not give the scores recorded in its reward.json"},
    {"head", .kind = OPTION_TEXT, .field = offsetof(options, score.head), .value = "logit:ID",
     .affects = OPTION_BITS, .group = SCORING,
     .help = "read the logit of token ID of the output matrix (Llama-3.1-Nemotron-70B-Reward: logit:0)"},
    {"chat-template", .kind = OPTION_TEXT, .field = offsetof(options, score.chat_template), .value = "FILE",
     .affects = OPTION_INPUT, .group = SCORING, .help = "instead of the model's own (default: its own)"},
    {"date", .kind = OPTION_TEXT, .field = offsetof(options, score.date), .value = "YYYY-MM-DD",
     .affects = OPTION_BITS, .group = SCORING, .help = "what strftime_now returns (default: 2024-07-26)"},
    {.name = NULL}};

/* I/N. -1, or the exit status. */
static int read_task(const cli *c, const char *text, score_file_options *f) {
  char end;
  int n = text ? sscanf(text, "%zu/%zu%c", &f->task, &f->tasks, &end) : 0;
  if (!text || (n == 2 && f->task >= 1 && f->task <= f->tasks && text[0] != '-')) return -1;
  return cli_usage(c, "--task: expected I/N with I from 1 to N, got '%s'; number an array of N jobs from 1", text);
}

/* Options that do not go together: -1 for none, else the exit status. */
static int check(const cli *c, const options *o, const char *in) {
  const score_file_options *f = &o->file;
  bool rows = strcmp(in, "-") != 0, ranks = c->context->ranks->size > 1;
  const char *many = ranks ? "several ranks" : "--task";
  if (!o->score.model) return cli_usage(c, "--model is needed");
  if (o->responses.n && !o->prompt) return cli_usage(c, "--response: expected --prompt with it");
  if (o->prompt && !o->responses.n) return cli_usage(c, "--prompt: expected --response with it");
  if (o->prompt && (c->words.n || o->data)) return cli_usage(c, "--prompt: expected no ROWS beside it, got %s", in);
  if (o->prompt && (f->resume || f->stream || f->group_by))
    return cli_usage(c, "--prompt: --resume, --stream and --group-by are for ROWS");
  if (f->stream && f->group_by)
    return cli_usage(c, "--stream, --group-by: expected one of them; a group is known when all rows are");
  if (o->task && ranks)
    return cli_usage(c, "--task: is for jobs without a launcher, and this was started as %d ranks; leave one out",
                     c->context->ranks->size);
  if ((o->task || ranks) && (f->stream || f->group_by || o->prompt))
    return cli_usage(c, "%s: --stream, --group-by and --prompt are for one process that sees all rows", many);
  if ((o->task || ranks) && (!rows || !journal_possible(f->output)))
    return cli_usage(c, "%s: expected a file of ROWS and -o FILE, which all of them can see", many);
  if (f->resume && !journal_possible(f->output)) return cli_usage(c, "--resume: expected -o FILE with it");
  return -1;
}

static int run_command(cli *c, void *values) {
  const options *given = values;
  score_options o = given->score;
  score_file_options f = given->file;
  const char *in = cli_rows(c, given->data);
  int status = in ? check(c, given, in) : 2;
  if (status < 0) status = read_task(c, given->task, &f);
  if (status < 0) status = cli_check_output(c, f.output, &in, 1);
  status = cli_agree(c, status);
  if (status >= 0) return status;
  f.model = &o;
  o.overlong = (overlong)given->overlong;
  o.no_share = !given->share;
  o.device = c->common.device;
  o.dtype = c->common.dtype;
  o.context = cli_threads(c);
  if (!o.context) return 1;
  rw_error err;
  rows_in *rows = NULL;
  scorer *sc = NULL;
  bool failed = false;
  /* a missing file is told before a model is loaded; a stream's first row must not wait for one */
  rw_status s = given->prompt || f.stream ? RW_OK : rows_open(&rows, in, c->context, &err);
  if (!s) s = cli_model_dir(c, &o.model, &err);
  o.base = c->common.base;
  if (!s) s = scorer_open(&sc, &o, &err);
  if (!s)
    log_note(c->context, "%s in %s, at most %lld tokens a conversation", scorer_device(sc), scorer_dtype(sc),
             (long long)scorer_max_length(sc));
  s = comm_agree(c->context->ranks, s, &err);
  if (!s && f.stream) s = rows_open(&rows, in, c->context, &err);
  if (!s && given->prompt) {
    s = score_asked(sc, given->prompt, &given->responses, f.best, f.output, &failed, &err);
  } else if (!s) {
    options effective = *given; /* what a default became, and what has no part in the run */
    effective.score.max_length = scorer_max_length(sc);
    if (!f.best) effective.file.group_by = NULL;
    f.table = table;
    f.values = &effective;
    score_file_counts n;
    bool parts = f.tasks || c->context->ranks->size > 1 || (f.resume && score_parts_there(f.output));
    s = parts ? score_parts(sc, rows, &f, &n, &err) : score_file(sc, rows, &f, &n, &err);
    failed = n.failed > 0;
  }
  scorer_free(sc);
  rows_close(rows);
  if (s) return cli_fail(c, &err);
  status = cli_agree(c, failed ? 1 : -1);
  return status < 0 ? 0 : status;
}

const cli_command cmd_score = {.name = "score",
                               .summary = "score responses with a reward model",
                               .usage = USAGE,
                               .about = ABOUT,
                               .examples = EXAMPLES,
                               .parts = {{table}},
                               .values = sizeof(options),
                               .max_words = 1,
                               .common = CLI_MODEL | CLI_ROWS,
                               .ranks = true,
                               .run = run_command};

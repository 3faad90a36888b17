/* cmd_score.c - `reward score`: rows in, the same rows with their scores out. */
#include <string.h>

#include "cli/cli.h"
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
    "the input and goes on, to the same bytes. Beside OUT, OUT.run.json records model, device, dtype, limits and "
    "counts.";
static const char EXAMPLES[] =
    "  reward score --model rm pairs.jsonl -o scored.jsonl\n"
    "  echo '{\"prompt\": \"2+2?\", \"responses\": [\"4\", \"5\"]}' | reward score --model rm\n"
    "  reward score --model rm --best --prompt '2+2?' --response 4 --response 5 | jq .best_response\n"
    "  reward score --model rm samples.jsonl --group-by prompt --best -o scored.jsonl\n"
    "  producer | reward score --model rm --stream | consumer\n"
    "  reward score --model rm rows.jsonl.zst -o - | jq .score\n"
    "  reward score --model rm pairs.jsonl -o scored.jsonl.zst --resume\n";

/* The row that --prompt and --response make. */
static void ask(str *row, const char *prompt, const cli_list *responses, bool list) {
  json_writer w = {.out = row};
  jw_object(&w, NULL);
  jw_string(&w, "prompt", prompt);
  if (list) jw_array(&w, "responses");
  for (size_t i = 0; i < responses->n; i++) jw_string(&w, list ? NULL : "response", responses->items[i]);
  if (list) jw_end(&w);
  jw_end(&w);
}

static rw_status score_asked(scorer *sc, const char *prompt, const cli_list *responses, bool best, const char *out,
                             bool *failed, rw_error *err) {
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

/* Options that do not go together: -1 for none, else the exit status. */
static int check(const char *prompt, const cli_list *responses, const cli_list *words,
                 const score_file_options *f) {
  if (responses->n && !prompt) return cli_usage("--response: expected --prompt with it");
  if (prompt && !responses->n) return cli_usage("--prompt: expected --response with it");
  if (prompt && words->n) return cli_usage("--prompt: expected no ROWS beside it, got %s", words->items[0]);
  if (prompt && (f->resume || f->stream || f->group_by))
    return cli_usage("--prompt: --resume, --stream and --group-by are for ROWS");
  if (f->stream && f->group_by)
    return cli_usage("--stream, --group-by: expected one of them; a group is known when all rows are");
  if (f->resume && !journal_possible(f->output)) return cli_usage("--resume: expected -o FILE with it");
  return -1;
}

int cmd_score_run(int argc, char **argv) {
  score_options o = {0};
  cli_list words = {0}, responses = {0};
  const char *prompt = NULL, *over = "error", *share = "yes";
  score_file_options f = {.model = &o, .output = "-"};
  const opt table[] = {
      {"model", 'm', OPT_STRING, &o.model, "DIR", "the reward model", false},
      {"output", 'o', OPT_STRING, &f.output, "FILE", "where the rows go (.gz, .zst, .parquet by name); - is stdout",
       false},
      {"prompt", 0, OPT_STRING, &prompt, "TEXT",
       "score the --response texts to this prompt instead of ROWS, and print one row", false},
      {"response", 0, OPT_LIST, &responses, "TEXT", "a response to --prompt; several where it is repeated", false},
      {"best", 0, OPT_FLAG, &f.best, NULL,
       "add \"best\", the place (from 0) of the highest score, the first of equals, and \"best_response\"", false},
      {"group-by", 0, OPT_STRING, &f.group_by, "FIELD", "score one-candidate rows of equal FIELD together", false},
      {"stream", 0, OPT_FLAG, &f.stream, NULL, "answer each row before the next is read", false},
      {"resume", 0, OPT_FLAG, &f.resume, NULL, "go on with OUT.partial, which an interrupted run has left", false},
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
  if ((status = cli_check_output(f.output, &in, 1)) >= 0) return status;
  if ((status = check(prompt, &responses, &words, &f)) >= 0) return status;
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
  rows_in *rows = NULL;
  scorer *sc = NULL;
  bool failed = false;
  /* a missing file is told before a model is loaded; a stream's first row must not wait for one */
  rw_status s = prompt || f.stream ? RW_OK : rows_open(&rows, in, &cli_context, &err);
  if (!s) s = cli_model_dir(&o.model, &err);
  o.base = cli_opts.base;
  if (!s) s = scorer_open(&sc, &o, &err);
  if (!s)
    log_note(&cli_context, "%s in %s, at most %lld tokens a conversation", scorer_device(sc), scorer_dtype(sc),
             (long long)scorer_max_length(sc));
  if (!s && f.stream) s = rows_open(&rows, in, &cli_context, &err);
  if (!s && prompt) {
    s = score_asked(sc, prompt, &responses, f.best, f.output, &failed, &err);
  } else if (!s) {
    score_file_counts n;
    s = score_file(sc, rows, &f, &n, &err);
    failed = n.failed > 0;
  }
  scorer_free(sc);
  rows_close(rows);
  if (s) return cli_fail(&err);
  return failed ? 1 : 0;
}

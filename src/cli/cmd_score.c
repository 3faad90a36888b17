/* cmd_score.c - `reward score`: rows in, the same rows with their scores out. */
#include <string.h>

#include "cli/cli.h"
#include "format/journal.h"
#include "model/score_file.h"

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
  rows_in *rows = NULL;
  scorer *sc = NULL;
  score_file_counts n = {0};
  rw_status s = rows_open(&rows, in, &cli_context, &err);
  if (!s) s = cli_model_dir(&o.model, &err);
  o.base = cli_opts.base;
  if (!s) s = scorer_open(&sc, &o, &err);
  if (!s)
    log_note(&cli_context, "%s in %s, at most %lld tokens a conversation", scorer_device(sc), scorer_dtype(sc),
             (long long)scorer_max_length(sc));
  const score_file_options fo = {.model = &o, .output = out, .resume = resume};
  if (!s) s = score_file(sc, rows, &fo, &n, &err);
  scorer_free(sc);
  rows_close(rows);
  if (s) return cli_fail(&err);
  return n.failed ? 1 : 0;
}

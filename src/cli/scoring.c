/* scoring.c - scores for `eval` and `compare`. */
#include "cli/scoring.h"

#include <string.h>

#include "base/file.h"
#include "format/rows.h"

const option_word cli_overlongs[] = {
    {"error", OVERLONG_ERROR}, {"truncate", OVERLONG_TRUNCATE}, {"drop", OVERLONG_DROP}, {NULL, 0}};

static const char SCORING[] = "Scoring by a model";

const option cli_scoring_table[] = {
    {"max-length", .kind = OPTION_INT, .field = offsetof(cli_scoring, o.max_length), .value = "N",
     .range = OPTION_COUNT_FROM(0), .group = SCORING,
     .help = "tokens a conversation may have (default: the model's limit)"},
    {"overlong", .kind = OPTION_CHOICE, .field = offsetof(cli_scoring, overlong), .words = cli_overlongs,
     .initial = "error", .group = SCORING, .help = "what to do with a longer one"},
    {"batch-tokens", .kind = OPTION_INT, .field = offsetof(cli_scoring, o.batch_tokens), .value = "N",
     .range = OPTION_COUNT_FROM(0), .group = SCORING,
     .help = "tokens of one forward pass; no score depends on it (default: suits the model)"},
    {"no-golden-check", .kind = OPTION_FLAG, .field = offsetof(cli_scoring, o.no_golden_check), .group = SCORING,
     .help = "go on although the model does not give the scores recorded in its reward.json"},
    {"head", .kind = OPTION_TEXT, .field = offsetof(cli_scoring, o.head), .value = "logit:ID", .group = SCORING,
     .help = "read the logit of token ID of the output matrix (Llama-3.1-Nemotron-70B-Reward: logit:0)"},
    {"chat-template", .kind = OPTION_TEXT, .field = offsetof(cli_scoring, o.chat_template), .value = "FILE",
     .group = SCORING, .help = "instead of the model's own (default: its own)"},
    {"date", .kind = OPTION_TEXT, .field = offsetof(cli_scoring, o.date), .value = "YYYY-MM-DD", .group = SCORING,
     .help = "what strftime_now returns (default: 2024-07-26)"},
    {.name = NULL}};

rw_status cli_open_scorer(cli *c, scorer **out, const cli_scoring *s, const char *model, rw_error *err) {
  score_options o = s->o;
  o.model = model;
  o.overlong = (overlong)s->overlong;
  o.device = c->common.device;
  o.dtype = c->common.dtype;
  o.context = cli_threads(c);
  if (!o.context) return rw_nomem(err, "threads");
  rw_status st = cli_model_dir(c, &o.model, err);
  o.base = c->common.base;
  if (!st) st = scorer_open(out, &o, err);
  RW_TRY(comm_agree(c->context->ranks, st, err));
  log_note(c->context, "%s: %s in %s, at most %lld tokens a conversation", model, scorer_device(*out),
           scorer_dtype(*out), (long long)scorer_max_length(*out));
  return RW_OK;
}

rw_status cli_score_opened(cli *c, eval_scores *out, const eval_data *d, const cli_scoring *s, const char *model,
                           scorer *sc, json_writer *record, rw_error *err) {
  comm *ranks = c->context->ranks;
  rw_status st = eval_scores_ranks(out, d, sc, err);
  render_notes notes;
  scorer_notes(sc, &notes);
  uint64_t sums[2] = {notes.escaped, notes.tmpl.changed};
  if (!st) st = comm_sum(ranks, sums, 2, err);
  notes.escaped = sums[0], notes.tmpl.changed = sums[1];
  render_notes_warn(c->context, &notes);
  if (record) {
    jw_string(record, "model", model);
    jw_string(record, "device", scorer_device(sc));
    jw_string(record, "dtype", scorer_dtype(sc));
    jw_int(record, "max_length", scorer_max_length(sc));
    jw_string(record, "overlong", cli_overlongs[s->overlong].text);
    if (s->o.head) jw_string(record, "head", s->o.head);
    jw_string(record, "chat_template", s->o.chat_template);
    jw_uint(record, "control_tokens_escaped", notes.escaped);
    jw_uint(record, "content_changed_by_template", notes.tmpl.changed);
  }
  return st;
}

rw_status cli_score_model(cli *c, eval_scores *out, const eval_data *d, const cli_scoring *s, const char *model,
                          json_writer *record, rw_error *err) {
  scorer *sc = NULL;
  RW_TRY(cli_open_scorer(c, &sc, s, model, err));
  rw_status st = cli_score_opened(c, out, d, s, model, sc, record, err);
  scorer_free(sc);
  return st;
}

rw_status cli_score_file(const cli *c, eval_scores *out, const eval_data *d, const char *path, json_writer *record,
                         rw_error *err) {
  jw_string(record, "scores", path);
  return eval_scores_read(out, d, path, c->context, err);
}

void cli_data_json(json_writer *w, const char *const *paths, size_t n) {
  jw_array(w, "data");
  for (size_t i = 0; i < n; i++) {
    char hash[SHA256_HEX];
    jw_object(w, NULL);
    jw_string(w, "path", paths[i]);
    if (strcmp(paths[i], "-") != 0 && !rows_sha256(paths[i], hash, NULL)) jw_string(w, "sha256", hash);
    jw_end(w);
  }
  jw_end(w);
  jw_string(w, "program", "reward.c " REWARD_VERSION);
}

bool cli_is_model(const char *path) {
  size_t n = strlen(path);
  return file_is_dir(path) || (n > 5 && strcmp(path + n - 5, ".gguf") == 0);
}

const char *cli_base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash && slash[1] ? slash + 1 : path;
}

/* scoring.c - scores for `eval` and `compare`. */
#include "cli/scoring.h"

#include <string.h>

#include "base/file.h"

int cli_scoring_check(cli_scoring *s) {
  if (s->o.max_length < 0 || s->o.batch_tokens < 0)
    return cli_usage("--max-length, --batch-tokens: expected 0 or more");
  s->o.overlong = strcmp(s->overlong, "truncate") == 0 ? OVERLONG_TRUNCATE
                  : strcmp(s->overlong, "drop") == 0   ? OVERLONG_DROP
                                                       : OVERLONG_ERROR;
  return -1;
}

static void add_text(str *out, const char *name, const char *value) {
  str_printf(out, ", \"%s\": ", name);
  if (value)
    str_json(out, value, strlen(value));
  else
    str_addz(out, "null");
}

rw_status cli_score_model(eval_scores *out, const eval_data *d, const cli_scoring *s, const char *model,
                          str *record, rw_error *err) {
  score_options o = s->o;
  o.model = model;
  o.device = cli_opts.device;
  o.dtype = cli_opts.dtype;
  o.context = cli_threads();
  if (!o.context) return rw_nomem(err, "threads");
  scorer *sc;
  RW_TRY(cli_model_dir(&o.model, err));
  o.base = cli_opts.base;
  RW_TRY(scorer_open(&sc, &o, err));
  log_note(&cli_context, "%s: %s in %s, at most %lld tokens a conversation", model, scorer_device(sc),
           scorer_dtype(sc), (long long)scorer_max_length(sc));
  rw_status st = eval_scores_model(out, d, sc, err);
  render_notes notes;
  scorer_notes(sc, &notes);
  render_notes_warn(&cli_context, &notes);
  if (record) {
    add_text(record, "model", model);
    add_text(record, "device", scorer_device(sc));
    add_text(record, "dtype", scorer_dtype(sc));
    str_printf(record, ", \"max_length\": %lld", (long long)scorer_max_length(sc));
    add_text(record, "overlong", s->overlong);
    add_text(record, "chat_template", o.chat_template);
    str_printf(record, ", \"control_tokens_escaped\": %zu, \"content_changed_by_template\": %zu", notes.escaped,
               notes.changed);
  }
  scorer_free(sc);
  return st;
}

rw_status cli_score_file(eval_scores *out, const eval_data *d, const char *path, str *record, rw_error *err) {
  add_text(record, "scores", path);
  return eval_scores_read(out, d, path, &cli_context, err);
}

void cli_data_json(str *out, const char *const *paths, size_t n) {
  str_addz(out, ", \"data\": [");
  for (size_t i = 0; i < n; i++) {
    char hash[33];
    str_addz(out, i ? ", {\"path\": " : "{\"path\": ");
    str_json(out, paths[i], strlen(paths[i]));
    if (strcmp(paths[i], "-") != 0 && !file_hash(paths[i], hash, NULL))
      str_printf(out, ", \"xxh3_128\": \"%s\"", hash);
    str_addc(out, '}');
  }
  str_addz(out, "], \"program\": \"reward.c " REWARD_VERSION "\"");
}

bool cli_is_model(const char *path) {
  size_t n = strlen(path);
  return file_is_dir(path) || (n > 5 && strcmp(path + n - 5, ".gguf") == 0);
}

const char *cli_base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash && slash[1] ? slash + 1 : path;
}

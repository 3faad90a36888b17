/* eval_all.c - scores of one suite, and `reward eval --suite all`: one suite after another, then the
 * seven-benchmark table. What is done is in -o after each suite, so that a run which ends early leaves it.
 */
#include "cli/eval_all.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "eval/all.h"
#include "format/rows_folder.h"

typedef struct {
  cli *c;
  const cli_eval *o;
  scorer *model; /* NULL: not by a model */
  eval_files found[EVAL_SUITES];
  eval_all all;
} run;

rw_status cli_eval_score(cli *c, const cli_eval *o, scorer *model, const eval_data *d, eval_scores *scores,
                         json_writer *record, rw_error *err) {
  rw_status s = model             ? cli_score_opened(c, scores, d, &o->scoring, o->model, model, record, err)
                : o->model        ? cli_score_model(c, scores, d, &o->scoring, o->model, record, err)
                : o->remote.o.url ? cli_endpoint_score(c, scores, d, &o->remote, record, err)
                                  : cli_score_file(c, scores, d, o->scores, record, err);
  return !s && !scores->beats ? eval_rewards_json(record, d, scores, err) : s;
}

void cli_eval_json(str *out, const eval_result *r, const str *record, const char *const *paths, size_t n) {
  json_writer w = {.out = out};
  jw_object(&w, NULL);
  eval_result_json(&w, r);
  if (record->len) jw_raw(&w, NULL, (slice){record->p, record->len});
  cli_data_json(&w, paths, n);
  jw_end(&w);
}

/* FOLDER/SUITE.jsonl and the like; NULL: there is none. */
static const char *scores_of(run *r, const char *suite) {
  static const char *const endings[] = {".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".parquet"};
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
    char *path = mem_printf("%s/%s%s", r->o->scores, suite, endings[i]);
    bool there = path && file_exists(path);
    const char *kept = there ? arena_strndup(r->all.memory, path, strlen(path)) : NULL;
    mem_free(path);
    if (there) return kept;
  }
  return NULL;
}

static rw_status measure(run *r, size_t k, const eval_data *d, rw_error *err) {
  eval_suite suite = eval_all_suites[k];
  const eval_files *files = &r->found[suite];
  eval_scores scores = {0};
  cli_eval of = *r->o;
  str record = {0};
  json_writer w = jw_inside(&record);
  eval_options eo = {.seed = (uint64_t)r->c->common.seed, .resamples = EVAL_RESAMPLES};
  if (of.scores && !(of.scores = scores_of(r, eval_suite_words[suite].text)))
    return rw_fail(err, RW_DATA, "expected its scores in %s/%s.jsonl, found none", r->o->scores,
                   eval_suite_words[suite].text);
  rw_status st = cli_eval_score(r->c, &of, r->model, d, &scores, &w, err);
  if (!st) st = eval_measure(&r->all.result[k], d, &scores, &eo, err);
  if (!st) {
    r->all.have[k] = true;
    cli_eval_json(&r->all.json[k], &r->all.result[k], &record, files->paths, files->n);
    if (r->all.json[k].oom) st = rw_nomem(err, "results");
    if (!st && scores.unscored) st = eval_scores_fail(&scores, d, err);
  }
  str_free(&record);
  eval_scores_free(&scores);
  return st;
}

static rw_status write_json(const run *r, rw_error *err) {
  str s = {0};
  json_writer w = {.out = &s};
  jw_object(&w, NULL);
  jw_string(&w, "name", r->o->name);
  eval_all_json(&w, &r->all);
  jw_string(&w, "program", "reward.c " REWARD_VERSION);
  jw_end(&w);
  str_addc(&s, '\n');
  rw_status st = s.oom ? rw_nomem(err, r->o->out) : file_put(r->o->out, s.p, s.len, err);
  str_free(&s);
  return st;
}

/* A suite that fails is said to, and the others go on. */
static rw_status one_suite(run *r, size_t k, rw_error *first, rw_error *err) {
  comm *ranks = r->c->context->ranks;
  eval_suite suite = eval_all_suites[k];
  const char *name = eval_suite_words[suite].text;
  const eval_files *files = &r->found[suite];
  rw_error why;
  eval_data *d = NULL;
  if (files->n == 0) return RW_OK;
  rw_status st = comm_agree(ranks, eval_load(&d, suite, files->paths, files->n, r->c->context, &why), &why);
  if (!st) st = measure(r, k, d, &why);
  eval_data_free(d);
  if (st == RW_NOMEM || st == RW_INTERRUPTED) {
    *err = why;
    return st;
  }
  if (st) {
    context_spell(r->c->context, why.text);
    if (!(r->all.why[k] = arena_strndup(r->all.memory, why.text, strlen(why.text))))
      return rw_nomem(err, "results");
    context_spell(r->c->context, why.text);
    if (!(r->all.why[k] = arena_strndup(r->all.memory, why.text, strlen(why.text))))
      return rw_nomem(err, "results");
    rw_prefix(&why, st, "%s", name);
    if (!first->text[0])
      *first = why; /* said at the end */
    else if (ranks->rank == 0)
      log_warn(r->c->context, "%s", why.text);
  } else if (ranks->rank == 0) {
    log_note(r->c->context, "%s: %zu items, %.1f", name, r->all.result[k].n_items, eval_all_figure(&r->all, k));
  }
  bool kept = r->o->out && strcmp(r->o->out, "-") != 0;
  return ranks->rank == 0 && kept ? write_json(r, err) : RW_OK;
}

static rw_status show(const run *r, rw_error *err) {
  str table = {0};
  const cli_eval *o = r->o;
  RW_TRY(eval_all_print(&table, &r->all, o->name, err));
  bool json = o->out && strcmp(o->out, "-") == 0, page = o->html && strcmp(o->html, "-") == 0;
  cli_print(json || page ? stderr : stdout, &table);
  str_free(&table);
  if (o->out) RW_TRY(write_json(r, err));
  if (!o->html) return RW_OK;
  rep_page *p = rep_page_new(o->name, "Figures by the benchmarks' published formulas, made by `reward eval`.");
  if (p) eval_all_page(p, &r->all, o->name);
  rw_status st = rep_page_write(p, o->html, err);
  rep_page_free(p);
  return st;
}

/* The files of every folder that is named. */
static rw_status find(run *r, rw_error *err) {
  size_t n = 0;
  for (size_t i = 0; i < r->o->data.n; i++) {
    const char *dir = r->o->data.items[i];
    eval_files more[EVAL_SUITES];
    if (!file_is_dir(dir))
      return rw_fail(err, RW_USAGE, FIELD(data) ": expected a folder with " FIELD(suite) " all, got %s", dir);
    RW_TRY(eval_find(more, dir, r->c->context, r->all.memory, err));
    for (int k = 0; k < EVAL_SUITES; k++) {
      if (more[k].n && r->found[k].n)
        return rw_fail(err, RW_DATA, "%s: expected rows of %s in one folder, found them in %s too", dir,
                       eval_suite_words[k].text, r->found[k].paths[0]);
      if (more[k].n) r->found[k] = more[k];
      n += more[k].n;
    }
  }
  if (n) return RW_OK;
  return rw_fail(err, RW_DATA, "%s: expected files of the benchmarks, found none; docs/data.md has how to get them",
                 r->o->data.items[0]);
}

rw_status cli_eval_run_all(cli *c, const cli_eval *o, rw_error *err) {
  run r = {.c = c, .o = o, .all.memory = arena_new()};
  rw_error first = {0};
  comm *ranks = c->context->ranks;
  rw_status st = comm_agree(ranks, r.all.memory ? find(&r, err) : rw_nomem(err, "results"), err);
  if (!st && o->model) st = cli_open_scorer(c, &r.model, &o->scoring, o->model, err);
  for (size_t k = 0; !st && k < ALL_SUITES; k++) st = one_suite(&r, k, &first, err);
  if (!st && ranks->rank == 0) st = show(&r, err);
  if (!st && first.text[0]) {
    *err = first;
    st = RW_DATA;
  }
  st = comm_agree(ranks, st, err);
  scorer_free(r.model);
  eval_all_free(&r.all);
  return st;
}

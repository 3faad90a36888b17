/* identity.c - the record of what decides a training's result (see identity.h). */
#include "train/identity.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sha256.h"
#include "eval/eval.h"
#include "format/json_differ.h"
#include "format/rows.h"
#include "model/identity.h"

/* ---- evaluations ---- */

rw_status identity_eval(const char *spec, char out[IDENTITY_EVAL], rw_error *err) {
  const char *colon = strchr(spec, ':'), *path = spec;
  eval_suite suite = EVAL_PAIRS;
  char hex[SHA256_HEX];
  if (colon && eval_suite_of((slice){spec, (size_t)(colon - spec)}, &suite)) path = colon + 1;
  RW_TRY(rows_sha256(path, hex, err));
  snprintf(out, IDENTITY_EVAL, "%s %s", eval_suite_words[suite].text, hex);
  return RW_OK;
}

static rw_status add_evals(json_writer *w, const option_list *evals, rw_error *err) {
  char(*seen)[IDENTITY_EVAL] = mem_alloc(evals->n + 1, sizeof *seen);
  rw_status s = seen ? RW_OK : rw_nomem(err, "evaluations");
  if (w) jw_array(w, "eval");
  for (size_t i = 0; !s && i < evals->n; i++) {
    s = identity_eval(evals->items[i], seen[i], err);
    for (size_t k = 0; !s && k < i; k++)
      if (strcmp(seen[i], seen[k]) == 0)
        s = rw_fail(err, RW_USAGE, FIELD(eval) " %s: the same rows and suite as " FIELD(eval) " %s; name them once",
                    evals->items[i], evals->items[k]);
    if (!s && w) jw_string(w, NULL, seen[i]);
  }
  if (w) jw_end(w);
  mem_free(seen);
  return s;
}

rw_status identity_evals_differ(const option_list *evals, rw_error *err) { return add_evals(NULL, evals, err); }

/* ---- the record ---- */

static rw_status add_data(json_writer *w, const option_list *data, rw_error *err) {
  jw_array(w, "data");
  for (size_t i = 0; i < data->n; i++) {
    struct stat st;
    char hex[SHA256_HEX];
    bool again = stat(data->items[i], &st) != 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode);
    if (again) RW_TRY(rows_sha256(data->items[i], hex, err));
    jw_string(w, NULL, again ? hex : "not a file"); /* a pipe cannot be read again: "rows" stands for it */
  }
  jw_end(w);
  return RW_OK;
}

rw_status identity_make(str *out, const fingerprint_source *of, rw_error *err) {
  train_options o = *of->o;
  json_writer w = {.out = out};
  char hex[SHA256_HEX];
  o.steps = of->steps;
  if (strcmp(o.keep, "best") != 0) o.keep = "last"; /* so many checkpoints beside them decide nothing */
  jw_object(&w, NULL);
  RW_TRY(model_identity(&w, of->m, o.model, o.chat_template, err));
  RW_TRY(add_data(&w, &o.data, err));
  dataset_sha256(of->d, hex);
  jw_string(&w, "rows", hex);
  RW_TRY(add_evals(&w, &o.eval, err));
  jw_object(&w, "options");
  identity_options(&w, train_option_table, &o, OPTION_BITS, "epochs"); /* they count as steps */
  jw_uint(&w, "seed", o.seed);
  jw_string(&w, "device", model_device(of->m));
  jw_string(&w, "dtype", model_dtype(of->m));
  jw_num(&w, "dropout", model_dropout(of->m));
  if (of->piece_tokens > 1) jw_int(&w, "batch_tokens", of->piece_tokens); /* more of them change nothing */
  jw_end(&w);
  jw_object(&w, "choice");
  identity_options(&w, train_option_table, &o, OPTION_CHOSEN, NULL);
  jw_end(&w);
  sha256 all;
  sha256_begin(&all);
  if (out->p) sha256_add(&all, out->p, out->len);
  sha256_end_hex(&all, hex);
  jw_string(&w, "sha256", hex);
  jw_end(&w);
  return out->oom ? rw_nomem(err, "run") : RW_OK;
}

/* ---- comparison ---- */

static rw_status differs(const char *name, const json_difference *d, rw_error *err) {
  if ((strcmp(name, "options") == 0 || strcmp(name, "choice") == 0) && d->where[0]) {
    char field[OPTION_FIELD];
    option_field(field, d->where);
    return rw_fail(err, RW_USAGE, "%s was %s, is %s", field, d->was, d->now);
  }
  return rw_fail(err, RW_USAGE, "%s%s%s was %s, is %s", name, d->where[0] ? " " : "", d->where, d->was, d->now);
}

/* One of two lists of evaluations may be longer; what both have must be the same. */
static rw_status check_evals(json_doc *a, json_val was, json_doc *b, json_val now, rw_error *err) {
  json_val v = json_first(a, was), w = json_first(b, now);
  json_difference d;
  for (; v != JSON_NONE && w != JSON_NONE; v = json_next(a, v), w = json_next(b, w))
    if (json_differ(&d, a, v, b, w)) return differs("eval", &d, err);
  return RW_OK;
}

rw_status identity_check(json_doc *doc, json_val record, const char *now, bool whole, rw_error *err) {
  static const char *const members[] = {"options", "data", "model", "rows", "eval", "choice"};
  enum { ALL = sizeof members / sizeof *members, GOING_ON = 4 };
  if (record == JSON_NONE) return RW_OK;
  json_doc *want = json_new();
  rw_status s = want ? json_parse(want, now, strlen(now), err) : rw_nomem(err, "run");
  for (size_t i = 0; !s && i < (whole ? ALL : GOING_ON); i++) {
    json_difference d;
    json_val a = json_get(doc, record, members[i]), b = json_get(want, 0, members[i]);
    if (json_differ(&d, doc, a, want, b)) s = differs(members[i], &d, err);
  }
  if (!s && !whole) s = check_evals(doc, json_get(doc, record, "eval"), want, json_get(want, 0, "eval"), err);
  json_free(want);
  return s;
}

/* record.c - metrics.jsonl, run.json and the text files of a trained checkpoint. */
#include "train/record.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "format/rows.h"

rw_status lines_open(FILE **f, const char *out, const char *name, int64_t step, rw_error *err) {
  *f = NULL;
  char *path = file_join(out, name);
  if (!path) return rw_nomem(err, out);
  rw_status s = RW_OK;
  str keep = {0};
  if (step >= 0 && file_exists(path)) {
    rows_in *in;
    json_doc *d = json_new();
    s = d ? rows_open(&in, path, NULL, err) : rw_nomem(err, path);
    if (!s) {
      slice row;
      uint64_t line;
      int64_t at;
      while (!(s = rows_next(in, &row, &line, err)) && row.p) {
        /* a line cut short by a kill is later than the checkpoint */
        if (json_parse(d, row.p, row.len, NULL) || !json_int(d, json_get(d, 0, "step"), &at) || at > step) continue;
        str_add(&keep, row.p, row.len);
        str_addc(&keep, '\n');
      }
      rows_close(in);
    }
    json_free(d);
  }
  if (!s) s = keep.oom ? rw_nomem(err, path) : file_put(path, keep.p ? keep.p : "", keep.len, err);
  if (!s && !(*f = fopen(path, "a"))) s = rw_fail(err, RW_IO, "%s: cannot open: %s", path, strerror(errno));
  str_free(&keep);
  mem_free(path);
  return s;
}

static void field(str *s, const char *name, double v) {
  str_printf(s, ", \"%s\": ", name);
  str_json_num(s, v);
}

rw_status metrics_write(FILE *f, const char *out, const step_metrics *m, const dataset *d, rw_error *err) {
  str s = {0};
  str_printf(&s, "{\"step\": %lld", (long long)m->step);
  field(&s, "epoch", m->epoch);
  field(&s, "loss", m->loss);
  if (m->centered) field(&s, "loss_center", m->loss_center);
  field(&s, "grad_norm", m->grad_norm);
  field(&s, "learning_rate", m->learning_rate);
  field(&s, "accuracy", m->accuracy);
  field(&s, "margin", m->margin);
  field(&s, "mean_reward", m->mean_reward);
  field(&s, "min_reward", m->min_reward);
  field(&s, "max_reward", m->max_reward);
  field(&s, "reward_sd", m->reward_sd);
  by_source_json(&s, d, m->sources);
  str_printf(&s, ", \"num_tokens\": %llu", (unsigned long long)m->num_tokens);
  field(&s, "tokens_per_s", round(m->tokens_per_s * 10) / 10);
  str_addz(&s, "}\n");
  bool ok = !s.oom && fwrite(s.p, 1, s.len, f) == s.len && fflush(f) == 0;
  str_free(&s);
  return ok ? RW_OK : rw_fail(err, RW_IO, "%s/metrics.jsonl: cannot write: %s", out, strerror(errno));
}

rw_status dropped_write(const char *out, const dataset *d, rw_context *context, rw_error *err) {
  slice rows = dataset_dropped(d);
  char *path = file_join(out, "dropped.jsonl");
  rw_status s = !path      ? rw_nomem(err, out)
                : rows.len ? file_put(path, rows.p, rows.len, err)
                           : file_remove_tree(path, err); /* of an earlier run */
  if (!s && rows.len) log_note(context, "the rows that were left out are listed in %s", path);
  mem_free(path);
  return s;
}

rw_status run_write(const run_record *r, rw_error *err) {
  const train_options *o = r->o;
  const dataset_counts *n = dataset_stats(r->d);
  str s = {0};
  char *path = file_join(o->out, "run.json");
  char when[32];
  time_t now = time(NULL);
  struct tm tm;
  strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
  str_printf(&s,
             "{\n  \"program\": \"reward.c " REWARD_VERSION "\",\n  \"status\": \"%s\",\n  \"written\": \"%s\",\n",
             r->finished ? "finished" : "unfinished", when);
  str_addz(&s, "  \"arguments\": ");
  if (o->arguments)
    o->arguments(o->arguments_ctx, r->effective, &s);
  else
    str_addz(&s, "{}");
  str_addz(&s, ",\n  \"device\": ");
  str_json(&s, model_device(r->m), strlen(model_device(r->m)));
  str_printf(&s, ",\n  \"dtype\": \"%s\",\n  \"threads\": %d,\n  \"seed\": %llu,\n  \"loss\": \"%s\",\n",
             model_dtype(r->m), pool_threads(o->context->threads), (unsigned long long)o->seed,
             loss_words[o->loss.kind].text);
  str_printf(&s, "  \"fingerprint\": \"%s\",\n", r->state->fingerprint);
  str_printf(&s, "  \"head\": \"%s\",\n",
             model_head_is_new(r->m) ? "new, N(0, initializer_range)" : "from the model");
  str_addz(&s, "  \"model\": {\"path\": ");
  str_json(&s, o->model, strlen(o->model));
  str_printf(&s, ", \"xxh3_128\": \"%s\"},\n  \"data\": [", r->model_hash);
  for (size_t i = 0; i < o->data.n; i++) {
    str_addz(&s, i ? ", {\"path\": " : "{\"path\": ");
    str_json(&s, o->data.items[i], strlen(o->data.items[i]));
    str_printf(&s, ", \"xxh3_128\": \"%s\"}", r->data_hashes[i]);
  }
  str_printf(
      &s,
      "],\n  \"rows\": {\"read\": %zu, \"used\": %zu, \"invalid\": %zu, \"empty_dropped\": %zu, "
      "\"overlong_dropped\": %zu, \"truncated\": "
      "%zu, "
      "\"identical_dropped\": %zu, \"control_tokens_escaped\": %zu, \"content_changed_by_template\": %zu},\n",
      n->rows, n->used, n->invalid, n->empty, n->overlong, n->truncated, n->identical, n->escaped, n->changed);
  str_printf(&s,
             "  \"tokens_per_epoch\": %llu,\n  \"steps\": %lld,\n  \"steps_done\": %lld,\n  \"tokens\": %llu,\n",
             (unsigned long long)n->tokens, (long long)r->steps, (long long)r->state->step,
             (unsigned long long)r->state->tokens);
  str_addz(&s, "  \"seconds\": ");
  str_json_num(&s, round(r->state->seconds * 10) / 10);
  str_addz(&s, ",\n  \"peak_memory_bytes\": ");
  str_json_num(&s, r->peak_bytes);
  if (o->freeze_layers > 0) {
    model_frozen_use kept = model_frozen_used(r->m);
    const char *why_not = kept.fault ? kept.fault : r->frozen_why_not;
    str_printf(&s, ",\n  \"frozen_states\": {\"bytes\": %llu, \"rows_reused\": %llu",
               (unsigned long long)kept.bytes, (unsigned long long)kept.hits);
    if (*why_not) {
      str_addz(&s, ", \"not_kept\": ");
      str_json(&s, why_not, strlen(why_not));
    }
    str_addz(&s, "}");
  }
  if (!isnan(r->state->best)) {
    str_printf(&s, ",\n  \"best_step\": %lld,\n  \"best\": ", (long long)r->state->best_step);
    str_json_num(&s, r->state->best);
  }
  if (r->finished && r->state->step < r->steps)
    str_printf(&s, ",\n  \"stopped_early\": {\"step\": %lld, \"evaluations_without_improvement\": %lld}",
               (long long)r->state->step, (long long)o->early_stop);
  str_addz(&s, "\n}\n");
  rw_status st = path && !s.oom ? file_put(path, s.p, s.len, err) : rw_nomem(err, o->out);
  mem_free(path);
  str_free(&s);
  return st;
}

rw_status run_finished(const char *out, const char *fingerprint, bool *finished, rw_error *err) {
  char *path = file_join(out, "run.json");
  json_file f;
  *finished = false;
  if (!path) return rw_nomem(err, out);
  bool there = file_exists(path);
  rw_status s = there ? json_file_open(&f, path, err) : RW_OK;
  if (!s && there) {
    slice status = json_string(f.doc, json_get(f.doc, 0, "status"));
    *finished = status.p && slice_is(status, "finished");
    slice was = json_string(f.doc, json_get(f.doc, 0, "fingerprint"));
    if (*finished && was.p && !slice_is(was, fingerprint))
      s = rw_fail(
          err, RW_USAGE,
          "%s: holds a finished run with other arguments, data or model; repeat them exactly, or start anew "
          "with " FIELD(force),
          out);
    json_file_close(&f);
  }
  mem_free(path);
  return s;
}

/* ---- text files ---- */

int32_t pad_choose(const model_config *c, const renderer *r, const dataset *d) {
  const tokenizer *t = renderer_tokenizer(r);
  uint8_t *last = mem_zalloc(c->vocab, 1);
  if (!last) return c->pad_token_id;
  for (size_t i = 0; i < dataset_size(d); i++) {
    const example *x = dataset_at(d, i);
    for (size_t b = 0; b < x->n; b++) last[x->ids[b][x->len[b] - 1]] = 1;
  }
  int32_t eos = t ? tok_eos(t) : -1, first[2] = {c->pad_token_id, t ? tok_pad(t) : -1}, pad = -1;
  for (int i = 0; i < 2 && pad < 0; i++)
    if (first[i] >= 0 && (size_t)first[i] < c->vocab && !last[first[i]]) pad = first[i];
  /* without a tokenizer any id will do; with one, padding by a token of plain text would make that text padding */
  for (int32_t i = 0; !t && (size_t)i < c->vocab && pad < 0; i++)
    if (!last[i]) pad = i;
  for (int32_t i = (int32_t)c->vocab - 1; t && i >= 0 && pad < 0; i--)
    if (tok_is_special(t, i) && i != eos && i != tok_bos(t) && !last[i]) pad = i;
  mem_free(last);
  return pad;
}

/* tokenizer_config.json with pad_token set to the token's text. */
static rw_status copy_tokenizer_config(const char *from, const char *to, slice pad, rw_error *err) {
  json_file f;
  RW_TRY(json_file_open(&f, from, err));
  str s = {0};
  str_addz(&s, "{");
  bool first = true;
  for (json_val v = json_first(f.doc, 0); v != JSON_NONE; v = json_next(f.doc, v)) {
    slice key = json_key(f.doc, v), raw = json_raw(f.doc, v);
    if (pad.p && slice_is(key, "pad_token")) continue;
    str_addz(&s, first ? "\n  " : ",\n  ");
    first = false;
    str_json(&s, key.p, key.len);
    str_addz(&s, ": ");
    str_add(&s, raw.p, raw.len);
  }
  if (pad.p) {
    str_addz(&s, first ? "\n  \"pad_token\": " : ",\n  \"pad_token\": ");
    str_json(&s, pad.p, pad.len);
  }
  str_addz(&s, "\n}\n");
  rw_status st = s.oom ? rw_nomem(err, to) : file_put(to, s.p, s.len, err);
  str_free(&s);
  json_file_close(&f);
  return st;
}

static rw_status copy_file(const char *from, const char *to, rw_error *err) {
  file_map m;
  RW_TRY(file_map_open(&m, from, err));
  rw_status s = file_put(to, m.p, m.len, err);
  file_map_close(&m);
  return s;
}

rw_status text_copy(const train_options *o, const renderer *r, int32_t pad, rw_error *err) {
  static const char *const names[] = {"tokenizer.json",        "tokenizer.model",         "tokenizer_config.json",
                                      "chat_template.jinja",   "special_tokens_map.json", "added_tokens.json",
                                      "generation_config.json"};
  const tokenizer *t = renderer_tokenizer(r);
  rw_status s = RW_OK;
  for (size_t i = 0; !s && i < sizeof names / sizeof *names; i++) {
    char *from = file_join(text_dir(o->model, o->base), names[i]), *to = file_join(o->out, names[i]);
    if (!from || !to) {
      s = rw_nomem(err, o->out);
    } else if (o->chat_template && strcmp(names[i], "chat_template.jinja") == 0) {
      s = copy_file(o->chat_template, to, err);
    } else if (file_exists(from)) {
      slice p = {0};
      if (t && pad >= 0 && pad != tok_pad(t)) p = tok_text(t, pad);
      s = strcmp(names[i], "tokenizer_config.json") == 0 ? copy_tokenizer_config(from, to, p, err)
                                                         : copy_file(from, to, err);
    }
    mem_free(from);
    mem_free(to);
  }
  return s;
}

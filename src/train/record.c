/* record.c - metrics.jsonl, run.json and the text files of a trained checkpoint. */
#include "train/record.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/log.h"
#include "train/identity.h"
#include "train/loss.h"

rw_status metrics_write(lines *f, const step_metrics *m, const dataset *d, rw_error *err) {
  str s = {0};
  json_writer w = {.out = &s};
  jw_object(&w, NULL);
  jw_int(&w, "step", m->step);
  jw_num(&w, "epoch", m->epoch);
  jw_num(&w, "loss", m->loss);
  if (m->centered) jw_num(&w, "loss_center", m->loss_center);
  jw_num(&w, "grad_norm", m->grad_norm);
  jw_num(&w, "learning_rate", m->learning_rate);
  jw_num(&w, "accuracy", m->accuracy);
  jw_num(&w, "margin", m->margin);
  jw_num(&w, "mean_reward", m->mean_reward);
  jw_num(&w, "min_reward", m->min_reward);
  jw_num(&w, "max_reward", m->max_reward);
  jw_num(&w, "reward_sd", m->reward_sd);
  by_source_json(&w, d, m->sources);
  jw_uint(&w, "num_tokens", m->num_tokens);
  jw_num(&w, "tokens_per_s", round(m->tokens_per_s * 10) / 10);
  jw_end(&w);
  str_addc(&s, '\n');
  rw_status added = s.oom ? rw_nomem(err, "metrics") : lines_add(f, (slice){s.p, s.len}, err);
  str_free(&s);
  return added;
}

rw_status dropped_write(const char *out, const dataset *d, rw_context *context, rw_error *err) {
  slice rows = dataset_dropped(d);
  char *path = file_join(out, "dropped.jsonl");
  rw_status s = !path      ? rw_nomem(err, out)
                : rows.len ? file_put(path, rows.p, rows.len, err)
                           : file_remove(path, err); /* left by an earlier run */
  if (!s && rows.len) log_note(context, "the rows that were left out are listed in %s", path);
  mem_free(path);
  return s;
}

static void rows_json(json_writer *w, const dataset_counts *n) {
  jw_object(w, "rows");
  jw_uint(w, "read", n->rows);
  jw_uint(w, "used", n->used);
  jw_uint(w, "invalid", n->invalid);
  jw_uint(w, "empty_dropped", n->empty);
  jw_uint(w, "overlong_dropped", n->overlong);
  jw_uint(w, "truncated", n->truncated);
  jw_uint(w, "identical_dropped", n->identical);
  jw_uint(w, "control_tokens_escaped", n->notes.escaped);
  jw_uint(w, "content_changed_by_template", n->notes.tmpl.changed);
  if (n->notes.tmpl.n_ignored > 0) tmpl_ignored_write(w, "fields_ignored_by_template", &n->notes.tmpl);
  jw_end(w);
}

static void file_json(json_writer *w, const char *name, const char *path, const char *hash) {
  jw_object(w, name);
  jw_string(w, "path", path);
  jw_string(w, "xxh3_128", hash);
  jw_end(w);
}

static void frozen_json(json_writer *w, const run_record *r) {
  model_frozen_use kept = model_frozen_used(r->m);
  const char *why_not = kept.fault ? kept.fault : r->frozen_why_not;
  jw_object(w, "frozen_states");
  jw_uint(w, "bytes", kept.bytes);
  jw_uint(w, "rows_reused", kept.hits);
  if (*why_not) jw_string(w, "not_kept", why_not);
  jw_end(w);
}

/* The options with what the data, the model and the machine made of those that leave it to them. What has no
 * effect at all in this run is NULL, NAN or 0. */
static train_options effective_options(const run_record *t) {
  train_options e = *t->o;
  bool lora = model_has_lora(t->m);
  if (strcmp(model_dir(t->m), e.model) != 0) e.base = model_dir(t->m);
  e.device = model_device(t->m);
  e.dtype = model_dtype(t->m);
  if (e.steps > 0) e.epochs = 0;
  e.steps = t->steps;
  e.batch_tokens = t->batch_tokens;
  e.loss.ranking = loss_ranking_kind(&e.loss);
  e.max_length = dataset_limit(t->o, model_info(t->m));
  e.recompute = (int)t->recompute;
  if (e.lora_rank == 0) e.lora_targets = NULL; /* those of trained adapters stand in adapter_config.json */
  e.lora_rank = (int64_t)model_lora_rank(t->m);
  e.lora_alpha = lora ? model_lora_alpha(t->m) : NAN;
  e.lora_dropout = lora ? model_dropout(t->m) : NAN;
  if (e.save_dtype < 0) e.save_dtype = (int)model_saved_dtype(t->m);
  return e;
}

rw_status run_write(const run_record *r, rw_error *err) {
  const train_options *o = r->o;
  const train_state *state = r->state;
  train_options effective = effective_options(r);
  const dataset_counts *n = dataset_stats(r->d);
  str s = {0};
  json_writer w = {.out = &s};
  char *path = file_join(o->out, "run.json");
  char when[32];
  time_t now = time(NULL);
  struct tm tm;
  strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
  jw_object_lines(&w, NULL);
  jw_string(&w, "program", "reward.c " REWARD_VERSION);
  jw_string(&w, "status", r->finished ? "finished" : "unfinished");
  jw_string(&w, "written", when);
  if (o->arguments) {
    o->arguments(o->arguments_ctx, &effective, &w);
  } else {
    jw_object(&w, "arguments");
    jw_end(&w);
  }
  jw_string(&w, "device", model_device(r->m));
  jw_string(&w, "dtype", model_dtype(r->m));
  jw_int(&w, "threads", pool_threads(o->context->threads));
  if (o->context->ranks->size > 1) {
    jw_int(&w, "ranks", o->context->ranks->size);
    jw_string(&w, "ranks_by", o->context->ranks->name);
  }
  jw_uint(&w, "seed", o->seed);
  jw_string(&w, "loss", loss_words[o->loss.kind].text);
  jw_string(&w, "fingerprint", state->fingerprint);
  jw_raw(&w, "identity", slice_of(state->identity));
  jw_string(&w, "head", model_head_is_new(r->m) ? "new, N(0, initializer_range)" : "from the model");
  file_json(&w, "model", o->model, r->model_hash);
  jw_array(&w, "data");
  for (size_t i = 0; i < o->data.n; i++) file_json(&w, NULL, o->data.items[i], r->data_hashes[i]);
  jw_end(&w);
  rows_json(&w, n);
  jw_uint(&w, "tokens_per_epoch", n->tokens);
  jw_int(&w, "steps", r->steps);
  jw_int(&w, "steps_done", state->step);
  jw_uint(&w, "tokens", state->tokens);
  jw_num(&w, "seconds", round(state->seconds * 10) / 10);
  jw_num(&w, "peak_memory_bytes", r->peak_bytes);
  if (r->sent_bytes) jw_uint(&w, "sent_bytes_a_step", r->sent_bytes);
  if (o->freeze_layers > 0) frozen_json(&w, r);
  if (!isnan(state->best)) {
    jw_int(&w, "best_step", state->best_step);
    jw_num(&w, "best", state->best);
  }
  if (r->finished && state->step < r->steps) {
    jw_object(&w, "stopped_early");
    jw_int(&w, "step", state->step);
    jw_int(&w, "evaluations_without_improvement", o->early_stop);
    jw_end(&w);
  }
  jw_end(&w);
  str_addc(&s, '\n');
  rw_status st = path && !s.oom ? file_put(path, s.p, s.len, err) : rw_nomem(err, o->out);
  mem_free(path);
  str_free(&s);
  return st;
}

rw_status run_found(const char *out, const train_state *state, bool unfinished, run_state *found, rw_error *err) {
  char *path = file_join(out, "run.json");
  json_file f;
  *found = RUN_NONE;
  if (!path) return rw_nomem(err, out);
  bool there = file_exists(path);
  rw_status s = there ? json_file_open(&f, path, err) : RW_OK;
  if (!s && there) {
    slice status = json_string(f.doc, json_get(f.doc, 0, "status"));
    bool finished = status.p && slice_is(status, "finished");
    slice was = json_string(f.doc, json_get(f.doc, 0, "fingerprint"));
    *found = finished ? RUN_FINISHED : RUN_UNFINISHED;
    if (finished || unfinished) {
      s = identity_check(f.doc, json_get(f.doc, 0, "identity"), state->identity, true, err);
      if (!s && was.p && !slice_is(was, state->fingerprint))
        s = rw_fail(err, RW_USAGE, "fingerprint was %.*s, is %s", (int)was.len, was.p, state->fingerprint);
    }
    if (s == RW_USAGE) *found = RUN_OTHER;
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

static bool is_pad_token(void *ctx, slice key, json_val v) {
  (void)ctx, (void)v;
  return slice_is(key, "pad_token");
}

/* The files of a model that are copied. Of each: what it must be, and, unless `to` is NULL, its copy. */
static const char *const copied[] = {"tokenizer.json",         "tokenizer.model",         "tokenizer_config.json",
                                     "chat_template.jinja",    "special_tokens_map.json", "added_tokens.json",
                                     "generation_config.json", "chat_template.json",      TEMPLATE_OF_TOOL_USE};
enum { COPIED = sizeof copied / sizeof *copied };

/* tokenizer_config.json with pad_token set to the token's text. */
static rw_status copy_tokenizer_config(const char *from, const char *to, slice pad, rw_error *err) {
  json_file f;
  RW_TRY(json_file_open(&f, from, err));
  str s = {0};
  json_writer w = {.out = &s};
  jw_object_lines(&w, NULL);
  jw_members(&w, f.doc, pad.p ? is_pad_token : NULL, NULL);
  if (pad.p) jw_slice(&w, "pad_token", pad);
  jw_end(&w);
  str_addc(&s, '\n');
  rw_status st = s.oom ? rw_nomem(err, from) : to ? file_put_like(to, s.p, s.len, from, err) : RW_OK;
  str_free(&s);
  json_file_close(&f);
  return st;
}

static rw_status copy_json(const char *from, const char *to, rw_error *err) {
  json_file f;
  RW_TRY(json_file_open_large(&f, from, err));
  rw_status s = RW_OK;
  if (json_kind(f.doc, 0) != JSON_OBJECT)
    s = rw_fail(err, RW_DATA, "%s: expected a JSON object, got another value; is it the right file?", from);
  else if (to)
    s = file_put_like(to, f.text.p, f.text.len, from, err);
  json_file_close(&f);
  return s;
}

static rw_status copy_template(const char *from, const char *to, rw_error *err) {
  str text = {0};
  rw_status s = file_read_text(from, TEMPLATE_MAX_BYTES, &text, err);
  if (!s && to) s = file_put_like(to, text.p ? text.p : "", text.len, from, err);
  str_free(&text);
  return s;
}

static rw_status copy_sentencepiece(const char *from, const char *to, rw_error *err) {
  file_map m;
  RW_TRY(file_map_open(&m, from, err));
  rw_status s = RW_OK;
  if (!tok_is_sentencepiece((slice){(const char *)m.p, m.len}))
    s = rw_fail(err, RW_DATA, "%s: expected a SentencePiece model, got bytes that are none; fetch it again", from);
  else if (to)
    s = file_put_like(to, m.p, m.len, from, err);
  file_map_close(&m);
  return s;
}

static bool is_template(const char *name) {
  return strcmp(name, "chat_template.jinja") == 0 || strcmp(name, TEMPLATE_OF_TOOL_USE) == 0;
}

/* The folder may be a stranger's, and the copy be published: no link may lead out of it. */
static rw_status copy_one(const char *dir, const char *name, const char *out, slice pad, rw_error *err) {
  char *from = file_join(dir, name), *to = out ? file_join(out, name) : NULL;
  rw_status s = from && (to || !out) ? RW_OK : rw_nomem(err, dir);
  if (!s && file_exists(from)) {
    s = file_check_inside(dir, name, err);
    char *folder = !s && to && strchr(name, '/') ? mem_strndup(to, (size_t)(strrchr(to, '/') - to)) : NULL;
    if (folder) s = file_mkdirs(folder, err);
    mem_free(folder);
    if (!s)
      s = strcmp(name, "tokenizer.model") == 0         ? copy_sentencepiece(from, to, err)
          : is_template(name)                          ? copy_template(from, to, err)
          : strcmp(name, "tokenizer_config.json") == 0 ? copy_tokenizer_config(from, to, pad, err)
                                                       : copy_json(from, to, err);
  }
  mem_free(from);
  mem_free(to);
  return s;
}

static bool replaces_template(const train_options *o, const char *name) {
  return o->chat_template && (is_template(name) || strcmp(name, "chat_template.json") == 0);
}

rw_status text_check(const train_options *o, const char *base, rw_error *err) {
  const char *dir = text_dir(o->model, base);
  str names = {0};
  rw_status s = file_check_inside(base, "config.json", err); /* its fields are written as well */
  for (size_t i = 0; !s && i < COPIED; i++) {
    if (replaces_template(o, copied[i])) continue;
    s = copy_one(dir, copied[i], NULL, (slice){0}, err);
    char *path = file_join(dir, copied[i]);
    if (path && file_exists(path)) str_printf(&names, "%s%s", names.len ? ", " : "", copied[i]);
    mem_free(path);
  }
  if (!s && names.p && !names.oom) log_note(o->context, "copied from %s into the result: %s", dir, names.p);
  str_free(&names);
  return s;
}

rw_status text_copy(const train_options *o, const renderer *r, int32_t pad, rw_error *err) {
  const tokenizer *t = renderer_tokenizer(r);
  slice p = {0};
  if (t && pad >= 0 && pad != tok_pad(t)) p = tok_text(t, pad);
  rw_status s = RW_OK;
  for (size_t i = 0; !s && i < COPIED; i++)
    if (!replaces_template(o, copied[i])) s = copy_one(text_dir(o->model, o->base), copied[i], o->out, p, err);
  if (!s && o->chat_template) {
    char *to = file_join(o->out, "chat_template.jinja");
    s = to ? copy_template(o->chat_template, to, err) : rw_nomem(err, o->out);
    mem_free(to);
  }
  return s;
}

uint64_t text_files_bytes(const train_options *o) {
  uint64_t sum = 0;
  for (size_t i = 0; i < COPIED; i++) {
    char *path = file_join(text_dir(o->model, o->base), copied[i]);
    struct stat st;
    if (path && stat(path, &st) == 0) sum += (uint64_t)st.st_size;
    mem_free(path);
  }
  return sum;
}

/* checkpoint.c - saving and loading the state of a run. */
#include "train/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_write.h"
#include "train/identity.h"

static const char PREFIX[] = "checkpoint-";

/* What a checkpoint holds of a parameter: its value and, under the names of PyTorch's AdamW, the moments. Each rank
 * writes, and of the moments has, what it updates. */
enum { WEIGHTS = 1, PARTS = 5 };
typedef struct {
  const model_param *param;
  void *moment; /* device memory; NULL: the value itself */
  st_dtype dtype;
  size_t count;
  size_t first, owned; /* this rank's */
  const char *suffix;
} part;

static size_t blocks_of(size_t n) { return (n + ADAMW8_BLOCK - 1) / ADAMW8_BLOCK; }

/* Part `which` of p; false: there is none. */
static bool part_of(const model_param *p, size_t which, part *out) {
  size_t n = p->count, from = p->first, own = p->owned, blocks = blocks_of(n), block = from / ADAMW8_BLOCK,
         own_blocks = blocks_of(own);
  st_dtype type = p->q1.code ? DT_U8 : DT_F32;
  const part all[PARTS] = {{p, NULL, DT_F32, n, from, own, ""},
                           {p, p->q1.code ? (void *)p->q1.code : p->m1, type, n, from, own, ".exp_avg"},
                           {p, p->q2.code ? (void *)p->q2.code : p->m2, type, n, from, own, ".exp_avg_sq"},
                           {p, p->q1.scale, DT_F32, blocks, block, own_blocks, ".exp_avg.scale"},
                           {p, p->q2.scale, DT_F32, blocks, block, own_blocks, ".exp_avg_sq.scale"}};
  *out = all[which];
  return which == 0 ? p->w.value != NULL : out->moment != NULL;
}

typedef struct {
  model *m;
  const part *plan;
} reading;

static rw_status read_part(void *ctx, size_t i, size_t at, size_t bytes, void *out, rw_error *err) {
  const reading *r = ctx;
  const part *p = &r->plan[i];
  size_t size = st_dtype_size(p->dtype);
  if (p->moment)
    model_get(r->m, out, (const char *)p->moment + (at - p->first * size), bytes);
  else
    model_get_values(r->m, p->param, at / size, bytes / size, out);
  return model_sync(r->m, err);
}

static rw_status write_tensors(model *m, comm *ranks, const char *dir, size_t parts, rw_error *err) {
  const model_param *params;
  size_t all = model_params(m, &params), n = 0;
  model_rest(m);
  st_spec *specs = mem_zalloc(all * parts, sizeof *specs);
  part *plan = mem_zalloc(all * parts, sizeof *plan);
  st_part *own = mem_zalloc(all * parts, sizeof *own);
  arena *names = arena_new();
  rw_status s = specs && plan && own && names ? RW_OK : rw_nomem(err, dir);
  for (size_t i = 0; !s && i < all; i++)
    for (size_t k = 0; k < parts; k++) {
      part p;
      if (!part_of(&params[i], k, &p)) continue;
      char name[256];
      int len = snprintf(name, sizeof name, "%s%s", params[i].name, p.suffix);
      char *copy = arena_strndup(names, name, (size_t)len);
      if (!copy) s = rw_nomem(err, dir);
      specs[n] = (st_spec){copy, p.dtype, 1, {(int64_t)p.count}};
      own[n] = (st_part){p.first * st_dtype_size(p.dtype), p.owned * st_dtype_size(p.dtype)};
      plan[n++] = p;
    }
  s = comm_agree(ranks, s, err);
  if (!s) s = st_write_ranks(dir, "model", specs, own, n, ranks, read_part, &(reading){m, plan}, err);
  mem_free(own);
  mem_free(specs);
  mem_free(plan);
  arena_free(names);
  return s;
}

static rw_status write_state(const char *dir, const train_state *t, rw_error *err) {
  str s = {0};
  char *path = file_join(dir, "state.json");
  json_writer w = {.out = &s};
  jw_object(&w, NULL);
  jw_int(&w, "step", t->step);
  jw_string(&w, "fingerprint", t->fingerprint);
  jw_int(&w, "best_step", t->best_step);
  jw_uint(&w, "tokens", t->tokens);
  jw_bool(&w, "eval_due", t->eval_due);
  jw_num(&w, "seconds", t->seconds);
  jw_num(&w, "best", t->best);
  jw_num(&w, "recent_loss", t->recent_loss);
  jw_num(&w, "recent_accuracy", t->recent_accuracy);
  if (t->best_only) jw_bool(&w, "best_only", true);
  jw_raw(&w, "identity", slice_of(t->identity));
  jw_end(&w);
  str_addc(&s, '\n');
  rw_status st = path && !s.oom ? file_put(path, s.p, s.len, err) : rw_nomem(err, dir);
  mem_free(path);
  str_free(&s);
  return st;
}

static rw_status write_best(const char *dir, const train_state *t, const char *eval, rw_error *err) {
  str s = {0};
  char *path = file_join(dir, "best.json");
  json_writer w = {.out = &s};
  jw_object(&w, NULL);
  jw_int(&w, "step", t->best_step);
  jw_num(&w, "best", t->best);
  jw_string(&w, "eval", eval);
  jw_end(&w);
  str_addc(&s, '\n');
  rw_status st = path && !s.oom ? file_put(path, s.p, s.len, err) : rw_nomem(err, dir);
  mem_free(path);
  str_free(&s);
  return st;
}

static const char STATE[] = "state"; /* subfolder of a checkpoint that is a model too */
static const char *const leftovers[] = {"", ".partial", ".removed"}; /* a save or removal that was cut short */

/* The step of a checkpoint's name as this program writes it, and which of leftovers it is; -1: it is another name,
 * such as checkpoint-500 of other trainers. */
static int64_t step_and_end(const char *name, size_t *end) {
  char *rest, again[64];
  if (strncmp(name, PREFIX, sizeof PREFIX - 1) != 0) return -1;
  long long step = strtoll(name + sizeof PREFIX - 1, &rest, 10);
  for (*end = 0; *end < sizeof leftovers / sizeof *leftovers; ++*end)
    if (step >= 0 && strcmp(rest, leftovers[*end]) == 0) {
      snprintf(again, sizeof again, "%s%08lld%s", PREFIX, step, rest);
      return strcmp(again, name) == 0 ? step : -1;
    }
  return -1;
}

/* The step in a checkpoint's name; -1: the name is of something else, such as a save that was cut short. */
static int64_t step_of(const char *name) {
  size_t end;
  int64_t step = step_and_end(name, &end);
  return step >= 0 && end == 0 ? step : -1;
}

/* Does the folder hold one of these, as a run writes it? */
static bool holds(const char *dir, const char *const *files, size_t n) {
  bool found = false;
  for (size_t i = 0; !found && i < n; i++) {
    char *path = file_join(dir, files[i]);
    found = path && file_exists(path);
    mem_free(path);
  }
  return found;
}
static bool is_checkpoint(const char *dir) {
  static const char *const files[] = {"state.json", "state/state.json"};
  return holds(dir, files, 2);
}
static bool is_best(const char *dir) { /* older programs kept the weights alone */
  static const char *const files[] = {"best.json", "model.safetensors"};
  return holds(dir, files, 2);
}

/* Calls fn for each entry of OUT with the name of a checkpoint, or of what is left of one. */
static rw_status each(const char *out, rw_status (*fn)(void *ctx, const char *name, rw_error *err), void *ctx,
                      rw_error *err) {
  DIR *d = opendir(out);
  rw_status s = RW_OK;
  size_t end;
  if (!d) return errno == ENOENT ? RW_OK : rw_fail(err, RW_IO, "%s: cannot list: %s", out, strerror(errno));
  for (struct dirent *e; !s && (e = readdir(d));)
    if (step_and_end(e->d_name, &end) >= 0) s = fn(ctx, e->d_name, err);
  closedir(d);
  return s;
}

struct removal {
  const char *out;
  int64_t keep; /* so many of the newest */
};
static rw_status count_newer(void *ctx, const char *name, rw_error *err) {
  (void)err;
  int64_t *newer = ctx;
  newer[1] += step_of(name) > newer[0];
  return RW_OK;
}
static rw_status remove_other(void *ctx, const char *name, rw_error *err) {
  const struct removal *r = ctx;
  int64_t newer[2] = {step_of(name), 0};
  if (newer[0] >= 0 && r->keep > 0) RW_TRY(each(r->out, count_newer, newer, err));
  if (newer[0] >= 0 && newer[1] < r->keep) return RW_OK;
  char *path = file_join(r->out, name);
  rw_status s = !path                 ? rw_nomem(err, name)
                : newer[0] < 0        ? file_remove_tree(path, err)
                : is_checkpoint(path) ? file_remove_dir(path, err)
                                      : RW_OK; /* nothing of a run's but the name */
  mem_free(path);
  return s;
}

/* A folder that is to be replaced must be one that a run has made. */
static rw_status check_replaced(const char *path, bool best, rw_error *err) {
  if (!file_exists(path) || (best ? is_best(path) : is_checkpoint(path))) return RW_OK;
  return rw_fail(err, RW_IO, "%s: stands in the way and is not of a run; rename it", path);
}

/* Writes OUT/name whole: under another name first. best_of: weights alone, and by which evaluation they are the
 * best. An older one gives way. */
static rw_status save_folder(model *m, comm *ranks, const char *out, const char *name, const train_state *t,
                             const checkpoint_policy *p, const char *best_of, rw_error *err) {
  char *final = file_join(out, name), *partial = final ? mem_printf("%s.partial", final) : NULL;
  char *state =
      partial ? p && p->keep > 0 ? file_join(partial, STATE) : mem_strndup(partial, strlen(partial)) : NULL;
  bool writes = ranks->rank == 0;
  rw_status s = state ? RW_OK : rw_nomem(err, out);
  if (!s && writes) s = check_replaced(final, best_of != NULL, err);
  if (!s && writes) s = file_remove_tree(partial, err);
  if (!s && writes) s = file_mkdirs(state, err);
  if (!s && writes && p && p->keep > 0) s = p->publish(p->ctx, partial, err);
  s = model_agree(m, s, err);
  if (!s) s = write_tensors(m, ranks, state, best_of ? WEIGHTS : PARTS, err);
  if (!s && writes) s = best_of ? write_best(state, t, best_of, err) : write_state(state, t, err);
  if (!s && writes) s = file_replace_dir(partial, final, err);
  s = comm_agree(ranks, s, err);
  if (s && writes && partial) file_remove_tree(partial, NULL);
  mem_free(final);
  mem_free(partial);
  mem_free(state);
  return s;
}

rw_status checkpoint_save(model *m, comm *ranks, const char *out, const train_state *t, const checkpoint_policy *p,
                          rw_error *err) {
  char name[64];
  snprintf(name, sizeof name, "%s%08lld", PREFIX, (long long)t->step);
  struct removal r = {out, p->keep > 0 ? p->keep : 1};
  RW_TRY(save_folder(m, ranks, out, name, t, p, NULL, err));
  return comm_agree(ranks, ranks->rank == 0 ? each(out, remove_other, &r, err) : RW_OK, err);
}

static rw_status newest(void *ctx, const char *name, rw_error *err) {
  (void)err;
  int64_t *best = ctx, step = step_of(name);
  if (step > *best) *best = step;
  return RW_OK;
}

/* identity: of the run that goes on */
static rw_status read_state(const char *dir, train_state *t, const char *identity, rw_error *err) {
  char *path = file_join(dir, "state.json");
  json_file f;
  if (!path) return rw_nomem(err, dir);
  rw_status s = json_file_open(&f, path, err);
  if (!s) {
    int64_t tokens = 0;
    slice fp = json_string(f.doc, json_get(f.doc, 0, "fingerprint"));
    bool ok = json_int(f.doc, json_get(f.doc, 0, "step"), &t->step) && fp.len == 32 &&
              json_int(f.doc, json_get(f.doc, 0, "best_step"), &t->best_step) &&
              json_int(f.doc, json_get(f.doc, 0, "tokens"), &tokens) &&
              json_number(f.doc, json_get(f.doc, 0, "seconds"), &t->seconds);
    const struct {
      const char *name;
      double *value;
    } numbers[] = {{"best", &t->best}, {"recent_loss", &t->recent_loss}, {"recent_accuracy", &t->recent_accuracy}};
    for (size_t i = 0; i < 3; i++)
      if (!json_number(f.doc, json_get(f.doc, 0, numbers[i].name), numbers[i].value)) *numbers[i].value = NAN;
    t->tokens = (uint64_t)tokens;
    json_val due = json_get(f.doc, 0, "eval_due");
    json_val best_only = json_get(f.doc, 0, "best_only");
    t->best_only = best_only != JSON_NONE && json_kind(f.doc, best_only) == JSON_TRUE;
    t->eval_due = due != JSON_NONE && json_kind(f.doc, due) == JSON_TRUE;
    if (ok) {
      snprintf(t->fingerprint, sizeof t->fingerprint, "%.32s", fp.p);
      s = identity_check(f.doc, json_get(f.doc, 0, "identity"), identity, false, err);
      if (s == RW_USAGE)
        rw_prefix(err, s,
                  "%s: belongs to a run with other arguments, data or model; repeat them exactly, or start anew "
                  "with " FIELD(force),
                  dir);
    } else
      s = rw_fail(err, RW_DATA, "%s: not a state that this program wrote; remove the folder to start anew", path);
    json_file_close(&f);
  }
  mem_free(path);
  return s;
}

static void put_part(model *m, const part *p, const st_tensor *t) {
  size_t size = st_dtype_size(p->dtype);
  if (p->moment)
    model_put(m, p->moment, (const char *)t->data + p->first * size, p->owned * size);
  else
    model_put_values(m, p->param, t->data);
}

static rw_status read_tensors(model *m, const char *dir, size_t parts, rw_error *err) {
  st_set *f;
  RW_TRY(st_open(&f, dir, err));
  const model_param *params;
  size_t n = model_params(m, &params);
  rw_status s = RW_OK;
  for (size_t i = 0; !s && i < n; i++)
    for (size_t k = 0; !s && k < parts; k++) {
      part p;
      if (!part_of(&params[i], k, &p)) continue;
      char name[256];
      snprintf(name, sizeof name, "%s%s", params[i].name, p.suffix);
      const st_tensor *t = st_find(f, name);
      if (!t || t->dtype != p.dtype || t->bytes != p.count * st_dtype_size(p.dtype))
        s = rw_fail(err, RW_DATA, "%s: tensor %s: expected %zu values of %s; the checkpoint is of another model",
                    dir, name, p.count, st_dtype_name(p.dtype));
      else
        put_part(m, &p, t);
    }
  if (!s) s = model_sync(m, err);
  st_close(f);
  return s;
}

rw_status checkpoint_load(model *m, const char *out, train_state *t, bool *found, rw_error *err) {
  int64_t step = -1;
  *found = false;
  RW_TRY(each(out, newest, &step, err));
  if (step < 0) return RW_OK;
  char *dir = mem_printf("%s/%s%08lld", out, PREFIX, (long long)step);
  char *state = dir ? file_join(dir, STATE) : NULL;
  if (!state) {
    mem_free(dir);
    return rw_nomem(err, out);
  }
  train_state got = {0};
  const char *from = file_is_dir(state) ? state : dir;
  rw_status s = read_state(from, &got, t->identity, err);
  if (!s && strcmp(got.fingerprint, t->fingerprint) != 0)
    s = rw_fail(
        err, RW_USAGE,
        "%s: belongs to a run with other arguments, data or model; repeat them exactly, or start anew with " FIELD(
            force),
        dir);
  if (!s) s = read_tensors(m, from, PARTS, err);
  if (!s) {
    got.identity = t->identity;
    *t = got;
    *found = true;
  }
  mem_free(state);
  mem_free(dir);
  return s;
}

static const char BEST[] = "best-weights";

rw_status best_save(model *m, comm *ranks, const char *out, const train_state *t, const char *eval, rw_error *err) {
  return save_folder(m, ranks, out, BEST, t, NULL, eval, err);
}

static rw_status read_best(const char *path, const char *eval, train_state *t, bool *there, rw_error *err) {
  json_file f;
  double best;
  int64_t step;
  RW_TRY(json_file_open(&f, path, err));
  *there = slice_is(json_string(f.doc, json_get(f.doc, 0, "eval")), eval) &&
           json_number(f.doc, json_get(f.doc, 0, "best"), &best) &&
           json_int(f.doc, json_get(f.doc, 0, "step"), &step);
  if (*there) {
    t->best = best;
    t->best_step = step;
  }
  json_file_close(&f);
  return RW_OK;
}

rw_status best_read(const char *out, const char *eval, train_state *t, bool *there, rw_error *err) {
  char *dir = file_join(out, BEST), *path = dir ? file_join(dir, "best.json") : NULL;
  rw_status s = path ? RW_OK : rw_nomem(err, out);
  if (!s) *there = file_is_dir(dir);
  if (!s && *there && file_exists(path)) s = read_best(path, eval, t, there, err);
  mem_free(path);
  mem_free(dir);
  return s;
}

rw_status best_load(model *m, const char *out, rw_error *err) {
  char *dir = file_join(out, BEST);
  rw_status s = dir ? read_tensors(m, dir, WEIGHTS, err) : rw_nomem(err, out);
  mem_free(dir);
  return s;
}

struct sizes {
  const char *out;
  uint64_t bytes;
};
static rw_status add_bytes(void *ctx, const char *name, rw_error *err) {
  struct sizes *z = ctx;
  char *path = file_join(z->out, name);
  if (!path) return rw_nomem(err, name);
  z->bytes += file_tree_bytes(path);
  mem_free(path);
  return RW_OK;
}

uint64_t checkpoint_bytes(const char *out) {
  struct sizes z = {out, 0};
  each(out, add_bytes, &z, NULL);
  add_bytes(&z, BEST, NULL);
  return z.bytes;
}

rw_status checkpoint_clear(const char *out, int64_t keep, rw_error *err) {
  struct removal r = {out, keep};
  RW_TRY(each(out, remove_other, &r, err));
  char *best = file_join(out, BEST);
  rw_status s = !best ? rw_nomem(err, out) : is_best(best) ? file_remove_dir(best, err) : RW_OK;
  mem_free(best);
  return s;
}

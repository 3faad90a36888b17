/* save.c - a checkpoint directory that AutoModelForSequenceClassification loads whole: config.json and weights. */
#include <stdio.h>
#include <string.h>

#include "format/json_write.h"
#include "model/model_impl.h"

static const char *torch_dtype(int dtype) {
  return dtype == DT_BF16 ? "bfloat16" : dtype == DT_F16 ? "float16" : "float32";
}

static bool is_set_anew(void *ctx, slice key, json_val v) {
  static const char *const set[] = {"architectures", "num_labels",  "id2label", "label2id",
                                    "pad_token_id",  "torch_dtype", "dtype",    "problem_type"};
  (void)ctx;
  (void)v;
  for (size_t i = 0; i < sizeof set / sizeof *set; i++)
    if (slice_is(key, set[i])) return true;
  return false;
}

/* The input's config.json with the fields that make it a one-label classifier set. */
static rw_status write_config(const model *m, const char *dir, int dtype, int32_t pad, rw_error *err) {
  char *in = file_join(m->w->dir, "config.json"), *out = file_join(dir, "config.json");
  json_file f = {0};
  str s = {0};
  rw_status st = in && out ? file_check_inside(m->w->dir, "config.json", err) : rw_nomem(err, dir);
  if (!st) st = json_file_open(&f, in, err);
  if (!st) {
    json_writer w = {.out = &s};
    jw_object_lines(&w, NULL);
    char class[96];
    snprintf(class, sizeof class, "%sFor%s", m->w->cfg.family->class, m->w->cfg.family->saved);
    jw_array(&w, "architectures");
    jw_string(&w, NULL, m->w->keeps_class ? m->w->cfg.class : class);
    jw_end(&w);
    jw_members(&w, f.doc, is_set_anew, NULL);
    jw_object(&w, "id2label");
    jw_string(&w, "0", "LABEL_0");
    jw_end(&w);
    jw_object(&w, "label2id");
    jw_int(&w, "LABEL_0", 0);
    jw_end(&w);
    if (pad >= 0) jw_int(&w, "pad_token_id", pad);
    jw_string(&w, "torch_dtype", torch_dtype(dtype));
    jw_end(&w);
    str_addc(&s, '\n');
    st = s.oom ? rw_nomem(err, out) : file_put_like(out, s.p, s.len, in, err);
    json_file_close(&f);
  }
  str_free(&s);
  mem_free(in);
  mem_free(out);
  return st;
}

typedef struct {
  model *m;
  const st_spec *specs;
  float *row; /* room for the largest tensor that is converted */
} writer;

static rw_status read_tensor(void *ctx, size_t i, void *out, rw_error *err) {
  const writer *w = ctx;
  const tensor *t = &w->m->w->t[i];
  bool merged = t->adapter != 0, f32 = w->specs[i].dtype == DT_F32;
  RW_TRY(gathered_hold(w->m, merged ? (size_t)t->adapter : i, err));
  if (!merged && !t->pub.w.value && t->file && t->file->dtype == w->specs[i].dtype) {
    memcpy(out, t->file->data, t->file->bytes);
    return RW_OK;
  }
  float *row = f32 ? out : w->row;
  tensor_read(w->m, t, 0, t->pub.count, row);
  RW_TRY(w->m->be->sync(w->m->be, err));
  if (merged) RW_TRY(lora_merge_into(w->m, t, row, err));
  if (!f32) tensor_from_f32(w->m, out, row, w->specs[i].dtype, t->pub.count);
  return RW_OK;
}

/* What an earlier run left of the other kind: an adapter would be read instead of the model, and transformers would
 * take a whole model for an adapter's base. */
static rw_status drop_other(const char *dir, bool adapter, rw_error *err) {
  static const char *const names[2][3] = {{"adapter_config.json", "adapter_model.safetensors"},
                                          {"model.safetensors.index.json", "model.safetensors", "config.json"}};
  rw_status s = RW_OK;
  for (size_t i = 0; !s && i < 3 && names[adapter][i]; i++) {
    char *path = file_join(dir, names[adapter][i]);
    s = path ? file_remove(path, err) : rw_nomem(err, dir);
    mem_free(path);
  }
  return s;
}

st_dtype model_saved_dtype(const model *m) {
  return m->w->lora_rank > 0 && !m->tr.merge ? DT_F32 : m->w->t[m->w->embed].file_type;
}

rw_status model_save(model *m, const char *dir, int dtype, int32_t pad_token_id, rw_error *err) {
  size_t largest = 1;
  model_rest(m);
  if (m->w->lora_rank > 0 && !m->tr.merge) {
    RW_TRY(lora_save(m, dir, dtype, err));
    return drop_other(dir, true, err);
  }
  size_t n = m->w->lora_rank > 0 ? head_end(m->w) : m->w->n_tensors; /* adapters follow the head */
  st_spec *specs = mem_zalloc(m->w->n_tensors, sizeof *specs);
  for (size_t i = 0; specs && i < n; i++) {
    const tensor *t = &m->w->t[i];
    specs[i] = (st_spec){.name = t->pub.name,
                         .dtype = dtype >= 0 ? (st_dtype)dtype : t->file_type,
                         .n_dims = t->cols ? 2 : 1,
                         .shape = {(int64_t)t->pub.rows, (int64_t)t->cols}};
    if (specs[i].dtype != DT_F32 && t->pub.count > largest) largest = t->pub.count;
  }
  writer w = {m, specs, mem_alloc(largest, sizeof(float))};
  rw_status s = specs && w.row ? RW_OK : rw_nomem(err, dir);
  if (!s) s = st_write(dir, "model", specs, n, 0, read_tensor, &w, err);
  if (!s) s = write_config(m, dir, (int)specs[m->w->embed].dtype, pad_token_id, err);
  if (!s) s = drop_other(dir, false, err);
  st_forget(m->w->file); /* a frozen checkpoint was read whole */
  mem_free(specs);
  mem_free(w.row);
  return s;
}

void model_merge(model *m) { m->tr.merge = true; }

/* convert.c - a checkpoint's folder with its weights as safetensors: those of torch.save (pytorch_model.bin) by
 * another name of the same values. Of any family, for no tensor is looked at; text files are copied.
 */
#include <string.h>

#include "format/json_write.h"
#include "format/peft.h"
#include "format/safetensors.h"
#include "text/render.h"
#include "train/record.h"
#include "train/train.h"

typedef struct {
  const st_set *from;
  const st_spec *specs;
  float *values; /* room for the largest tensor whose type changes */
} weights_copy;

static size_t count_of(const st_tensor *t) { return t->bytes / st_dtype_size(t->dtype); }
static bool is_float(st_dtype t) { return t == DT_F32 || t == DT_F16 || t == DT_BF16; }

static rw_status read_tensor(void *ctx, size_t i, void *out, rw_error *err) {
  const weights_copy *w = ctx;
  const st_tensor *t = st_at(w->from, i);
  st_dtype to = w->specs[i].dtype;
  (void)err;
  if (to == t->dtype && t->bytes) memcpy(out, t->data, t->bytes);
  if (to == t->dtype) return RW_OK;
  float *values = to == DT_F32 ? out : w->values;
  st_to_f32(values, t->data, t->dtype, count_of(t));
  if (to != DT_F32) st_from_f32(out, values, to, count_of(t));
  return RW_OK;
}

static rw_status copy_weights(const st_set *from, const char *out, int dtype, rw_error *err) {
  size_t n = st_count(from), largest = 1;
  st_spec *specs = mem_zalloc(n ? n : 1, sizeof *specs);
  for (size_t i = 0; specs && i < n; i++) {
    const st_tensor *t = st_at(from, i);
    bool other = dtype >= 0 && is_float(t->dtype);
    specs[i] = (st_spec){t->name, other ? (st_dtype)dtype : t->dtype, t->n_dims, {0}};
    memcpy(specs[i].shape, t->shape, sizeof t->shape);
    if (other && count_of(t) > largest) largest = count_of(t);
  }
  weights_copy w = {from, specs, mem_alloc(largest, sizeof *w.values)};
  rw_status s = specs && w.values ? st_write(out, "model", specs, n, 0, read_tensor, &w, err) : rw_nomem(err, out);
  mem_free(specs);
  mem_free(w.values);
  return s;
}

static bool is_type(void *ctx, slice key, json_val v) {
  (void)ctx, (void)v;
  return slice_is(key, "torch_dtype") || slice_is(key, "dtype");
}

/* config.json, with the weights' new type if they have one. */
static rw_status copy_config(const char *from, const char *out, int dtype, rw_error *err) {
  static const char *const names[] = {[DT_F16] = "float16", [DT_BF16] = "bfloat16", [DT_F32] = "float32"};
  char *in = file_join(from, "config.json"), *to = file_join(out, "config.json");
  json_file f = {0};
  str s = {0};
  rw_status st = in && to ? file_check_inside(from, "config.json", err) : rw_nomem(err, out);
  if (!st) st = json_file_open(&f, in, err);
  if (!st) {
    json_writer w = {.out = &s};
    jw_object_lines(&w, NULL);
    jw_members(&w, f.doc, dtype >= 0 ? is_type : NULL, NULL);
    if (dtype >= 0) jw_string(&w, "torch_dtype", names[dtype]);
    jw_end(&w);
    str_addc(&s, '\n');
    st = s.oom ? rw_nomem(err, to) : file_put_like(to, s.p, s.len, in, err);
    json_file_close(&f);
  }
  str_free(&s);
  mem_free(in);
  mem_free(to);
  return st;
}

rw_status train_convert(const char *from, const char *out, bool force, int dtype, rw_error *err) {
  st_set *weights = NULL;
  renderer *r = NULL;
  if (peft_is(from))
    return rw_fail(err, RW_USAGE,
                   "%s: expected a checkpoint's folder, got an adapter; `reward merge` makes one of it", from);
  RW_TRY(st_open(&weights, from, err));
  out_dir dir = {NULL, -1, 0};
  rw_status s = file_dir_begin(&dir, out, force, err);
  if (!s) s = renderer_open(&r, from, NULL, NULL, err);
  if (!s) s = copy_config(from, out, dtype, err);
  if (!s) s = text_copy(&(train_options){.model = from, .base = from, .out = out}, r, -1, err);
  if (!s) s = copy_weights(weights, out, dtype, err);
  file_dir_end(&dir, s == RW_OK);
  renderer_free(r);
  st_close(weights);
  return s;
}

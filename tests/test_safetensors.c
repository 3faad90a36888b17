/* test_safetensors.c - reading and writing checkpoints: against files that the safetensors package and PyTorch
 * wrote (tests/reference/make_formats.py), and what must be refused.
 */
#include <math.h>
#include <unistd.h>

#include "folder.h"
#include "format/json.h"
#include "format/safetensors.h"

static const char LAYOUT[] = "tests/data/format/layout.safetensors";

/* Without the syncing of file_put: these tests write thousands of files. */
static const char *put(const char *name, const void *p, size_t len) {
  FILE *f = fopen(in_dir(name), "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(p, 1, len, f), len);
  assert_int_equal(fclose(f), 0);
  return in_dir(name);
}
static st_set *opened(const char *path) {
  st_set *s;
  OK(st_open(&s, path, &err));
  return s;
}
static void refused(const char *path, const char *expected) {
  st_set *s;
  rw_status code = st_open(&s, path, &err);
  if (code == RW_OK) fail_msg("opened, though: %s", expected);
  assert_null(s);
  if (!strstr(err.text, expected)) fail_msg("expected '%s' in: %s", expected, err.text);
}

/* ---- the package's layout ---- */

static void package_file_is_read(void **state) {
  (void)state;
  st_set *s = opened(LAYOUT);
  assert_int_equal(st_count(s), 13);
  static const st_dtype kinds[] = {DT_BOOL, DT_U8, DT_I8, DT_I16, DT_F16, DT_BF16, DT_I32, DT_F32, DT_F64, DT_I64};
  for (int i = 0; i < 10; i++) {
    char name[8];
    snprintf(name, sizeof name, "t%d", i);
    const st_tensor *t = st_find(s, name);
    assert_non_null(t);
    assert_int_equal(t->dtype, kinds[i]);
    assert_int_equal(t->n_dims, 1);
    assert_int_equal(t->shape[0], 3);
    assert_int_equal(t->bytes, 3 * st_dtype_size(t->dtype));
    if (t->dtype == DT_F32 || t->dtype == DT_F16 || t->dtype == DT_BF16) {
      float x[3];
      st_to_f32(x, t->data, t->dtype, 3);
      for (int k = 0; k < 3; k++) assert_true(x[k] == (float)k);
    }
  }
  const st_tensor *scalar = st_find(s, "scalar"), *empty = st_find(s, "empty"),
                  *odd = st_find(s, "quote\"\n\u00e9");
  float seven;
  assert_int_equal(scalar->n_dims, 0);
  memcpy(&seven, scalar->data, 4);
  assert_true(seven == 7);
  assert_int_equal(empty->n_dims, 2);
  assert_int_equal(empty->bytes, 0);
  assert_int_equal(odd->bytes, 2);
  assert_null(st_find(s, "t10"));
  st_close(s);
}

typedef struct {
  const st_set *from;
  st_spec specs[16];
  size_t n;
  int fail_at; /* -1: never */
} copy;

static rw_status read_copy(void *ctx, size_t i, void *buffer, rw_error *e) {
  const copy *c = ctx;
  if ((int)i == c->fail_at) return rw_fail(e, RW_NUMERIC, "tensor %s fails", c->specs[i].name);
  const st_tensor *t = st_find(c->from, c->specs[i].name);
  memcpy(buffer, t->data, t->bytes);
  return RW_OK;
}
/* The tensors of s, last first, so that the writer's own order shows. */
static copy copy_of(const st_set *s) {
  copy c = {.from = s, .n = st_count(s), .fail_at = -1};
  for (size_t i = 0; i < c.n; i++) {
    const st_tensor *t = st_at(s, c.n - 1 - i);
    c.specs[i] = (st_spec){.name = t->name, .dtype = t->dtype, .n_dims = t->n_dims};
    memcpy(c.specs[i].shape, t->shape, sizeof t->shape);
  }
  return c;
}
static void assert_same_tensors(const st_set *a, const st_set *b) {
  assert_int_equal(st_count(a), st_count(b));
  for (size_t i = 0; i < st_count(a); i++) {
    const st_tensor *x = st_at(a, i), *y = st_find(b, x->name);
    assert_non_null(y);
    assert_int_equal(x->dtype, y->dtype);
    assert_int_equal(x->n_dims, y->n_dims);
    assert_memory_equal(x->shape, y->shape, sizeof x->shape);
    assert_int_equal(x->bytes, y->bytes);
    assert_memory_equal(x->data, y->data, x->bytes);
  }
}

static void written_bytes_equal_the_packages(void **state) {
  (void)state;
  st_set *s = opened(LAYOUT);
  copy c = copy_of(s);
  OK(st_write(dir, "model", c.specs, c.n, 0, read_copy, &c, &err));
  file_map a, b;
  OK(file_map_open(&a, LAYOUT, &err));
  OK(file_map_open(&b, in_dir("model.safetensors"), &err));
  assert_int_equal(a.len, b.len);
  assert_memory_equal(a.p, b.p, a.len);
  file_map_close(&a);
  file_map_close(&b);
  st_close(s);
}

static void shards_and_their_index(void **state) {
  (void)state;
  st_set *s = opened(LAYOUT), *back;
  copy c = copy_of(s);
  OK(st_write(dir, "model", c.specs, c.n, 0, read_copy, &c, &err));
  OK(st_write(dir, "model", c.specs, c.n, 40, read_copy, &c, &err));
  assert_false(file_exists(in_dir("model.safetensors"))); /* a reader would take it for the model */
  assert_true(file_exists(in_dir("model-00001-of-00004.safetensors")));
  json_file index;
  OK(json_file_open(&index, in_dir("model.safetensors.index.json"), &err));
  int64_t total;
  assert_true(json_int(index.doc, json_get(index.doc, json_get(index.doc, 0, "metadata"), "total_size"), &total));
  assert_int_equal(total, 3 * (1 + 1 + 1 + 2 + 2 + 2 + 4 + 4 + 8 + 8) + 4 + 2);
  json_file_close(&index);
  back = opened(dir);
  assert_same_tensors(s, back);
  st_close(back);
  OK(file_remove_tree(in_dir("model.safetensors.index.json"),
                      &err)); /* complete shards tell the same by their names */
  back = opened(dir);
  assert_same_tensors(s, back);
  st_close(back);
  OK(file_remove_tree(in_dir("model-00003-of-00004.safetensors"), &err));
  refused(dir, "model-00003-of-00004.safetensors: is missing, and there is no index");
  OK(st_write(dir, "model", c.specs, c.n, 1, read_copy, &c, &err)); /* each tensor larger than a shard may be */
  back = opened(dir);
  assert_same_tensors(s, back);
  st_close(back);
  OK(st_write(dir, "model", c.specs, c.n, 0, read_copy, &c, &err));
  assert_false(file_exists(in_dir("model.safetensors.index.json")));
  back = opened(dir);
  assert_same_tensors(s, back);
  st_close(back);
  st_close(s);
}

static void failed_write_leaves_nothing(void **state) {
  (void)state;
  st_set *s = opened(LAYOUT);
  copy c = copy_of(s);
  c.fail_at = 3;
  assert_int_equal(st_write(dir, "model", c.specs, c.n, 0, read_copy, &c, &err), RW_NUMERIC);
  assert_int_equal(rmdir(dir), 0); /* it is empty */
  OK(file_mkdirs(dir, &err));
  st_close(s);
}

/* ---- halves ---- */

static void halves_round_as_pytorch(void **state) {
  (void)state;
  st_set *s = opened("tests/data/format/halves.safetensors");
  const st_tensor *x = st_find(s, "x"), *want[2] = {st_find(s, "f16"), st_find(s, "bf16")};
  size_t n = (size_t)x->shape[0];
  float *values = mem_alloc(n, sizeof *values);
  uint16_t *got = mem_alloc(n, sizeof *got);
  memcpy(values, x->data, n * 4);
  for (int k = 0; k < 2; k++) {
    st_from_f32(got, values, want[k]->dtype, n);
    for (size_t i = 0; i < n; i++) {
      uint16_t w;
      memcpy(&w, (const char *)want[k]->data + 2 * i, 2);
      float back;
      st_to_f32(&back, &got[i], want[k]->dtype, 1);
      if (isnan(values[i]) ? !isnan(back) : got[i] != w)
        fail_msg("%a to %s: got %04x, PyTorch %04x", (double)values[i], st_dtype_name(want[k]->dtype), got[i], w);
    }
  }
  mem_free(values);
  mem_free(got);
  st_close(s);
}

/* Every f16 and bf16 by the definition of the formats, and back to the same bits. */
static void halves_widen_exactly(void **state) {
  (void)state;
  static const struct {
    st_dtype t;
    int mantissa, bias, top;
  } kinds[] = {{DT_F16, 10, 15, 31}, {DT_BF16, 7, 127, 255}};
  for (int k = 0; k < 2; k++)
    for (uint32_t bits = 0; bits < 1 << 16; bits++) {
      uint16_t h = (uint16_t)bits, again;
      float got;
      st_to_f32(&got, &h, kinds[k].t, 1);
      int e = (int)(bits & 0x7fff) >> kinds[k].mantissa, m = (int)bits & ((1 << kinds[k].mantissa) - 1);
      if (e == kinds[k].top) {
        assert_true(m ? isnan(got) : isinf(got));
      } else {
        double want = ldexp(e ? m + (1 << kinds[k].mantissa) : m, (e ? e : 1) - kinds[k].bias - kinds[k].mantissa);
        assert_true(fabs((double)got) == want);
      }
      assert_int_equal(signbit(got) != 0, bits >> 15);
      st_from_f32(&again, &got, kinds[k].t, 1);
      if (!isnan(got)) assert_int_equal(again, h);
    }
}

/* ---- what is refused ---- */

static const char *put_file(const char *name, const char *header, uint64_t length, size_t data) {
  str s = {0};
  for (int i = 0; i < 8; i++) str_addc(&s, (char)(length >> (8 * i)));
  str_addz(&s, header);
  for (size_t i = 0; i < data; i++) str_addc(&s, (char)i);
  put(name, s.p, s.len);
  str_free(&s);
  return in_dir(name);
}
#define ENTRY(dtype, shape, from, to) \
  "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"

static void lying_headers_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *header;
    size_t data;
    const char *expected;
  } cases[] = {
      {"{\"a\":" ENTRY("F32", "[2]", 0, 8) "}", 7, "cut short"},
      {"{\"a\":" ENTRY("F32", "[2]", 0, 8) "}", 9, "expected 8 data bytes by its header, got 9"},
      {"{\"a\":" ENTRY("F32", "[2]", 0, 4) "}", 4, "does not fit shape"},
      {"{\"a\":" ENTRY("F32", "[2,-1]", 0, 4) "}", 4, "shape"},
      {"{\"a\":" ENTRY("F32", "[1.5]", 0, 4) "}", 4, "shape"},
      {"{\"a\":" ENTRY("F32", "[4294967296,4294967296,4294967296]", 0, 4) "}", 4, "product"},
      {"{\"a\":" ENTRY("F32", "[4611686018427387904,4]", 0, 0) "}", 0, "product"},
      {"{\"a\":" ENTRY("F32", "[1,1,1,1,1,1,1,1,1]", 0, 4) "}", 4, "at most 8"},
      {"{\"a\":" ENTRY("F32", "\"x\"", 0, 4) "}", 4, "shape"},
      {"{\"a\":" ENTRY("F32", "[1]", 4, 0) "}", 4, "data_offsets"},
      {"{\"a\":" ENTRY("F32", "[1]", -4, 0) "}", 4, "data_offsets"},
      {"{\"a\":" ENTRY("F32", "[1]", 18446744073709551612, 0) "}", 4, "data_offsets"},
      {"{\"a\":" ENTRY("F32", "[1]", 4, 8) "}", 8, "gap"},
      {"{\"a\":" ENTRY("F32", "[1]", 0, 4) ",\"b\":" ENTRY("F32", "[1]", 0, 4) "}", 4, "overlaps"},
      {"{\"b\":" ENTRY("F32", "[2]", 4, 12) ",\"a\":" ENTRY("F32", "[2]", 0, 8) "}", 12, "tensor b: overlaps"},
      {"{\"a\":" ENTRY("F32", "[1]", 0, 4) ",\"a\":" ENTRY("F32", "[1]", 4, 8) "}", 8, "twice"},
      {"{\"a\":" ENTRY("F8_E4M3", "[1]", 0, 1) "}", 1, "F8_E4M3"},
      {"{\"a\":" ENTRY("", "[1]", 0, 1) "}", 1, "dtype"},
      {"{\"a\":{}}", 0, "dtype"},
      {"{\"a\":7}", 0, "dtype"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets"},
      {"[1]", 0, "JSON object"},
      {"{\"a\":", 0, "header"},
      {"{} x", 0, "header"},
      {"", 0, "header"},
      {"{}", 3, "expected 0 data bytes"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    refused(put_file("bad.safetensors", cases[i].header, strlen(cases[i].header), cases[i].data),
            cases[i].expected);
  refused(put_file("bad.safetensors", "{}", 3, 0), "expected at most 2 bytes, got a length of 3");
  refused(put_file("bad.safetensors", "{}", UINT64_MAX, 0), "length of 18446744073709551615");
  refused(put("bad.safetensors", "1234567", 7), "got 7 bytes");
  refused(put("bad.safetensors", "", 0), "got 0 bytes");
  refused(in_dir("none.safetensors"), "none.safetensors");
}

/* Each prefix of a good file, and each byte of its header changed: an error or a set of tensors inside the file. */
static void damaged_files_end_in_errors(void **state) {
  (void)state;
  file_map m;
  OK(file_map_open(&m, LAYOUT, &err));
  char *copy_bytes = mem_strndup((const char *)m.p, m.len);
  for (size_t n = 0; n < m.len; n++) refused(put("bad.safetensors", m.p, n), "bad.safetensors");
  for (size_t i = 0; i < m.len; i++) {
    copy_bytes[i] = (char)(copy_bytes[i] ^ (1 << i % 8));
    st_set *s;
    if (st_open(&s, put("bad.safetensors", copy_bytes, m.len), &err) == RW_OK)
      for (size_t k = 0; k < st_count(s); k++) {
        volatile uint8_t sum = 0;
        for (size_t b = 0; b < st_at(s, k)->bytes; b++) sum ^= ((const uint8_t *)st_at(s, k)->data)[b];
      }
    st_close(s);
    copy_bytes[i] = (char)m.p[i];
  }
  mem_free(copy_bytes);
  file_map_close(&m);
}

static void index_must_agree_with_shards(void **state) {
  (void)state;
  static const struct {
    const char *map, *expected;
  } cases[] = {
      {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}", NULL},
      {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"9.safetensors\"}}", "9.safetensors"},
      {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"1.safetensors\"}}", "tensor b: expected in 1.safetensors"},
      {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\",\"c\":\"2.safetensors\"}}",
       "tensor c: expected in 2.safetensors"},
      {"{\"weight_map\":{\"a\":\"2.safetensors\",\"b\":\"1.safetensors\"}}", "tensor a: expected in 2.safetensors"},
      {"{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\",\"a2\":\"3.safetensors\"}}", "twice"},
      {"{\"weight_map\":{\"a\":\"4.safetensors\"}}", "expected 1 tensors, the shards hold 2"},
      {"{\"weight_map\":{\"a\":\"../1.safetensors\"}}", "a file beside it"},
      {"{\"weight_map\":{\"a\":7}}", "a file beside it"},
      {"{\"weight_map\":{}}", "weight_map"},
      {"{}", "weight_map"},
      {"[]", "weight_map"},
      {"{", "index.json"},
  };
  put_file("1.safetensors", "{\"a\":" ENTRY("U8", "[1]", 0, 1) "}", strlen("{\"a\":" ENTRY("U8", "[1]", 0, 1) "}"),
           1);
  put_file("2.safetensors", "{\"b\":" ENTRY("U8", "[1]", 0, 1) "}", strlen("{\"b\":" ENTRY("U8", "[1]", 0, 1) "}"),
           1);
  put_file("3.safetensors", "{\"a\":" ENTRY("U8", "[1]", 0, 1) "}", strlen("{\"a\":" ENTRY("U8", "[1]", 0, 1) "}"),
           1);
  static const char both[] = "{\"a\":" ENTRY("U8", "[1]", 0, 1) ",\"b\":" ENTRY("U8", "[1]", 1, 2) "}";
  put_file("4.safetensors", both, sizeof both - 1, 2);
  refused(dir, "found neither");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    put("model.safetensors.index.json", cases[i].map, strlen(cases[i].map));
    if (cases[i].expected)
      refused(dir, cases[i].expected);
    else
      st_close(opened(dir));
  }
}

static void memory_runs_out_cleanly(void **state) {
  (void)state;
  st_set *s = opened(LAYOUT);
  copy c = copy_of(s);
  rw_status code = RW_NOMEM;
  for (long n = 0; code; n++) {
    st_set *again;
    mem_fail_after(n);
    code = st_open(&again, LAYOUT, &err);
    mem_fail_after(-1);
    assert_true(code == RW_OK || code == RW_NOMEM);
    st_close(again);
  }
  code = RW_NOMEM;
  for (long n = 0; code; n++) {
    mem_fail_after(n);
    code = st_write(dir, "model", c.specs, c.n, 40, read_copy, &c, &err);
    mem_fail_after(-1);
    assert_true(code == RW_OK || code == RW_NOMEM);
  }
  st_close(s);
}

int main(void) {
#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(package_file_is_read),
      IN_DIR(written_bytes_equal_the_packages),
      IN_DIR(shards_and_their_index),
      IN_DIR(failed_write_leaves_nothing),
      cmocka_unit_test(halves_round_as_pytorch),
      cmocka_unit_test(halves_widen_exactly),
      IN_DIR(lying_headers_are_refused),
      IN_DIR(damaged_files_end_in_errors),
      IN_DIR(index_must_agree_with_shards),
      IN_DIR(memory_runs_out_cleanly),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

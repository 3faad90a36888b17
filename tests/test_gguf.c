/* test_gguf.c - GGUF files: dequantization and conversion against what the gguf and transformers packages make of
 * the same files (tests/reference/make_formats.py), and what must be refused.
 */
#include <math.h>
#include <unistd.h>

#include "folder.h"
#include "format/gguf.h"
#include "format/json.h"
#include "model/model.h"
#include "text/template.h"

#define DATA "tests/data/format/"

static const char *put(const char *name, const void *p, size_t len) {
  static char path[300];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(p, 1, len, f), len);
  assert_int_equal(fclose(f), 0);
  return path;
}
static void expect_error(rw_status code, const char *expected) {
  if (code == RW_OK) fail_msg("accepted, though: %s", expected);
  if (!strstr(err.text, expected)) fail_msg("expected '%s' in: %s", expected, err.text);
}

/* ---- against the packages ---- */

static void blocks_dequantize_as_the_package(void **state) {
  (void)state;
  gguf *g;
  st_set *want;
  OK(gguf_open(&g, DATA "blocks.gguf", &err));
  OK(st_open(&want, DATA "blocks.safetensors", &err));
  assert_int_equal(gguf_count(g), 11);
  assert_int_equal(st_count(want), 11);
  for (size_t i = 0; i < gguf_count(g); i++) {
    const gguf_tensor *t = gguf_at(g, i);
    assert_string_equal(t->name, t->type_name);
    assert_int_equal(t->n_dims, 2);
    assert_int_equal(t->shape[0], 2);
    assert_int_equal(t->shape[1], 256);
    float got[512];
    OK(gguf_dequantize(t, got, &err));
    const float *w = st_find(want, t->name)->data;
    for (int k = 0; k < 512; k++)
      if (memcmp(&got[k], &w[k], 4) != 0)
        fail_msg("%s[%d]: %a, the package %a", t->name, k, (double)got[k], (double)w[k]);
  }
  st_close(want);
  gguf_close(g);
}

static void metadata_is_typed(void **state) {
  (void)state;
  gguf *g;
  int64_t n = 0;
  double x = 0;
  slice s;
  bool flag;
  OK(gguf_open(&g, DATA "llama.gguf", &err));
  assert_true(gguf_int(g, "llama.block_count", &n) && n == 2);
  assert_true(gguf_float(g, "llama.rope.freq_base", &x) && x == 500000);
  assert_true(gguf_float(g, "llama.attention.layer_norm_rms_epsilon", &x) && x == (double)1e-5f);
  assert_true(gguf_string(g, "general.architecture", &s) && slice_is(s, "llama"));
  assert_true(gguf_array_string(g, "tokenizer.ggml.merges", 1, &s) && slice_is(s, "th e"));
  size_t tokens = gguf_array_len(g, "tokenizer.ggml.tokens");
  assert_true(gguf_array_number(g, "tokenizer.ggml.token_type", tokens - 1, &x) && x == 5);
  assert_false(gguf_array_number(g, "tokenizer.ggml.token_type", tokens, &x));
  assert_false(gguf_array_string(g, "tokenizer.ggml.tokens", tokens, &s));
  assert_false(gguf_array_number(g, "tokenizer.ggml.tokens", 0, &x));
  assert_false(gguf_int(g, "llama.rope.freq_base", &n));
  assert_false(gguf_int(g, "none", &n));
  assert_false(gguf_bool(g, "llama.block_count", &flag));
  assert_int_equal(gguf_array_len(g, "llama.block_count"), 0);
  assert_non_null(gguf_find(g, "blk.1.attn_q.weight"));
  assert_null(gguf_find(g, "blk.2.attn_q.weight"));
  gguf_close(g);
}

static void converted(const char *name, st_dtype dtype) {
  char path[200];
  snprintf(path, sizeof path, DATA "%s.gguf", name);
  OK(gguf_convert(path, dir, dtype, &err));
}

/* Every tensor's bits, and no tensor more. */
static void assert_tensors(const char *name) {
  char path[200];
  st_set *got, *want;
  snprintf(path, sizeof path, DATA "%s.safetensors", name);
  OK(st_open(&want, path, &err));
  OK(st_open(&got, dir, &err));
  assert_int_equal(st_count(got), st_count(want));
  for (size_t i = 0; i < st_count(want); i++) {
    const st_tensor *w = st_at(want, i), *t = st_find(got, w->name);
    if (!t) fail_msg("%s: %s is missing", name, w->name);
    assert_int_equal(t->n_dims, w->n_dims);
    assert_memory_equal(t->shape, w->shape, sizeof w->shape);
    if (t->bytes != w->bytes || memcmp(t->data, w->data, w->bytes) != 0) fail_msg("%s: %s differs", name, w->name);
  }
  st_close(got);
  st_close(want);
}

static void assert_ids(const char *name) {
  char path[200];
  json_file f;
  tokenizer *t;
  ids out = {0};
  snprintf(path, sizeof path, DATA "%s.ids.json", name);
  OK(json_file_open(&f, path, &err));
  OK(tok_load(&t, dir, &err));
  tok_scratch *s = tok_scratch_new(t);
  assert_true(json_count(f.doc, 0) > 8);
  for (json_val row = json_first(f.doc, 0); row != JSON_NONE; row = json_next(f.doc, row)) {
    slice text = json_string(f.doc, json_get(f.doc, row, "text"));
    json_val want = json_get(f.doc, row, "ids");
    out.len = 0;
    OK(tok_encode(t, s, text, NULL, 0, &out, NULL, &err));
    bool same = out.len == json_count(f.doc, want);
    size_t i = 0;
    for (json_val v = json_first(f.doc, want); same && v != JSON_NONE; v = json_next(f.doc, v), i++) {
      int64_t id = -1;
      same = json_int(f.doc, v, &id) && id == out.p[i];
    }
    if (!same) fail_msg("%s: other ids for \"%.*s\"", name, (int)text.len, text.p);
  }
  assert_int_equal(tok_bos(t), tok_id(t, "<|im_start|>"));
  assert_int_equal(tok_eos(t), tok_id(t, "<|im_end|>"));
  assert_true(tok_is_special(t, tok_bos(t)));
  assert_false(tok_is_special(t, tok_id(t, "<tool>")));
  assert_int_equal(tok_id(t, "[PAD0]"), -1);
  mem_free(out.p);
  tok_scratch_free(s);
  tok_free(t);
  json_file_close(&f);
}

static void conversion_equals_transformers(void **state) {
  (void)state;
  static const struct {
    const char *name, *type;
  } files[] = {{"smollm", "llama"}, {"llama", "llama"},   {"llama_pieces", "llama"}, {"qwen2", "qwen2"},
               {"qwen3", "qwen3"},  {"gemma2", "gemma2"}, {"gemma3", "gemma3_text"}};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    converted(files[i].name, DT_F32);
    assert_tensors(files[i].name);
    assert_ids(files[i].name);
    model_config c;
    OK(model_config_read(&c, dir, &err));
    assert_string_equal(c.type, files[i].type);
    assert_int_equal(c.hidden, 32);
    assert_int_equal(c.layers, 2);
    assert_int_equal(c.q_heads, 4);
    assert_int_equal(c.kv_heads, 2);
    assert_int_equal(c.head_dim, i == 1 || i >= 4 ? 16 : 8);
    assert_int_equal(c.ff, 64);
    assert_int_equal(c.max_positions, 512);
    assert_true(c.norm_eps == 1e-5f);
    assert_true(c.ropes[0].theta == (i == 1 ? 500000 : i == 6 ? 1e6 : 10000));
    assert_int_equal(c.ropes[0].kind, i == 1 ? ROPE_LLAMA3 : i == 6 ? ROPE_LINEAR : ROPE_DEFAULT);
    if (i == 1) assert_true(c.ropes[0].factor == 8 && c.ropes[0].original_max_positions == 8192);
    if (i == 6) assert_true(c.ropes[0].factor == 8 && c.ropes[1].kind == ROPE_DEFAULT && c.ropes[1].theta == 10000);
    assert_int_equal(c.window[0], i >= 5 ? 16 : 0);
    assert_true(c.attn_softcap == (i == 5 ? 40 : 0) && c.gelu == (i >= 5));
    if (i >= 5) assert_true(c.attn_scale == 0.25f); /* 1/sqrt of the head size */
    chat_template *t;
    OK(tmpl_load(&t, dir, NULL, &err));
    tmpl_free(t);
    /* the model loads, with a head of its own */
    rw_context context;
    model *m;
    context_init(&context, NULL, NULL);
    OK(context_start(&context, 1, &err));
    OK(model_open(&m, dir, &(model_options){.context = &context, .new_head = true}, &err));
    model_free(m);
    context_end(&context);
  }
}

static void other_precisions_are_rounded(void **state) {
  (void)state;
  static const st_dtype kinds[] = {DT_F16, DT_BF16};
  st_set *want, *got;
  OK(st_open(&want, DATA "smollm.safetensors", &err));
  for (int k = 0; k < 2; k++) {
    converted("smollm", kinds[k]);
    OK(st_open(&got, dir, &err));
    for (size_t i = 0; i < st_count(want); i++) {
      const st_tensor *w = st_at(want, i), *t = st_find(got, w->name);
      assert_int_equal(t->dtype, kinds[k]);
      uint16_t *h = mem_alloc(w->bytes / 4, sizeof *h);
      st_from_f32(h, w->data, kinds[k], w->bytes / 4);
      assert_memory_equal(h, t->data, t->bytes);
      mem_free(h);
    }
    st_close(got);
  }
  st_close(want);
}

/* ---- what is refused ---- */

/* A GGUF file in the making. */
static void u32(str *s, uint32_t v) { str_add(s, (const char *)&v, 4); }
static void u64(str *s, uint64_t v) { str_add(s, (const char *)&v, 8); }
static void text(str *s, const char *p) {
  u64(s, strlen(p));
  str_addz(s, p);
}
static void head(str *s, uint32_t version, uint64_t tensors, uint64_t keys) {
  str_clear(s);
  str_addz(s, "GGUF");
  u32(s, version);
  u64(s, tensors);
  u64(s, keys);
}
/* One tensor entry of up to 5 dimensions, innermost first. */
static void entry(str *s, const char *name, uint32_t n_dims, const uint64_t *dims, uint32_t type, uint64_t offset) {
  text(s, name);
  u32(s, n_dims);
  for (uint32_t i = 0; i < n_dims && i < 5; i++) u64(s, dims[i]);
  u32(s, type);
  u64(s, offset);
}
static void pad(str *s, size_t data) {
  while (s->len % 32) str_addc(s, 0);
  for (size_t i = 0; i < data; i++) str_addc(s, (char)i);
}
static void refused(const str *s, const char *expected) {
  gguf *g;
  expect_error(gguf_open(&g, put("bad.gguf", s->p, s->len), &err), expected);
  assert_null(g);
}
static void two(str *s, uint64_t second_offset, uint64_t cols, size_t data, const char *second) {
  head(s, 3, 2, 0);
  entry(s, "a", 1, (uint64_t[]){cols}, 0, 0);
  entry(s, second, 1, (uint64_t[]){8}, 0, second_offset);
  pad(s, data);
}

static void lying_files_are_refused(void **state) {
  (void)state;
  gguf *g;
  str s = {0};
  two(&s, 32, 8, 64, "b"); /* the good one */
  OK(gguf_open(&g, put("good.gguf", s.p, s.len), &err));
  gguf_close(g);
  two(&s, 0, 8, 64, "b"), refused(&s, "tensor b: expected its data at offset 32, got 0; tensors overlap");
  two(&s, 64, 8, 128, "b"), refused(&s, "gap");
  two(&s, 32, 8, 63, "b"), refused(&s, "tensor b: its data lies beyond");
  two(&s, UINT64_MAX - 7, 8, 64, "b"), refused(&s, "gap");
  two(&s, 32, 8, 64, "a"), refused(&s, "tensor a stands twice");
  two(&s, 0, 0, 64, "b"), refused(&s, "shape is impossible");
  two(&s, 0, UINT64_MAX / 2, 64, "b"), refused(&s, "fit the file");
  two(&s, 0, UINT64_MAX, 64, "b"), refused(&s, "shape is impossible");

  uint64_t huge[5] = {1ull << 40, 1ull << 40, 2, 2, 2};
  head(&s, 3, 1, 0), entry(&s, "a", 2, huge, 0, 0), pad(&s, 64), refused(&s, "shape is impossible");
  head(&s, 3, 1, 0), entry(&s, "a", 5, huge, 0, 0), pad(&s, 64), refused(&s, "1 to 4 dimensions, got 5");
  head(&s, 3, 1, 0), entry(&s, "a", 0, huge, 0, 0), pad(&s, 64), refused(&s, "1 to 4 dimensions, got 0");
  head(&s, 3, 1, 0), entry(&s, "a", 1, (uint64_t[]){33}, 8, 0), pad(&s, 99), refused(&s, "whole blocks of 32");
  head(&s, 3, 1, 0), entry(&s, "a", 1, (uint64_t[]){32}, 99, 0), pad(&s, 64), refused(&s, "type 99 is not");

  head(&s, 3, 0, 0), s.p[0] = 'g', refused(&s, "expected a GGUF file");
  head(&s, 1, 0, 0), refused(&s, "version 1");
  head(&s, 0x03000000, 0, 0), refused(&s, "version 50331648");
  head(&s, 3, UINT64_MAX, 0), refused(&s, "header: the file ends");
  head(&s, 3, 0, UINT64_MAX), refused(&s, "header: the file ends");
  head(&s, 3, 0, 1), refused(&s, "the file ends");
  head(&s, 3, 0, 1), u64(&s, UINT64_MAX), pad(&s, 64), refused(&s, "keys: the file ends");
  head(&s, 3, 0, 1), text(&s, "k"), u32(&s, 13), pad(&s, 64), refused(&s, "key k: unknown value type 13");
  head(&s, 3, 0, 1), text(&s, "k"), u32(&s, 8), u64(&s, 1 << 20), pad(&s, 64), refused(&s, "key k: the file ends");
  head(&s, 3, 0, 1), text(&s, "k"), u32(&s, 9), u32(&s, 4), u64(&s, 1ull << 62), pad(&s, 64),
      refused(&s, "key k: the file ends");
  head(&s, 3, 0, 1), text(&s, "k"), u32(&s, 9), u32(&s, 8), u64(&s, 1ull << 61), pad(&s, 64),
      refused(&s, "key k: the file ends");
  head(&s, 3, 0, 1), text(&s, "k"), u32(&s, 9), u32(&s, 9), u64(&s, 1), pad(&s, 64),
      refused(&s, "arrays of type 9");
  head(&s, 3, 0, 2), text(&s, "k"), u32(&s, 0), str_addc(&s, 1), text(&s, "k"), u32(&s, 0), pad(&s, 64),
      refused(&s, "key k stands twice");
  for (uint32_t a = 0; a < 4; a += 3) {
    head(&s, 3, 0, 1), text(&s, "general.alignment"), u32(&s, 4), u32(&s, a), pad(&s, 64);
    refused(&s, "general.alignment: expected a power of two");
  }
  str_clear(&s), refused(&s, "header: the file ends");
  str_free(&s);
}

static void cut_files_are_refused(void **state) {
  (void)state;
  file_map m;
  OK(file_map_open(&m, DATA "smollm.gguf", &err));
  for (size_t n = 0; n < m.len; n += 1 + n / 50) {
    gguf *g;
    expect_error(gguf_open(&g, put("cut.gguf", m.p, n), &err), "cut.gguf");
  }
  file_map_close(&m);
}

/* A good file with one string in it changed for another of its length must not convert. */
static void what_conversion_cannot_carry_is_named(void **state) {
  (void)state;
  static const struct {
    const char *file, *from, *to, *expected;
  } cases[] = {
      {"smollm", "gpt2", "bert", "'bert' with 'smollm'"},
      {"smollm", "smollm", "defalt", "'gpt2' with 'defalt'"},
      {"smollm", "llama", "gemmb",
       "general.architecture: expected llama, qwen2, qwen3, gemma2, gemma3, qwen3moe, gemma, phi3, olmo2 or "
       "smollm3, got 'gemmb'"},
      {"smollm", "llama.vocab_size", "llama.logit_scal", "key llama.logit_scal is not supported"},
      {"smollm", "llama.block_count", "llama.block_cnt\0\0", "llama.block_cnt"},
      {"smollm", "blk.1.attn_k.weight", "blk.1.attn_x.weight", "tensor blk.1.attn_k.weight is missing"},
      {"smollm", "tokenizer.ggml.tokens", "tokenizer.ggml.tokenz", "key tokenizer.ggml.tokens: expected 1 to"},
      {"smollm", "<tool>", "<to\xffl>", "tokenizer.json"},
      {"smollm", "content", "con\xff\xfent", "tokenizer_config.json"},
      {"llama_pieces", "tokenizer.ggml.scores", "tokenizer.ggml.scorez",
       "tokenizer.ggml.scores: expected a number"},
      {"gemma2", "gemma2.attention.sliding_window", "gemma2.attention.sliding_windou", "sliding_windou"},
      {"gemma3", "linear", "lineal", "rope.scaling.type is not supported"},
      {"qwen3", "blk.1.attn_k_norm.weight", "blk.1.attn_k_norn.weight", "blk.1.attn_k_norm.weight is missing"},
      {"qwen2", "blk.1.attn_q.bias", "blk.1.attn_q.bios", "blk.1.attn_q.bias is missing"},
      {"llama", "rope_freqs.weight", "rope_freks.weight", "some would be lost"},
      {"llama", "llama.attention.key_length", "llama.attention.kez_length", "kez_length is not supported"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char name[100];
    file_map m;
    snprintf(name, sizeof name, DATA "%s.gguf", cases[i].file);
    OK(file_map_open(&m, name, &err));
    char *bytes = mem_strndup((const char *)m.p, m.len);
    size_t n = strlen(cases[i].from);
    char *at = memmem(bytes, m.len, cases[i].from, n);
    assert_non_null(at);
    if (strcmp(cases[i].from, "llama") == 0)
      assert_true(memcmp(at - 8, "\5\0\0\0\0\0\0\0", 8) == 0); /* the value */
    memcpy(at, cases[i].to, n);
    expect_error(gguf_convert(put("changed.gguf", bytes, m.len), dir, DT_F32, &err), cases[i].expected);
    mem_free(bytes);
    file_map_close(&m);
  }
}

/* Each divisor of the rotary scaling counts. */
static void other_rotary_scaling_is_refused(void **state) {
  (void)state;
  file_map m;
  gguf *g;
  OK(file_map_open(&m, DATA "llama.gguf", &err));
  OK(gguf_open(&g, DATA "llama.gguf", &err));
  const gguf_tensor *t = gguf_find(g, "rope_freqs.weight");
  float first;
  memcpy(&first, t->data, 4);
  char *at = memmem(m.p, m.len, t->data, t->bytes), *bytes = mem_strndup((const char *)m.p, m.len);
  assert_non_null(at);
  first *= 1.001f;
  memcpy(bytes + (at - (const char *)m.p), &first, 4);
  expect_error(gguf_convert(put("changed.gguf", bytes, m.len), dir, DT_F32, &err), "rope_freqs.weight: value 0");
  mem_free(bytes);
  gguf_close(g);
  file_map_close(&m);
}

static void memory_runs_out_cleanly(void **state) {
  (void)state;
  rw_status code = RW_NOMEM;
  for (long n = 0; code; n += 1 + n / 20) {
    gguf *g;
    mem_fail_after(n);
    code = gguf_open(&g, DATA "smollm.gguf", &err);
    mem_fail_after(-1);
    assert_true(code == RW_OK || code == RW_NOMEM);
    gguf_close(g);
  }
  code = RW_NOMEM;
  for (long n = 0; code; n += 1 + n / 20) {
    mem_fail_after(n);
    code = gguf_convert(DATA "smollm.gguf", dir, DT_BF16, &err);
    mem_fail_after(-1);
    assert_true(code == RW_OK || code == RW_NOMEM);
  }
}

int main(void) {
#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(blocks_dequantize_as_the_package),
      cmocka_unit_test(metadata_is_typed),
      IN_DIR(conversion_equals_transformers),
      IN_DIR(other_precisions_are_rounded),
      IN_DIR(lying_files_are_refused),
      IN_DIR(cut_files_are_refused),
      IN_DIR(what_conversion_cannot_carry_is_named),
      IN_DIR(other_rotary_scaling_is_refused),
      IN_DIR(memory_runs_out_cleanly),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

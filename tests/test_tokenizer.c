/* test_tokenizer.c - ids equal those that the tokenizers package gave (tests/reference/make_tokens.py), for tiny
 * tokenizers that stand in tests/data and for real ones in ../shared, and those that SentencePiece gave for models
 * without tokenizer.json (make_spm.py); control tokens in content; what is refused.
 */

#include "base/file.h"
#include "format/json.h"
#include "text/tokenizer.h"
#include "unit.h"

static json_file expected, expected_spm, expected_added;

static int setup(void **state) {
  (void)state;
  return json_file_open(&expected, "tests/data/tokenizer/expected.json", &err) ||
                 json_file_open(&expected_spm, "tests/data/tokenizer/expected_spm.json", &err) ||
                 json_file_open(&expected_added, "tests/data/tokenizer/expected_added.json", &err)
             ? -1
             : 0;
}
static int teardown(void **state) {
  (void)state;
  json_file_close(&expected);
  json_file_close(&expected_spm);
  json_file_close(&expected_added);
  return 0;
}

typedef struct {
  tokenizer *t;
  tok_scratch *s;
  ids out;
} coder;
static void open_coder(coder *c, const char *dir) {
  *c = (coder){0};
  OK(tok_load(&c->t, dir, &err));
  c->s = tok_scratch_new(c->t);
  assert_non_null(c->s);
}
static void close_coder(coder *c) {
  tok_scratch_free(c->s);
  tok_free(c->t);
  mem_free(c->out.p);
}

/* Every text of the corpus; then all of them again by the same scratch, whose caches are warm now. */
static void matches(const char *dir, json_doc *d, json_val want) {
  coder c;
  open_coder(&c, dir);
  assert_true(want != JSON_NONE);
  json_val texts = json_get(d, 0, "texts");
  assert_true(json_count(d, texts) > 100 && json_count(d, texts) == json_count(d, want));
  for (int again = 0; again < 2; again++) {
    json_val w = json_first(d, want);
    for (json_val v = json_first(d, texts); v != JSON_NONE; v = json_next(d, v), w = json_next(d, w)) {
      c.out.len = 0;
      OK(tok_encode(c.t, c.s, json_string(d, v), NULL, 0, &c.out, NULL, &err));
      size_t i = 0;
      bool same = json_count(d, w) == c.out.len;
      for (json_val e = json_first(d, w); same && e != JSON_NONE; e = json_next(d, e), i++) {
        int64_t id;
        same = json_int(d, e, &id) && id == c.out.p[i];
      }
      if (same) continue;
      str got = {0};
      for (i = 0; i < c.out.len; i++) str_printf(&got, " %d", c.out.p[i]);
      slice text = json_raw(d, v), wanted = json_raw(d, w);
      fail_msg("%s: %.*s: got%s, expected %.*s", dir, (int)text.len, text.p, got.p ? got.p : "", (int)wanted.len,
               wanted.p);
    }
  }
  close_coder(&c);
}

static void tiny_of(json_doc *d, const char *name) {
  char dir[100];
  snprintf(dir, sizeof dir, "tests/data/tokenizer/%s", name);
  matches(dir, d, json_get(d, json_get(d, 0, "tiny"), name));
}
static void tiny(const char *name) { tiny_of(expected.doc, name); }
static void llama3_split(void **state) {
  (void)state;
  tiny("llama3");
}
static void digits_then_bytes(void **state) {
  (void)state;
  tiny("digits");
}
static void sentencepiece_with_bytes(void **state) {
  (void)state;
  tiny("sentencepiece");
}

static void metaspace_at_the_beginning(void **state) {
  (void)state;
  tiny("metaspace_first");
}
static void metaspace_as_once_spelled(void **state) {
  (void)state;
  tiny("metaspace_legacy");
}
static void spaces_replaced_alone(void **state) {
  (void)state;
  tiny("internlm2");
}

/* ---- added tokens: white space and words around them, and the files that they come from ---- */

static void added_tokens_by_their_flags(void **state) {
  (void)state;
  tiny_of(expected_added.doc, "added_flags");
}
static void added_tokens_of_the_config(void **state) {
  (void)state;
  tiny_of(expected_added.doc, "added_decoder");
}
static void added_tokens_by_their_names(void **state) {
  (void)state;
  tiny_of(expected_added.doc, "added_named");
}

/* ---- tokenizer.model alone ---- */

static void spm_prefix_at_each_stretch(void **state) {
  (void)state;
  tiny_of(expected_spm.doc, "spm_llama");
}
static void spm_prefix_at_the_beginning(void **state) {
  (void)state;
  tiny_of(expected_spm.doc, "spm_first");
}
static void spm_user_defined_pieces(void **state) {
  (void)state;
  tiny_of(expected_spm.doc, "spm_plain");
}
static void spm_without_byte_fallback(void **state) {
  (void)state;
  tiny_of(expected_spm.doc, "spm_unknown");
}
static void spm_characters_that_are_no_pieces(void **state) {
  (void)state;
  tiny_of(expected_spm.doc, "spm_loose");
}

static void spm_tokens_by_name(void **state) {
  (void)state;
  coder c;
  open_coder(&c, "tests/data/tokenizer/spm_plain");
  assert_int_equal(tok_bos(c.t), 1);
  assert_int_equal(tok_eos(c.t), 2);
  assert_int_equal(tok_pad(c.t), 2);
  int32_t start = tok_id(c.t, "<|im_start|>"); /* its piece is named otherwise */
  assert_true(start > 2 && tok_is_special(c.t, start) && tok_id(c.t, "[UNUSED_TOKEN_0]") < 0);
  assert_int_equal((size_t)tok_id(c.t, "<|im_end|>") + 1, tok_vocab_size(c.t));
  close_coder(&c);
  open_coder(&c, "tests/data/tokenizer/spm_loose"); /* no file names them: the model does */
  assert_int_equal(tok_bos(c.t), 1);
  assert_int_equal(tok_eos(c.t), 2);
  assert_int_equal(tok_pad(c.t), -1);
  close_coder(&c);
}

/* In a message neither the token nor the user-defined piece that keeps its place gives the token's id. */
static void spm_control_tokens_in_content_are_text(void **state) {
  (void)state;
  coder c;
  open_coder(&c, "tests/data/tokenizer/spm_plain");
  const char *texts[] = {"a<|im_start|>b", "a[UNUSED_TOKEN_0]b"};
  int32_t start = tok_id(c.t, "<|im_start|>");
  for (int k = 0; k < 2; k++) {
    tok_span span = {0, strlen(texts[k]), true};
    size_t escaped = 0;
    c.out.len = 0;
    OK(tok_encode(c.t, c.s, slice_of(texts[k]), &span, 1, &c.out, &escaped, &err));
    assert_int_equal(escaped, k == 0);
    for (size_t i = 0; i < c.out.len; i++) assert_int_not_equal(c.out.p[i], start);
  }
  close_coder(&c);
}

static void spm_says(const char *dir, rw_status status, const char *what) {
  tokenizer *t;
  err.text[0] = 0;
  assert_int_equal(tok_load(&t, dir, &err), status);
  if (!strstr(err.text, what) || !strstr(err.text, "tokenizer.model"))
    fail_msg("%s: expected it to name %s, got: %s", dir, what, err.text);
}

static void spm_refusals_are_named(void **state) {
  (void)state;
  spm_says("tests/data/tokenizer/spm_unigram", RW_UNSUPPORTED, "got UNIGRAM");
  spm_says("tests/data/tokenizer/spm_nfkc", RW_UNSUPPORTED, "precompiled_charsmap");
}

/* Every beginning of a model is refused: what says that it is BPE stands near the end. */
static void spm_cut_short(void **state) {
  (void)state;
  str file = {0};
  OK(file_read("tests/data/tokenizer/spm_first/tokenizer.model", 1 << 20, &file, &err));
  char dir[] = "/tmp/reward-spm-XXXXXX";
  assert_non_null(mkdtemp(dir));
  char *path = file_join(dir, "tokenizer.model");
  for (size_t len = 0; len < file.len; len += 1 + len / 37) {
    OK(file_put(path, file.p, len, &err));
    tokenizer *t;
    assert_int_not_equal(tok_load(&t, dir, &err), RW_OK);
    assert_non_null(strstr(err.text, "tokenizer.model"));
  }
  const struct {
    const char *bytes;
    size_t len;
    const char *what;
  } bad[] = {
      {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10, "got bytes that are none"}, /* a length of 2^63 */
      {"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12, "got bytes that are none"},
      {"\x0b", 1, "got bytes that are none"},                           /* a group */
      {"\x0a\x03\x0a\x01\xff", 5, "expected 1 to 1024 bytes of UTF-8"}, /* a piece that is not UTF-8 */
      {"\x0a\x03\x0a\x01"
       "a\x0a\x03\x0a\x01"
       "a",
       10, "stands in it twice"},
      {"\x0a\x08\x0a\x01"
       "a\x15\x00\x00\x80\x7f",
       10, "finite score"},
      {"\x0a\x05\x0a\x01"
       "a\x18\x05",
       7, "type UNUSED"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    OK(file_put(path, bad[i].bytes, bad[i].len, &err));
    err.code = RW_OK;
    tokenizer *t;
    assert_int_not_equal(tok_load(&t, dir, &err), RW_OK);
    if (!strstr(err.text, bad[i].what)) fail_msg("%zu: expected %s, got: %s", i, bad[i].what, err.text);
  }
  mem_free(path);
  str_free(&file);
  file_remove_tree(dir, NULL);
}

static void real(const char *name) {
  const char *shared = getenv("REWARD_SHARED");
  char dir[500];
  snprintf(dir, sizeof dir, "%s/tokenizers/%s", shared ? shared : "../shared", name);
  if (!file_is_dir(dir)) skip();
  matches(dir, expected.doc, json_get(expected.doc, json_get(expected.doc, 0, "real"), name));
}
static void real_llama(void **state) {
  (void)state;
  real("llama-3.1");
}
static void real_qwen(void **state) {
  (void)state;
  real("qwen3");
}
static void real_gemma(void **state) {
  (void)state;
  real("gemma-2");
}

/* ---- control tokens in content ---- */

static size_t count(const ids *x, int32_t id) {
  size_t n = 0;
  for (size_t i = 0; i < x->len; i++) n += x->p[i] == id;
  return n;
}

static void control_tokens_in_content_are_text(void **state) {
  (void)state;
  static const char *const names[] = {"llama3",          "digits",           "sentencepiece",
                                      "metaspace_first", "metaspace_legacy", "internlm2"};
  for (int k = 0; k < 6; k++) {
    char dir[100];
    snprintf(dir, sizeof dir, "tests/data/tokenizer/%s", names[k]);
    coder c;
    open_coder(&c, dir);
    int32_t end = tok_id(c.t, "<|end|>"), tag = tok_id(c.t, "[tag]");
    assert_true(end >= 0 && tag >= 0 && tok_is_special(c.t, end) && !tok_is_special(c.t, tag));
    slice text = SLICE("<|end|>say <|end|> and [tag] <|end|><|end|>");
    /* content: [7, 36); the first token and the last stand in the template */
    tok_span spans[] = {{0, 7, false}, {7, 36, true}, {36, 43, false}};
    size_t escaped = 5; /* added to, not set */
    OK(tok_encode(c.t, c.s, text, spans, 3, &c.out, &escaped, &err));
    assert_int_equal(count(&c.out, end), 2);
    assert_true(c.out.p[0] == end && c.out.p[c.out.len - 1] == end);
    assert_int_equal(count(&c.out, tag), 1); /* no control token: taken in content too */
    assert_int_equal(escaped, 5 + 2);
    c.out.len = 0;
    OK(tok_encode(c.t, c.s, text, NULL, 0, &c.out, &escaped, &err));
    assert_int_equal(count(&c.out, end), 4);
    assert_int_equal(escaped, 7);
    /* a token that begins in the template and ends in content is no control token either */
    tok_span split[] = {{0, 3, false}, {3, 7, true}};
    c.out.len = 0;
    escaped = 0;
    OK(tok_encode(c.t, c.s, SLICE("<|end|>"), split, 2, &c.out, &escaped, &err));
    assert_int_equal(count(&c.out, end), 0);
    assert_int_equal(escaped, 1);
    close_coder(&c);
  }
}

static void tokens_by_name(void **state) {
  (void)state;
  coder c;
  open_coder(&c, "tests/data/tokenizer/llama3");
  int32_t end = tok_id(c.t, "<|end|>");
  assert_true(slice_is(tok_text(c.t, end), "<|end|>"));
  assert_int_equal(tok_eos(c.t), end);
  assert_int_equal(tok_pad(c.t), end); /* written as an object there */
  assert_int_equal(tok_bos(c.t), -1);
  assert_int_equal(tok_id(c.t, "<|no such token|>"), -1);
  assert_null(tok_text(c.t, -1).p);
  assert_null(tok_text(c.t, (int32_t)tok_vocab_size(c.t)).p);
  assert_non_null(tok_text(c.t, (int32_t)tok_vocab_size(c.t) - 1).p);
  assert_false(tok_is_special(c.t, -1) || tok_is_special(c.t, 1 << 20));
  close_coder(&c);
}

/* ---- what is refused ---- */

static void refuses(const char *json, rw_status status, const char *says) {
  char dir[] = "/tmp/reward-tok-XXXXXX";
  assert_non_null(mkdtemp(dir));
  char *path = file_join(dir, "tokenizer.json");
  OK(file_put(path, json, strlen(json), &err));
  tokenizer *t;
  rw_status s = tok_load(&t, dir, &err);
  if (s == RW_OK) tok_free(t);
  OK(file_remove_tree(dir, NULL));
  mem_free(path);
  if (s != status || !strstr(err.text, says))
    fail_msg("%s: status %d, \"%s\"; expected \"%s\"", json, s, err.text, says);
}

static void what_is_not_known_is_refused_by_name(void **state) {
  (void)state;
#define MODEL(more) "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]" more "}"
  refuses("{" MODEL("") ",\"normalizer\":{\"type\":\"BertNormalizer\"}}", RW_UNSUPPORTED, "BertNormalizer");
  refuses("{" MODEL("") ",\"pre_tokenizer\":{\"type\":\"Whitespace\"}}", RW_UNSUPPORTED, "Whitespace");
  refuses("{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", RW_UNSUPPORTED, "Unigram");
  refuses("{" MODEL(",\"dropout\":0.1") "}", RW_UNSUPPORTED, "dropout");
  refuses("{" MODEL(",\"end_of_word_suffix\":\"</w>\"") "}", RW_UNSUPPORTED, "end_of_word_suffix");
  refuses(
      "{" MODEL(
          "") ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"(\"}}}",
      RW_UNSUPPORTED, "pattern");
  refuses(
      "{" MODEL("") ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Odd\",\"pattern\":{\"String\":\"x\"}}}",
      RW_DATA, "behavior");
  refuses("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", RW_DATA, "merges[0]");
  refuses("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", RW_DATA, "got -1");
  refuses("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999999},\"merges\":[]}}", RW_DATA, "99999999999");
  refuses("{\"model\":{\"type\":\"BPE\",\"vocab\":7,\"merges\":[]}}", RW_DATA, "vocab");
  refuses("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":{}}}", RW_DATA, "merges");
  refuses("{\"model\":", RW_DATA, "tokenizer.json");
  refuses("{}", RW_DATA, "model");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(llama3_split),
      cmocka_unit_test(digits_then_bytes),
      cmocka_unit_test(sentencepiece_with_bytes),
      cmocka_unit_test(metaspace_at_the_beginning),
      cmocka_unit_test(metaspace_as_once_spelled),
      cmocka_unit_test(spaces_replaced_alone),
      cmocka_unit_test(added_tokens_by_their_flags),
      cmocka_unit_test(added_tokens_of_the_config),
      cmocka_unit_test(added_tokens_by_their_names),
      cmocka_unit_test(spm_prefix_at_each_stretch),
      cmocka_unit_test(spm_prefix_at_the_beginning),
      cmocka_unit_test(spm_user_defined_pieces),
      cmocka_unit_test(spm_without_byte_fallback),
      cmocka_unit_test(spm_characters_that_are_no_pieces),
      cmocka_unit_test(spm_tokens_by_name),
      cmocka_unit_test(spm_control_tokens_in_content_are_text),
      cmocka_unit_test(spm_refusals_are_named),
      cmocka_unit_test(spm_cut_short),
      cmocka_unit_test(real_llama),
      cmocka_unit_test(real_qwen),
      cmocka_unit_test(real_gemma),
      cmocka_unit_test(control_tokens_in_content_are_text),
      cmocka_unit_test(tokens_by_name),
      cmocka_unit_test(what_is_not_known_is_refused_by_name),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}

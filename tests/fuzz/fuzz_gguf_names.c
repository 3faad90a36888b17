/* fuzz_gguf_names.c - any bytes as the names in a GGUF file that is sound but for them: architecture, keys,
 * tensors, vocabulary. Its parts are split at zero bytes. Names are unique and read back, what is shown of them has
 * no control character, and the file is refused or could be converted. */
#include <string.h>

#include "format/gguf.h"
#include "format/safetensors.h"
#include "fuzz.h"

enum { MOST = 64, STRING = 8, ARRAY = 9, U32 = 4 };

static void number(str *s, uint64_t v, int bytes) {
  for (int i = 0; i < bytes; i++) str_addc(s, (char)(v >> 8 * i));
}
static void name(str *s, slice n) {
  number(s, n.len, 8);
  str_add(s, n.p, n.len);
}

/* Key i of the input's parts: a number; the last key: the vocabulary, of all parts. */
static void make(str *s, const slice *part, size_t n) {
  size_t tensors = n / 2, keys = n - tensors;
  str_addz(s, "GGUF");
  number(s, 3, 4);
  number(s, tensors, 8);
  number(s, keys + 2, 8);
  name(s, SLICE("general.architecture"));
  number(s, STRING, 4);
  name(s, part[0]);
  name(s, SLICE("tokenizer.ggml.tokens"));
  number(s, ARRAY, 4);
  number(s, STRING, 4);
  number(s, n, 8);
  for (size_t i = 0; i < n; i++) name(s, part[i]);
  for (size_t i = 0; i < keys; i++) {
    name(s, part[tensors + i]);
    number(s, U32, 4);
    number(s, 2, 4);
  }
  for (size_t i = 0; i < tensors; i++) {
    name(s, part[i]);
    number(s, 1, 4);
    number(s, 8, 8);
    number(s, 0, 4); /* F32 */
    number(s, 32 * i, 8);
  }
  while (s->len % 32) str_addc(s, 0);
  for (size_t i = 0; i < tensors * 8; i++) number(s, 0x3f800000, 4);
}

static void check_shown(const char *text, size_t len) {
  str out = {0};
  str_json(&out, text, len);
  if (!out.p || out.oom) abort();
  utf8_show(out.p, false);
  for (const char *c = out.p; *c; c++)
    if ((unsigned char)*c < 0x20 || *c == 0x7f) abort();
  str_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  slice part[MOST];
  size_t n = 0;
  str s = {0};
  gguf *g;
  rw_error err;
  for (const char *p = (const char *)data, *end = p + size; p < end && n < MOST; n++) {
    const char *nul = memchr(p, 0, (size_t)(end - p));
    part[n] = (slice){p, (size_t)((nul ? nul : end) - p)};
    p = nul ? nul + 1 : end;
  }
  if (n == 0) return 0;
  make(&s, part, n);
  if (!s.p || s.oom) abort();
  fuzz_file f = fuzz_file_of((const uint8_t *)s.p, s.len);
  if (gguf_open(&g, f.path, &err) == RW_OK) {
    for (size_t i = 0; i < gguf_keys(g); i++) check_shown(gguf_key(g, i).p, gguf_key(g, i).len);
    for (size_t i = 0; i < gguf_count(g); i++) {
      const gguf_tensor *t = gguf_at(g, i);
      if (gguf_find(g, t->name) == NULL) abort();
      check_shown(t->name, strlen(t->name));
    }
    gguf_close(g);
    gguf_convert(f.path, NULL, DT_F32, &err);
  } else {
    utf8_mend(err.text);
    utf8_show(err.text, true);
    for (const char *c = err.text; *c; c++)
      if ((unsigned char)*c < 0x20 && *c != '\n' && *c != '\t') abort();
  }
  fuzz_file_close(&f);
  str_free(&s);
  return 0;
}

/* fuzz_gguf.c - any bytes as a GGUF file: refused, or read, dequantized and prepared for conversion. */
#include "format/gguf.h"
#include "format/safetensors.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_file f = fuzz_file_of(data, size);
  gguf *g;
  rw_error err;
  if (gguf_open(&g, f.path, &err) == RW_OK) {
    for (size_t i = 0; i < gguf_keys(g); i++) {
      slice key = gguf_key(g, i), s;
      char *name = mem_strndup(key.p, key.len);
      double x;
      for (size_t k = 0; name && k < gguf_array_len(g, name); k++) {
        if (gguf_array_string(g, name, k, &s)) fuzz_touch(s.p, s.len);
        gguf_array_number(g, name, k, &x);
      }
      if (name && gguf_string(g, name, &s)) fuzz_touch(s.p, s.len);
      mem_free(name);
    }
    for (size_t i = 0; i < gguf_count(g); i++) {
      const gguf_tensor *t = gguf_at(g, i);
      size_t n = 1;
      for (int d = 0; d < t->n_dims; d++) n *= (size_t)t->shape[d];
      float *values = mem_alloc(n, sizeof *values);
      if (!values) abort(); /* no type is smaller than an eighth of its f32 values */
      if (gguf_dequantize(t, values, &err) == RW_OK) fuzz_touch(values, n * sizeof *values);
      mem_free(values);
    }
    gguf_close(g);
    gguf_convert(f.path, NULL, DT_F32, &err);
  }
  fuzz_file_close(&f);
  return 0;
}

/* gguf.h - GGUF files (llama.cpp), versions 2 and 3, little endian: metadata, tensors, dequantization.
 */
#ifndef FORMAT_GGUF_H
#define FORMAT_GGUF_H

#include "base/file.h"

typedef struct gguf gguf;
/* Refuses lying counts, unknown types, names that stand twice, tensors that overlap, leave gaps or pass the end. */
rw_status gguf_open(gguf **out, const char *path, rw_error *err);
void gguf_close(gguf *g);

size_t gguf_keys(const gguf *g);
slice gguf_key(const gguf *g, size_t i); /* file order */
/* Metadata. Each returns false when the key is absent or of another type. */
bool gguf_int(const gguf *g, const char *key, int64_t *out);
bool gguf_float(const gguf *g, const char *key, double *out);
bool gguf_bool(const gguf *g, const char *key, bool *out);
bool gguf_string(const gguf *g, const char *key, slice *out);
size_t gguf_array_len(const gguf *g, const char *key); /* 0: absent or no array */
bool gguf_array_string(const gguf *g, const char *key, size_t i, slice *out);
bool gguf_array_number(const gguf *g, const char *key, size_t i, double *out);

typedef struct {
  const char *name;
  uint32_t type;         /* GGML type number */
  const char *type_name; /* "Q4_1", … */
  int n_dims;
  int64_t shape[4]; /* as PyTorch counts: outermost first */
  const void *data;
  size_t bytes;
} gguf_tensor;
size_t gguf_count(const gguf *g);
const gguf_tensor *gguf_at(const gguf *g, size_t i);
const gguf_tensor *gguf_find(const gguf *g, const char *name);
/* F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K to f32, bit for bit as the gguf Python
 * package dequantizes. */
rw_status gguf_dequantize(const gguf_tensor *t, float *dst, rw_error *err);

/* The whole file as a Hugging Face directory (config.json, model.safetensors, tokenizer.json,
 * tokenizer_config.json), of the architectures that model/family.c names. out_dir NULL: only checks that it could
 * be done. dtype of the written weights: DT_F32 (exact), DT_F16, DT_BF16. */
rw_status gguf_convert(const char *gguf_path, const char *out_dir, int st_dtype_out, rw_error *err);

#endif

/* convert.h - the parts of gguf_convert: weights and config.json, the rotary embedding, and the tokenizer. */
#ifndef MODEL_CONVERT_H
#define MODEL_CONVERT_H

#include "format/gguf.h"
#include "format/json_write.h"
#include "format/safetensors.h"
#include "model/family.h"

typedef struct {
  const model_family *f;
  gguf *g;
  const char *path, *dir;
  int64_t layers, hidden, heads, kv_heads, head_dim, ff, context, vocab;
  int64_t experts, chosen, expert_ff;
  double theta, eps;
  enum { SCALED_NOT, SCALED_LINEAR, SCALED_LLAMA3, SCALED_YARN, SCALED_LONG } scaling;
  double factor;                     /* of linear, yarn and llama3 */
  int64_t rotated;                   /* columns of a head that turn */
  const gguf_tensor *shorts, *longs; /* LongRoPE's divisors */
  int64_t window;                    /* 0: none */
  double softcap;                    /* Gemma */
  int64_t query_scalar;
  bool tied, biased; /* biased: attention, where the family says so by a field */
  st_spec *specs;
  gguf_tensor *source;                          /* experts of one tensor are tensors here */
  size_t n, n_source, cap, cap_source, carried; /* carried: the file's tensors */
  arena *names;
  float *work; /* the largest tensor, when it is not written as f32 */
  float *rows; /* q_proj as GGUF has it */
} convert;

/* The architecture's own key of that name. */
const char *convert_key(const convert *c, const char *name, char buffer[80]);
bool convert_int(const convert *c, const char *name, int64_t *out);
bool convert_float(const convert *c, const char *name, double *out);

/* The rotary embedding: is the key one of its own that is carried over; what the file says; its fields of
 * config.json. */
bool convert_rope_key(const convert *c, slice key);
rw_status convert_rope_read(convert *c, rw_error *err);
void convert_rope_write(const convert *c, json_writer *w);

/* Writes dir/name and frees s. The text is parsed first: what a hostile file put into it is refused, not written.
 */
rw_status convert_put(const char *dir, const char *name, str *s, rw_error *err);

/* One piece of a SentencePiece BPE model. */
typedef struct {
  slice text;
  double score;
  bool joins; /* no control, unknown, byte or unused piece: it is made by merging, and merged */
} spm_piece;
/* The merges that the scores stand for, as items of a list that is open. */
rw_status spm_merges(const spm_piece *p, size_t n, json_writer *w, rw_error *err);

/* tokenizer.json and tokenizer_config.json. vocab: rows of the embedding; context: model_max_length. */
rw_status convert_tokenizer(const gguf *g, const char *path, const char *dir, int64_t vocab, int64_t context,
                            rw_error *err);

#endif

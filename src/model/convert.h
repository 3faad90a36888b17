/* convert.h - the two halves of gguf_convert: weights and config.json, and the tokenizer. */
#ifndef MODEL_CONVERT_H
#define MODEL_CONVERT_H

#include "format/gguf.h"
#include "format/json_write.h"

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

/* tokenizer.h - text to ids, from a Hugging Face tokenizer.json, or tokenizer.model where that is missing; ids
 * equal the fast tokenizer's, or SentencePiece's, id for id.
 *
 * Byte-level BPE (Llama 3, Qwen, SmolLM2) and SentencePiece-style BPE with byte fallback (Gemma, Llama 2,
 * Mistral). Every component of tokenizer.json is honoured or refused by name. A tokenizer is immutable
 * once loaded: any number of threads may encode with it, each with a tok_scratch of its own.
 */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H

#include "base/mem.h"
#include "base/status.h"

typedef struct tokenizer tokenizer;
typedef struct tok_scratch tok_scratch; /* caches and buffers of one thread */

/* dir holds tokenizer.json (or a SentencePiece BPE model as tokenizer.model) and, if any, tokenizer_config.json. */
rw_status tok_load(tokenizer **out, const char *dir, rw_error *err);
bool tok_here(const char *dir);        /* it holds one of the two files */
bool tok_is_sentencepiece(slice file); /* are these the bytes of a tokenizer.model, of whatever kind? */
void tok_free(tokenizer *t);
tok_scratch *tok_scratch_new(const tokenizer *t); /* NULL: no memory */
void tok_scratch_free(tok_scratch *s);

typedef struct {
  int32_t *p;
  size_t len, cap;
} ids; /* grown by tok_encode; freed by mem_free(p) */

/* Part of a text: bytes that came from the template may contain control tokens; bytes from message content
 * may not (control tokens, i.e. added tokens with special: true, spelled there are plain text). */
typedef struct {
  size_t start, end;
  bool content;
} tok_span;

/* Appends the ids of text (UTF-8; no special tokens added). spans: ordered, covering the text; n_spans 0: all of it
 * may hold control tokens. *escaped (may be NULL) is increased for every control token spelled in content. */
rw_status tok_encode(const tokenizer *t, tok_scratch *s, slice text, const tok_span *spans, size_t n_spans,
                     ids *out, size_t *escaped, rw_error *err);

size_t tok_vocab_size(const tokenizer *t);             /* 1 + the highest id */
int32_t tok_id(const tokenizer *t, const char *token); /* -1: none */
slice tok_text(const tokenizer *t, int32_t id);        /* the token as the vocabulary spells it; p NULL: none */
bool tok_is_special(const tokenizer *t, int32_t id);
/* From tokenizer_config.json / special_tokens_map; -1: none. */
int32_t tok_bos(const tokenizer *t);
int32_t tok_eos(const tokenizer *t);
int32_t tok_pad(const tokenizer *t);

#endif

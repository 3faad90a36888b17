/* tok_impl.h - the inside of a tokenizer: what tokenizer.json or tokenizer.model says, ready for encoding.
 *
 * Text goes through: added tokens that are not normalized → normalizers → normalized added tokens → pre-tokenizers
 * → BPE. tok_load.c and tok_spm.c fill this by tok_make.c, tok_split.c cuts text into words, tok_bpe.c turns words
 * into ids.
 */
#ifndef TEXT_TOK_IMPL_H
#define TEXT_TOK_IMPL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "format/json.h"
#include "text/tokenizer.h"

typedef enum { NORM_FORM, NORM_REPLACE, NORM_REPLACE_REGEX, NORM_PREPEND, NORM_LOWER, NORM_STRIP } norm_kind;
typedef struct {
  norm_kind kind;
  int form;         /* utf8proc options of NFC, NFD, NFKC, NFKD */
  slice what, with; /* replace; prepend uses `with` */
  pcre2_code *re;
  bool left, right; /* strip */
  bool first_only;  /* prepend: only to the beginning of the whole input, where it does not stand already */
} norm_step;

typedef enum { KEEP_ISOLATED, KEEP_REMOVED, KEEP_WITH_PREVIOUS, KEEP_WITH_NEXT, KEEP_CONTIGUOUS } split_keep;
typedef enum { PRE_SPLIT, PRE_METASPACE, PRE_BYTES } pre_kind;
typedef struct {
  pre_kind kind;
  pcre2_code *re; /* split */
  split_keep keep;
  bool invert;
  bool prefix_space, first_only; /* metaspace, byte level */
} pre_step;

typedef struct {
  slice text; /* as matched: normalized where the file says so */
  int32_t id;
  bool special, normalized, lstrip, rstrip, single_word;
} added_token;

/* A byte trie over added tokens. */
typedef struct {
  int32_t child, sibling; /* indices; -1: none */
  int32_t token;          /* index into added; -1: none */
  uint8_t byte;
} trie_node;
typedef struct {
  trie_node *n;
  size_t len, cap;
  int32_t root[256]; /* first-level nodes; -1: none */
} trie;

typedef struct {
  uint64_t pair; /* left << 32 | right; UINT64_MAX: free */
  uint32_t rank;
  int32_t id;
} merge;

typedef struct {
  slice spelling; /* p NULL: no such id */
  bool special;
} vocab_entry;

enum { TOK_MAX_ID = 1 << 24 }; /* ids are below; ids from here on: characters that are no piece, see loose */

struct tokenizer {
  char *dir;
  arena *mem;
  map *vocab; /* bytes (byte level: raw bytes; else the spelling) → id */
  vocab_entry *tokens;
  size_t n_tokens, cap_tokens;
  merge *merges;
  size_t merge_cap;     /* power of two */
  int32_t byte_id[256]; /* byte level: the byte's token; byte fallback: <0xNN>; -1: none */
  map *loose; /* SentencePiece: characters that are no piece, but part of one → TOK_MAX_ID + index in loose_text;
                 NULL: none */
  slice *loose_text;
  size_t n_loose, cap_loose;
  int32_t unk;
  bool byte_level, byte_fallback, ignore_merges, fuse_unk;
  norm_step *norms;
  size_t n_norms, cap_norms;
  pre_step *pres;
  size_t n_pres, cap_pres;
  added_token *added;
  size_t n_added, cap_added;
  trie raw, normalized;
  int32_t bos, eos, pad;
};

struct tok_scratch {
  const tokenizer *t;
  pcre2_match_data *match;
  pcre2_match_context *limits;
  str normal, other;   /* normalized text; a pre-tokenizer's rewriting */
  slice *words, *next; /* the pieces between pre-tokenizers */
  size_t n_words, cap_words, n_next, cap_next;
  map *cache; /* word → place in cached (length first) */
  int32_t *cached;
  size_t n_cached, cap_cached;
  struct symbol *symbols;
  size_t cap_symbols;
  struct candidate *heap;
  size_t n_heap, cap_heap;
};

/* tok_make.c: the parts that a tokenizer is made of */
slice tok_keep(const tokenizer *t, slice s);
rw_status tok_set_token(tokenizer *t, const char *path, int64_t id, slice spelling, bool special, rw_error *err);
void tok_set_byte(tokenizer *t, slice spelling, int32_t id); /* <0xNN>: the token of a byte */
rw_status tok_merge_room(tokenizer *t, size_t n, rw_error *err);
void tok_put_merge(tokenizer *t, int32_t left, int32_t right, uint32_t rank, int32_t id);
rw_status tok_add(tokenizer *t, added_token a, rw_error *err); /* keeps a.text */

/* tok_added.c: the tokens of tokenizer.json's list, and what the files beside it add and change */
rw_status tok_read_added(tokenizer *t, const char *path, json_doc *d, json_val tokens, rw_error *err);

/* tok_spm.c: tokenizer.model and the tokens that the JSON files beside it add */
rw_status tok_read_spm(tokenizer *t, const char *path, rw_error *err);

/* tok_split.c; first: the text is the beginning of the whole input. */
rw_status tok_normalize(const tokenizer *t, tok_scratch *s, slice text, bool first, str *out, rw_error *err);
/* Cuts normalized text into s->words. */
rw_status tok_words(const tokenizer *t, tok_scratch *s, slice text, bool first, rw_error *err);
/* The longest token of the trie at p; -1: none. allowed(…) false: that token may not match here. */
int32_t trie_match(const trie *tr, const char *p, size_t left,
                   bool (*allowed)(void *ctx, int32_t token, size_t len), void *ctx, size_t *len);
bool trie_add(trie *tr, slice text, int32_t token);

/* tok_bpe.c */
rw_status bpe_word(const tokenizer *t, tok_scratch *s, slice word, ids *out, rw_error *err);
const merge *bpe_find(const tokenizer *t, int32_t left, int32_t right);

#endif

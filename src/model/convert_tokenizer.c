/* convert_tokenizer.c - the tokenizer of a GGUF file as tokenizer.json and tokenizer_config.json.
 *
 * Byte-level BPE, and SentencePiece BPE with byte fallback ("llama"). GGUF knows a byte-level vocabulary's
 * pre-tokenizer by a name; the table below holds the definitions that the models behind those names publish. A name
 * that stands for no published definition ("default", or none) is refused, since any guess would give other ids.
 */
#include <string.h>

#include "format/json_write.h"
#include "model/convert.h"

enum { TOKEN_NORMAL = 1, TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_USER = 4, TOKEN_UNUSED = 5 };

#define BYTE_LEVEL(regex) \
  "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": " regex "}"
#define SEQUENCE(first, last) "{\"type\": \"Sequence\", \"pretokenizers\": [" first ", " last "]}"
/* GPT-4's pattern; the models differ in how many digits stay together. */
#define SPLIT(digits)                                                                                       \
  "{\"type\": \"Split\", \"pattern\": {\"Regex\": "                                                         \
  "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|" digits                          \
  "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}, \"behavior\": " \
  "\"Isolated\", \"invert\": false}"

typedef struct {
  const char *name, *normalizer, *json;
  bool ignore_merges, bos; /* bos: unless the file says otherwise */
} pre_tokenizer;
static const pre_tokenizer pre_tokenizers[] = {
    {"smollm", "null", SEQUENCE("{\"type\": \"Digits\", \"individual_digits\": true}", BYTE_LEVEL("true")), false,
     false},
    {"gpt-2", "null", BYTE_LEVEL("true"), false, false},
    {"llama-bpe", "null", SEQUENCE(SPLIT("\\\\p{N}{1,3}"), BYTE_LEVEL("false")), true, true},
    /* OLMo 2, OLMo 3 and Phi-4: llama.cpp reads the name as GPT-4's pattern */
    {"dbrx", "null", SEQUENCE(SPLIT("\\\\p{N}{1,3}"), BYTE_LEVEL("false")), false, false},
    {"qwen2", "{\"type\": \"NFC\"}", SEQUENCE(SPLIT("\\\\p{N}"), BYTE_LEVEL("false")), false, false},
};

/* SentencePiece: spaces are marks, one more before the text unless the file says otherwise. */
#define MARK      "\xE2\x96\x81"
#define TO_MARKS  "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"" MARK "\"}"
#define TO_SPACES "{\"type\": \"Replace\", \"pattern\": {\"String\": \"" MARK "\"}, \"content\": \" \"}"
#define DECODERS(more)                                                                                             \
  "{\"type\": \"Sequence\", \"decoders\": [" TO_SPACES ", {\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}" more \
  "]}"
static const pre_tokenizer spm_marked = {
    "llama",
    "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", \"prepend\": \"" MARK "\"}, " TO_MARKS "]}",
    "null", false, true};
static const pre_tokenizer spm_plain = {"llama", TO_MARKS, "null", false, true};

rw_status convert_put(const char *dir, const char *name, str *s, rw_error *err) {
  char *path = file_join(dir ? dir : "", name);
  json_doc *d = json_new();
  rw_status st = path && d && !s->oom ? json_parse(d, s->p, s->len, err) : rw_nomem(err, name);
  if (st == RW_DATA) rw_prefix(err, st, "the text for %s", name);
  if (!st && dir) st = file_put(path, s->p, s->len, err);
  json_free(d);
  mem_free(path);
  str_free(s);
  return st;
}

typedef struct {
  const gguf *g;
  const char *dir;
  size_t n; /* tokens */
  bool spm;
} source;

static const char TOKENS[] = "tokenizer.ggml.tokens", TYPES[] = "tokenizer.ggml.token_type",
                  MERGES[] = "tokenizer.ggml.merges";

static slice token(const source *c, size_t i) {
  slice t = SLICE("");
  gguf_array_string(c->g, TOKENS, i, &t);
  return t;
}
static double type_of(const source *c, size_t i) {
  double type = TOKEN_NORMAL;
  gguf_array_number(c->g, TYPES, i, &type);
  return type;
}
/* The public conversion script writes spaces for the marks of user-defined tokens; those that are nothing else go
 * back. */
static bool respelled(const source *c, size_t i) {
  slice t = token(c, i);
  for (size_t k = 0; k < t.len; k++)
    if (t.p[k] != ' ') return false;
  return c->spm && type_of(c, i) == TOKEN_USER && t.len > 1;
}
/* The text of token i; *memory keeps one that is respelled. */
static slice spelling(const source *c, size_t i, str *memory) {
  slice t = token(c, i);
  if (!respelled(c, i)) return t;
  str_clear(memory);
  for (size_t k = 0; k < t.len; k++) str_addz(memory, MARK);
  return (slice){memory->p, memory->len};
}
/* The id under a key, when it is one of the vocabulary. */
static bool special_id(const source *c, const char *key, size_t *id) {
  int64_t n;
  if (!gguf_int(c->g, key, &n) || n < 0 || (size_t)n >= c->n) return false;
  *id = (size_t)n;
  return true;
}

static void add_added_tokens(const source *c, json_writer *w) {
  str memory = {0};
  jw_array_lines(w, "added_tokens");
  for (size_t i = 0; i < c->n; i++) {
    double type = type_of(c, i);
    bool special = type == TOKEN_CONTROL || (c->spm && type == TOKEN_UNKNOWN);
    if (!special && type != TOKEN_USER) continue;
    jw_object(w, NULL);
    jw_uint(w, "id", i);
    jw_slice(w, "content", spelling(c, i, &memory));
    jw_bool(w, "single_word", false);
    jw_bool(w, "lstrip", false);
    jw_bool(w, "rstrip", false);
    jw_bool(w, "normalized", false);
    jw_bool(w, "special", special);
    jw_end(w);
  }
  jw_end(w);
  w->out->oom |= memory.oom;
  str_free(&memory);
}

/* {kind: {"id": id, "type_id": type}} */
static void add_piece(json_writer *w, const char *kind, slice id, int type) {
  jw_object(w, NULL);
  jw_object(w, kind);
  jw_slice(w, "id", id);
  jw_int(w, "type_id", type);
  jw_end(w);
  jw_end(w);
}

/* What puts BOS before a text that is encoded with special tokens. */
static void add_post_processor(const source *c, bool bos, json_writer *w) {
  static const char special[] = "SpecialToken", text[] = "Sequence";
  size_t id;
  if (!bos || !special_id(c, "tokenizer.ggml.bos_token_id", &id)) {
    jw_null(w, "post_processor");
    return;
  }
  slice name = token(c, id);
  jw_object(w, "post_processor");
  jw_string(w, "type", "TemplateProcessing");
  jw_array(w, "single");
  add_piece(w, special, name, 0);
  add_piece(w, text, SLICE("A"), 0);
  jw_end(w);
  jw_array(w, "pair");
  add_piece(w, special, name, 0);
  add_piece(w, text, SLICE("A"), 0);
  add_piece(w, special, name, 1);
  add_piece(w, text, SLICE("B"), 1);
  jw_end(w);
  jw_object(w, "special_tokens");
  jw_key(w, name);
  jw_object(w, NULL);
  jw_slice(w, "id", name);
  jw_array(w, "ids");
  jw_uint(w, NULL, id);
  jw_end(w);
  jw_array(w, "tokens");
  jw_slice(w, NULL, name);
  jw_end(w);
  jw_end(w);
  jw_end(w);
  jw_end(w);
}

/* Scores into merges. User-defined pieces have score 0 in SentencePiece; the public conversion script writes -1000.
 */
static rw_status add_spm_merges(const source *c, json_writer *w, rw_error *err) {
  spm_piece *p = mem_zalloc(c->n, sizeof *p);
  str *marks = mem_zalloc(c->n, sizeof *marks); /* texts of respelled pieces */
  rw_status st = p && marks ? RW_OK : rw_nomem(err, "merges");
  for (size_t i = 0; !st && i < c->n; i++) {
    double type = type_of(c, i), score = 0;
    p[i].text = token(c, i);
    p[i].joins = (type == TOKEN_NORMAL || type == TOKEN_USER) && p[i].text.len > 0;
    if (type != TOKEN_USER && !gguf_array_number(c->g, "tokenizer.ggml.scores", i, &score))
      st = rw_fail(err, RW_DATA, "key tokenizer.ggml.scores: expected a number for each of %zu tokens", c->n);
    p[i].score = score;
    if (respelled(c, i)) {
      for (size_t k = 0; k < p[i].text.len; k++) str_addz(&marks[i], MARK);
      p[i].text = (slice){marks[i].p, marks[i].len};
      if (marks[i].oom) st = rw_nomem(err, "merges");
    }
  }
  if (!st) st = spm_merges(p, c->n, w, err);
  for (size_t i = 0; marks && i < c->n; i++) str_free(&marks[i]);
  mem_free(marks);
  mem_free(p);
  return st;
}

static void add_vocab(const source *c, json_writer *w) {
  str memory = {0};
  jw_object_lines(w, "vocab");
  for (size_t i = 0; i < c->n; i++) {
    if (type_of(c, i) == TOKEN_UNUSED) continue; /* filler rows of the embedding */
    jw_key(w, spelling(c, i, &memory));
    jw_uint(w, NULL, i);
  }
  jw_end(w);
  w->out->oom |= memory.oom;
  str_free(&memory);
}

static rw_status add_model(const source *c, bool ignore_merges, json_writer *w, rw_error *err) {
  slice t;
  size_t unk;
  str memory = {0};
  jw_object_lines(w, "model");
  jw_string(w, "type", "BPE");
  jw_null(w, "dropout");
  if (c->spm && special_id(c, "tokenizer.ggml.unknown_token_id", &unk))
    jw_slice(w, "unk_token", spelling(c, unk, &memory));
  else
    jw_null(w, "unk_token");
  str_free(&memory);
  jw_null(w, "continuing_subword_prefix");
  jw_null(w, "end_of_word_suffix");
  jw_bool(w, "fuse_unk", c->spm);
  jw_bool(w, "byte_fallback", c->spm);
  jw_bool(w, "ignore_merges", ignore_merges);
  add_vocab(c, w);
  jw_array_lines(w, "merges");
  rw_status st = c->spm ? add_spm_merges(c, w, err) : RW_OK;
  for (size_t i = 0; !c->spm && gguf_array_string(c->g, MERGES, i, &t); i++) jw_slice(w, NULL, t);
  jw_end(w);
  jw_end(w);
  return st;
}

static rw_status write_tokenizer(const source *c, const pre_tokenizer *pre, rw_error *err) {
  str s = {0};
  json_writer w = {.out = &s};
  bool bos = pre->bos;
  gguf_bool(c->g, "tokenizer.ggml.add_bos_token", &bos);
  jw_object_lines(&w, NULL);
  jw_string(&w, "version", "1.0");
  jw_null(&w, "truncation");
  jw_null(&w, "padding");
  add_added_tokens(c, &w);
  jw_raw(&w, "normalizer", slice_of(pre->normalizer));
  jw_raw(&w, "pre_tokenizer", slice_of(pre->json));
  add_post_processor(c, bos, &w);
  jw_raw(&w, "decoder",
         slice_of(!c->spm ? BYTE_LEVEL("true")
                  : pre == &spm_plain
                      ? DECODERS("")
                      : DECODERS(", {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}")));
  rw_status st = add_model(c, pre->ignore_merges, &w, err);
  jw_end(&w);
  str_addc(&s, '\n');
  if (st) {
    str_free(&s);
    return st;
  }
  return convert_put(c->dir, "tokenizer.json", &s, err);
}

static rw_status write_config(const source *c, int64_t context, rw_error *err) {
  static const struct {
    const char *key, *field;
  } tokens[] = {{"tokenizer.ggml.bos_token_id", "bos_token"},
                {"tokenizer.ggml.eos_token_id", "eos_token"},
                {"tokenizer.ggml.unknown_token_id", "unk_token"},
                {"tokenizer.ggml.padding_token_id", "pad_token"}};
  str s = {0};
  json_writer w = {.out = &s};
  slice t;
  jw_object_lines(&w, NULL);
  jw_string(&w, "tokenizer_class", "PreTrainedTokenizerFast");
  jw_bool(&w, "clean_up_tokenization_spaces", false);
  for (size_t i = 0; i < 4; i++) {
    size_t id;
    if (special_id(c, tokens[i].key, &id)) jw_slice(&w, tokens[i].field, token(c, id));
  }
  if (gguf_string(c->g, "tokenizer.chat_template", &t)) jw_slice(&w, "chat_template", t);
  jw_int(&w, "model_max_length", context);
  jw_end(&w);
  str_addc(&s, '\n');
  return convert_put(c->dir, "tokenizer_config.json", &s, err);
}

rw_status convert_tokenizer(const gguf *g, const char *path, const char *dir, int64_t vocab, int64_t context,
                            rw_error *err) {
  slice model = SLICE("none"), pre = SLICE("none");
  source c = {g, dir, gguf_array_len(g, TOKENS), false};
  gguf_string(g, "tokenizer.ggml.model", &model);
  gguf_string(g, "tokenizer.ggml.pre", &pre);
  c.spm = slice_is(model, "llama");
  size_t k = 0, known = sizeof pre_tokenizers / sizeof *pre_tokenizers;
  while (k < known && !slice_is(pre, pre_tokenizers[k].name)) k++;
  if (!c.spm && (!slice_is(model, "gpt2") || k == known))
    return rw_fail(err, RW_UNSUPPORTED,
                   "%s: tokenizer.ggml.model and .pre: expected llama, or gpt2 with smollm, gpt-2, llama-bpe, dbrx "
                   "or qwen2, got "
                   "'%.*s' with '%.*s'; take the Hugging Face checkpoint",
                   path, (int)(model.len < 40 ? model.len : 40), model.p, (int)(pre.len < 40 ? pre.len : 40),
                   pre.p);
  slice first;
  if (!gguf_array_string(g, TOKENS, 0, &first) || (int64_t)c.n > vocab)
    return rw_fail(err, RW_DATA,
                   "%s: key %s: expected 1 to %lld strings, as many as the embedding has rows, got %zu", path,
                   TOKENS, (long long)vocab, c.n);
  bool prefix = true;
  slice arch = SLICE("");
  gguf_string(g, "general.architecture", &arch);
  if (arch.len >= 5 && memcmp(arch.p, "gemma", 5) == 0) prefix = false;
  gguf_bool(g, "tokenizer.ggml.add_space_prefix", &prefix);
  rw_status st = write_tokenizer(&c, !c.spm ? &pre_tokenizers[k] : prefix ? &spm_marked : &spm_plain, err);
  if (st) return rw_prefix(err, st, "%s", path);
  return write_config(&c, context, err);
}

/* tok_added.c - the added tokens of a tokenizer.json, and those that the files beside it add or change.
 *
 * As transformers does it: the tokens of tokenizer_config.json's added_tokens_decoder come after those of
 * tokenizer.json, by their numbers, but found by their text: a known one gets their flags, a new one the
 * vocabulary's id or the next. Without that field special_tokens_map.json and added_tokens.json count. Then come
 * the named tokens (eos_token and its like, and the extra special ones) that are not among the added ones yet.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "text/tok_impl.h"

typedef struct {
  int64_t id;
  slice content;
  bool special, normalized, lstrip, rstrip, single_word;
} entry;

typedef struct {
  tokenizer *t;
  const char *path; /* tokenizer.json; for messages */
  rw_error *err;
  entry *e;
  size_t n, cap;
  int64_t next; /* the id of a new token */
} list;

static bool flag(const json_doc *d, json_val v, const char *field, bool otherwise) {
  json_val f = json_get(d, v, field);
  return json_kind(d, f) == JSON_NULL ? otherwise : json_kind(d, f) == JSON_TRUE;
}

/* A token written as an object, or as its text alone. */
static entry entry_of(json_doc *d, json_val v, bool special) {
  slice text = json_string(d, v);
  entry e = {.id = -1, .special = special, .content = text.p ? text : json_string(d, json_get(d, v, "content"))};
  e.special = special || flag(d, v, "special", false);
  e.lstrip = flag(d, v, "lstrip", false);
  e.rstrip = flag(d, v, "rstrip", false);
  e.single_word = flag(d, v, "single_word", false);
  e.normalized = flag(d, v, "normalized", !e.special);
  return e;
}

static entry *find(const list *l, slice content) {
  for (size_t i = l->n; i-- > 0;)
    if (slice_eq(l->e[i].content, content)) return &l->e[i];
  return NULL;
}

static rw_status push(list *l, entry e) {
  if (e.id >= l->next) l->next = e.id + 1;
  return vec_push(l->e, l->n, l->cap, e) ? RW_OK : rw_nomem(l->err, l->path);
}

/* A token of the files beside: known ones get its flags where `change`, new ones an id. */
static rw_status put(list *l, entry e, bool change) {
  entry *known = e.content.p ? find(l, e.content) : NULL;
  if (!e.content.len || (known && !change)) return RW_OK;
  if (known) {
    e.id = known->id;
    *known = e;
    return RW_OK;
  }
  int64_t *id = map_get(l->t->vocab, e.content.p, e.content.len);
  bool same = id && slice_eq(l->t->tokens[*id].spelling, e.content);
  int64_t words = (int64_t)map_count(l->t->vocab);
  e.id = same ? *id : l->next > words ? l->next : words;
  return push(l, e);
}

static rw_status own_tokens(list *l, json_doc *d, json_val tokens) {
  for (json_val v = json_first(d, tokens); v != JSON_NONE; v = json_next(d, v)) {
    entry e = entry_of(d, v, false);
    if (!json_int(d, json_get(d, v, "id"), &e.id) || !e.content.p) {
      slice raw = json_raw(d, v);
      return rw_fail(l->err, RW_DATA, "%s: added_tokens: expected objects with id and content, got %.*s", l->path,
                     (int)(raw.len < 80 ? raw.len : 80), raw.p);
    }
    RW_TRY(push(l, e));
  }
  return RW_OK;
}

typedef struct {
  int64_t id;
  json_val v;
} numbered;

static int by_id(const void *a, const void *b) {
  const numbered *x = a, *y = b;
  return x->id < y->id ? -1 : x->id > y->id;
}

static const char *const roles[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                    "pad_token", "cls_token", "mask_token"};
enum { ROLES = sizeof roles / sizeof *roles };

static bool is_role(json_doc *d, slice content) {
  for (size_t i = 0; i < ROLES; i++)
    if (slice_eq(entry_of(d, json_get(d, 0, roles[i]), true).content, content)) return true;
  return false;
}

/* added_tokens_decoder ({"ID": token}) or added_tokens.json ({"CONTENT": ID}), by ids. */
static rw_status by_numbers(list *l, json_doc *d, json_val object, json_doc *config, bool decoder) {
  numbered *order = mem_alloc(json_count(d, object), sizeof *order);
  size_t n = 0;
  rw_status s = order ? RW_OK : rw_nomem(l->err, l->path);
  for (json_val v = json_first(d, object); !s && v != JSON_NONE; v = json_next(d, v), n++) {
    slice key = json_key(d, v);
    order[n] = (numbered){-1, v};
    if (!decoder && json_int(d, v, &order[n].id)) continue;
    order[n].id = decoder && key.len && key.len < 10 ? 0 : -1;
    for (size_t i = 0; i < key.len && order[n].id >= 0; i++)
      order[n].id = key.p[i] >= '0' && key.p[i] <= '9' ? order[n].id * 10 + (key.p[i] - '0') : -1;
    if (order[n].id < 0 || !entry_of(d, v, false).content.p)
      s = rw_fail(l->err, RW_DATA, "%s: the files beside it: %s: expected ids and tokens, got \"%.*s\"", l->path,
                  decoder ? "added_tokens_decoder" : "added_tokens.json", (int)(key.len < 40 ? key.len : 40),
                  key.p);
  }
  if (!s && n) qsort(order, n, sizeof *order, by_id);
  for (size_t i = 0; !s && i < n; i++) {
    entry e = decoder ? entry_of(d, order[i].v, false) : (entry){.content = json_key(d, order[i].v)};
    bool named = config && is_role(config, e.content);
    if (!decoder) e.normalized = !named;
    e.special |= named;
    s = put(l, e, true);
  }
  mem_free(order);
  return s;
}

/* The named tokens, those of the model's own (NAME_token: a text), then the extra ones. */
static rw_status by_roles(list *l, json_doc *d) {
  for (size_t i = 0; i < ROLES; i++) RW_TRY(put(l, entry_of(d, json_get(d, 0, roles[i]), true), false));
  for (json_val v = json_first(d, 0); v != JSON_NONE; v = json_next(d, v)) {
    slice key = json_key(d, v);
    if (json_kind(d, v) == JSON_STRING && key.len > 6 && memcmp(key.p + key.len - 6, "_token", 6) == 0)
      RW_TRY(put(l, entry_of(d, v, true), false));
  }
  json_val extra = json_get(d, 0, "extra_special_tokens");
  if (json_count(d, extra) == 0) extra = json_get(d, 0, "additional_special_tokens");
  for (json_val v = json_first(d, extra); v != JSON_NONE; v = json_next(d, v))
    RW_TRY(put(l, entry_of(d, v, true), false));
  return RW_OK;
}

/* Tries and flags, of all that is collected. */
static rw_status take(list *l) {
  tokenizer *t = l->t;
  tok_scratch s = {.t = t};
  rw_status st = RW_OK;
  for (size_t i = 0; !st && i < l->n; i++) {
    const entry *e = &l->e[i];
    /* a control token is found in the raw text in any case: only there it is known what came from a message */
    added_token a = {.text = e->content,
                     .id = (int32_t)e->id,
                     .special = e->special,
                     .normalized = e->normalized && !e->special,
                     .lstrip = e->lstrip,
                     .rstrip = e->rstrip,
                     .single_word = e->single_word};
    st = tok_set_token(t, l->path, e->id, e->content, e->special, l->err);
    if (st || !e->content.len) continue;
    if (a.normalized) {
      st = tok_normalize(t, &s, a.text, true, &s.normal, l->err);
      a.text = (slice){s.normal.p, s.normal.len};
    }
    if (!st) st = tok_add(t, a, l->err);
  }
  str_free(&s.normal);
  str_free(&s.other);
  return st;
}

/* doc NULL: the file is not there. */
static rw_status open_beside(const list *l, const char *name, json_file *f) {
  char *path = file_join(l->t->dir, name);
  *f = (json_file){0};
  rw_status s = !path ? rw_nomem(l->err, l->path) : file_exists(path) ? json_file_open(f, path, l->err) : RW_OK;
  mem_free(path);
  return s;
}

rw_status tok_read_added(tokenizer *t, const char *path, json_doc *d, json_val tokens, rw_error *err) {
  list l = {.t = t, .path = path, .err = err};
  json_file config = {0}, named = {0}, added = {0};
  rw_status s = own_tokens(&l, d, tokens);
  if (!s) s = open_beside(&l, "tokenizer_config.json", &config);
  json_val decoder = config.doc ? json_get(config.doc, 0, "added_tokens_decoder") : JSON_NONE;
  if (!s && decoder != JSON_NONE) {
    s = by_numbers(&l, config.doc, decoder, config.doc, true);
  } else {
    if (!s) s = open_beside(&l, "special_tokens_map.json", &named);
    if (!s) s = open_beside(&l, "added_tokens.json", &added);
    if (!s && added.doc) s = by_numbers(&l, added.doc, 0, config.doc, false);
    if (!s && named.doc) s = by_roles(&l, named.doc);
  }
  if (!s && config.doc) s = by_roles(&l, config.doc);
  if (!s) s = take(&l);
  if (config.doc) json_file_close(&config);
  if (named.doc) json_file_close(&named);
  if (added.doc) json_file_close(&added);
  mem_free(l.e);
  return s;
}

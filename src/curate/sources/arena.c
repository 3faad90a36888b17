/* arena.c - votes of Chatbot Arena: two conversations with the same questions, and which is better; ties are no
 * pairs. (Chiang et al. 2024)
 *
 * arena-human-preference-100k and -140k have the conversations as messages (conversation_a, conversation_b) and
 * `winner`; -55k has prompt, response_a and response_b, each a JSON list of texts in a string, and winner_model_a,
 * winner_model_b and winner_tie.
 */
#include "curate/source.h"

typedef struct {
  message *m[2]; /* of a and b */
  size_t n[2];
  const char *drop; /* why it is no pair */
  int chosen;
} battle;

/* A message's role and text alone: other fields are counts of tokens and the like. */
static rw_status read_side(json_doc *d, arena *a, const char *field, battle *b, int side, rw_error *err) {
  json_val list = json_get(d, 0, field);
  for (json_val m = json_first(d, list); m != JSON_NONE; m = json_next(d, m)) {
    json_val content = json_get(d, m, "content");
    bool parts = json_kind(d, content) == JSON_ARRAY;
    for (json_val p = parts ? json_first(d, content) : JSON_NONE; p != JSON_NONE; p = json_next(d, p))
      if (!slice_is(json_string(d, json_get(d, p, "type")), "text")) b->drop = "a part that is no text";
  }
  if (b->drop) return RW_OK;
  RW_TRY(conv_messages(&b->m[side], &b->n[side], d, list, field, a, err));
  for (size_t i = 0; i < b->n[side]; i++) {
    message *m = &b->m[side][i];
    if (m->role == ROLE_OTHER) return json_wrong(d, list, field, "messages of system, user and assistant", err);
    *m = conv_message(m->role, m->content);
  }
  if (b->m[side][b->n[side] - 1].role != ROLE_ASSISTANT) b->drop = "no answer at the end";
  return RW_OK;
}

static rw_status read_winner(json_doc *d, battle *b, rw_error *err) {
  json_val v = json_get(d, 0, "winner");
  slice w = json_string(d, v);
  if (slice_is(w, "tie"))
    b->drop = "tie";
  else if (slice_is(w, "tie (bothbad)") || slice_is(w, "both_bad"))
    b->drop = "both bad";
  else if (!slice_is(w, "model_a") && !slice_is(w, "model_b"))
    return json_wrong(d, v, "winner", "model_a, model_b, tie, \"tie (bothbad)\" or both_bad", err);
  b->chosen = slice_is(w, "model_b");
  return RW_OK;
}

/* 1 or true */
static bool is_set(json_doc *d, const char *field) {
  json_val v = json_get(d, 0, field);
  int64_t i;
  return json_kind(d, v) == JSON_TRUE || (json_int(d, v, &i) && i == 1);
}

/* Every second message from `first` on of a list of texts in a string. */
static rw_status fill_turns(json_doc *d, arena *a, const char *field, message *m, size_t n, conv_role role,
                            size_t first, battle *b, rw_error *err) {
  slice text;
  RW_TRY(src_text(d, 0, field, &text, err));
  json_doc *own = json_new();
  if (!own) return rw_nomem(err, field);
  rw_status s = RW_OK;
  if (json_parse(own, text.p, text.len, NULL) || json_kind(own, 0) != JSON_ARRAY)
    b->drop = "texts that are no JSON list"; /* some have half of a UTF-16 pair */
  else if (json_count(own, 0) != n)
    b->drop = "turns without answers";
  size_t i = first;
  for (json_val v = b->drop ? JSON_NONE : json_first(own, 0); !s && v != JSON_NONE; v = json_next(own, v), i += 2) {
    slice t = json_string(own, v);
    char *copy = t.p ? arena_strndup(a, t.p, t.len) : NULL;
    if (!t.p) b->drop = "a turn without a text";
    if (t.p && !copy) s = rw_nomem(err, field);
    m[i] = conv_message(role, (slice){copy ? copy : "", t.len});
  }
  json_free(own);
  return s;
}

static rw_status read_lists(json_doc *d, arena *a, battle *b, rw_error *err) {
  static const char *const answers[2] = {"response_a", "response_b"};
  slice prompt;
  RW_TRY(src_text(d, 0, "prompt", &prompt, err));
  json_doc *own = json_new();
  if (!own) return rw_nomem(err, "prompt");
  size_t n = json_parse(own, prompt.p, prompt.len, NULL) ? 0 : json_count(own, 0);
  json_free(own);
  for (int side = 0; side < 2; side++) {
    b->n[side] = 2 * n;
    b->m[side] = arena_alloc(a, n ? 2 * n : 1, sizeof **b->m);
    if (!b->m[side]) return rw_nomem(err, "a row");
    RW_TRY(fill_turns(d, a, "prompt", b->m[side], n, ROLE_USER, 0, b, err));
    RW_TRY(fill_turns(d, a, answers[side], b->m[side], n, ROLE_ASSISTANT, 1, b, err));
  }
  if (n == 0 && !b->drop) b->drop = "no turn";
  bool won[2] = {is_set(d, "winner_model_a"), is_set(d, "winner_model_b")};
  if (won[0] + won[1] + is_set(d, "winner_tie") != 1)
    return json_wrong(d, json_get(d, 0, "winner_model_a"), "winner_model_a, winner_model_b, winner_tie",
                      "one of them 1, the others 0", err);
  if (!won[0] && !won[1]) b->drop = "tie";
  b->chosen = won[1];
  return RW_OK;
}

static rw_status read_battle(json_doc *d, arena *a, battle *b, rw_error *err) {
  *b = (battle){.drop = NULL};
  if (src_null(d, 0, "winner")) return read_lists(d, a, b, err);
  RW_TRY(read_winner(d, b, err));
  RW_TRY(read_side(d, a, "conversation_a", b, 0, err));
  return read_side(d, a, "conversation_b", b, 1, err);
}

static bool same(const battle *b) {
  bool equal = b->n[0] == b->n[1];
  for (size_t i = 0; equal && i < b->n[0]; i++) equal = conv_same_message(&b->m[0][i], &b->m[1][i]);
  return equal;
}

static rw_status scan_row(json_doc *d, arena *a, scan *s, rw_error *err) {
  battle b;
  RW_TRY(read_battle(d, a, &b, err));
  s->drop = b.drop;
  if (b.drop) return RW_OK;
  s->chosen = (uint32_t)b.chosen;
  s->rejected = 1 - s->chosen;
  if (same(&b)) s->drop = "equal texts";
  const message *chosen = b.m[s->chosen];
  for (size_t i = 0; i < b.n[s->chosen]; i++) { /* a chain over what was asked */
    uint64_t h[2];
    if (chosen[i].role == ROLE_ASSISTANT) continue;
    src_hash(chosen[i].content, h);
    s->prompt[0] = s->prompt[0] * 31 + h[0] + chosen[i].role;
    s->prompt[1] = s->prompt[1] * 37 + h[1];
  }
  src_hash_texts(s, chosen[b.n[s->chosen] - 1].content, b.m[s->rejected][b.n[s->rejected] - 1].content);
  return RW_OK;
}

static rw_status text_of(json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err) {
  battle b;
  RW_TRY(read_battle(d, a, &b, err));
  RW_TRY(src_branches(out, a, ROW_PAIR, 2, err));
  for (int k = 0; k < 2; k++) {
    size_t side = k ? s->rejected : s->chosen;
    out->branch[k] = (conversation){.messages = b.m[side], .n_messages = b.n[side]};
  }
  return RW_OK;
}

extern const source source_arena;
const source source_arena = {.name = "arena", .pairing = PAIR_IN_ROW, .scan = scan_row, .text = text_of};

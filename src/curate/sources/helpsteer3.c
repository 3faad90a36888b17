/* helpsteer3.c - HelpSteer3's preferences: a conversation (context), two responses, and overall_preference, from -3
 * (the first is much better) to 3 (the second is); 0 gives no pair. (Wang et al. 2025) */
#include "curate/source.h"

typedef struct {
  message *context;
  size_t n;
  slice response[2];
} preference_row;

static rw_status read_row(json_doc *d, arena *a, preference_row *r, rw_error *err) {
  RW_TRY(conv_messages(&r->context, &r->n, d, json_get(d, 0, "context"), "context", a, err));
  RW_TRY(src_text(d, 0, "response1", &r->response[0], err));
  return src_text(d, 0, "response2", &r->response[1], err);
}

static rw_status scan_row(json_doc *d, arena *a, scan *s, rw_error *err) {
  preference_row r;
  json_val v = json_get(d, 0, "overall_preference");
  int64_t by;
  RW_TRY(read_row(d, a, &r, err));
  if (!json_int(d, v, &by) || by < -3 || by > 3)
    return json_wrong(d, v, "overall_preference", "a whole number from -3 to 3", err);
  src_hash_messages(r.context, r.n, s->prompt);
  s->chosen = by > 0;
  s->rejected = 1 - s->chosen;
  src_hash_texts(s, r.response[s->chosen], r.response[s->rejected]);
  if (by == 0)
    s->drop = "no preference";
  else if (slice_eq(r.response[0], r.response[1]))
    s->drop = "equal texts";
  s->category = json_string(d, json_get(d, 0, "domain"));
  return RW_OK;
}

static rw_status text_of(json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err) {
  preference_row r;
  RW_TRY(read_row(d, a, &r, err));
  RW_TRY(src_branches(out, a, ROW_PAIR, 2, err));
  for (int side = 0; side < 2; side++) {
    message *m = arena_alloc(a, r.n + 1, sizeof *m);
    if (!m) return rw_nomem(err, "a row");
    for (size_t i = 0; i < r.n; i++) m[i] = r.context[i];
    m[r.n] = conv_message(ROLE_ASSISTANT, r.response[side ? s->rejected : s->chosen]);
    out->branch[side] = (conversation){.messages = m, .n_messages = r.n + 1};
  }
  return RW_OK;
}

extern const source source_helpsteer3;
const source source_helpsteer3 = {.name = "helpsteer3", .pairing = PAIR_IN_ROW, .scan = scan_row, .text = text_of};

/* offsetbias.c - OffsetBias: an instruction, two outputs, and a label that names the better one (1 or 2).
 * (Park et al. 2024) */
#include "curate/source.h"

static rw_status offset_scan(json_doc *d, arena *a, scan *s, rw_error *err) {
  (void)a;
  slice prompt, out[2];
  int64_t label;
  RW_TRY(src_text(d, 0, "instruction", &prompt, err));
  RW_TRY(src_text(d, 0, "output_1", &out[0], err));
  RW_TRY(src_text(d, 0, "output_2", &out[1], err));
  json_val v = json_get(d, 0, "label");
  slice text = json_string(d, v);
  if (text.p && text.len == 1)
    label = text.p[0] - '0';
  else if (!json_int(d, v, &label))
    return json_wrong(d, v, "label", "1 or 2", err);
  if (label != 1 && label != 2) return rw_fail(err, RW_DATA, "label: expected 1 or 2, got %lld", (long long)label);
  src_hash(prompt, s->prompt);
  s->chosen = label == 1 ? 0 : 1;
  s->rejected = 1 - s->chosen;
  src_hash_texts(s, out[s->chosen], out[s->rejected]);
  if (slice_eq(out[0], out[1])) s->drop = "equal texts";
  return RW_OK;
}

static rw_status offset_text(json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err) {
  slice prompt, text[2];
  RW_TRY(src_text(d, 0, "instruction", &prompt, err));
  RW_TRY(src_text(d, 0, "output_1", &text[0], err));
  RW_TRY(src_text(d, 0, "output_2", &text[1], err));
  return src_pair(out, a, prompt, text[s->chosen], text[s->rejected], err);
}

extern const source source_offsetbias;
const source source_offsetbias = {
    .name = "offsetbias", .pairing = PAIR_IN_ROW, .scan = offset_scan, .text = offset_text};

/* magpie_ultra.c - Magpie Ultra v0.1: a response of the instruct and one of the base model, scored by ArmoRM.
 *
 * Fields used: instruction, response, response_base, score, score_base, primary_tag.
 */
#include <math.h>

#include "curate/source.h"

static rw_status score_of(json_doc *d, const char *field, double *out, rw_error *err) {
  *out = NAN;
  return src_null(d, 0, field) ? RW_OK : src_number(d, 0, field, out, err);
}

static rw_status ultra_scan(json_doc *d, arena *a, scan *s, rw_error *err) {
  (void)a;
  slice prompt, text[2];
  double score[2];
  RW_TRY(src_text(d, 0, "instruction", &prompt, err));
  src_hash(prompt, s->prompt);
  RW_TRY(score_of(d, "score", &score[0], err));
  RW_TRY(score_of(d, "score_base", &score[1], err));
  if (!src_null(d, 0, "primary_tag")) RW_TRY(src_text(d, 0, "primary_tag", &s->category, err));
  bool one = src_null(d, 0, "response") || src_null(d, 0, "response_base");
  if (one) {
    s->drop = "one response";
    return RW_OK;
  }
  RW_TRY(src_text(d, 0, "response", &text[0], err));
  RW_TRY(src_text(d, 0, "response_base", &text[1], err));
  src_best_worst(s, score, text, 2);
  return RW_OK;
}

static rw_status ultra_text(json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err) {
  slice prompt, text[2];
  RW_TRY(src_text(d, 0, "instruction", &prompt, err));
  RW_TRY(src_text(d, 0, "response", &text[0], err));
  RW_TRY(src_text(d, 0, "response_base", &text[1], err));
  return src_pair(out, a, prompt, text[s->chosen], text[s->rejected], err);
}

extern const source source_magpie_ultra;
const source source_magpie_ultra = {
    .name = "magpie-ultra", .pairing = PAIR_IN_ROW, .scored = true, .scan = ultra_scan, .text = ultra_text};

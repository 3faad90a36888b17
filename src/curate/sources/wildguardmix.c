/* wildguardmix.c - WildGuardMix (train): prompts and single responses with safety labels.
 *
 * Rows with one prompt make a pair where they hold both a refusal and a compliance: the refusal is chosen where the
 * prompt is harmful, the compliance where it is not. Fields used: prompt, adversarial, response, prompt_harm_label,
 * response_refusal_label. (Han et al. 2024)
 */
#include "curate/source.h"

static rw_status label(json_doc *d, const char *field, const char *yes, const char *no, bool *out, bool *missing,
                       rw_error *err) {
  slice s;
  if (src_null(d, 0, field)) {
    *missing = true;
    return RW_OK;
  }
  RW_TRY(src_text(d, 0, field, &s, err));
  *out = slice_is(s, yes);
  if (*out || slice_is(s, no)) return RW_OK;
  return rw_fail(err, RW_DATA, "%s: expected %s or %s, got \"%.*s\"", field, yes, no,
                 (int)(s.len < 40 ? s.len : 40), s.p);
}

static rw_status wildguard_scan(json_doc *d, arena *a, scan *s, rw_error *err) {
  (void)a;
  slice prompt, response;
  bool missing = false;
  RW_TRY(src_text(d, 0, "prompt", &prompt, err));
  src_hash(prompt, s->prompt);
  RW_TRY(label(d, "prompt_harm_label", "harmful", "unharmful", &s->harmful, &missing, err));
  RW_TRY(label(d, "response_refusal_label", "refusal", "compliance", &s->refusal, &missing, err));
  json_val adversarial = json_get(d, 0, "adversarial");
  json_type k = json_kind(d, adversarial);
  if (adversarial == JSON_NONE || (k != JSON_TRUE && k != JSON_FALSE))
    return json_wrong(d, adversarial, "adversarial", "true or false", err);
  if (src_null(d, 0, "response")) {
    s->drop = "no response";
    return RW_OK;
  }
  RW_TRY(src_text(d, 0, "response", &response, err));
  src_hash(response, s->texts[0]);
  if (missing) s->drop = "a label is missing";
  return RW_OK;
}

static rw_status wildguard_text(json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err) {
  (void)s;
  slice prompt, response;
  RW_TRY(src_text(d, 0, "prompt", &prompt, err));
  RW_TRY(src_text(d, 0, "response", &response, err));
  return src_single(out, a, prompt, response, err);
}

extern const source source_wildguardmix;
const source source_wildguardmix = {
    .name = "wildguardmix", .pairing = PAIR_BY_PROMPT, .scan = wildguard_scan, .text = wildguard_text};

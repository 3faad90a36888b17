/* preference_700k.c - Preference 700K: chosen and rejected as messages, with their scores: where
 * these are equal, or say the opposite, there is no pair. (Dong et al. 2024) */
#include "curate/sources/pair_rows.h"

static rw_status scan_row(json_doc *d, arena *a, scan *s, rw_error *err) {
  return pair_rows_scan_scored(d, a, s, "chosen_score", "rejected_score", err);
}

extern const source source_preference_700k;
const source source_preference_700k = {
    .name = "preference-700k", .pairing = PAIR_IN_ROW, .scan = scan_row, .text = pair_rows_text};

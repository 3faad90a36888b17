/* ultrafeedback.c - UltraFeedback, binarized: a prompt, chosen and rejected as messages, with their scores: where
 * these are equal, or say the opposite, there is no pair. (Cui et al. 2023; Tunstall et al. 2023) */
#include "curate/sources/pair_rows.h"

static rw_status scan_row(json_doc *d, arena *a, scan *s, rw_error *err) {
  return pair_rows_scan_scored(d, a, s, "score_chosen", "score_rejected", err);
}

extern const source source_ultrafeedback;
const source source_ultrafeedback = {
    .name = "ultrafeedback", .pairing = PAIR_IN_ROW, .scan = scan_row, .text = pair_rows_text};

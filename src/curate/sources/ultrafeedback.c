/* ultrafeedback.c - UltraFeedback, binarized: a prompt, chosen and rejected as messages, with their scores, which
 * are not used. (Cui et al. 2023; Tunstall et al. 2023) */
#include "curate/sources/pair_rows.h"

extern const source source_ultrafeedback;
const source source_ultrafeedback = {
    .name = "ultrafeedback", .pairing = PAIR_IN_ROW, .scan = pair_rows_scan, .text = pair_rows_text};

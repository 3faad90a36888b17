/* preference_700k.c - Preference 700K: chosen and rejected as messages, with their scores, which are not used.
 * (Dong et al. 2024) */
#include "curate/sources/pair_rows.h"

extern const source source_preference_700k;
const source source_preference_700k = {
    .name = "preference-700k", .pairing = PAIR_IN_ROW, .scan = pair_rows_scan, .text = pair_rows_text};

/* pairs.c - any pair rows of this program. */
#include "curate/sources/pair_rows.h"

extern const source source_pairs;
const source source_pairs = {
    .name = "pairs", .pairing = PAIR_IN_ROW, .scan = pair_rows_scan, .text = pair_rows_text};

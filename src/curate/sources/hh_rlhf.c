/* hh_rlhf.c - HH-RLHF: chosen and rejected, each a whole transcript of "\n\nHuman:" and "\n\nAssistant:" turns.
 * (Bai et al. 2022) */
#include "curate/sources/pair_rows.h"

extern const source source_hh_rlhf;
const source source_hh_rlhf = {
    .name = "hh-rlhf", .pairing = PAIR_IN_ROW, .scan = pair_rows_scan, .text = pair_rows_text};

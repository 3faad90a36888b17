/* tulu3.c - Tulu 3's preference mixes and their parts: chosen and rejected as whole conversations. The prompt
 * beside them is one of their turns, and not looked at. (Lambert et al. 2024) */
#include "curate/sources/pair_rows.h"

extern const source source_tulu3;
const source source_tulu3 = {
    .name = "tulu3", .pairing = PAIR_IN_ROW, .scan = pair_rows_scan_whole, .text = pair_rows_text_whole};

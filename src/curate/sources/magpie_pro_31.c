/* magpie_pro_31.c - Magpie Pro (Llama 3.1): responses of Llama 3.1 70B Instruct. */
#include "curate/sources/magpie_rows.h"

extern const source source_magpie_pro_31;
const source source_magpie_pro_31 = {.name = "magpie-pro-llama3.1",
                                     .pairing = PAIR_IN_ROW,
                                     .scored = true,
                                     .scan = magpie_rows_scan,
                                     .text = magpie_rows_text};

/* magpie_pro.c - Magpie Pro: responses of Llama 3 70B Instruct. */
#include "curate/sources/magpie_rows.h"

extern const source source_magpie_pro;
const source source_magpie_pro = {.name = "magpie-pro-llama3",
                                  .pairing = PAIR_IN_ROW,
                                  .scored = true,
                                  .scan = magpie_rows_scan,
                                  .text = magpie_rows_text};

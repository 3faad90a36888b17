/* magpie_air.c - Magpie Air: responses of Llama 3 8B Instruct. */
#include "curate/sources/magpie_rows.h"

extern const source source_magpie_air;
const source source_magpie_air = {.name = "magpie-air",
                                  .pairing = PAIR_IN_ROW,
                                  .scored = true,
                                  .scan = magpie_rows_scan,
                                  .text = magpie_rows_text};

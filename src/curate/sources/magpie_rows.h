/* magpie_rows.h - for the Magpie sets of 100K (DPO): responses to a prompt, each with ArmoRM's score.
 *
 * Fields used: instruction, responses[], rewards_armorm[{score}], task_category. (Xu et al. 2024; Wang et al. 2024)
 */
#ifndef CURATE_SOURCES_MAGPIE_ROWS_H
#define CURATE_SOURCES_MAGPIE_ROWS_H

#include "curate/source.h"

rw_status magpie_rows_scan(json_doc *d, arena *a, scan *s, rw_error *err);
rw_status magpie_rows_text(json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err);

#endif

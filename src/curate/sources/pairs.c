/* pairs.c - any pair rows of this program: their margin and source stay theirs, their id becomes source_id. */
#include "curate/sources/pair_rows.h"

static rw_status pairs_scan(json_doc *d, arena *a, scan *s, rw_error *err) {
  conv_row row;
  RW_TRY(pair_rows_read(d, a, &row, s, err));
  s->own = (row.has_margin ? OWN_MARGIN : 0) | (row.id.p ? OWN_ID : 0);
  return RW_OK;
}

static rw_status pairs_text(json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err) {
  slice name = out->source;
  (void)s;
  RW_TRY(conv_read(out, d, 0, NULL, a, err));
  conv_as_pair(out);
  if (!out->source.p) out->source = name;
  return RW_OK;
}

extern const source source_pairs;
const source source_pairs = {.name = "pairs", .pairing = PAIR_IN_ROW, .scan = pairs_scan, .text = pairs_text};

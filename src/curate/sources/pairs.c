/* pairs.c - any pair rows of this program: their margin and source stay theirs, their id becomes source_id. */
#include "curate/sources/pair_rows.h"

static rw_status pairs_scan(json_doc *d, arena *a, scan *s, rw_error *err) {
  conv_row row;
  RW_TRY(pair_rows_read(d, a, &row, s, err));
  s->own = (row.has_margin ? OWN_MARGIN : 0) | (row.id.p ? OWN_ID : 0);
  return RW_OK;
}

static rw_status pairs_own(json_doc *d, arena *a, str *out, rw_error *err) {
  conv_row row;
  RW_TRY(conv_read(&row, d, 0, a, err));
  slice name = row.source.p ? row.source : SLICE("pairs");
  str_addz(out, "\"source\": ");
  str_json(out, name.p, name.len);
  if (row.has_margin) {
    str_addz(out, ", \"margin\": ");
    str_json_num(out, row.margin);
  }
  if (row.id.p) {
    str_addz(out, ", \"source_id\": ");
    str_json(out, row.id.p, row.id.len);
  }
  return RW_OK;
}

extern const source source_pairs;
const source source_pairs = {
    .name = "pairs", .pairing = PAIR_IN_ROW, .scan = pairs_scan, .text = pair_rows_text, .own = pairs_own};

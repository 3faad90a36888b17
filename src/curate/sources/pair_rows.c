/* pair_rows.c - shared by sources whose rows are pairs already. */
#include "curate/sources/pair_rows.h"

/* Names under which a row's prompt is not found. */
static row_name nowhere[] = {{"prompt", "\1", NULL}};
static const row_map no_prompt = {nowhere, 1};

static rw_status read_row(json_doc *d, arena *a, const row_map *called, conv_row *row, scan *s, rw_error *err) {
  RW_TRY(conv_read(row, d, 0, called, a, err));
  if (!conv_as_pair(row) || row->n_branches != 2 || !row->branch[0].messages)
    return rw_fail(err, RW_DATA, "row: expected a pair of conversations (chosen, rejected)");
  const conversation *c = &row->branch[0], *r = &row->branch[1];
  src_hash_texts(s, c->messages[c->n_messages - 1].content, r->messages[r->n_messages - 1].content);
  src_hash_messages(c->messages, c->n_messages - 1, s->prompt); /* all that stands before the response */
  bool equal = c->n_messages == r->n_messages;
  for (size_t i = 0; equal && i < c->n_messages; i++) equal = conv_same_message(&c->messages[i], &r->messages[i]);
  if (equal) s->drop = "equal texts";
  s->category = json_string(d, json_get(d, 0, "task_category"));
  return RW_OK;
}

rw_status pair_rows_read(json_doc *d, arena *a, conv_row *row, scan *s, rw_error *err) {
  return read_row(d, a, NULL, row, s, err);
}

rw_status pair_rows_scan_whole(json_doc *d, arena *a, scan *s, rw_error *err) {
  conv_row row;
  return read_row(d, a, &no_prompt, &row, s, err);
}

rw_status pair_rows_scan(json_doc *d, arena *a, scan *s, rw_error *err) {
  conv_row row;
  return pair_rows_read(d, a, &row, s, err);
}

rw_status pair_rows_scan_scored(json_doc *d, arena *a, scan *s, const char *chosen, const char *rejected,
                                rw_error *err) {
  double c = 0, r = 0;
  RW_TRY(pair_rows_scan(d, a, s, err));
  if (src_null(d, 0, chosen) || src_null(d, 0, rejected)) return RW_OK;
  RW_TRY(src_number(d, 0, chosen, &c, err));
  RW_TRY(src_number(d, 0, rejected, &r, err));
  if (!s->drop && c <= r) s->drop = c == r ? "equal scores" : "the rejected one has the higher score";
  return RW_OK;
}

/* The row's margin, source and id are not the pair's. */
static rw_status text_of(json_doc *d, arena *a, const row_map *called, conv_row *out, rw_error *err) {
  conv_row row;
  RW_TRY(conv_read(&row, d, 0, called, a, err));
  conv_as_pair(&row);
  out->kind = row.kind;
  out->branch = row.branch;
  out->n_branches = row.n_branches;
  out->n_chosen = row.n_chosen;
  return RW_OK;
}

rw_status pair_rows_text(json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err) {
  (void)s;
  return text_of(d, a, NULL, out, err);
}

rw_status pair_rows_text_whole(json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err) {
  (void)s;
  return text_of(d, a, &no_prompt, out, err);
}

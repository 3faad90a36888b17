/* ranked.c - the pairs of a row of ranked answers. */
#include "curate/sources/ranked.h"

#include <stdlib.h>

static int best_first(const void *a, const void *b) {
  const answer *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  return x->at < y->at ? -1 : x->at > y->at;
}

static bool makes_pair(const answer *c, const answer *r) {
  return c->score != r->score && !slice_eq(c->text, r->text);
}

static rw_status add(scan_list *out, const scan *s, rw_error *err) {
  return src_put(out, *s) ? RW_OK : rw_nomem(err, "pairs");
}

static rw_status add_pairs(const answer *list, size_t n, row_form form, const scan *row, scan_list *out,
                           rw_error *err) {
  for (size_t i = 0; i < n; i++)
    for (size_t j = i + 1; j < n && (form == FORM_ALL || j == i + 1); j++) {
      if (!makes_pair(&list[i], &list[j])) continue;
      scan s = *row;
      s.drop = NULL;
      s.chosen = list[i].at;
      s.rejected = list[j].at;
      src_hash_texts(&s, list[i].text, list[j].text);
      RW_TRY(add(out, &s, err));
    }
  return RW_OK;
}

rw_status ranked_pairs(answer *list, size_t n, row_form form, const scan *row, scan_list *out, rw_error *err) {
  size_t before = out->n;
  scan s = *row;
  if (n > 0) qsort(list, n, sizeof *list, best_first);
  if (form == FORM_RANKING) {
    if (n > 1 && list[0].score > list[n - 1].score) s.drop = NULL; /* equal texts are no matter */
    s.ranking = true;
    s.own |= OWN_RANKING;
    return add(out, &s, err);
  }
  RW_TRY(add_pairs(list, n, form, row, out, err));
  if (out->n > before) return RW_OK;
  if (!s.drop) s.drop = "no two such answers of unequal rank and text";
  return add(out, &s, err);
}

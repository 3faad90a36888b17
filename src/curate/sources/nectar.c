/* nectar.c - Nectar: a prompt as a transcript and up to seven answers ranked by GPT-4 (1 is the best).
 *
 * Fields used: prompt ("\n\nHuman: … \n\nAssistant: "), answers[{answer, rank}]. (Zhu et al. 2023)
 */
#include <stdlib.h>

#include "curate/source.h"

enum { MOST_ANSWERS = 64 };

typedef struct {
  slice text;
  double score; /* -rank */
  uint32_t at;  /* in the row */
} answer;

/* The prompt's turns; the last is the assistant's, empty. */
static rw_status read_prompt(json_doc *d, arena *a, message **m, size_t *n, rw_error *err) {
  slice prompt;
  RW_TRY(src_text(d, 0, "prompt", &prompt, err));
  rw_status s = conv_from_transcript(prompt, m, n, a, err);
  if (s) return rw_prefix(err, s, "prompt");
  if (*n < 2 || (*m)[*n - 1].role != ROLE_ASSISTANT || (*m)[*n - 1].content.len > 0)
    return rw_fail(err, RW_DATA, "prompt: expected a transcript that ends with \"\\n\\nAssistant:\"");
  return RW_OK;
}

static rw_status read_answers(json_doc *d, answer *out, size_t *n, rw_error *err) {
  json_val list = json_get(d, 0, "answers");
  *n = 0;
  if (json_kind(d, list) != JSON_ARRAY || json_count(d, list) > MOST_ANSWERS)
    return src_wrong(d, list, "answers", "a list of at most 64 ranked answers", err);
  for (json_val v = json_first(d, list); v != JSON_NONE; v = json_next(d, v), ++*n) {
    double rank;
    RW_TRY(src_text(d, v, "answer", &out[*n].text, err));
    RW_TRY(src_number(d, v, "rank", &rank, err));
    out[*n].score = -rank;
    out[*n].at = (uint32_t)*n;
  }
  return RW_OK;
}

static rw_status nectar_scan(json_doc *d, arena *a, scan *s, rw_error *err) {
  message *m;
  size_t n;
  answer list[MOST_ANSWERS];
  slice prompt, text[MOST_ANSWERS];
  double score[MOST_ANSWERS];
  RW_TRY(read_prompt(d, a, &m, &n, err));
  RW_TRY(src_text(d, 0, "prompt", &prompt, err));
  src_hash(prompt, s->prompt);
  RW_TRY(read_answers(d, list, &n, err));
  for (size_t i = 0; i < n; i++) {
    text[i] = list[i].text;
    score[i] = list[i].score;
  }
  src_best_worst(s, score, text, n);
  return RW_OK;
}

static int best_first(const void *a, const void *b) {
  const answer *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  return x->at < y->at ? -1 : x->at > y->at;
}

static bool add_pair(const scan *row, const answer *c, const answer *r, str *out) {
  if (c->score == r->score || slice_eq(c->text, r->text)) return false;
  scan s = *row;
  s.drop = NULL;
  s.chosen = c->at;
  s.rejected = r->at;
  src_hash_texts(&s, c->text, r->text);
  src_put(out, &s);
  return true;
}

static rw_status nectar_pairs(json_doc *d, row_form form, const scan *row, str *out, rw_error *err) {
  answer list[MOST_ANSWERS];
  size_t n;
  scan s = *row;
  bool any = false;
  RW_TRY(read_answers(d, list, &n, err));
  qsort(list, n, sizeof *list, best_first);
  if (form == FORM_RANKING) {
    if (n > 1 && list[0].score > list[n - 1].score) s.drop = NULL; /* equal texts are no matter */
    s.ranking = true;
    any = true;
    src_put(out, &s);
  }
  for (size_t i = 0; form != FORM_RANKING && i < n; i++)
    for (size_t j = i + 1; j < n && (form == FORM_ALL || j == i + 1); j++)
      any |= add_pair(row, &list[i], &list[j], out);
  if (any) return RW_OK;
  if (!s.drop) s.drop = "no two such answers of unequal rank and text";
  src_put(out, &s);
  return RW_OK;
}

static rw_status nectar_text(json_doc *d, arena *a, const scan *s, int side, str *out, rw_error *err) {
  answer list[MOST_ANSWERS];
  message *m;
  size_t n, turns;
  RW_TRY(read_prompt(d, a, &m, &turns, err));
  RW_TRY(read_answers(d, list, &n, err));
  if (s->ranking && side == 0) {
    conv_write(out, m, turns - 1);
  } else if (s->ranking) {
    for (size_t i = 0; i < n; i++) {
      str_addz(out, i ? ", " : "\"responses\": [");
      str_json(out, list[i].text.p, list[i].text.len);
    }
    for (size_t i = 0; i < n; i++) {
      str_addz(out, i ? ", " : "], \"scores\": [");
      str_json_num(out, list[i].score);
    }
    str_addc(out, ']');
  } else {
    m[turns - 1].content = list[side ? s->rejected : s->chosen].text;
    conv_write(out, m, turns);
  }
  return RW_OK;
}

extern const source source_nectar;
const source source_nectar = {
    .name = "nectar", .pairing = PAIR_IN_ROW, .scan = nectar_scan, .pairs = nectar_pairs, .text = nectar_text};

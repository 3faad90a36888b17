/* nectar.c - Nectar: a prompt as a transcript and up to seven answers ranked by GPT-4 (1 is the best).
 *
 * Fields used: prompt ("\n\nHuman: … \n\nAssistant: "), answers[{answer, rank}]. (Zhu et al. 2023)
 */
#include <string.h>

#include "curate/sources/ranked.h"
#include "data/transcript.h"

enum { MOST_ANSWERS = 64 };

/* The prompt's turns; the last is the assistant's, empty. */
static rw_status read_prompt(json_doc *d, arena *a, message **m, size_t *n, rw_error *err) {
  slice prompt;
  RW_TRY(src_text(d, 0, "prompt", &prompt, err));
  rw_status s = transcript_read(prompt, m, n, a, err);
  if (s) return rw_prefix(err, s, "prompt");
  if (*n < 2 || (*m)[*n - 1].role != ROLE_ASSISTANT || (*m)[*n - 1].content.len > 0)
    return rw_fail(err, RW_DATA, "prompt: expected a transcript that ends with \"\\n\\nAssistant:\"");
  return RW_OK;
}

static rw_status read_answers(json_doc *d, answer *out, size_t *n, rw_error *err) {
  json_val list = json_get(d, 0, "answers");
  *n = 0;
  if (json_kind(d, list) != JSON_ARRAY || json_count(d, list) > MOST_ANSWERS)
    return json_wrong(d, list, "answers", "a list of at most 64 ranked answers", err);
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

static rw_status nectar_pairs(json_doc *d, row_form form, const scan *row, scan_list *out, rw_error *err) {
  answer list[MOST_ANSWERS];
  size_t n;
  RW_TRY(read_answers(d, list, &n, err));
  return ranked_pairs(list, n, form, row, out, err);
}

/* The prompt's turns, of which the last is the assistant's, with the answer in it. */
static rw_status set_branch(conversation *c, const message *turns, size_t n, slice answer_text, arena *a,
                            rw_error *err) {
  c->messages = arena_alloc(a, n, sizeof *turns);
  if (!c->messages) return rw_nomem(err, "a row");
  memcpy(c->messages, turns, n * sizeof *turns);
  c->messages[n - 1].content = answer_text;
  c->n_messages = n;
  return RW_OK;
}

static rw_status nectar_text(json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err) {
  answer list[MOST_ANSWERS];
  message *m;
  size_t n, turns;
  RW_TRY(read_prompt(d, a, &m, &turns, err));
  RW_TRY(read_answers(d, list, &n, err));
  if (!s->ranking) {
    RW_TRY(src_branches(out, a, ROW_PAIR, 2, err));
    RW_TRY(set_branch(&out->branch[0], m, turns, list[s->chosen].text, a, err));
    return set_branch(&out->branch[1], m, turns, list[s->rejected].text, a, err);
  }
  RW_TRY(src_branches(out, a, ROW_RESPONSES, n, err));
  out->scores = arena_alloc(a, n, sizeof *out->scores);
  if (!out->scores) return rw_nomem(err, "a row");
  for (size_t i = 0; i < n; i++) {
    RW_TRY(set_branch(&out->branch[i], m, turns, list[i].text, a, err));
    out->scores[i] = list[i].score;
  }
  return RW_OK;
}

extern const source source_nectar;
const source source_nectar = {
    .name = "nectar", .pairing = PAIR_IN_ROW, .scan = nectar_scan, .pairs = nectar_pairs, .text = nectar_text};

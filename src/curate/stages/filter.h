/* filter.h - what filter.c and filter_text.c share: what a filter stage asks of its texts. */
#ifndef CURATE_STAGES_FILTER_H
#define CURATE_STAGES_FILTER_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "curate/curation.h"
#include "curate/reader.h"
#include "curate/words.h"
#include "text/tokenizer.h"

typedef struct {
  bool has_min, has_max;
  double min, max;
} filter_range;

typedef enum {
  TEST_NONE,
  TEST_WORDS,
  TEST_CHARACTERS,
  TEST_TOKENS,
  TEST_SCRIPT,
  TEST_MATCHES,
  TEST_WITHOUT
} filter_kind;

typedef struct {
  filter_kind kind;
  filter_range range; /* of a length; of a script: min is the share */
  pcre2_code *re;     /* matches, without; of a script its letters as group 1, and all others */
  pcre2_match_context *limits;
  slice text; /* the expression, or the scripts, as written */
} filter_test;

/* ---- in a recipe ---- */

/* words, characters, tokens: {min, max}; script: NAME or a list; matches, without: REGEX. */
rw_status filter_read_length(const recipe_reader *r, struct fy_node *v, const char *key, filter_kind kind,
                             filter_test *t);
rw_status filter_read_script(const recipe_reader *r, struct fy_node *v, filter_test *t);
rw_status filter_read_regex(const recipe_reader *r, struct fy_node *v, const char *key, filter_kind kind,
                            filter_test *t);
void filter_add_range(const filter_range *range, str *out); /* "not 3 or more, and 4 or less" */
/* "is not …": why what it is asked of goes; of: of what, as "its prompt". */
void filter_test_reason(const filter_test *t, const char *of, str *out);
void filter_test_close(filter_test *t);

/* ---- in a run ---- */

/* What a thread needs to ask; zeroes will do. */
typedef struct {
  words words;
  pcre2_match_data *match;
  tok_scratch *tokens;
  ids ids;
} filter_lane;
void filter_lane_close(filter_lane *l);

/* Do the messages' texts pass? XX
 * TEST_TOKENS. RW_DATA: the expression gave up. */
rw_status filter_test_texts(const filter_test *t, const tokenizer *tok, filter_lane *l, const message *m, size_t n,
                            bool *pass, double *got, rw_error *err);

#endif

/* decontaminate.h - finding training prompts that a benchmark also has: exact word n-grams.
 *
 * Prompts only: of a training row every user message before the last assistant message, each by itself; of a
 * benchmark row its prompt (given as messages: each user message). Two prompts match when they share `ngram`
 * consecutive words; a prompt of fewer words matches one whose whole word sequence is the same.
 */
#ifndef CURATE_DECONTAMINATE_H
#define CURATE_DECONTAMINATE_H

#include "base/context.h"
#include "data/conversation.h"

typedef struct {
  int64_t ngram; /* 8: the Skywork-Reward report's ">7-gram" */
  bool gist;     /* the public script behind the report's table: 7 words, words of two characters or more, no short
                    prompts */
  const char *train_field, *bench_field; /* where rows have their prompt; NULL: by the names that are known */
} decon_options;
#define DECON_NGRAM 8 /* a macro: the table of options writes it out */
enum { DECON_GIST_NGRAM = 7 };

/* A benchmark's prompts, indexed. */
typedef struct decon_index decon_index;
rw_status decon_open(decon_index **out, const char *const *bench, size_t n_bench, const decon_options *o,
                     rw_context *context, rw_error *err);
void decon_free(decon_index *d);
size_t decon_rows(const decon_index *d);
slice decon_row_subset(const decon_index *d, size_t i); /* p NULL: the row has none */
slice decon_row_file(const decon_index *d, size_t i);   /* as it was given */

/* How the pair stands to the benchmark row's own responses (texts compared whole; where a side is a list, with each
 * of them). Bits: a pair that has both of the benchmark's texts is same_chosen and same_rejected, and flipped where
 * they stand the other way round: its chosen text rejected there, or its rejected text chosen. */
typedef enum { DECON_SAME_CHOSEN = 1, DECON_SAME_REJECTED = 2, DECON_FLIPPED = 4 } decon_preference;

typedef struct {
  size_t bench;   /* row of the benchmark, from 0 */
  slice id;       /* its id, as JSON: a number stays one; the row's number where it has none */
  slice subset;   /* "" : none */
  slice span;     /* the longest shared run of words, as normalized text; valid until the next check */
  size_t words;   /* words in the span */
  slice prompt;   /* the benchmark's prompt (message) */
  size_t message; /* the training row's user message, counted from 0 */
  slice text;     /* that message; valid as long as the row */
  size_t from, to, bench_from, bench_to; /* the run's bytes in text and in prompt */
  int preference;                        /* decon_preference bits */
} decon_match;

typedef struct decon_scratch decon_scratch;             /* one a thread */
decon_scratch *decon_scratch_new(const decon_index *d); /* NULL: no memory */
void decon_scratch_free(decon_scratch *s);
/* The benchmark rows that the training row's prompts match, in the benchmark's order; owned by the scratch. */
rw_status decon_check(const decon_index *d, decon_scratch *s, const conv_row *row, const decon_match **m, size_t *n,
                      rw_error *err);

#endif

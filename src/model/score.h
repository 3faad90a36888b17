/* score.h - rows in, rewards out: template, tokenizer, packing and model behind one call.
 *
 * The score is the raw logit of the conversation's last token, f32. The same conversation gets the same bits
 * whatever it is scored with. What a row's branches share (their longest common prefix of ids) is computed once.
 */
#ifndef MODEL_SCORE_H
#define MODEL_SCORE_H

#include <stdbool.h>

#include "base/context.h"
#include "base/sha256.h"
#include "data/conversation.h"
#include "model/prefix_figures.h"
#include "text/render.h"

typedef enum { OVERLONG_ERROR, OVERLONG_TRUNCATE, OVERLONG_DROP } overlong;

typedef struct {
  const char *model;         /* directory */
  const char *base;          /* an adapter's base; NULL: the one that it names */
  const char *head;          /* "logit:ID"; NULL: the checkpoint's own */
  const char *chat_template; /* file; NULL: the model's own */
  const char *date;          /* strftime_now; NULL: the default */
  const char *dtype;         /* "auto", "f32", "bf16" */
  const char *device;        /* "auto", "cpu", "cuda[:N]" */
  int64_t batch_tokens;      /* 0: a default that suits the model */
  int64_t max_length;        /* tokens; 0: the model's limit */
  overlong overlong;
  bool own;              /* the model is of this process's making (model_options) */
  bool no_golden_check;  /* take the model although its golden rows (golden.h) score otherwise */
  uint64_t prefix_cache; /* bytes of keys and values kept over calls (model_keep_prefixes); 0: none */
  bool no_share;         /* compute every conversation whole; no score depends on it */
  rw_context *context;   /* with its threads; lives as long as the scorer */
} score_options;

typedef struct scorer scorer;
rw_status scorer_open(scorer **out, const score_options *o, rw_error *err);
void scorer_free(scorer *s); /* NULL is fine */

typedef struct {
  const conv_row *row; /* in: stays valid during the call */
  float *score;        /* out: one a branch (caller's array of row->n_branches); NaN where error is set */
  float *attributes;   /* out: scorer_attributes a branch, side by side; may be NULL */
  uint32_t *tokens;    /* out: one a branch, ids that were scored (after a cut); may be NULL */
  bool joins;          /* in: shares its computation with the item before, as if their branches were one row's */
  bool dropped;        /* out: over-long under OVERLONG_DROP */
  bool truncated;      /* out: some branch was cut */
  char error[256];     /* out: "" or why the row could not be scored */
} score_item;
/* Scores n rows together. A row that cannot be scored says so in its item; the call fails only where nothing can
 * go on (memory, interruption, a number that is not finite). */
rw_status score_items(scorer *s, score_item *items, size_t n, rw_error *err);

/* Takes part in what the model's other ranks score, until none of them wants more (model_attend). */
rw_status scorer_attend(scorer *s, rw_error *err);
rw_context *scorer_context(const scorer *s);
/* How many of the rows have a conversation with more tokens than the scorer's limit, and the most that one has;
 * returns what the scorer does with them. Rows that cannot be rendered count as short. */
overlong scorer_overlong(const scorer *s, const conv_row *rows, size_t n, size_t *n_long, size_t *longest);
prefix_figures scorer_prefix_figures(const scorer *s);
const char *scorer_device(const scorer *s);
const char *scorer_dtype(const scorer *s);
rw_status scorer_hash(const scorer *s, char out[SHA256_HEX],
                      rw_error *err); /* its weights' hash: model_weights_hash */
int64_t scorer_max_length(const scorer *s);
/* What rendering noticed so far: control tokens escaped, contents changed by the template. */
void scorer_notes(const scorer *s, render_notes *sum);

/* The names of a several-headed model's attributes; 0 for a scalar head. */
size_t scorer_attributes(const scorer *s, const char *const **names);
/* Does the model weigh its attributes as ArmoRM does, whose scores stand in Magpie's rows? */
bool scorer_is_armorm(const scorer *s);

#endif

/* conversation.h - rows as the commands see them: conversations of messages, pairs, rankings.
 *
 * One reader for every row form of the public contract. Message lists that begin with a user, system or developer
 * message are whole conversations; otherwise they continue `prompt`. Strings are one message.
 */
#ifndef DATA_CONVERSATION_H
#define DATA_CONVERSATION_H

#include "data/message.h"

/* What one branch of a row is: exactly one of messages, text or ids is set. */
typedef struct {
  message *messages;
  size_t n_messages;
  slice tools;     /* beside messages: the row's tools as a JSON list; p NULL: none */
  slice reference; /* beside messages: the row's answer to compare with, for models that do; p NULL: none. Beside a
                    * text: the same, for the messages that a server finds in it */
  size_t n_prompt; /* messages before the answer */
  slice text;      /* p != NULL: as is, no template, no BOS */
  int32_t *ids;
  size_t n_ids; /* already tokenized (ids != NULL) */
} conversation;

typedef enum {
  ROW_SINGLE,    /* messages | prompt + response | text | input_ids: branch 0 */
  ROW_RESPONSES, /* prompt + responses: one branch a response; scores too when a ranking */
  ROW_PAIR,      /* branches 0..n_chosen-1 chosen, the rest rejected (one each, or lists) */
} row_kind;

typedef struct {
  row_kind kind;
  conversation *branch;
  size_t n_branches, n_chosen;
  bool chosen_is_list, rejected_is_list; /* how they stood in the row: plural result fields */
  double *scores;                        /* ranking: one a branch, else NULL */
  double score;                          /* ROW_SINGLE: its number `score`; NAN: it has none */
  bool has_margin;
  double margin;
  slice id, source, prompt; /* p NULL: absent. id and prompt as raw text when not a string */
  json_val responses;       /* ROW_RESPONSES: the list as it stands in the row; JSON_NONE: numbered fields */
  slice more;               /* of a curated row: members of its own, as JSON, for what is written; p NULL: none */
} conv_row;

/* Reads a parsed row (node `v`) of any form (data/form.h) into *row; called NULL: by the forms' own names.
 * Everything lives in the arena or in the document's text. The error names the field, what was expected and what
 * was found; the caller adds file and line. */
rw_status conv_read(conv_row *row, json_doc *d, json_val v, const row_map *called, arena *a, rw_error *err);

/* As conv_read, but a row's responses count even where it has a pair too (Magpie's rows). */
rw_status conv_read_responses(conv_row *row, json_doc *d, json_val v, const row_map *called, arena *a,
                              rw_error *err);

/* The text of a value of `reference`, that of messages one under another. p NULL: it is neither; models that
 * compare with none have rows where it means something else. */
rw_status conv_reference(slice *text, json_doc *d, json_val v, arena *a, rw_error *err);

/* Makes a ranking of two responses of unequal score a pair. false: the row is none. */
bool conv_as_pair(conv_row *row);

#endif

/* remote.h - requests to a server that scores or judges, and what its answers mean. */
#ifndef EVAL_REMOTE_H
#define EVAL_REMOTE_H

#include "eval/endpoint.h"
#include "eval/eval_int.h"
#include "text/render.h"

typedef enum { ASK_PAIR, ASK_RATING, ASK_REWARD } ask_kind;

/* One request. ASK_PAIR: which of the item's branches a and b is better; a is shown first. Else: branch a alone. */
typedef struct {
  uint32_t item, a, b;
  ask_kind kind;
} question;

typedef enum {
  ANSWER_NONE,       /* not asked yet, or the request failed */
  ANSWER_FIRST,      /* [[A]] */
  ANSWER_SECOND,     /* [[B]] */
  ANSWER_TIE,        /* [[C]] */
  ANSWER_NUMBER,     /* a rating or a reward */
  ANSWER_REFUSED,    /* the judge will not judge */
  ANSWER_UNPARSABLE, /* text without one clear verdict */
  ANSWER_CUT,        /* the same, and the text had reached its length limit */
  ANSWER_KINDS
} answer_kind;

typedef struct {
  answer_kind kind;
  double value;
} answer;

/* ---- judge.c ---- */

/* Appends the user message that asks a judge. RW_DATA for rows that are no text. */
rw_status judge_prompt(str *out, const eval_data *d, const question *q, rw_error *err);
/* Reads a judge's text: exactly one kind of verdict ([[A]], [[B]], [[C]]; for a rating [[1]] to [[10]]) after what
 * stands between <think> and </think>. */
answer judge_read(ask_kind kind, slice text);

/* ---- reply.c ---- */

/* A chat completion's text as an answer. RW_DATA: it is no such reply. */
rw_status reply_chat(answer *out, json_doc *d, ask_kind kind, rw_error *err);
/* A reward server's reply; *value is the reward. */
rw_status reply_reward(double *value, json_doc *d, endpoint_format format, rw_error *err);
/* "name:value,…" with Nemotron-4-340B-Reward's five attributes, weighted as RewardBench does, or "reward:value". */
rw_status reply_attributes(double *value, slice text, rw_error *err);

#endif

/* endpoint.h - benchmark items judged or scored by a server over HTTP.
 *
 * chat: an OpenAI-compatible chat model as a pairwise judge. Every comparison is asked twice, with the responses in
 * both orders; the chosen one wins when both answers name it (JudgeBench: when more answers name it than the
 * other). reward: a reward model behind chat completions (Nemotron's "helpfulness:1.6,…") or behind vLLM's and
 * SGLang's one-number routes. Answers are kept in a file as they come, so that a killed evaluation goes on where it
 * was.
 */
#ifndef EVAL_ENDPOINT_H
#define EVAL_ENDPOINT_H

#include "eval/eval.h"

enum { JUDGE_PROMPT = 1 }; /* version of the judge's wording (judge.c) */

typedef enum { ENDPOINT_CHAT, ENDPOINT_REWARD } endpoint_kind;
typedef enum {
  ENDPOINT_AUTO,     /* by the end of the URL's path; not for reward servers with a path of their own */
  ENDPOINT_NEMOTRON, /* chat/completions whose answer is "name:value,…" */
  ENDPOINT_CLASSIFY, /* vLLM: data[0].probs[0] */
  ENDPOINT_POOLING,  /* vLLM: data[0].data, one number */
  ENDPOINT_SCORE,    /* vLLM: text_1, text_2; data[0].score */
  ENDPOINT_SGLANG,   /* SGLang's own /classify: [{"embedding": [x]}] */
} endpoint_format;
extern const option_word endpoint_format_words[]; /* by endpoint_format */

typedef struct {
  const char *url;
  endpoint_kind kind;
  endpoint_format format;
  const char *model;  /* NULL: the request names none */
  const char *key;    /* sent as bearer token, to the URL's own host only; NULL: none */
  const char *params; /* JSON object: members of each request; null leaves one of ours out; NULL: none */
  const char
      *tokenizer;    /* model directory that renders to ids (classify, pooling, sglang); NULL: the server renders */
  const char *cache; /* file of answers, appended to; NULL: none */
  int64_t concurrency, retries;
  double rate;          /* requests a second; 0: as fast as they are answered */
  double timeout;       /* seconds a request may take, from connecting to its last byte */
  double total_timeout; /* seconds of the whole; 0: no limit */
  double retry_wait;    /* seconds before the first retry, doubled for each further one */
  uint64_t seed;        /* seed of the jitter */
  rw_context *context;
} endpoint_options;

typedef struct {
  size_t answers, cached, requests, retried, rate_limited;
} endpoint_counts;

/* The options' URL as it is asked: "http://host:8000/v1" gets "/chat/completions" where kind or format ask for it.
 * RW_USAGE for what cannot work (no http or https, credentials inside, unknown route). The caller frees *url with
 * mem_free; *format is never ENDPOINT_AUTO for a reward server. */
rw_status endpoint_resolve(const endpoint_options *o, char **url, endpoint_format *format, rw_error *err);
/* A URL without its query, for people and records. The caller frees it. */
char *endpoint_shown(const char *url);

/* Asks for every item. One that cannot be asked for, or whose request fails for good, is unscored. */
rw_status eval_scores_endpoint(eval_scores *s, endpoint_counts *counts, const eval_data *d,
                               const endpoint_options *o, rw_error *err);

#endif

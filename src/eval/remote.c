/* remote.c - items into questions, questions into requests, answers into scores. */
#include "eval/remote.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "eval/answers.h"
#include "eval/http.h"

enum { MAX_ANSWER_TOKENS = 2048 };
#define NOT_ASKED SIZE_MAX

typedef struct {
  const eval_data *d;
  const endpoint_options *o;
  endpoint_counts *counts;
  char *url;
  endpoint_format format;
  question *q;
  answer *a;
  size_t *same_as; /* the first question with the same request; itself, mostly; NOT_ASKED: it has no request */
  char (*key)[SHA256_HEX];
  size_t n, cap, next;
  map *by_key; /* the first question of each key; old keys lead to the same */
  json_doc *params, *doc;
  renderer *r;
  render_scratch *scratch;
  ids ids;
  answers kept;
  eval_scores *scores; /* for the items that fail */
  progress p;
} remote;

/* ---- questions ---- */

static rw_status ask(remote *r, size_t i, size_t a, size_t b, ask_kind kind, rw_error *err) {
  question q = {(uint32_t)i, (uint32_t)a, (uint32_t)b, kind};
  return vec_push(r->q, r->n, r->cap, q) ? RW_OK : rw_nomem(err, "questions");
}

static rw_status ask_both_orders(remote *r, size_t i, size_t a, size_t b, rw_error *err) {
  RW_TRY(ask(r, i, a, b, ASK_PAIR, err));
  return ask(r, i, b, a, ASK_PAIR, err);
}

static rw_status ask_item(remote *r, size_t i, rw_error *err) {
  const item *it = &r->d->items[i];
  if (is_aside(it)) return RW_OK;
  if (r->o->kind == ENDPOINT_REWARD || is_ties(r->d, it->subset)) {
    ask_kind kind = r->o->kind == ENDPOINT_REWARD ? ASK_REWARD : ASK_RATING;
    for (size_t b = 0; b < it->n_branches; b++) RW_TRY(ask(r, i, b, b, kind, err));
  } else if (r->d->suite == EVAL_PPE_CORRECTNESS) {
    for (size_t k = 0; k < it->n_sampled; k++) {
      const conflict *c = &r->d->pairs[it->first_pair + it->n_pairs + k];
      RW_TRY(ask_both_orders(r, i, c->right, c->wrong, err));
    }
  } else if (r->d->suite == EVAL_RM_BENCH) {
    for (size_t c = 0; c < 3; c++)
      for (size_t j = 3; j < 6; j++) RW_TRY(ask_both_orders(r, i, c, j, err));
  } else {
    for (size_t b = 1; b < it->n_branches; b++) RW_TRY(ask_both_orders(r, i, 0, b, err));
  }
  return RW_OK;
}

/* ---- requests ---- */

/* A member of that name is written here, unless the user's parameters have one. */
static bool ours(const remote *r, const char *name) {
  return !r->params || json_get(r->params, 0, name) == JSON_NONE;
}

static void text_member(const remote *r, json_writer *w, const char *name, slice value) {
  if (ours(r, name)) jw_slice(w, name, value.p ? value : SLICE(""));
}

static void false_member(const remote *r, json_writer *w, const char *name) {
  if (ours(r, name)) jw_bool(w, name, false);
}

static void messages_member(const remote *r, json_writer *w, const message *m, size_t n) {
  if (ours(r, "messages")) conv_write(jw_value(w, "messages"), m, n);
}

static rw_status ids_member(remote *r, json_writer *w, const char *name, const conversation *c, rw_error *err) {
  const int32_t *p = c->ids;
  size_t n = c->n_ids;
  if (!p) {
    r->ids.len = 0;
    RW_TRY(render_ids(r->r, r->scratch, c, &r->ids, err));
    p = r->ids.p;
    n = r->ids.len;
  }
  if (!ours(r, name)) return RW_OK;
  json_writer list = {.out = jw_value(w, name), .compact = true};
  jw_array(&list, NULL);
  for (size_t i = 0; i < n; i++) jw_int(&list, NULL, p[i]);
  jw_end(&list);
  return RW_OK;
}

static rw_status reward_members(remote *r, json_writer *w, const question *q, rw_error *err) {
  const conversation *c = &r->d->rows[q->item].branch[q->a];
  endpoint_format f = r->format;
  if (f == ENDPOINT_NEMOTRON) {
    if (!c->messages) return rw_fail(err, RW_DATA, "expected messages; a chat endpoint takes no texts and no ids");
    messages_member(r, w, c->messages, c->n_messages);
    return RW_OK;
  }
  if (f == ENDPOINT_SCORE) {
    if (c->n_messages != 2)
      return rw_fail(err, RW_DATA, "expected one prompt and one response; /score takes no more");
    text_member(r, w, "text_1", c->messages[0].content);
    text_member(r, w, "text_2", c->messages[1].content);
  } else if (c->ids || (r->r && c->messages)) {
    RW_TRY(ids_member(r, w, f == ENDPOINT_SGLANG ? "input_ids" : "input", c, err));
  } else if (c->text.p) {
    text_member(r, w, f == ENDPOINT_SGLANG ? "text" : "input", c->text);
    if (f != ENDPOINT_SGLANG) false_member(r, w, "add_special_tokens");
  } else if (f == ENDPOINT_SGLANG) {
    return rw_fail(err, RW_DATA,
                   "SGLang's /classify takes rendered text; name the model's folder by " FIELD(endpoint_tokenizer));
  } else {
    messages_member(r, w, c->messages, c->n_messages);
    false_member(r, w, "add_generation_prompt");
  }
  if (f != ENDPOINT_SGLANG) false_member(r, w, "use_activation"); /* the raw logit */
  return RW_OK;
}

static rw_status chat_members(remote *r, json_writer *w, const question *q, rw_error *err) {
  str prompt = {0};
  rw_status st = judge_prompt(&prompt, r->d, q, err);
  message m = conv_message(ROLE_USER, (slice){prompt.p, prompt.len});
  if (!st) messages_member(r, w, &m, 1);
  if (!st && prompt.oom) st = rw_nomem(err, "a request");
  str_free(&prompt);
  if (ours(r, "temperature")) jw_int(w, "temperature", 0);
  if (ours(r, "max_tokens")) jw_int(w, "max_tokens", MAX_ANSWER_TOKENS);
  return st;
}

static bool is_null(void *params, slice key, json_val v) {
  (void)key;
  return json_kind(params, v) == JSON_NULL;
}

static rw_status request(remote *r, const question *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  jw_object(&w, NULL);
  if (r->o->model) text_member(r, &w, "model", slice_of(r->o->model));
  RW_TRY(r->o->kind == ENDPOINT_CHAT ? chat_members(r, &w, q, err) : reward_members(r, &w, q, err));
  if (r->params) jw_members(&w, r->params, is_null, r->params);
  jw_end(&w);
  return out->oom ? rw_nomem(err, "a request") : RW_OK;
}

/* Each question's key, and which of them are the same request. An item that cannot be asked for is unscored. */
static rw_status make_keys(remote *r, rw_error *err) {
  r->a = mem_zalloc(r->n, sizeof *r->a);
  r->same_as = mem_alloc(r->n, sizeof *r->same_as);
  r->key = mem_alloc(r->n, sizeof *r->key);
  if (!r->a || !r->same_as || !r->key) return rw_nomem(err, "questions");
  str text = {0};
  rw_status st = RW_OK;
  for (size_t i = 0; !st && i < r->n; i++) {
    rw_error why;
    r->same_as[i] = NOT_ASKED;
    str_clear(&text);
    str_printf(&text, "%s\n", r->url);
    if ((st = request(r, &r->q[i], &text, &why))) {
      context_spell(r->o->context, why.text);
      st = st == RW_NOMEM ? rw_nomem(err, "questions")
                          : scores_unscored(r->scores, r->d, r->q[i].item, why.text, err);
      continue;
    }
    char old[ANSWERS_OLD_KEY];
    answers_key((slice){text.p, text.len}, r->key[i], old);
    int64_t *at = map_put(r->by_key, r->key[i], strlen(r->key[i]), (int64_t)i, NULL);
    if (at) r->same_as[i] = (size_t)*at;
    if (!at || !map_put(r->by_key, old, strlen(old), (int64_t)r->same_as[i], NULL)) st = rw_nomem(err, "questions");
  }
  str_free(&text);
  return st;
}

/* ---- answers ---- */

static rw_status take_reply(remote *r, size_t i, slice body, rw_error *err) {
  rw_status st = json_parse(r->doc, body.p, body.len, err);
  if (st == RW_DATA) return rw_prefix(err, st, "the reply is no JSON");
  RW_TRY(st);
  if (r->o->kind == ENDPOINT_CHAT) return reply_chat(&r->a[i], r->doc, r->q[i].kind, err);
  double value;
  RW_TRY(reply_reward(&value, r->doc, r->format, err));
  r->a[i] = (answer){ANSWER_NUMBER, value};
  return RW_OK;
}

static void take_kept(void *ctx, slice key, slice body) {
  remote *r = ctx;
  rw_error why;
  int64_t *at = map_get(r->by_key, key.p, key.len);
  size_t i = at ? (size_t)*at : r->n;
  if (i < r->n && r->a[i].kind == ANSWER_NONE && take_reply(r, i, body, &why) == RW_OK) r->counts->cached++;
}

/* ---- the job ---- */

static rw_status job_next(void *ctx, bool *more, size_t *id, str *body, rw_error *err) {
  remote *r = ctx;
  while (r->next < r->n && (r->a[r->next].kind != ANSWER_NONE || r->same_as[r->next] != r->next)) r->next++;
  *more = r->next < r->n;
  if (!*more) return RW_OK;
  *id = r->next++;
  return request(r, &r->q[*id], body, err);
}

static rw_status job_reply(void *ctx, size_t id, slice body, rw_error *err) {
  remote *r = ctx;
  RW_TRY(take_reply(r, id, body, err));
  r->counts->answers++;
  progress_set(&r->p, r->counts->answers + r->counts->cached, NULL);
  return r->o->cache ? answers_add(&r->kept, r->key[id], body, err) : RW_OK;
}

static rw_status job_failed(void *ctx, size_t id, const char *why, rw_error *err) {
  remote *r = ctx;
  return scores_unscored(r->scores, r->d, r->q[id].item, why, err);
}

static rw_status run_job(remote *r, rw_error *err) {
  const endpoint_options *o = r->o;
  http_options h = {r->url,     o->key,           o->concurrency, o->retries, o->rate,
                    o->timeout, o->total_timeout, o->retry_wait,  o->seed,    o->context};
  http_job job = {r, job_next, job_reply, job_failed};
  http_counts c = {0};
  progress_start(&r->p, o->context, eval_suite_words[r->d->suite].text, "answers", r->n);
  rw_status st = http_run(&h, &job, &c, err);
  progress_end(&r->p);
  r->counts->requests = c.requests;
  r->counts->retried = c.retried;
  r->counts->rate_limited = c.rate_limited;
  if (st && st != RW_INTERRUPTED) {
    char *shown = endpoint_shown(r->url);
    rw_prefix(err, st, "%s", shown ? shown : "endpoint");
    mem_free(shown);
  }
  return st;
}

/* ---- scores ---- */

static void count_answer(eval_judge *j, answer a) {
  size_t *const of[ANSWER_KINDS] = {NULL,        &j->said_first, &j->said_second,     &j->said_tie,
                                    &j->ratings, &j->said_no,    &j->said_unparsable, &j->said_cut};
  if (of[a.kind]) ++*of[a.kind];
}

/* ab: with the chosen one first; ba: with it second. 1: the chosen one wins, -1: it loses, 0: neither. */
static int outcome(eval_judge *j, eval_suite suite, answer ab, answer ba) {
  int net = (ab.kind == ANSWER_FIRST) - (ab.kind == ANSWER_SECOND) + (ba.kind == ANSWER_SECOND) -
            (ba.kind == ANSWER_FIRST);
  int need = suite == EVAL_JUDGEBENCH ? 1 : 2; /* as JudgeBench counts; else both answers must agree */
  int won = net >= need ? 1 : net <= -need ? -1 : 0;
  bool refused = ab.kind == ANSWER_REFUSED || ba.kind == ANSWER_REFUSED;
  bool unclear = ab.kind >= ANSWER_UNPARSABLE || ba.kind >= ANSWER_UNPARSABLE;
  bool tie = ab.kind == ANSWER_TIE || ba.kind == ANSWER_TIE;
  j->comparisons++;
  ++*(won > 0   ? &j->won
      : won < 0 ? &j->lost
      : refused ? &j->refused
      : unclear ? &j->unparsable
      : tie     ? &j->tied
                : &j->swapped);
  return won;
}

/* Each question its answer; an item whose request failed for another one, too, is unscored. */
static rw_status share_answers(remote *r, rw_error *err) {
  for (size_t i = 0; i < r->n; i++) {
    size_t asked = r->same_as[i];
    if (asked == NOT_ASKED) continue;
    r->a[i] = r->a[asked];
    if (r->a[i].kind == ANSWER_NONE)
      RW_TRY(scores_unscored(r->scores, r->d, r->q[i].item, r->scores->why[r->q[asked].item], err));
  }
  return RW_OK;
}

static rw_status fill_scores(eval_scores *s, const remote *r, rw_error *err) {
  const eval_data *d = r->d;
  bool chat = r->o->kind == ENDPOINT_CHAT;
  size_t before = SIZE_MAX, sampled = 0; /* which of its item's sampled pairs a question is of */
  for (size_t i = 0; i < d->n_items; i++)
    for (size_t b = 0; b < d->items[i].n_branches; b++) s->score[d->items[i].first + b] = s->why[i] ? NAN : 0;
  if (chat && !(s->beats = mem_zalloc(beats_at(d, d->n_items), 1))) return rw_nomem(err, "scores");
  for (size_t i = 0; i < r->n; i++) {
    const question *q = &r->q[i];
    const item *it = &d->items[q->item];
    answer a = r->a[i];
    double *score = s->score + it->first;
    if (s->why[q->item]) continue;
    if (chat) count_answer(&s->judge, a);
    if (q->kind != ASK_PAIR) {
      /* a reply without a rating counts against the judge: lowest for a correct response, highest for another */
      score[q->a] = a.kind == ANSWER_NUMBER ? a.value : q->a < it->num_correct ? 0 : 11;
      continue;
    }
    int won = outcome(&s->judge, d->suite, a, r->a[++i]);
    sampled = q->item == before ? sampled + 1 : 0;
    before = q->item;
    size_t slot = d->suite == EVAL_RM_BENCH          ? q->a * 3 + q->b - 3
                  : d->suite == EVAL_PPE_CORRECTNESS ? it->n_pairs + sampled
                                                     : q->b - 1;
    s->beats[beats_at(d, q->item) + slot] = (int8_t)won;
    if (chat) count_answer(&s->judge, r->a[i]);
    /* for people: the share of its comparisons that a response wins, a tie being half of one */
    double share = d->suite == EVAL_RM_BENCH ? 1.0 / 3 : 1, mine = share * (1 + won) / 2;
    score[q->a] += d->suite == EVAL_RM_BENCH ? mine : mine / (it->n_branches - 1);
    score[q->b] += share - mine;
  }
  return RW_OK;
}

static void look_at_range(const eval_scores *s, const remote *r) {
  if (r->format != ENDPOINT_CLASSIFY && r->format != ENDPOINT_SCORE) return;
  if (s->unscored == r->d->n_items) return;
  for (size_t b = 0; b < r->d->n_branches; b++)
    if (s->score[b] < 0 || s->score[b] > 1) return;
  log_warn(r->o->context,
           "every reward lies in 0..1: the server seems to apply a sigmoid, under which high rewards tie; start it "
           "without (vLLM: --pooler-config '{\"use_activation\": false}')");
}

static rw_status prepare(remote *r, rw_error *err) {
  const endpoint_options *o = r->o;
  RW_TRY(endpoint_resolve(o, &r->url, &r->format, err));
  r->by_key = map_new();
  r->doc = json_new();
  if (!r->by_key || !r->doc) return rw_nomem(err, "questions");
  if (o->params) {
    if (!(r->params = json_new())) return rw_nomem(err, "parameters");
    rw_status st = json_parse(r->params, o->params, strlen(o->params), err);
    if (!st && json_kind(r->params, 0) != JSON_OBJECT)
      st = rw_fail(err, RW_DATA, "expected an object such as {\"max_tokens\": 4096}");
    if (st) return rw_prefix(err, st == RW_DATA ? RW_USAGE : st, FIELD(endpoint_params));
  }
  if (o->tokenizer) {
    RW_TRY(renderer_open(&r->r, o->tokenizer, NULL, NULL, err));
    if (!(r->scratch = render_scratch_new(r->r))) return rw_nomem(err, "tokenizer");
  }
  for (size_t i = 0; i < r->d->n_items; i++) RW_TRY(ask_item(r, i, err));
  RW_TRY(make_keys(r, err));
  return o->cache ? answers_open(&r->kept, o->cache, take_kept, r, o->context, err) : RW_OK;
}

rw_status eval_scores_endpoint(eval_scores *s, endpoint_counts *counts, const eval_data *d,
                               const endpoint_options *o, rw_error *err) {
  *counts = (endpoint_counts){0};
  RW_TRY(scores_new(s, d, err));
  remote r = {.d = d, .o = o, .counts = counts, .kept.fd = -1, .scores = s};
  rw_status st = prepare(&r, err);
  if (!st && counts->cached) log_note(o->context, "%zu of %zu answers are in %s", counts->cached, r.n, o->cache);
  if (!st) st = run_job(&r, err);
  if (!st) st = share_answers(&r, err);
  if (!st) st = fill_scores(s, &r, err);
  if (!st && o->kind == ENDPOINT_REWARD) look_at_range(s, &r);
  if (st) eval_scores_free(s);
  answers_close(&r.kept);
  render_scratch_free(r.scratch);
  renderer_free(r.r);
  json_free(r.params);
  json_free(r.doc);
  map_free(r.by_key);
  void *p[] = {r.q, r.a, r.same_as, r.key, r.ids.p, r.url};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  return st;
}

/* ---- addresses ---- */

static bool ends_in(const char *s, size_t n, const char *end) {
  size_t m = strlen(end);
  return n >= m && memcmp(s + n - m, end, m) == 0;
}

char *endpoint_shown(const char *url) { return mem_strndup(url, strcspn(url, "?#")); }

/* The format that a path ends in; AUTO: none. */
static endpoint_format format_of(const char *path, size_t n) {
  return ends_in(path, n, "/chat/completions") ? ENDPOINT_NEMOTRON
         : ends_in(path, n, "/classify")       ? ENDPOINT_CLASSIFY
         : ends_in(path, n, "/pooling")        ? ENDPOINT_POOLING
         : ends_in(path, n, "/score")          ? ENDPOINT_SCORE
                                               : ENDPOINT_AUTO;
}

rw_status endpoint_resolve(const endpoint_options *o, char **url, endpoint_format *format, rw_error *err) {
  *url = NULL;
  const char *host = strncmp(o->url, "http://", 7) == 0    ? o->url + 7
                     : strncmp(o->url, "https://", 8) == 0 ? o->url + 8
                                                           : NULL;
  if (!host || !*host || strchr("/?#", *host))
    return rw_fail(err, RW_USAGE, FIELD(endpoint) ": expected http://HOST… or https://HOST…, got \"%.100s\"",
                   o->url);
  size_t authority = strcspn(host, "/?#");
  if (memchr(host, '@', authority))
    return rw_fail(err, RW_USAGE,
                   FIELD(endpoint) ": a user or password in the URL; put the key into a variable "
                   "(" FIELD(api_key_env) ")");
  for (const char *c = o->url; *c; c++)
    if ((unsigned char)*c <= 0x20 || *c == 0x7f)
      return rw_fail(err, RW_USAGE, FIELD(endpoint) ": a blank or control character in the URL");
  const char *path = host + authority, *tail = path + strcspn(path, "?#");
  size_t n = (size_t)(tail - path);
  while (n > 0 && path[n - 1] == '/') n--;
  *format = o->kind == ENDPOINT_CHAT ? ENDPOINT_AUTO : o->format != ENDPOINT_AUTO ? o->format : format_of(path, n);
  bool chat = o->kind == ENDPOINT_CHAT || *format == ENDPOINT_NEMOTRON;
  if (!chat && *format == ENDPOINT_AUTO)
    return rw_fail(err, RW_USAGE,
                   FIELD(endpoint) ": expected a path that ends in /classify, /pooling, /score or "
                   "/chat/completions, got \"%.*s\"; or name the " FIELD(endpoint_format),
                   (int)(n > 100 ? 100 : n), path);
  const char *more = !chat || ends_in(path, n, "/chat/completions") ? ""
                     : n                                            ? "/chat/completions"
                                                                    : "/v1/chat/completions";
  *url = mem_printf("%.*s%s%s", (int)(path + n - o->url), o->url, more, tail);
  return *url ? RW_OK : rw_nomem(err, FIELD(endpoint));
}

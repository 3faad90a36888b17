/* test_endpoint.c - what servers' texts and replies are read as, and which URLs are asked. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "eval/answers.h"
#include "eval/remote.h"

static void verdicts(void **state) {
  (void)state;
  static const struct {
    ask_kind kind;
    const char *text;
    answer_kind want;
    double value;
  } cases[] = {
      {ASK_PAIR, "A is better.\n[[A]]", ANSWER_FIRST, 0},
      {ASK_PAIR, "[[B]]", ANSWER_SECOND, 0},
      {ASK_PAIR, "**[[C]]** as I said: [[C]]", ANSWER_TIE, 0},
      {ASK_PAIR, "[[A]] no, [[B]]", ANSWER_UNPARSABLE, 0},
      {ASK_PAIR, "[A] [[a]] [[AB]] [[ A ]] [[A] ]] A", ANSWER_UNPARSABLE, 0},
      {ASK_PAIR, "[[[[A]]]]", ANSWER_FIRST, 0},
      {ASK_PAIR, "", ANSWER_UNPARSABLE, 0},
      {ASK_PAIR, "[[A", ANSWER_UNPARSABLE, 0},
      {ASK_PAIR, "<think>[[A]] or [[B]]?</think>[[B]]", ANSWER_SECOND, 0},
      {ASK_PAIR, "[[A]]</think>[[B]]", ANSWER_SECOND, 0},
      {ASK_PAIR, "<think>it is [[A]]", ANSWER_UNPARSABLE, 0},
      {ASK_PAIR, "I'm sorry, but I can't help.", ANSWER_REFUSED, 0},
      {ASK_PAIR, "  i CANNOT judge this", ANSWER_REFUSED, 0},
      {ASK_PAIR, "I'm sorry to say that A fails. [[B]]", ANSWER_SECOND, 0},
      {ASK_PAIR, "Well, I cannot say", ANSWER_UNPARSABLE, 0},
      {ASK_PAIR, "[[7]]", ANSWER_UNPARSABLE, 0},
      {ASK_RATING, "[[7]]", ANSWER_NUMBER, 7},
      {ASK_RATING, "Rating: [[10]]", ANSWER_NUMBER, 10},
      {ASK_RATING, "[[0]] [[11]] [[1.5]] [[A]]", ANSWER_UNPARSABLE, 0},
      {ASK_RATING, "[[3]] [[4]]", ANSWER_UNPARSABLE, 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    answer a = judge_read(cases[i].kind, slice_of(cases[i].text));
    if (a.kind != cases[i].want || a.value != cases[i].value)
      fail_msg("%s: read as %d %g, expected %d", cases[i].text, a.kind, a.value, cases[i].want);
  }
}

static void nemotron(void **state) {
  (void)state;
  double v;
  rw_error err;
  /* 0.3 * 1.6 + 0.74 * 1.7 + 0.46 * 3.3 + 0.47 * 0.5 - 0.33 * 0.25, in any order and with blanks */
  const double want = 0.3 * 1.6 + 0.74 * 1.7 + 0.46 * 3.3 + 0.47 * 0.5 - 0.33 * 0.25;
  const char *good[] = {
      "helpfulness:1.6,correctness:1.7,coherence:3.3,complexity:0.5,verbosity:0.25",
      " verbosity: 0.25 , complexity:0.5,coherence:3.3,correctness:1.7,helpfulness:1.6,toxicity:9\n"};
  for (int i = 0; i < 2; i++) {
    assert_int_equal(reply_attributes(&v, slice_of(good[i]), &err), RW_OK);
    assert_true(fabs(v - want) < 1e-12);
  }
  assert_int_equal(reply_attributes(&v, SLICE("reward:-5.25"), &err), RW_OK);
  assert_true(v == -5.25);
  const char *bad[] = {"",
                       "helpfulness",
                       "helpfulness:",
                       "helpfulness:nan,correctness:1",
                       "reward:inf",
                       "reward:0x10",
                       "helpfulness:1.6,correctness:1.7,coherence:3.3,complexity:0.5",
                       "reward:1e999",
                       "reward:1 2",
                       "I think it is good",
                       ",",
                       "reward:1,,"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (reply_attributes(&v, slice_of(bad[i]), &err) != RW_DATA) fail_msg("%s: taken", bad[i]);
}

static void replies(void **state) {
  (void)state;
  static const struct {
    endpoint_format format;
    const char *text;
    double want; /* NaN: damaged */
  } cases[] = {
      {ENDPOINT_CLASSIFY, "{\"data\": [{\"probs\": [-1.5]}]}", -1.5},
      {ENDPOINT_CLASSIFY, "{\"data\": [{\"probs\": [0.5, 0.5]}]}", NAN},
      {ENDPOINT_CLASSIFY, "{\"data\": [{\"probs\": []}]}", NAN},
      {ENDPOINT_CLASSIFY, "{\"data\": [{\"probs\": [1]}, {\"probs\": [2]}]}", NAN},
      {ENDPOINT_CLASSIFY, "{\"data\": [7]}", NAN},
      {ENDPOINT_CLASSIFY, "{\"data\": {}}", NAN},
      {ENDPOINT_CLASSIFY, "[]", NAN},
      {ENDPOINT_CLASSIFY, "7", NAN},
      {ENDPOINT_POOLING, "{\"data\": [{\"data\": [[3e-2]]}]}", 0.03},
      {ENDPOINT_POOLING, "{\"data\": [{\"data\": 2}]}", 2},
      {ENDPOINT_POOLING, "{\"data\": [{\"data\": [[1, 2]]}]}", NAN},
      {ENDPOINT_POOLING, "{\"data\": [{\"data\": \"AAAA\"}]}", NAN},
      {ENDPOINT_SCORE, "{\"data\": [{\"score\": 4}]}", 4},
      {ENDPOINT_SCORE, "{\"data\": [{\"score\": 1e999}]}", NAN},
      {ENDPOINT_SCORE, "{\"data\": [{\"score\": null}]}", NAN},
      {ENDPOINT_SGLANG, "[{\"embedding\": [0.25]}]", 0.25},
      {ENDPOINT_SGLANG, "{\"embedding\": [0.25]}", 0.25},
      {ENDPOINT_SGLANG, "[{\"embedding\": [1, 2]}]", NAN},
      {ENDPOINT_SGLANG, "[]", NAN},
      {ENDPOINT_NEMOTRON, "{\"choices\": [{\"message\": [{\"content\": \"reward:2\"}]}]}", 2},
      {ENDPOINT_NEMOTRON,
       "{\"choices\": [{\"message\": {\"content\": null}, \"logprobs\": {\"content\": [{\"token\": "
       "\"reward\", \"logprob\": 3}]}}]}",
       3},
      {ENDPOINT_NEMOTRON, "{\"choices\": [{\"message\": {\"content\": \"\"}, \"logprobs\": null}]}", NAN},
      {ENDPOINT_NEMOTRON, "{\"choices\": [{\"message\": 1}]}", NAN},
      {ENDPOINT_NEMOTRON, "{\"choices\": [[]]}", NAN},
  };
  json_doc *d = json_new();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    double v = 0;
    rw_error err;
    assert_int_equal(json_parse(d, cases[i].text, strlen(cases[i].text), &err), RW_OK);
    rw_status s = reply_reward(&v, d, cases[i].format, &err);
    if (isnan(cases[i].want) ? s != RW_DATA : s || v != cases[i].want)
      fail_msg("%s: status %d, %g", cases[i].text, s, v);
  }
  static const struct {
    const char *text;
    int want; /* -1: damaged */
  } chats[] = {
      {"{\"choices\": [{\"message\": {\"content\": \"[[A]]\"}}]}", ANSWER_FIRST},
      {"{\"choices\": [{\"message\": {\"content\": [{\"type\": \"text\", \"text\": \"[[B]]\"}]}}]}", ANSWER_SECOND},
      {"{\"choices\": [{\"message\": {\"content\": null, \"refusal\": \"no\"}}]}", ANSWER_REFUSED},
      {"{\"choices\": [{\"message\": {\"content\": null}}]}", ANSWER_UNPARSABLE},
      {"{\"choices\": [{\"message\": {\"content\": null}, \"finish_reason\": \"length\"}]}", ANSWER_CUT},
      {"{\"choices\": [{\"message\": {\"content\": \"[[A]]\"}, \"finish_reason\": \"length\"}]}", ANSWER_FIRST},
      {"{\"choices\": [{\"message\": {\"content\": \"[[A]]\"}, \"finish_reason\": \"content_filter\"}]}",
       ANSWER_REFUSED},
      {"{\"choices\": [{\"message\": {}}]}", -1},
      {"{\"choices\": [{\"message\": {\"content\": 3}}]}", -1},
      {"{\"choices\": [{\"text\": \"[[A]]\"}]}", -1},
      {"{\"choices\": []}", -1},
      {"{\"choices\": {\"message\": 1}}", -1},
      {"{\"error\": {\"message\": \"busy\"}}", -1},
      {"null", -1},
  };
  for (size_t i = 0; i < sizeof chats / sizeof *chats; i++) {
    answer a = {0};
    rw_error err;
    assert_int_equal(json_parse(d, chats[i].text, strlen(chats[i].text), &err), RW_OK);
    rw_status s = reply_chat(&a, d, ASK_PAIR, &err);
    if (chats[i].want < 0 ? s != RW_DATA : s || (int)a.kind != chats[i].want)
      fail_msg("%s: status %d, kind %d", chats[i].text, s, a.kind);
  }
  json_free(d);
}

static void urls(void **state) {
  (void)state;
  static const struct {
    endpoint_kind kind;
    endpoint_format format;
    const char *url, *want; /* want NULL: refused */
  } cases[] = {
      {ENDPOINT_CHAT, ENDPOINT_AUTO, "http://h:8000", "http://h:8000/v1/chat/completions"},
      {ENDPOINT_CHAT, ENDPOINT_AUTO, "http://h:8000/", "http://h:8000/v1/chat/completions"},
      {ENDPOINT_CHAT, ENDPOINT_AUTO, "https://h/v1/", "https://h/v1/chat/completions"},
      {ENDPOINT_CHAT, ENDPOINT_AUTO, "https://h/openai/v1?api-version=1",
       "https://h/openai/v1/chat/completions?api-version=1"},
      {ENDPOINT_CHAT, ENDPOINT_AUTO, "https://h/x/chat/completions", "https://h/x/chat/completions"},
      {ENDPOINT_REWARD, ENDPOINT_AUTO, "http://h/classify", "http://h/classify"},
      {ENDPOINT_REWARD, ENDPOINT_AUTO, "http://h/v1/score/", "http://h/v1/score"},
      {ENDPOINT_REWARD, ENDPOINT_SGLANG, "http://h/x", "http://h/x"},
      {ENDPOINT_REWARD, ENDPOINT_NEMOTRON, "http://h/v1", "http://h/v1/chat/completions"},
      {ENDPOINT_REWARD, ENDPOINT_AUTO, "http://h/v1", NULL},
      {ENDPOINT_REWARD, ENDPOINT_AUTO, "http://classify", NULL},
      {ENDPOINT_CHAT, ENDPOINT_AUTO, "ftp://h/v1", NULL},
      {ENDPOINT_CHAT, ENDPOINT_AUTO, "http:///v1", NULL},
      {ENDPOINT_CHAT, ENDPOINT_AUTO, "http://u:p@h/v1", NULL},
      {ENDPOINT_CHAT, ENDPOINT_AUTO, "http://h/a b", NULL},
      {ENDPOINT_CHAT, ENDPOINT_AUTO, "http://h/a\r\nX: y", NULL},
      {ENDPOINT_CHAT, ENDPOINT_AUTO, "", NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    endpoint_options o = {.url = cases[i].url, .kind = cases[i].kind, .format = cases[i].format};
    char *url;
    endpoint_format format;
    rw_error err;
    rw_status s = endpoint_resolve(&o, &url, &format, &err);
    if (cases[i].want ? s || strcmp(url, cases[i].want) != 0 : s != RW_USAGE)
      fail_msg("%s: status %d, %s", cases[i].url, s, url ? url : "");
    mem_free(url);
  }
  char *shown = endpoint_shown("https://h/v1?key=secret");
  assert_string_equal(shown, "https://h/v1");
  mem_free(shown);
}

/* An answer is known by the SHA-256 of its request, and one that an older program kept by its XXH3-128. Both are
 * there, so nothing is asked. */
static void kept_answers(void **state) {
  (void)state;
  char dir[] = "/tmp/reward-answers-XXXXXX", key[2][SHA256_HEX], old[2][ANSWERS_OLD_KEY];
  rw_context context;
  rw_error err;
  eval_data *d;
  eval_scores s;
  endpoint_counts counts;
  assert_non_null(mkdtemp(dir));
  context_init(&context, NULL, NULL);
  char *rows = file_join(dir, "rows.jsonl"), *kept = file_join(dir, "answers.jsonl");
  const char row[] = "{\"chosen_ids\": [1, 2], \"rejected_ids\": [3]}";
  assert_int_equal(file_put(rows, row, strlen(row), &err), RW_OK);
  answers_key(SLICE("http://127.0.0.1:1/classify\n{\"input_ids\": [1,2]}"), key[0], old[0]);
  answers_key(SLICE("http://127.0.0.1:1/classify\n{\"input_ids\": [3]}"), key[1], old[1]);
  assert_string_not_equal(key[0], key[1]);
  char *lines = mem_printf(
      "{\"key\": \"%s\", \"body\": \"[{\\\"embedding\\\": [0.5]}]\"}\n"
      "{\"key\": \"%s\", \"body\": \"[{\\\"embedding\\\": [-2]}]\"}\n{\"key\": \"to",
      key[0], old[1]);
  assert_int_equal(file_put(kept, lines, strlen(lines), &err), RW_OK);
  const char *paths[] = {rows};
  endpoint_options o = {.url = "http://127.0.0.1:1/classify",
                        .kind = ENDPOINT_REWARD,
                        .format = ENDPOINT_SGLANG,
                        .cache = kept,
                        .concurrency = 1,
                        .timeout = 1,
                        .context = &context};
  assert_int_equal(eval_load(&d, EVAL_PAIRS, paths, 1, &context, &err), RW_OK);
  if (eval_scores_endpoint(&s, &counts, d, &o, &err)) fail_msg("%s", err.text);
  assert_int_equal(counts.cached, 2);
  assert_int_equal(counts.requests, 0);
  assert_true(s.unscored == 0 && s.score[0] == 0.5 && s.score[1] == -2);
  eval_scores_free(&s);
  eval_data_free(d);
  assert_int_equal(file_remove_tree(dir, &err), RW_OK);
  mem_free(rows);
  mem_free(kept);
  mem_free(lines);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(verdicts), cmocka_unit_test(nemotron),
                                     cmocka_unit_test(replies), cmocka_unit_test(urls),
                                     cmocka_unit_test(kept_answers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_api.c - the public library as its header has it, and nothing else of this project. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reward.h"

#define LLAMA  "tests/data/model/llama"
#define QWEN   "tests/data/model/qwen2"
#define ARMORM "tests/data/model/armorm"

static rw_error err;
#define OK(call)                                              \
  do {                                                        \
    if ((call) != RW_OK) fail_msg("%s: %s", #call, err.text); \
  } while (0)

static rw_model *open_in(rw_context *context, const char *dir) {
  rw_options o;
  rw_model *m;
  rw_options_defaults(&o);
  o.context = context;
  OK(rw_model_open(&m, dir, &o, &err));
  return m;
}

/* ---- errors and defaults ---- */

static void what_needs_no_model(void **state) {
  (void)state;
  assert_string_equal(rw_error_text(NULL), "");
  assert_true(rw_version()[0] >= '0' && rw_version()[0] <= '9');
  rw_free(NULL);
  rw_model_close(NULL);
  rw_context_free(NULL);
  rw_options o;
  memset(&o, 0xff, sizeof o);
  rw_options_defaults(&o);
  assert_null(o.context);
  assert_string_equal(o.device, "auto");
  assert_int_equal(o.max_length, 0);
  assert_int_equal(o.overlong, RW_OVERLONG_ERROR);
}

static void errors_name_fields(void **state) {
  (void)state;
  rw_model *m = (rw_model *)&err;
  rw_context *context = (rw_context *)&err;
  assert_int_equal(rw_model_open(&m, "tests/data/nowhere", NULL, &err), RW_IO);
  assert_null(m);
  assert_non_null(strstr(rw_error_text(&err), "tests/data/nowhere"));
  assert_int_equal(err.code, RW_IO);
  assert_int_equal(rw_model_open(&m, "tests/data/nowhere", NULL, NULL), RW_IO);
  assert_int_equal(rw_context_new(&context, -1, NULL, NULL, &err), RW_USAGE);
  assert_null(context);

  static const struct {
    rw_options o;
    rw_status status;
    const char *text;
  } wrong[] = {
      {{.dtype = "f64"}, RW_USAGE, "dtype: expected auto, f32 or bf16, got 'f64'"},
      {{.device = "tpu"}, RW_USAGE, "device tpu: expected auto, cpu or cuda"},
      {{.max_length = -1}, RW_USAGE, "max_length, batch_tokens: expected 0 or more"},
      {{.base = QWEN}, RW_USAGE, "base: expected an adapter"},
      {{.date = "yesterday"}, RW_USAGE, "date: expected a date as 2024-07-26"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    rw_status s = rw_model_open(&m, LLAMA, &wrong[i].o, &err);
    if (s != wrong[i].status || strncmp(err.text, wrong[i].text, strlen(wrong[i].text)) != 0)
      fail_msg("%s: got %d, %s", wrong[i].text, s, err.text);
    assert_null(m);
  }
}

/* ---- messages ---- */

typedef struct {
  int warnings, others;
  char last[300];
} said;
static void listen(void *user, rw_log_level level, const char *text) {
  said *s = user;
  assert_null(strchr(text, '\n'));
  if (level != RW_LOG_WARNING) {
    s->others++;
    return;
  }
  s->warnings++;
  snprintf(s->last, sizeof s->last, "%s", text);
}

static void messages_go_to_their_context(void **state) {
  (void)state;
  said a = {0}, b = {0};
  rw_context *ca, *cb;
  OK(rw_context_new(&ca, 1, listen, &a, &err));
  OK(rw_context_new(&cb, 2, listen, &b, &err));
  rw_options o;
  rw_options_defaults(&o);
  o.context = ca;
  o.max_length = 100000;
  rw_model *m;
  OK(rw_model_open(&m, LLAMA, &o, &err));
  assert_int_equal(a.warnings, 1);
  assert_int_equal(b.warnings, 0);
  assert_non_null(strstr(a.last, "max_length 100000 is more than max_position_embeddings"));
  assert_null(strstr(a.last, "--"));
  assert_int_equal(rw_model_max_length(m), 100000);
  rw_model_close(m);
  rw_context_free(ca);
  rw_context_free(cb);
}

/* ---- conversations ---- */

enum { ITEMS = 40 };
static int32_t ids[ITEMS][24];

static void fill(rw_item *items) {
  for (int i = 0; i < ITEMS; i++) {
    for (int k = 0; k < 24; k++) ids[i][k] = 3 + (i * 31 + k * 7) % 150;
    items[i] = (rw_item){.ids = ids[i], .n_ids = 4 + (size_t)(i * 5 % 20)};
  }
}

static void items_have_the_bits_that_they_have_alone(void **state) {
  (void)state;
  rw_context *context;
  OK(rw_context_new(&context, 2, NULL, NULL, &err));
  rw_model *m = open_in(context, LLAMA);
  rw_item items[ITEMS], alone[ITEMS];
  fill(items);
  fill(alone);
  items[7].n_ids = alone[7].n_ids = 0;
  items[9].ids = alone[9].ids = (int32_t[]){5, 100000, 5, 5, 5};
  items[9].n_ids = alone[9].n_ids = 5;
  OK(rw_score_items(m, items, ITEMS, &err));
  for (int i = 0; i < ITEMS; i++) {
    OK(rw_score_items(m, &alone[i], 1, &err));
    assert_memory_equal(&items[i].score, &alone[i].score, sizeof(float));
    assert_string_equal(items[i].error, alone[i].error);
    assert_int_equal(items[i].error[0] != 0, i == 7 || i == 9);
    assert_int_equal(isnan(items[i].score) != 0, i == 7 || i == 9);
    assert_int_equal(items[i].tokens, i == 7 || i == 9 ? 0 : items[i].n_ids);
  }
  OK(rw_score_items(m, NULL, 0, &err));

  /* without a tokenizer texts cannot be scored, and the missing file is named */
  rw_message chat[] = {{"user", "2+2?"}, {"assistant", "4"}}, hole[] = {{"user", NULL}};
  float score = 1;
  assert_int_equal(rw_score(m, chat, 2, &score, &err), RW_DATA);
  assert_non_null(strstr(err.text, "tokenizer"));
  assert_true(isnan(score));
  assert_int_equal(rw_score(m, chat, 0, &score, &err), RW_DATA);
  assert_int_equal(rw_score(m, hole, 1, &score, &err), RW_USAGE);
  assert_int_equal(rw_score(m, NULL, 0, &score, &err), RW_USAGE);
  assert_int_equal(rw_model_attributes(m, NULL), 0);
  assert_string_equal(rw_model_dtype(m), "f32");
  assert_true(rw_model_device(m)[0] != 0);
  rw_model_close(m);
  rw_context_free(context);
}

static void attributes_have_names(void **state) {
  (void)state;
  rw_context *context;
  OK(rw_context_new(&context, 1, NULL, NULL, &err));
  rw_model *m = open_in(context, ARMORM);
  const char *const *names;
  size_t n = rw_model_attributes(m, &names);
  assert_true(n > 1);
  assert_non_null(names[0]);
  float v[40] = {0};
  assert_true(n <= 40);
  rw_item it = {.ids = (int32_t[]){5, 6, 7}, .n_ids = 3, .attributes = v};
  char *row, want[80];
  OK(rw_score_items(m, &it, 1, &err));
  OK(rw_score_row(m, "{\"input_ids\": [5, 6, 7]}", &row, &err));
  if (it.error[0]) {
    assert_non_null(strstr(row, "\"error\""));
  } else {
    snprintf(want, sizeof want, "\"attributes\": {\"%s\": ", names[0]);
    const char *at = strstr(row, want);
    assert_non_null(at);
    assert_true(strtof(at + strlen(want), NULL) == v[0]);
  }
  rw_free(row);
  rw_model_close(m);
  rw_context_free(context);
}

/* Over-long conversations: an error that names the field, a cut, left out. */
static void overlong_is_a_choice(void **state) {
  (void)state;
  rw_context *context;
  OK(rw_context_new(&context, 1, NULL, NULL, &err));
  for (int k = 0; k < 3; k++) {
    static const rw_overlong all[] = {RW_OVERLONG_ERROR, RW_OVERLONG_TRUNCATE, RW_OVERLONG_DROP};
    static const char *const says[] = {"5 tokens, more than max_length 4; use overlong truncate or drop", "",
                                       "dropped: 5 tokens, more than max_length 4"};
    rw_options o;
    rw_options_defaults(&o);
    o.context = context;
    o.max_length = 4;
    o.overlong = all[k];
    rw_model *m;
    OK(rw_model_open(&m, LLAMA, &o, &err));
    rw_item it = {.ids = (int32_t[]){5, 6, 7, 8, 9}, .n_ids = 5};
    OK(rw_score_items(m, &it, 1, &err));
    assert_string_equal(it.error, says[k]);
    assert_int_equal(it.truncated, k == 1);
    assert_int_equal(it.tokens, k == 1 ? 4 : 0);
    rw_model_close(m);
  }
  rw_context_free(context);
}

/* ---- threads ---- */

typedef struct {
  rw_model *m;
  rw_item items[ITEMS];
  rw_status status;
} job;
static void *score_job(void *arg) {
  job *j = arg;
  rw_error e;
  for (int i = 0; i < 3 && !j->status; i++) j->status = rw_score_items(j->m, j->items, ITEMS, &e);
  return NULL;
}

/* Models in contexts of their own, in one context, and one model: from two threads the bits are those of one. */
static void threads_change_no_bit(void **state) {
  (void)state;
  rw_context *a, *b;
  OK(rw_context_new(&a, 2, NULL, NULL, &err));
  OK(rw_context_new(&b, 3, NULL, NULL, &err));
  rw_model *llama = open_in(a, LLAMA), *qwen = open_in(b, QWEN), *beside = open_in(a, QWEN);
  rw_model *const pairs[][2] = {{llama, qwen}, {llama, beside}, {qwen, qwen}};
  for (size_t k = 0; k < 3; k++) {
    static job first[2], together[2];
    pthread_t thread[2];
    for (int i = 0; i < 2; i++) {
      first[i] = (job){.m = pairs[k][i]};
      fill(first[i].items);
      together[i] = first[i];
      score_job(&first[i]);
      assert_int_equal(first[i].status, RW_OK);
    }
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&thread[i], NULL, score_job, &together[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < 2; i++) {
      assert_int_equal(together[i].status, RW_OK);
      for (int t = 0; t < ITEMS; t++)
        assert_memory_equal(&first[i].items[t].score, &together[i].items[t].score, sizeof(float));
    }
  }
  rw_model_close(llama);
  rw_model_close(qwen);
  rw_model_close(beside);
  rw_context_free(a);
  rw_context_free(b);
}

static void an_interruption_stays_in_its_context(void **state) {
  (void)state;
  rw_context *a, *b;
  OK(rw_context_new(&a, 1, NULL, NULL, &err));
  OK(rw_context_new(&b, 1, NULL, NULL, &err));
  rw_model *ma = open_in(a, LLAMA), *mb = open_in(b, LLAMA), *never;
  rw_item it = {.ids = (int32_t[]){5, 6, 7}, .n_ids = 3};
  rw_options o;
  rw_options_defaults(&o);
  o.context = a;
  rw_context_interrupt(a);
  assert_int_equal(rw_score_items(ma, &it, 1, &err), RW_INTERRUPTED);
  assert_int_equal(rw_model_open(&never, LLAMA, &o, &err), RW_INTERRUPTED);
  OK(rw_score_items(mb, &it, 1, &err));
  rw_context_resume(a);
  OK(rw_score_items(ma, &it, 1, &err));
  rw_model_close(ma);
  rw_model_close(mb);
  rw_context_free(a);
  rw_context_free(b);
}

/* ---- rows ---- */

static const char *const rows[] = {
    "{\"input_ids\": [5, 6, 7], \"keep\": [1.50]}",
    "{\"chosen_ids\": [5, 6, 7], \"rejected_ids\": [5, 6, 8, 9], \"id\": \"x\"}",
    "{\"input_ids\": []}",
    "{\"input_ids\": [5, 6, 7], \"score\": 9, \"error\": \"mine\"}",
    "{\"input_ids\": [5, 199, 200]}",
    "{\"text\": \"\\u00e9\"}",
    "[1, 2]",
    "{\"score\": 3}",
};
enum { ROWS = sizeof rows / sizeof *rows };

/* The program beside the folder of this test, where that was built; else NULL. */
static const char *program(void) {
  static char path[4096];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path - 20);
  for (int up = 0; n > 0 && up < 2; n--) up += path[n - 1] == '/';
  if (n <= 0) return NULL;
  strcpy(path + n, "/reward");
  return access(path, X_OK) == 0 ? path : NULL;
}

/* Row for row what `reward score` writes. */
static void rows_are_those_of_the_program(void **state) {
  (void)state;
  char *out[ROWS], *one;
  rw_model *m = open_in(NULL, LLAMA);
  OK(rw_score_rows(m, rows, ROWS, out, &err));
  for (size_t i = 0; i < ROWS; i++) {
    OK(rw_score_row(m, rows[i], &one, &err));
    assert_string_equal(one, out[i]);
    rw_free(one);
  }
  one = NULL;
  OK(rw_score_row(m, "not json", &one, &err));
  assert_non_null(strstr(one, "\"error\": \""));
  rw_free(one);
  rw_model_close(m);
  if (program()) {
    char in[] = "/tmp/test_api-XXXXXX", command[9000];
    int fd = mkstemp(in);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    for (size_t i = 0; i < ROWS; i++) fprintf(f, "%s\n", rows[i]);
    assert_int_equal(fclose(f), 0);
    snprintf(command, sizeof command, "'%s' score --quiet --model " LLAMA " %s 2>/dev/null", program(), in);
    f = popen(command, "r");
    assert_non_null(f);
    for (size_t i = 0; i < ROWS; i++) {
      char line[2000];
      assert_non_null(fgets(line, sizeof line, f));
      line[strcspn(line, "\n")] = 0;
      /* the program also says which line a row without members was */
      if (strncmp(line, "{\"line\": ", 9) != 0) assert_string_equal(out[i], line);
    }
    pclose(f);
    unlink(in);
  }
  for (size_t i = 0; i < ROWS; i++) rw_free(out[i]);
}

/* ---- training, evaluation, curation ---- */

static char dir[] = "/tmp/test_api-XXXXXX";
static const char *in_dir(const char *name) {
  static char path[4][200];
  static int turn;
  turn = (turn + 1) % 4;
  snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
  return path[turn];
}
static void put(const char *name, const char *text) {
  FILE *f = fopen(in_dir(name), "w");
  assert_non_null(f);
  fputs(text, f);
  assert_int_equal(fclose(f), 0);
}

/* internlm2 of the test data with a tokenizer that has a token <|reward|> of its own: POLAR's. */
static void make_polar(void) {
  char from[4200], here[4096];
  assert_non_null(getcwd(here, sizeof here));
  snprintf(from, sizeof from, "%s/tests/data/model/internlm2/model.safetensors", here);
  assert_int_equal(symlink(from, in_dir("model.safetensors")), 0);
  snprintf(from, sizeof from, "cp tests/data/model/internlm2/config.json %s", in_dir("config.json"));
  assert_int_equal(system(from), 0);
  put("tokenizer_config.json", "{}");
  put("tokenizer.json",
      "{\"added_tokens\": [{\"id\": 191, \"content\": \"<|reward|>\", \"single_word\": false, \"lstrip\": false, "
      "\"rstrip\": false, \"normalized\": false, \"special\": true}], \"normalizer\": null, \"pre_tokenizer\": "
      "{\"type\": "
      "\"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": true}, \"post_processor\": null, \"decoder\": "
      "null, "
      "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 3, \"b\": 4, \"c\": 5, \"\\u010a\": 6}, \"merges\": []}}");
}

static void a_reference_goes_with_messages(void **state) {
  (void)state;
  make_polar();
  rw_model *m = open_in(NULL, dir);
  rw_message chat[] = {{"user", "ab"}, {"assistant", "c"}};
  rw_item items[] = {{.messages = chat, .n_messages = 2, .reference = "ba"},
                     {.messages = chat, .n_messages = 2, .reference = "c"},
                     {.messages = chat, .n_messages = 2}};
  float score;
  char *row;
  OK(rw_score_items(m, items, 3, &err));
  OK(rw_score_row(m, "{\"prompt\": \"ab\", \"response\": \"c\", \"reference\": \"ba\"}", &row, &err));
  const char *at = strstr(row, "\"score\": ");
  assert_non_null(at);
  assert_true(strtof(at + 9, NULL) == items[0].score);
  assert_true(items[1].score != items[0].score);
  assert_int_equal(items[0].tokens, 11); /* ab, newline, ba, <|reward|>, ab, newline, c, the reward token */
  assert_int_equal(strncmp(items[2].error, "reference: expected", 19), 0);
  assert_int_equal(rw_score(m, chat, 2, &score, &err), RW_DATA);
  assert_int_equal(strncmp(err.text, "reference: expected", 19), 0);
  rw_free(row);
  rw_model_close(m);
}

static void a_model_is_trained_and_measured(void **state) {
  (void)state;
  rw_context *context;
  char ranked[2000] = "", out[200], data[200];
  OK(rw_context_new(&context, 2, NULL, NULL, &err));
  for (int i = 0; i < 8; i++)
    snprintf(ranked + strlen(ranked), sizeof ranked - strlen(ranked),
             "{\"chosen_ids\": [%d, 6, 7], \"rejected_ids\": [%d, 9, 11, 12]}\n", 5 + i, 5 + i);
  put("pairs.jsonl", ranked);
  snprintf(out, sizeof out, "%s", in_dir("out"));
  snprintf(data, sizeof data, "%s", in_dir("pairs.jsonl"));
  const char *files[] = {data};
  rw_setting settings[] = {{"steps", "2"}, {"batch_size", "4"}, {"lr", "1e-3"}};
  rw_train_options o;
  rw_train_defaults(&o);
  o.context = context;
  o.model = LLAMA;
  assert_int_equal(rw_train(&o, NULL, &err), RW_USAGE);
  o.data = files;
  o.n_data = 1;
  o.out = out;
  o.settings = settings;
  static const struct {
    rw_setting s;
    const char *text;
  } wrong[] = {
      {{"lr", "-1"}, "lr: expected 0 or more, got -1"},
      {{"max_length", "many"}, "max_length: expected a whole number, got 'many'"},
      {{"nonsense", "1"}, "settings: 'nonsense': unknown option"},
      {{"out", "here"}, "settings: out is no setting here"},
      {{"keep", "best"}, "keep best needs an eval"},
      {{"lr", NULL}, "settings: expected an option's name and a value"},
  };
  o.n_settings = 1;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    o.settings = &wrong[i].s;
    rw_status s = rw_train(&o, NULL, &err);
    if (s != RW_USAGE || strncmp(err.text, wrong[i].text, strlen(wrong[i].text)) != 0)
      fail_msg("%s: got %d, %s", wrong[i].text, s, err.text);
  }
  o.settings = settings;
  o.n_settings = 3;
  rw_train_result trained;
  assert_int_equal(rw_context_set_max_row_bytes(context, ((size_t)1 << 30) + 1, &err), RW_USAGE);
  OK(rw_context_set_max_row_bytes(context, 20, &err));
  assert_int_equal(rw_train(&o, NULL, &err), RW_DATA);
  assert_non_null(strstr(err.text, "pairs.jsonl:1: expected a row of at most 20 bytes"));
  OK(rw_context_set_max_row_bytes(context, 0, &err));
  OK(rw_train(&o, &trained, &err));
  assert_int_equal(trained.steps, 2);
  assert_true(isfinite(trained.loss));

  rw_model *m = open_in(context, out);
  rw_eval_options e;
  rw_eval_result result;
  char *json;
  rw_eval_defaults(&e);
  e.suite = "pairs";
  e.data = files;
  e.n_data = 1;
  assert_int_equal(rw_eval(&e, &result, &json, &err), RW_USAGE);
  e.model = m;
  OK(rw_eval(&e, &result, &json, &err));
  assert_int_equal(result.items, 8);
  assert_int_equal(result.unscored, 0);
  assert_true(result.items_percent >= 0 && result.items_percent <= 100);
  assert_non_null(strstr(json, "\"unit\": \"percent\""));
  rw_free(json);
  rw_model_close(m);
  rw_context_free(context);
}

static void a_set_is_curated(void **state) {
  (void)state;
  char recipe[200], input[210], out[200];
  put("recipe.yaml", "stages:\n  - source: pairs\n");
  put("rows.jsonl",
      "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n"
      "{\"prompt\": \"d\", \"chosen\": \"e\", \"rejected\": \"f\"}\n");
  snprintf(recipe, sizeof recipe, "%s", in_dir("recipe.yaml"));
  snprintf(input, sizeof input, "pairs=%s", in_dir("rows.jsonl"));
  snprintf(out, sizeof out, "%s", in_dir("set"));
  const char *inputs[] = {input};
  rw_curate_options o;
  rw_curate_result result;
  char *table;
  rw_curate_defaults(&o);
  assert_int_equal(rw_curate(&o, &result, &table, &err), RW_USAGE);
  o.recipe = recipe;
  o.out = out;
  assert_int_equal(rw_curate(&o, &result, &table, &err), RW_USAGE);
  assert_non_null(strstr(err.text, "give input pairs=FILE, or leave it out with only"));
  assert_null(table);
  o.inputs = inputs;
  o.n_inputs = 1;
  OK(rw_curate(&o, &result, &table, &err));
  assert_int_equal(result.rows, 2);
  assert_int_equal(result.pairs, 2);
  assert_non_null(table);
  rw_free(table);
}

static int make_dir(void **state) {
  (void)state;
  return mkdtemp(dir) ? 0 : -1;
}
static int remove_dir(void **state) {
  (void)state;
  char command[64];
  snprintf(command, sizeof command, "rm -r %s", dir);
  return system(command);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_needs_no_model),
      cmocka_unit_test(errors_name_fields),
      cmocka_unit_test(messages_go_to_their_context),
      cmocka_unit_test(items_have_the_bits_that_they_have_alone),
      cmocka_unit_test(attributes_have_names),
      cmocka_unit_test(a_reference_goes_with_messages),
      cmocka_unit_test(overlong_is_a_choice),
      cmocka_unit_test(threads_change_no_bit),
      cmocka_unit_test(an_interruption_stays_in_its_context),
      cmocka_unit_test(rows_are_those_of_the_program),
      cmocka_unit_test(a_model_is_trained_and_measured),
      cmocka_unit_test(a_set_is_curated),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

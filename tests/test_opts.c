/* test_opts.c - command lines and what becomes of them: values, refusals and their messages, files of options, the
 * nearest name; and that the tables of options are well formed, and train's defaults and fingerprint what they
 * were.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "cli/cli.h"
#include "format/json_write.h"
#include "train/fingerprint.h"

typedef struct {
  bool flag, share;
  const char *text, *where, *config;
  int64_t count;
  double rate, pair[2];
  int choice, set;
  option_list many, few;
} values;

static const option_word choices[] = {{"one", 7}, {"two", 3}, {NULL, 0}}, parts[] = {{"a", 1}, {"b", 2}, {NULL, 0}};
static const char FIRST[] = "First";
static const option table[] = {
    {"flag", 'f', .kind = OPTION_FLAG, .field = offsetof(values, flag), .help = "a flag"},
    {"share", .kind = OPTION_YES_NO, .field = offsetof(values, share), .initial = "yes", .help = "yes or no"},
    {"text", 't', .kind = OPTION_TEXT, .field = offsetof(values, text), .value = "FILE…", .help = "a text"},
    {"where", .kind = OPTION_TEXT, .field = offsetof(values, where), .value = "auto|gpu[:N]", .initial = "auto",
     .help = "a place"},
    {"count", 'n', .kind = OPTION_INT, .field = offsetof(values, count), .value = "N", .initial = "4",
     .range = OPTION_COUNT_FROM(1), .group = FIRST, .help = "a number"},
    {"learning-rate", .kind = OPTION_NUMBER, .field = offsetof(values, rate), .value = "X", .initial = "2e-6",
     .range = OPTION_AT_LEAST(0), .group = FIRST, .help = "a rate"},
    {"pair", .kind = OPTION_PAIR, .field = offsetof(values, pair), .value = "A,B", .initial = "0.9,0.999",
     .range = {"numbers in [0, 1)", 0, 1, false, true}, .help = "two numbers"},
    {"choice", .kind = OPTION_CHOICE, .field = offsetof(values, choice), .words = choices,
     .help = "one of them (default: none)"},
    {"set", .kind = OPTION_SET, .field = offsetof(values, set), .words = parts,
     .range = {.expected = "a, b or a,b"}, .help = "some of them"},
    {"many", .kind = OPTION_LIST, .many = true, .field = offsetof(values, many), .value = "FILE", .help = "files"},
    {"few", .kind = OPTION_LIST, .field = offsetof(values, few), .value = "FILE", .help = "files, one at a time"},
    {"config", .kind = OPTION_TEXT, .field = offsetof(values, config), .value = "FILE.yaml", .help = "of options"},
    {.name = NULL}};

static int run(cli *c, void *v) {
  (void)c, (void)v;
  return 0;
}
static const cli_command command = {.name = "try",
                                    .summary = "is tried",
                                    .usage = "try",
                                    .about = "Tries.",
                                    .examples = "",
                                    .parts = {{table, 0, false}},
                                    .values = sizeof(values),
                                    .max_words = 1,
                                    .common = CLI_THREADS | CLI_QUIET,
                                    .run = run};
static const cli_command *const commands[] = {&command, NULL};

/* What went to a stream while it was caught. */
typedef struct {
  FILE *stream, *file;
  int before;
  char text[8192];
} caught;

static void catch_begin(caught *t, FILE *stream) {
  t->stream = stream;
  t->file = tmpfile();
  assert_non_null(t->file);
  fflush(stream);
  t->before = dup(fileno(stream));
  dup2(fileno(t->file), fileno(stream));
}
static void catch_end(caught *t) {
  fflush(t->stream);
  dup2(t->before, fileno(t->stream));
  close(t->before);
  rewind(t->file);
  t->text[fread(t->text, 1, sizeof t->text - 1, t->file)] = 0;
  fclose(t->file);
}

/* Parses words, which are separated by blanks; the status, and in *said what was printed. */
static int parse(cli *c, cli_messages *m, const char *words, char *memory, char **argv, caught *said) {
  int argc = 0;
  strcpy(memory, words);
  argv[argc++] = (char *)"try";
  for (char *w = strtok(memory, " "); w; w = strtok(NULL, " ")) argv[argc++] = w;
  cli_messages_begin(m, "try");
  catch_begin(said, stderr);
  int status = cli_open(c, &command, m, argc, argv);
  catch_end(said);
  return status;
}

static void test_lines(void **state) {
  (void)state;
  static const struct {
    const char *words, *expected; /* the fields that differ from the defaults, or with status 2 the message */
    int status;
  } cases[] = {
      {"", "", -1},
      {"--flag", "flag=1", -1},
      {"-f -t x", "flag=1 text=x", -1},
      {"-tx --count=5", "text=x count=5", -1},
      {"-n 2147483647", "count=2147483647", -1},
      {"--text=", "text=", -1},
      {"--text --flag", "text=--flag", -1}, /* a value is the next word, whatever it looks like */
      {"--text=a=b", "text=a=b", -1},
      {"--share no", "share=no", -1},
      {"--where gpu:3", "where=gpu:3", -1},
      {"--learning-rate 1e-3", "learning-rate=0.001", -1},
      {"--pair 0.5,0", "pair=0.5,0", -1},
      {"--choice two", "choice=two", -1},
      {"--set b,a", "set=a,b", -1},
      {"--many a b --few c --many d --few e", "many=a,b,d few=c,e", -1},
      {"--few a b", "few=a word=b", -1},
      {"--many a - --flag", "many=a,- flag=1", -1},
      {"-- --flag", "word=--flag", -1},
      {"--quiet --seed 3 --device cuda:1", "", -1}, /* common ones are taken, with an effect or without */
      {"--threads 0", "--threads: expected 1 to 1024, got 0", 2},
      {"--seed -1", "--seed: expected 0 or more, got -1", 2},
      {"--count 0", "--count: expected 1 or more, got 0", 2},
      {"--count 2147483648", "--count: expected 1 to 2147483647, got 2147483648", 2},
      {"--count 9223372036854775807", "--count: expected 1 to 2147483647, got 9223372036854775807", 2},
      {"--count 99999999999999999999", "--count: expected a whole number, got '99999999999999999999'", 2},
      {"--count 1x", "--count: expected a whole number, got '1x'", 2},
      {"--count=", "--count: expected a whole number, got ''", 2},
      {"--learning-rate nan", "--learning-rate: expected a number, got 'nan'", 2},
      {"--learning-rate 1e400", "--learning-rate: expected a number, got '1e400'", 2},
      {"--learning-rate -1", "--learning-rate: expected 0 or more, got -1", 2},
      {"--pair 1,0", "--pair: expected numbers in [0, 1), got 1", 2},
      {"--pair 0.9", "--pair: expected two numbers as 0.9,0.999, got '0.9'", 2},
      {"--pair 0.1,0.2,", "--pair: expected two numbers as 0.9,0.999, got '0.1,0.2,'", 2},
      {"--share maybe", "--share: expected yes|no, got 'maybe'", 2},
      {"--where tpu", "--where: expected auto|gpu[:N], got 'tpu'", 2},
      {"--where gpuu", "--where: expected auto|gpu[:N], got 'gpuu'", 2},
      {"--choice three", "--choice: expected one|two, got 'three'", 2},
      {"--set a,", "--set: expected a, b or a,b, got 'a,'", 2},
      {"--set a,a", "--set: expected a, b or a,b, got 'a,a'", 2},
      {"--text", "--text: expected FILE… after it", 2},
      {"--choice", "--choice: expected one|two after it", 2},
      {"--flag=yes", "--flag: takes no value", 2},
      {"a b", "'b': one argument too many", 2},
      {"--lr 1", "'--lr': unknown option\n", 2},
      {"--counts 1", "'--counts': unknown option; did you mean --count?", 2},
      {"--cuont=1", "'--cuont=1': unknown option; did you mean --count?", 2},
      {"--learning 1", "'--learning': unknown option; did you mean --learning-rate?", 2},
      {"--thread 1", "'--thread': unknown option; did you mean --threads?", 2},
      {"--nonsense", "'--nonsense': unknown option\n", 2},
      {"-x", "'-x': unknown option\n", 2},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    cli c;
    cli_messages m;
    caught said;
    char memory[256], *argv[32];
    int status = parse(&c, &m, cases[i].words, memory, argv, &said);
    if (status != cases[i].status) fail_msg("%s: status %d: %s", cases[i].words, status, said.text);
    if (status == 2 && !strstr(said.text, cases[i].expected)) fail_msg("%s: %s", cases[i].words, said.text);
    if (status < 0) {
      str got = {0};
      for (size_t k = 0; k < c.n_given; k++) { /* each option once, in the order of the first time */
        const option *o = c.given[k].option;
        size_t before = 0;
        while (c.given[before].option != o) before++;
        if (before < k || o < table || o >= table + sizeof table / sizeof *table) continue;
        str_printf(&got, "%s%s=", got.len ? " " : "", o->name);
        if (o->kind == OPTION_LIST) {
          const option_list *l = (const option_list *)(const void *)((char *)c.values + o->field);
          for (size_t n = 0; n < l->n; n++) str_printf(&got, "%s%s", n ? "," : "", l->items[n]);
        } else if (o->kind == OPTION_FLAG) {
          str_addc(&got, '1');
        } else {
          assert_true(option_text(o, c.values, &got));
        }
      }
      if (c.words.n) str_printf(&got, "%sword=%s", got.len ? " " : "", c.words.items[0]);
      if (strcmp(got.p ? got.p : "", cases[i].expected) != 0) fail_msg("%s: %s", cases[i].words, got.p);
      str_free(&got);
    }
    cli_close(&c);
    context_end(&m.context);
  }
}

static void test_defaults(void **state) {
  (void)state;
  values v;
  memset(&v, 0x5a, sizeof v);
  option_defaults(table, &v);
  assert_false(v.flag);
  assert_true(v.share);
  assert_null(v.text);
  assert_string_equal(v.where, "auto");
  assert_true(v.count == 4 && v.rate == 2e-6 && v.pair[0] == 0.9 && v.pair[1] == 0.999);
  assert_int_equal(v.choice, -1);
  assert_int_equal(v.set, 0);
  assert_true(v.many.n == 0 && v.few.n == 0);
  for (const option *o = table; o->name; o++)
    if (o->kind != OPTION_LIST) assert_true(option_is_initial(o, &v));
  v.pair[1] = 0.5;
  assert_false(option_is_initial(&table[6], &v));
}

static void test_config(void **state) {
  (void)state;
  static const struct {
    const char *yaml, *words, *expected;
    int status;
  } cases[] = {
      {"count: 9\nshare: off\nflag: yes\n", "", "\"flag\": true, \"share\": \"no\"", -1},
      {"pair: [0.1, 0.2]\n", "", "\"pair\": \"0.1,0.2\"", -1},
      {"many: [a, b]\n", "--many c", "\"many\": [\"c\"]", -1}, /* the command line wins */
      {"many: [a, '-b']\n", "", "\"many\": [\"a\", \"-b\"]", -1},
      {"text: '-x'\nset: [a, b]\n", "", "\"set\": \"a,b\"", -1},
      {"flag: no\n", "", "\"flag\": false", -1},
      {"choice: two\n", "--choice one", "\"choice\": \"one\"", -1},
      {"cuont: 1\n", "", ": 'cuont': unknown option; did you mean count?", 2},
      {"config: x\n", "", ": 'config': unknown option", 2},
      {"count: 0\n", "", "--count: expected 1 or more, got 0", 2},
      {"flag: 2\n", "", ": flag: expected true or false, got '2'", 2},
      {"pair: {a: 1}\n", "", ": pair: expected a value or a list of values", 2},
      {"- a\n", "", ": expected a YAML file with a mapping of option names", 2},
  };
  char path[] = "/tmp/test_opts-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    cli c;
    cli_messages m;
    caught said;
    char memory[256], *argv[32], words[200];
    assert_int_equal(file_put(path, cases[i].yaml, strlen(cases[i].yaml), NULL), RW_OK);
    snprintf(words, sizeof words, "--config %s %s", path, cases[i].words);
    int status = parse(&c, &m, words, memory, argv, &said);
    str got = {0};
    json_writer w = {.out = &got};
    if (status < 0) {
      jw_object(&w, NULL);
      cli_options_json(&w, table, c.values);
      jw_end(&w);
    }
    if (status != cases[i].status) fail_msg("%s: status %d: %s", cases[i].yaml, status, said.text);
    const char *text = status < 0 ? got.p : said.text;
    if (!text || !strstr(text, cases[i].expected)) fail_msg("%s: %s", cases[i].yaml, text);
    str_free(&got);
    cli_close(&c);
    context_end(&m.context);
  }
  unlink(path);
}

/* Groups stand where their first option does; columns are characters; only what has an effect is shown. */
static void test_help(void **state) {
  (void)state;
  caught said;
  catch_begin(&said, stdout);
  cli_print_help(&command);
  catch_end(&said);
  const char *options = strstr(said.text, "\nOptions:\n"), *first = strstr(said.text, "\nFirst:\n"),
             *running = strstr(said.text, "\nRunning:\n");
  assert_true(options && first && running && options < first && first < running);
  assert_non_null(strstr(said.text, "  -t, --text FILE…                  a text\n"));
  assert_non_null(strstr(said.text, "      --share yes|no                yes or no (default: yes)\n"));
  assert_non_null(strstr(said.text, "      --set a,b                     some of them\n"));
  assert_non_null(strstr(first, "  -n, --count N                     a number (default: 4)\n"));
  assert_non_null(strstr(running, "--threads N"));
  assert_null(strstr(said.text, "--seed"));
}

static void test_nearest(void **state) {
  (void)state;
  static const struct {
    const char *written, *meant;
  } cases[] = {{"cont", "count"},  {"learning_rate", "learning-rate"},
               {"manny", "many"},  {"hlep", "help"},
               {"cfg", NULL},      {"p", NULL},
               {"quite", "quiet"}, {"seed", NULL}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *got = cli_nearest_option(&command, cases[i].written, strlen(cases[i].written));
    if ((got == NULL) != (cases[i].meant == NULL) || (got && strcmp(got, cases[i].meant) != 0))
      fail_msg("%s: %s", cases[i].written, got ? got : "none");
  }
  assert_string_equal(cli_nearest_command(commands, "tyr"), "try");
  assert_null(cli_nearest_command(commands, "another"));
}

/* Every row of train's table has what its kind needs, a name of its own, and a default in its range. */
static void test_train_table(void **state) {
  (void)state;
  for (const option *o = train_option_table; o->name; o++) {
    for (const option *p = train_option_table; p < o; p++) assert_string_not_equal(p->name, o->name);
    bool words = o->kind == OPTION_CHOICE || o->kind == OPTION_SET, none = o->kind == OPTION_FLAG;
    if (!o->help || !o->group || (o->words != NULL) != words) fail_msg("--%s", o->name);
    if ((o->value != NULL) != (!words && !none && o->kind != OPTION_YES_NO)) fail_msg("--%s: value", o->name);
    if (o->of) assert_string_equal(o->of, "loss");
    train_options t;
    rw_error err;
    if (o->initial && strcmp(o->name, "lora-dropout") != 0 && option_set(o, &t, o->initial, NULL, &err))
      fail_msg("--%s: %s", o->name, err.text);
  }
}

/* The library refuses what the program's parser would, and names the field. */
static void test_train_check(void **state) {
  (void)state;
  train_options o;
  rw_error err;
  train_defaults(&o);
  assert_int_equal(option_check(train_option_table, &o, &err), RW_OK);
  o.batch_size = 0;
  assert_int_equal(option_check(train_option_table, &o, &err), RW_USAGE);
  field_spell(err.text, false);
  assert_string_equal(err.text, "batch_size: expected 1 or more, got 0");
  train_defaults(&o);
  o.max_grad_norm = NAN;
  assert_int_equal(option_check(train_option_table, &o, &err), RW_USAGE);
  train_defaults(&o);
  o.loss.kind = LOSS_KINDS;
  assert_int_equal(option_check(train_option_table, &o, &err), RW_USAGE);
  train_defaults(&o);
  o.recompute = RECOMPUTE_AUTO + 1;
  train_result r;
  o.model = "nowhere";
  assert_int_equal(train_run(&o, &r, &err), RW_USAGE);
  field_spell(err.text, true);
  assert_string_equal(err.text, "--recompute: expected no|mlp|full|auto, got 'another number'");
}

/* Runs that an older program began must find their fingerprint again. */
static void test_fingerprint(void **state) {
  (void)state;
  static const char plain[] =
      "0 0x1p+1 0x1p+0 0x1p-1 0x1p+1 0x0p+0 0x1.0c6f7a0b5ed8dp-19 0x1.ccccccccccccdp-1 0x1.ff7ced916872bp-1 "
      "0x1.5798ee2308c3ap-27 0x1.0624dd2f1a9fcp-10 0 0 0x1p+0 0 0x1.eb851eb851eb8p-6 0x0p+0 128 9 1 0 2 0 1 0 0 "
      "cpu f32";
  fingerprint_effect e = {9, "cpu", "f32", 0};
  train_options o;
  str s = {0};
  train_defaults(&o);
  fingerprint_options(&s, &o, &e);
  assert_string_equal(s.p, plain);
  o.no_decay = NO_DECAY_BIAS;
  o.states_8bit = 1;
  o.freeze_layers = 3;
  o.seed = 5;
  o.lora_rank = 2;
  o.loss.ranking = RANKING_ALL_PAIRS;
  e.dropout = 0.5;
  o.batch_tokens = 7; /* changes no bit */
  o.epochs = 40;      /* counts as steps */
  str_clear(&s);
  fingerprint_options(&s, &o, &e);
  assert_non_null(
      strstr(s.p,
             " 0 1 0x1p+0 0 0x1.eb851eb851eb8p-6 0x0p+0 128 9 1 0 2 3 1 1 5 cpu f32 lora 2 0x0p+0 all-linear  "
             "drop 0x1p-1  2 "));
  assert_null(strstr(s.p, "slices"));
  o.slices = 4; /* an older program had one */
  str_clear(&s);
  fingerprint_options(&s, &o, &e);
  assert_non_null(strstr(s.p, " slices=4"));
  str_free(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_lines),       cmocka_unit_test(test_defaults),    cmocka_unit_test(test_config),
      cmocka_unit_test(test_help),        cmocka_unit_test(test_nearest),     cmocka_unit_test(test_train_table),
      cmocka_unit_test(test_train_check), cmocka_unit_test(test_fingerprint),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* opts.c - the words of a command line, read by the tables of the command and the common one. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const char RUNNING[] = "Running";

const option cli_common_table[] = {
    {"threads", .kind = OPTION_INT, .field = offsetof(cli_common, threads), .value = "N",
     .range = OPTION_BETWEEN(1, 1024), .group = RUNNING, .help = "threads to use (default: all cores)"},
    {"seed", .kind = OPTION_INT, .field = offsetof(cli_common, seed), .value = "N", .range = OPTION_AT_LEAST(0),
     .affects = OPTION_BITS, .group = RUNNING, .help = "seed of everything random"},
    {"device", .kind = OPTION_TEXT, .field = offsetof(cli_common, device), .value = "auto|cpu|cuda[:N]",
     .initial = "auto", .affects = OPTION_BITS, .group = RUNNING, .help = "where to compute"},
    {"dtype", .kind = OPTION_TEXT, .field = offsetof(cli_common, dtype), .value = "auto|f32|bf16",
     .initial = "auto", .affects = OPTION_BITS, .group = RUNNING, .help = "precision of the large products"},
    {"base", .kind = OPTION_TEXT, .field = offsetof(cli_common, base), .value = "DIR", .affects = OPTION_INPUT,
     .group = RUNNING, .help = "base model of an adapter (default: the one that it names)"},
    {"quiet", 'q', .kind = OPTION_FLAG, .field = offsetof(cli_common, quiet), .group = RUNNING,
     .help = "no progress and no notes"},
    {.name = NULL}};

bool cli_has_effect(const cli_command *command, const option *o) {
  for (size_t i = 0; cli_common_table[i].name; i++)
    if (o == &cli_common_table[i]) return command->common >> i & 1;
  return true;
}

bool cli_given(const cli *c, const char *name) {
  for (size_t i = 0; i < c->n_given; i++)
    if (strcmp(c->given[i].option->name, name) == 0) return true;
  return false;
}

const option *cli_option_named(const cli_command *command, const char *name, size_t len) {
  const option *o = NULL;
  for (const cli_part *p = command->parts; p < command->parts + CLI_PARTS && p->table && !o; p++)
    o = option_named(p->table, name, len);
  return o ? o : option_named(cli_common_table, name, len);
}

const option *cli_option_of_word(const cli_command *command, const char *word, const char **value) {
  const option *o = NULL;
  for (const cli_part *p = command->parts; p < command->parts + CLI_PARTS && p->table && !o; p++)
    o = option_of_word(p->table, word, value);
  return o ? o : option_of_word(cli_common_table, word, value);
}

/* The struct that the option's field is in. */
static void *values_of(cli *c, const option *o) {
  for (const cli_part *p = c->command->parts; p < c->command->parts + CLI_PARTS && p->table; p++)
    for (const option *row = p->table; row->name; row++)
      if (row == o) return (char *)c->values + p->at;
  return &c->common;
}

static int set_value(cli *c, const option *o, const char *text) {
  rw_error err;
  if (!option_set(o, values_of(c, o), text, c->memory, &err)) return -1;
  return err.code == RW_NOMEM ? cli_nomem(c) : cli_usage(c, "--%s: %s", o->name, err.text);
}

static int unknown_option(const cli *c, const char *word) {
  const char *name = word + 1 + (word[1] == '-'), *near = NULL;
  if (word[1] == '-') near = cli_nearest_option(c->command, name, strcspn(name, "="));
  return cli_usage(c, "'%s': unknown option%s%s%s", word, near ? "; did you mean --" : "", near ? near : "",
                   near ? "?" : "");
}

/* The option at argv[*i] with its values; *i is then its last word. */
static int parse_option(cli *c, int *i) {
  const char *word = c->argv[*i], *value;
  const option *o = cli_option_of_word(c->command, word, &value);
  cli_given_option *g = &c->given[c->n_given];
  if (!o) return unknown_option(c, word);
  if (o->kind == OPTION_FLAG && value) return cli_usage(c, "--%s: takes no value", o->name);
  *g = (cli_given_option){o, *i, 1};
  c->n_given++;
  if (o->kind != OPTION_FLAG && !value) {
    str name = {0};
    value = *i + 1 < c->argc ? c->argv[++*i] : NULL;
    option_value_name(o, &name);
    int status = value ? -1 : cli_usage(c, "--%s: expected %s after it", o->name, name.p ? name.p : "a value");
    str_free(&name);
    if (status >= 0) return status;
  }
  int bad = set_value(c, o, value);
  while (bad < 0 && o->many && *i + 1 < c->argc && option_is_value(c->argv[*i + 1])) {
    c->greedy = o;
    c->greedy_word = c->argv[++*i];
    bad = set_value(c, o, c->greedy_word);
  }
  g->n = *i - g->first + 1;
  return bad;
}

static int parse_words(cli *c) {
  bool only_words = false;
  for (int i = 1; i < c->argc; i++) {
    const char *word = c->argv[i];
    int status = -1;
    if (only_words || option_is_value(word)) {
      if (c->words.n == c->command->max_words) return cli_usage(c, "'%s': one argument too many", word);
      if (!cli_push(c, &c->words, word)) return cli_nomem(c);
    } else if (strcmp(word, "--") == 0) {
      only_words = true;
    } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
      cli_print_help(c->command);
      return 0;
    } else {
      status = parse_option(c, &i);
    }
    if (status >= 0) return status;
  }
  return -1;
}

int cli_open(cli *c, const cli_command *command, cli_messages *messages, int argc, char **argv) {
  *c = (cli){.command = command,
             .messages = messages,
             .context = &messages->context,
             .argc = argc,
             .argv = argv,
             .memory = arena_new()};
  c->values = c->memory ? arena_alloc(c->memory, 1, command->values) : NULL;
  if (!c->values) return cli_nomem(c);
  for (const cli_part *p = command->parts; p < command->parts + CLI_PARTS && p->table; p++)
    option_defaults(p->table, (char *)c->values + p->at);
  option_defaults(cli_common_table, &c->common);
  int status = cli_config(c);
  if (status >= 0) return status;
  c->given = arena_alloc(c->memory, (size_t)c->argc, sizeof *c->given);
  return c->given ? parse_words(c) : cli_nomem(c);
}

void cli_close(cli *c) { arena_free(c->memory); }

/* ---- what is kept ---- */

char *cli_keep(cli *c, const char *s, size_t len) { return arena_strndup(c->memory, s, len); }

bool cli_push(cli *c, option_list *l, const char *s) { return option_push(l, s, c->memory); }

bool cli_split(cli *c, option_list *l, const char *text) {
  while (*text) {
    size_t n = strcspn(text, ",");
    const char *name = n ? cli_keep(c, text, n) : NULL;
    if (n && (!name || !cli_push(c, l, name))) return false;
    text += n + (text[n] == ',');
  }
  return true;
}

/* ---- run.json ---- */

static void value_json(json_writer *w, const option *o, const void *values) {
  const void *field = (const char *)values + o->field;
  if (o->kind == OPTION_FLAG) {
    jw_bool(w, o->name, *(const bool *)field);
  } else if (o->kind == OPTION_LIST) {
    const option_list *l = field;
    jw_array(w, o->name);
    for (size_t i = 0; i < l->n; i++) jw_string(w, NULL, l->items[i]);
    jw_end(w);
  } else {
    str text = {0};
    bool there = option_text(o, values, &text), number = o->kind == OPTION_INT || o->kind == OPTION_NUMBER;
    if (there && number)
      jw_raw(w, o->name, (slice){text.p, text.len});
    else
      jw_string(w, o->name, there ? text.p ? text.p : "" : NULL);
    str_free(&text);
  }
}

void cli_options_json(json_writer *w, const option *table, const void *values) {
  for (const option *o = table; o->name; o++) value_json(w, o, values);
}

/* opts.c - the words of a command line, read by the tables of the command and the common one. */
#include <string.h>

#include "cli/cli.h"

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

/* tables.c - the common options, an option of a command by its name, and what a command line keeps. */
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
    {"max-row-bytes", .kind = OPTION_INT, .field = offsetof(cli_common, max_row_bytes), .value = "N",
     .initial = "67108864", .range = OPTION_BETWEEN(1, 1 << 30), .group = RUNNING,
     .help = "bytes that a row of a file may have, unpacked"},
    {"map", .kind = OPTION_LIST, .field = offsetof(cli_common, map), .value = "NAME=FIELD", .affects = OPTION_INPUT,
     .group = RUNNING, .help = "rows have FIELD (a.b: nested) where docs/data.md says NAME; repeatable"},
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

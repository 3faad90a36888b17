/* suggest.c - the option or command that a misspelled name was meant to be. */
#include <string.h>

#include "base/nearest.h"
#include "cli/cli.h"

const char *cli_nearest_option(const cli_command *command, const char *name, size_t len) {
  nearest w = NEAREST(name, len);
  for (const cli_part *p = command->parts; p < command->parts + CLI_PARTS && p->table; p++)
    for (const option *o = p->table; o->name; o++) nearest_consider(&w, o->name);
  for (const option *o = cli_common_table; o->name; o++)
    if (cli_has_effect(command, o)) nearest_consider(&w, o->name);
  nearest_consider(&w, "help");
  return w.name;
}

const char *cli_nearest_command(const cli_command *const *commands, const char *name) {
  nearest w = NEAREST(name, strlen(name));
  for (const cli_command *const *c = commands; *c; c++) nearest_consider(&w, (*c)->name);
  nearest_consider(&w, "help");
  return w.name;
}

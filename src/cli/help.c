/* help.c - --help, from a command's tables. Columns are counted in characters. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "compute/backend.h"

enum { HELP_COLUMN = 36, HELP_WIDTH = 110 };

/* Characters of UTF-8 text. */
static int columns(const char *s, size_t len) {
  int n = 0;
  for (size_t i = 0; i < len; i++) n += (s[i] & 0xc0) != 0x80;
  return n;
}

/* The words from HELP_COLUMN on, wrapped. at: columns of the line that are taken. */
static void print_wrapped(const char *text, int at) {
  if (at > HELP_COLUMN - 2) {
    putchar('\n');
    at = 0;
  }
  printf("%*s", HELP_COLUMN - at, "");
  int column = HELP_COLUMN;
  for (const char *c = text; *c;) {
    size_t n = strcspn(c, " ");
    int wide = columns(c, n);
    bool first = column == HELP_COLUMN, fits = column + 1 + wide <= HELP_WIDTH;
    if (!first && fits) column += printf(" ");
    if (!first && !fits) {
      printf("\n%*s", HELP_COLUMN, "");
      column = HELP_COLUMN;
    }
    printf("%.*s", (int)n, c);
    column += wide;
    c += n + (c[n] == ' ');
  }
  putchar('\n');
}

static void print_option(const option *o) {
  str left = {0}, text = {0};
  str_printf(&left, "  %s%c%s--%s", o->letter ? "-" : "", o->letter ? o->letter : ' ', o->letter ? ", " : "   ",
             o->name);
  if (o->kind != OPTION_FLAG) str_addc(&left, ' ');
  option_value_name(o, &left);
  cli_option_help(o, &text);
  fputs(left.p ? left.p : "", stdout);
  print_wrapped(text.p ? text.p : "", columns(left.p ? left.p : "", left.len));
  str_free(&left);
  str_free(&text);
}

void cli_option_help(const option *o, str *out) {
  const char *initial = option_initial(o);
  str_addz(out, o->help);
  if (o->field == offsetof(cli_common, device) && option_named(cli_common_table, o->name, strlen(o->name)) == o)
    str_printf(out, "; this build has %s", backend_devices());
  if (initial && !strstr(o->help, "default")) str_printf(out, " (default: %s)", initial);
}

static const char *group_of(const option *o) { return o->group ? o->group : "Options"; }

/* The tables that help shows, ended by NULL. */
static void shown_tables(const cli_command *command, const option *tables[CLI_PARTS + 2]) {
  size_t n = 0;
  for (const cli_part *p = command->parts; p < command->parts + CLI_PARTS && p->table; p++)
    if (!p->elsewhere) tables[n++] = p->table;
  tables[n++] = cli_common_table;
  tables[n] = NULL;
}

/* The group's first option that has an effect. */
static const option *first_of(const cli_command *command, const option *const *tables, const char *group) {
  for (; *tables; tables++)
    for (const option *o = *tables; o->name; o++)
      if (strcmp(group_of(o), group) == 0 && cli_has_effect(command, o)) return o;
  return NULL;
}

void cli_each_option(const cli_command *command, void (*fn)(void *ctx, const char *heading, const option *o),
                     void *ctx) {
  const option *tables[CLI_PARTS + 2];
  shown_tables(command, tables);
  /* a group stands where its first option does */
  for (size_t t = 0; tables[t]; t++)
    for (const option *first = tables[t]; first->name; first++) {
      const char *group = group_of(first);
      if (first_of(command, tables, group) != first) continue;
      for (size_t u = t; tables[u]; u++)
        for (const option *o = tables[u]; o->name; o++)
          if (strcmp(group_of(o), group) == 0 && cli_has_effect(command, o)) fn(ctx, o == first ? group : NULL, o);
    }
}

static void show(void *ctx, const char *heading, const option *o) {
  (void)ctx;
  if (heading) printf("\n%s:\n", heading);
  print_option(o);
}

void cli_print_help(const cli_command *command) {
  signal(SIGPIPE, SIG_DFL); /* a pager that was left is no error */
  printf("usage: reward %s\n\n%s\n", command->usage, command->about);
  cli_each_option(command, show, NULL);
  printf("\nExamples:\n%s", command->examples);
}

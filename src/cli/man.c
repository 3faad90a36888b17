/* man.c - manual pages, in man(7), from the commands' tables and texts. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* Text of one line, or of a part: what roff would read otherwise is escaped. */
static void print_text(const char *s, size_t len) {
  if (len > 0 && (*s == '.' || *s == '\'')) fputs("\\&", stdout);
  for (size_t i = 0; i < len; i++) {
    if (s[i] == '\\')
      fputs("\\e", stdout);
    else if (s[i] == '-')
      fputs("\\-", stdout);
    else
      putchar(s[i]);
  }
}

static void print_z(const char *s) { print_text(s, strlen(s)); }

/* Lines that begin with a space stand as they are, the others are filled. */
static void print_paragraphs(const char *text) {
  bool as_is = false;
  for (const char *c = text; *c;) {
    size_t n = strcspn(c, "\n");
    bool indented = *c == ' ';
    if (indented != as_is) puts(indented ? ".PP\n.nf" : ".fi\n.PP");
    as_is = indented;
    print_text(c, n);
    putchar('\n');
    c += n + (c[n] == '\n');
  }
  if (as_is) puts(".fi");
}

static void print_option(void *ctx, const char *heading, const option *o) {
  (void)ctx;
  str text = {0};
  if (heading) printf(".SS %s\n", heading);
  puts(".TP");
  if (o->letter) printf("\\fB\\-%c\\fR, ", o->letter);
  fputs("\\fB\\-\\-", stdout);
  print_z(o->name);
  fputs("\\fR", stdout);
  if (o->kind != OPTION_FLAG) {
    option_value_name(o, &text);
    fputs(" \\fI", stdout);
    print_text(text.p ? text.p : "", text.len);
    fputs("\\fR", stdout);
    str_clear(&text);
  }
  putchar('\n');
  cli_option_help(o, &text);
  print_text(text.p ? text.p : "", text.len);
  putchar('\n');
  str_free(&text);
}

static void print_head(const char *name, const char *summary) {
  fputs(".TH \"REWARD", stdout);
  if (*name) putchar('-');
  for (const char *c = name; *c; c++) putchar(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
  printf("\" 1 \"\" \"reward.c " REWARD_VERSION "\" \"reward.c manual\"\n.SH NAME\nreward%s%s \\- ",
         *name ? "\\-" : "", name);
  print_z(summary);
  puts("\n.SH SYNOPSIS");
}

static void print_program(void) {
  print_head("", CLI_ABOUT);
  puts(
      "\\fBreward\\fR \\fICOMMAND\\fR [\\fIoptions\\fR]\n.SH DESCRIPTION\nEach command has a page of its own, and\n"
      "\\fBreward help\\fR \\fICOMMAND\\fR shows the same options with their defaults.\n.SH COMMANDS");
  for (const cli_command *const *c = cli_commands; *c; c++) {
    printf(".TP\n\\fBreward\\-%s\\fR(1)\n", (*c)->name);
    print_z((*c)->summary);
    putchar('\n');
  }
  puts(
      ".SH OPTIONS\n.TP\n\\fB\\-\\-help\\fR\nshow the commands, or after a command its options\n.TP\n"
      "\\fB\\-\\-version\\fR\nshow the version\n.TP\n\\fB\\-\\-man\\fR [\\fICOMMAND\\fR]\nwrite this page, or a "
      "command's, to stdout\n.TP\n\\fB\\-\\-completion\\fR \\fIbash|zsh|fish\\fR\nwrite the shell's completion to "
      "stdout");
}

void cli_print_man(const cli_command *command) {
  if (command) {
    print_head(command->name, command->summary);
    fputs("\\fBreward ", stdout);
    print_z(command->name);
    fputs("\\fR", stdout);
    print_z(command->usage + strlen(command->name));
    puts("\n.SH DESCRIPTION");
    print_paragraphs(command->about);
    puts(".SH OPTIONS");
    cli_each_option(command, print_option, NULL);
    puts(".SH EXAMPLES\n.nf");
    for (const char *c = command->examples; *c;) {
      size_t n = strcspn(c, "\n"), blank = strspn(c, " ") > 2 ? 2 : strspn(c, " ");
      print_text(c + blank, n - blank);
      putchar('\n');
      c += n + (c[n] == '\n');
    }
    puts(".fi");
  } else {
    print_program();
  }
  puts(
      ".SH EXIT STATUS\n0: done. 1: something failed, or a row could not be used. 2: the command line is wrong.\n"
      "130: interrupted; what was finished is kept.");
  if (command) puts(".SH SEE ALSO\n\\fBreward\\fR(1)");
}

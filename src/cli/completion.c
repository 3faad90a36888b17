/* completion.c - completions for bash, zsh and fish, from the commands' tables. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const char TOP_WORDS[] = "help --help --version";

/* The words that the option's value may be, a space before each; nothing where it may be anything. */
static void words_of(const option *o, str *out) {
  str name = {0};
  option_value_name(o, &name);
  for (const char *c = name.p && strchr(name.p, '|') ? name.p : ""; *c;) {
    size_t n = strcspn(c, "|"), literal = strcspn(c, "|[");
    if (*c < 'A' || *c > 'Z') str_printf(out, " %.*s", (int)literal, c);
    c += n + (c[n] == '|');
  }
  str_free(&name);
}

static bool is_folder(const option *o) { return o->value && strcmp(o->value, "DIR") == 0; }
static bool is_file(const option *o) {
  return o->value && (strstr(o->value, "FILE") || strcmp(o->value, "ROWS") == 0);
}

/* All options of a command, those that it hands on too; of equal names the first. */
static void each(const cli_command *command, void (*fn)(const cli_command *command, const option *o)) {
  for (const cli_part *p = command->parts; p < command->parts + CLI_PARTS && p->table; p++)
    for (const option *o = p->table; o->name; o++)
      if (cli_option_named(command, o->name, strlen(o->name)) == o) fn(command, o);
  for (const option *o = cli_common_table; o->name; o++)
    if (cli_has_effect(command, o)) fn(command, o);
}

/* ---- bash ---- */

static void bash_name(const cli_command *command, const option *o) {
  (void)command;
  printf(" --%s", o->name);
}

static void bash_value(const cli_command *command, const option *o) {
  str words = {0};
  words_of(o, &words);
  if (o->kind == OPTION_FLAG) return;
  printf("    %s:--%s", command->name, o->name);
  if (o->letter) printf("|%s:-%c", command->name, o->letter);
  if (words.len)
    printf(") words='%s' ;;\n", words.p + 1);
  else
    printf(") kind=%s ;;\n", is_folder(o) ? "directory" : is_file(o) ? "file" : "none");
  str_free(&words);
}

static void print_bash(void) {
  printf(
      "# bash completion for reward\n_reward() {\n"
      "  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} options= words= kind=\n"
      "  if [ \"$current\" = = ]; then\n    current=\n"
      "  elif [ \"$before\" = = ]; then\n    before=${COMP_WORDS[COMP_CWORD-2]}\n  fi\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    COMPREPLY=($(compgen -W '");
  for (const cli_command *const *c = cli_commands; *c; c++) printf("%s ", (*c)->name);
  printf("%s' -- \"$current\"))\n    return\n  fi\n  case ${COMP_WORDS[1]} in\n", TOP_WORDS);
  for (const cli_command *const *c = cli_commands; *c; c++) {
    printf("    %s) options='--help", (*c)->name);
    each(*c, bash_name);
    puts("' ;;");
  }
  printf("    help) options='");
  for (const cli_command *const *c = cli_commands; *c; c++) printf("%s ", (*c)->name);
  puts("' ;;\n  esac\n  case ${COMP_WORDS[1]}:$before in");
  for (const cli_command *const *c = cli_commands; *c; c++) each(*c, bash_value);
  puts(
      "  esac\n"
      "  if [ -n \"$words\" ]; then\n    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
      "  elif [ \"$kind\" = none ]; then\n    COMPREPLY=()\n"
      "  elif [ \"$kind\" = directory ]; then\n    compopt -o filenames\n"
      "    mapfile -t COMPREPLY < <(compgen -d -- \"$current\")\n"
      "  elif [ -z \"$kind\" ] && { [ \"${COMP_WORDS[1]}\" = help ] || [ \"${current:0:1}\" = - ]; }; then\n"
      "    COMPREPLY=($(compgen -W \"$options\" -- \"$current\"))\n"
      "  else\n    compopt -o filenames\n    mapfile -t COMPREPLY < <(compgen -f -- \"$current\")\n  fi\n}\n"
      "complete -F _reward reward");
}

/* ---- zsh ---- */

/* Text in a specification in single quotes: brackets and colons have a meaning there. */
static void zsh_text(const char *s) {
  for (; *s; s++) {
    if (*s == '\'')
      fputs("'\\''", stdout);
    else if (strchr("[]:\\", *s))
      printf("\\%c", *s);
    else
      putchar(*s);
  }
}

static void zsh_value(const option *o) {
  str words = {0};
  words_of(o, &words);
  printf(":%s:", o->name);
  if (words.len)
    printf("(%s)", words.p + 1);
  else if (is_folder(o))
    fputs("_files -/", stdout);
  else if (is_file(o))
    fputs("_files", stdout);
  str_free(&words);
}

static void zsh_option(const cli_command *command, const option *o) {
  (void)command;
  for (int letter = 0; letter <= (o->letter ? 1 : 0); letter++) {
    fputs("        '", stdout);
    if (o->kind == OPTION_LIST) putchar('*');
    if (letter)
      printf("-%c", o->letter);
    else
      printf("--%s", o->name);
    if (o->kind != OPTION_FLAG) putchar(letter ? '+' : '=');
    putchar('[');
    zsh_text(o->help);
    putchar(']');
    if (o->kind != OPTION_FLAG) zsh_value(o);
    puts("' \\");
  }
}

static void print_zsh(void) {
  puts("#compdef reward\n_reward() {\n  local -a commands\n  commands=(");
  for (const cli_command *const *c = cli_commands; *c; c++) {
    printf("    '%s:", (*c)->name);
    zsh_text((*c)->summary);
    puts("'");
  }
  puts(
      "    'help:show the options of a command'\n  )\n"
      "  if (( CURRENT == 2 )); then\n    _describe -t commands 'reward command' commands\n"
      "    _arguments '--help[show the commands]' '--version[show the version]'\n    return\n  fi\n"
      "  local command=$words[2]\n  shift words\n  (( CURRENT-- ))\n  case $command in\n"
      "    help) _describe -t commands 'reward command' commands ;;");
  for (const cli_command *const *c = cli_commands; *c; c++) {
    printf("    %s)\n      _arguments -s -S \\\n", (*c)->name);
    each(*c, zsh_option);
    puts("        '--help[show the options]' \\\n        '*:file:_files' ;;");
  }
  puts("  esac\n}\n_reward \"$@\"");
}

/* ---- fish ---- */

static void fish_text(const char *s) {
  putchar('\'');
  for (; *s; s++) {
    if (*s == '\'' || *s == '\\') putchar('\\');
    putchar(*s);
  }
  putchar('\'');
}

static void fish_option(const cli_command *command, const option *o) {
  str words = {0};
  words_of(o, &words);
  printf("complete -c reward -n '__fish_seen_subcommand_from %s' -l %s", command->name, o->name);
  if (o->letter) printf(" -s %c", o->letter);
  if (words.len)
    printf(" -x -a '%s'", words.p + 1);
  else if (is_folder(o))
    fputs(" -x -a '(__fish_complete_directories)'", stdout);
  else if (o->kind != OPTION_FLAG)
    fputs(is_file(o) ? " -r -F" : " -x", stdout);
  fputs(" -d ", stdout);
  fish_text(o->help);
  putchar('\n');
  str_free(&words);
}

static void print_fish(void) {
  puts("# fish completion for reward");
  for (const cli_command *const *c = cli_commands; *c; c++) {
    printf("complete -c reward -f -n __fish_use_subcommand -a %s -d ", (*c)->name);
    fish_text((*c)->summary);
    putchar('\n');
  }
  puts(
      "complete -c reward -f -n __fish_use_subcommand -a help -d 'show the options of a command'\n"
      "complete -c reward -f -n __fish_use_subcommand -l help -d 'show the commands'\n"
      "complete -c reward -f -n __fish_use_subcommand -l version -d 'show the version'");
  printf("complete -c reward -f -n '__fish_seen_subcommand_from help' -a '");
  for (const cli_command *const *c = cli_commands; *c; c++) printf("%s ", (*c)->name);
  puts("'");
  for (const cli_command *const *c = cli_commands; *c; c++) each(*c, fish_option);
}

bool cli_print_completion(const char *shell) {
  if (strcmp(shell, "bash") == 0)
    print_bash();
  else if (strcmp(shell, "zsh") == 0)
    print_zsh();
  else if (strcmp(shell, "fish") == 0)
    print_fish();
  else
    return false;
  return true;
}

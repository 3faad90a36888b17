/* cli.h - what every subcommand shares: its description, the parsed command line, messages, opening what is named.
 *
 * A subcommand is one file cmd_NAME.c with one cli_command: its tables of options (base/option.h), its texts and
 * the function that runs it. The parser, --help, --config, run.json, the man page and the completion read these.
 * All state of one invocation is in the cli that the function gets.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <stdio.h>
#include "base/log.h"

#include "base/mem.h"
#include "base/option.h"
#include "base/status.h"
#include "format/json_write.h"

typedef struct cli cli;

#define CLI_ABOUT "Reward models in C: curate, decontaminate, train, score, evaluate."

/* Options that every command takes. Help shows those that have an effect in it; the others are taken and do
 * nothing. */
typedef struct {
  int64_t threads, seed, max_row_bytes;
  option_list map;
  const char *device, *dtype, *base;
  bool quiet;
} cli_common;
extern const option cli_common_table[];
/* One bit a row of that table. */
enum {
  CLI_THREADS = 1,
  CLI_SEED = 2,
  CLI_DEVICE = 4,
  CLI_DTYPE = 8,
  CLI_BASE = 16,
  CLI_QUIET = 32,
  CLI_MAP = 128,
  CLI_ROWS = 64 | CLI_MAP
};
enum { CLI_MODEL = CLI_THREADS | CLI_DEVICE | CLI_DTYPE | CLI_BASE | CLI_QUIET };

typedef struct {
  const option *table;
  size_t at;      /* offset, in the command's values, of the struct that the table is of */
  bool elsewhere; /* another command's options that this one hands on: its help shows them */
} cli_part;
enum { CLI_PARTS = 4 };

typedef struct {
  const char *name, *summary;
  const char *usage;    /* after "usage: reward " */
  const char *about;    /* paragraphs; lines that begin with a space stand as they are */
  const char *examples; /* lines as they are */
  cli_part parts[CLI_PARTS];
  size_t values;                    /* bytes of the struct that the options fill */
  size_t max_words;                 /* words that are no options */
  unsigned common;                  /* those of the common options that have an effect */
  bool ranks;                       /* works together with the ranks that a launcher has started */
  int (*run)(cli *c, void *values); /* the exit status */
} cli_command;
extern const cli_command *const cli_commands[]; /* ends with NULL; commands.c */
/* The heading above the command in `reward --help`; NULL: the one before's. */
const char *cli_heading(const cli_command *command);

/* An option as it was given: words first to first + n of argv. */
typedef struct {
  const option *option;
  int first, n;
} cli_given_option;

/* Where a command says what it does: lines on stderr, "reward NAME: text". Of several ranks the first alone speaks:
 * what fails on another is agreed on (comm_agree, cli_agree), or said when that rank ends the run. */
typedef struct {
  rw_context context;
  const char *name; /* name of the command that the user called */
  bool quiet;       /* warnings alone */
  bool line_open;   /* a progress line without its newline is on the terminal */
  str held;         /* errors of a rank that does not speak */
} cli_messages;
void cli_messages_begin(cli_messages *m, const char *name);
/* Opens the ranks of a launcher, if any. -1 to go on, else the exit status. */
int cli_messages_ranks(cli_messages *m, const cli_command *command);
/* The exit status of all ranks; may end all their processes instead, where one has failed and others do not know.
 */
int cli_messages_end(cli_messages *m, int status);

struct cli {
  const cli_command *command;
  cli_messages *messages;
  rw_context *context; /* the messages' context; cli_threads starts its threads */
  int argc;            /* the words from the command's name on (argv[0]), with what --config brought */
  char **argv;
  void *values;
  cli_common common;
  option_list words; /* words that are no options */
  cli_given_option *given;
  size_t n_given;
  const option *greedy; /* the last list option that took more words than one, and the last that it took */
  const char *greedy_word;
  arena *memory; /* memory of all this */
};

/* Parses the words into c->values. -1 to go on, else the exit status: 0 after --help, 2 after an error, said on
 * stderr. */
int cli_open(cli *c, const cli_command *command, cli_messages *messages, int argc, char **argv);
void cli_close(cli *c);

bool cli_given(const cli *c, const char *name); /* on the command line, or by --config; not just its default */
/* The option of the command, or the common one, that a name or a word of argv means; NULL: none. value: as for
 * option_of_word. */
const option *cli_option_named(const cli_command *command, const char *name, size_t len);
const option *cli_option_of_word(const cli_command *command, const char *word, const char **value);
/* Puts the options of --config FILE.yaml, where it is given, before the others, which win: what the command line
 * gives is not taken from the file. -1 to go on, else the exit status. */
int cli_config(cli *c);

/* The members "name": value of all options of the table: true and false, numbers, texts and lists of them;
 * null where there is none. */
void cli_options_json(json_writer *w, const option *table, const void *values);

/* Is a row of cli_common_table one that has an effect in the command? Rows of other tables: true. */
bool cli_has_effect(const cli_command *command, const option *o);
/* Calls fn for each option that help shows, group after group; heading: of the group that begins, else NULL. */
void cli_each_option(const cli_command *command, void (*fn)(void *ctx, const char *heading, const option *o),
                     void *ctx);
void cli_option_help(const option *o, str *out); /* what it is for, and its default */
void cli_print_help(const cli_command *command);
void cli_print_version(void);
void cli_print_man(const cli_command *command); /* NULL: of the program */
/* For bash, zsh or fish; false: another shell. */
bool cli_print_completion(const char *shell);
/* The name nearest to a misspelled one: of the command's options (without dashes), or of the commands. NULL: none
 * is near. */
const char *cli_nearest_option(const cli_command *command, const char *name, size_t len);
const char *cli_nearest_command(const cli_command *const *commands, const char *name);

/* The error's text as the user should read it. */
const char *cli_text(rw_error *err);
/* Prints a text of several lines for people, cleaned (utf8_show); of none, nothing. */
void cli_print(FILE *f, str *text);
/* Prints "reward COMMAND: text" and returns the exit status that the code stands for. */
int cli_fail(const cli *c, rw_error *err);
int cli_usage(const cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int cli_nomem(const cli *c);
/* The same for a missing word. Says so if an option that takes lists may have taken it. */
int cli_missing(const cli *c, const char *what);

/* The exit status of the lowest rank that has one, which is said once, or -1 on all ranks. */
int cli_agree(const cli *c, int status);

/* The rows that a command reads: the word that names them, or the value of --data, or "-". NULL: both are there,
 * which was said. */
const char *cli_rows(const cli *c, const char *data);

/* Is the output (NULL: none) one of the files that are read? Says so and returns 2; -1: no. */
int cli_check_output(const cli *c, const char *out, const char *const *in, size_t n);

/* A .gguf file as --model: converts it once into the cache and sets *path to that directory, which lives as long as
 * the cli. Any other path is left as it is. The same with --base, which only an adapter may have. */
rw_status cli_model_dir(cli *c, const char **path, rw_error *err);

/* The context with the threads that --threads asks for, started once. NULL after an error was said. */
rw_context *cli_threads(const cli *c);

/* What the command line says stays until cli_close: a copy of a text, a list's items. NULL and false: no memory. */
char *cli_keep(cli *c, const char *s, size_t len);
bool cli_push(cli *c, option_list *l, const char *s);
/* "a,b,c" into the list; empty names are left out. */
bool cli_split(cli *c, option_list *l, const char *text);

#endif

/* cli.h - what every subcommand shares: option tables, --help, opening things named on the command line.
 *
 * A subcommand is one file cmd_NAME.c with one cli_command; it parses, calls the library, prints. All options
 * are described once, in its table: the parser, --help with defaults, the --config reader and the record of a run
 * use that table.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/status.h"

typedef enum {
  OPT_FLAG,   /* bool *: --name */
  OPT_STRING, /* const char **: --name VALUE or --name=VALUE */
  OPT_INT,    /* int64_t * */
  OPT_NUMBER, /* double * */
  OPT_LIST,   /* cli_list *: repeatable, and every following non-option word when `many` */
} opt_kind;

typedef struct {
  const char **items;
  size_t n, cap;
} cli_list; /* its memory is freed at the end, by cli_end */

typedef struct {
  const char *name; /* without dashes */
  char letter;      /* 0: none */
  opt_kind kind;
  void *out;         /* holds the default before parsing */
  const char *value; /* what the value is called in --help: "FILE", "N", "cosine|linear|constant" (choices are
                        checked when they are separated by |) */
  const char *help;  /* one line; the default is added from *out unless the text has "default" */
  bool many;         /* OPT_LIST: takes all following words up to the next option: --train A B C */
} opt;

typedef struct {
  const char *name, *summary;
  int (*run)(int argc, char **argv); /* argv[0] is the subcommand's name; returns the exit status */
} cli_command;
extern const cli_command cli_commands[]; /* ends with name NULL; in main.c */
void cli_print_version(void);            /* version.c */

/* One line a command: the file cmd_NAME.c defines cmd_NAME_run. */
#define CLI_COMMANDS(X)                                                \
  X(curate, "build a preference set from public sources by a recipe")  \
  X(train, "train a reward model on preferences")                      \
  X(sweep, "train by several losses, data sets or seeds, and compare") \
  X(score, "score responses with a reward model")                      \
  X(serve, "answer score requests over HTTP")                          \
  X(eval, "measure a reward model on published benchmarks")            \
  X(compare, "compare two models or score files on the same rows")     \
  X(report, "runs, evaluations and curations on one HTML page")        \
  X(stats, "pairs, turns and tokens by source: Table 1 of the report") \
  X(decontaminate, "separate training rows that a benchmark also has") \
  X(tokenize, "texts and conversations to token ids")                  \
  X(merge, "put trained adapters into their base model")               \
  X(convert, "turn a GGUF file into a Hugging Face directory")         \
  X(inspect, "what a model holds, and whether it would load")

#define X(name, summary) int cmd_##name##_run(int argc, char **argv);
CLI_COMMANDS(X)
#undef X

/* Options every command has; cli_parse adds them to the command's own. */
typedef struct {
  int64_t threads, seed;
  const char *device, *dtype, *base;
  bool quiet;
} cli_common;
extern cli_common cli_opts;
extern const char *cli_name; /* of the subcommand, for messages */

/* Parses argv into the table (ended by name NULL). Words that are no options go to *words (at most max_words; more
 * is an error). usage: the lines after "usage: reward ". examples: the lines shown under "Examples:".
 * Returns -1 to go on, else the exit status (0 after --help, 2 after an error, said on stderr). */
int cli_parse(int argc, char **argv, const opt *table, cli_list *words, size_t max_words, const char *usage,
              const char *about, const char *examples);
/* Puts the options of --config FILE.yaml, which the tables must have, before the others, which win: what the
 * command line gives is not taken from the file. more: a second table or NULL. -1 to go on, else the exit status.
 */
int cli_config(int *argc, char ***argv, const opt *table, const opt *more);
/* How cli_parse reads: does the word name no option ("-" does not)? The option of the table, or the common one,
 * that a name, or a word as it stands in argv, means; NULL: none. *value: what stands in the same word, or NULL. */
bool cli_is_word(const char *a);
const opt *cli_option_named(const opt *table, const char *name, size_t len);
const opt *cli_option_of(const opt *table, const char *word, const char **value);
/* Appends the members "name": value of all options of the table and the common ones, as they stand now: true and
 * false, numbers, strings and lists of them; null for a string that is NULL and a number that is none. */
void cli_options_json(str *out, const opt *table);
/* Was --name given on the command line (not just its default)? */
bool cli_given(const char *name);

/* The error's text as the user should read it. */
const char *cli_text(rw_error *err);
/* Prints "reward COMMAND: text" and returns the exit status that the code stands for. */
int cli_fail(rw_error *err);
int cli_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same of a word that is needed and not there; where an option that takes lists may have taken it, that too. */
int cli_missing(const char *what);

/* Is the output (NULL: none) one of the files that are read? Says so and returns 2; -1: no. */
int cli_check_output(const char *out, const char *const *in, size_t n);

/* A .gguf file as --model: converts it once into the cache and sets *path to that directory, which lives as long as
 * the program. Any other path is left as it is. The same with --base, which only an adapter may have. */
rw_status cli_model_dir(const char **path, rw_error *err);

/* What the command works in: its messages are lines on stderr, "reward COMMAND: text"; a Ctrl-C interrupts it. */
extern rw_context cli_context;
void cli_context_begin(void);
/* The same with the threads that --threads asks for, started once. NULL after an error was said. */
rw_context *cli_threads(void);

/* What the command line says stays until cli_end: a copy of a text, a list's items. NULL and false: no memory. */
char *cli_keep(const char *s, size_t len);
bool cli_push(cli_list *l, const char *s);
void cli_end(void); /* frees those and the context; main's last act */

#endif

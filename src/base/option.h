/* option.h - one descriptor an option: name, kind, the field of a struct that it fills, range, default, what
 * another value affects, and its help.
 *
 * A table of these rows is constant and ends with a row without a name. The parser, --help, YAML files, run.json,
 * the fingerprint of a run, man pages and completions all read it, so that an option stands in one place. The
 * functions here know the tables and the values; command lines are cli/cli.h's.
 */
#ifndef BASE_OPTION_H
#define BASE_OPTION_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"

typedef enum {
  OPTION_FLAG,   /* bool; takes no value */
  OPTION_YES_NO, /* bool */
  OPTION_TEXT,   /* const char *; one of the words of `value` where that has a |; one in capitals stands for any */
  OPTION_INT,    /* int64_t */
  OPTION_NUMBER, /* double */
  OPTION_PAIR,   /* double[2]: A,B */
  OPTION_CHOICE, /* int: the value of one of `words`; -1: none was chosen */
  OPTION_SET,    /* int: the values of some of `words`, added */
  OPTION_LIST,   /* option_list; may be repeated */
} option_kind;

typedef struct {
  const char *text; /* NULL: the end */
  int value;
} option_word;

typedef struct {
  const char *const *items;
  size_t n;
} option_list;

/* What another value changes. */
typedef enum {
  OPTION_NOTHING,   /* no bit of what is kept: speed, memory, messages */
  OPTION_PUBLISHED, /* what is written or measured, but no computed number */
  OPTION_CHOSEN, /* decides which of the computed weights are published, and in what form: a finished run must have
                  * the same
                  */
  OPTION_INPUT,  /* names input, which a fingerprint knows by its contents */
  OPTION_BITS,   /* the bits of the result: a run that goes on must have the same */
} option_affects;

/* The numbers that are allowed. expected says so ("0 or more"); NULL: there is no limit. */
typedef struct {
  const char *expected;
  double least, most;
  bool above, below; /* least, or most, itself is too small, or too large */
} option_range;
/* A macro's number as the text of a default. */
#define OPTION_INITIAL(macro)  OPTION_WRITTEN(macro)
#define OPTION_WRITTEN(number) #number

#define OPTION_COUNT_MAX 2147483647.0
#define OPTION_COUNT_FROM(n) \
  { #n " or more", n, OPTION_COUNT_MAX, false, false } /* for whole numbers that count something */
#define OPTION_AT_LEAST(n) \
  { #n " or more", n, HUGE_VAL, false, false }
#define OPTION_BETWEEN(a, b) \
  { #a " to " #b, a, b, false, false }
#define OPTION_ABOVE_0 \
  { "a number above 0", 0, HUGE_VAL, true, false }
#define OPTION_RATIO \
  { "a ratio from 0 to 1", 0, 1, false, false }

typedef struct {
  const char *name; /* without dashes; NULL: the end of the table */
  char letter;      /* 0: none */
  bool many;        /* OPTION_LIST: takes all words up to the next option */
  option_kind kind;
  size_t field;             /* offset in the struct that holds the values */
  const char *value;        /* what --help calls the value; made from `words` where that is there */
  const option_word *words; /* the words of OPTION_CHOICE and OPTION_SET */
  const char *initial;      /* the default, as it would be given; NULL: false, 0, NULL, none */
  option_range range;
  option_affects affects;
  const char *group; /* heading in --help; NULL: "Options" */
  const char *help;  /* one line; the default is added unless it has the word "default" */
  /* An option that only some values of a choice have: the choice's name, and a bit for each of those values. */
  const char *of;
  uint32_t of_values;
  const char *old; /* an older name, which is still taken */
  bool later;      /* came after the first records of runs, which leave it out: so is it at its default */
} option;

/* Fills all fields of the table with their defaults. */
void option_defaults(const option *table, void *values);
/* Reads text into the option's field. RW_USAGE: "expected …, got '…'". text stays referenced; memory: for lists. */
rw_status option_set(const option *o, void *values, const char *text, arena *memory, rw_error *err);
bool option_push(option_list *l, const char *s, arena *memory); /* false: no memory */

/* Are all values ones that could be given, or their defaults? RW_USAGE: names the field (FIELD of status.h). Of
 * lists and sets nothing is checked. */
rw_status option_check(const option *table, const void *values, rw_error *err);

/* The field as it would be given: "0.9,0.999"; appends nothing and returns false where none was given or there is
 * no such number. Not of flags and lists. */
bool option_text(const option *o, const void *values, str *out);
/* Appends what --help calls the value: "FILE", "yes|no". */
void option_value_name(const option *o, str *out);
/* The default as text, or NULL where there is none to show. */
const char *option_initial(const option *o);
bool option_is_initial(const option *o, const void *values); /* not of lists */

/* The option's name as FIELD of status.h has it, for messages. */
enum { OPTION_FIELD = 64 };
void option_field(char out[OPTION_FIELD], const char *name);
const option *option_named(const option *table, const char *name, size_t len); /* NULL: none */
/* The option that a word of a command line means, by name or letter, or NULL. *value: what stands in the same word
 * ("--name=value", "-nvalue"), or NULL. */
const option *option_of_word(const option *table, const char *word, const char **value);
/* Is the word a value and no option? "-" is a value. */
bool option_is_value(const char *word);

#endif

/* opts.c - one parser for every subcommand's options; the --help and the record of a run made from the same tables.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/cli.h"

cli_common cli_opts = {.threads = 0, .seed = 0, .device = "auto", .dtype = "auto"};

static const opt common[] = {
    {"threads", 0, OPT_INT, &cli_opts.threads, "N", "threads to use (default: all cores)", false},
    {"seed", 0, OPT_INT, &cli_opts.seed, "N", "seed of everything random", false},
    {"device", 0, OPT_STRING, &cli_opts.device, "auto|cpu|cuda[:N]", "where to compute", false},
    {"dtype", 0, OPT_STRING, &cli_opts.dtype, "auto|f32|bf16", "precision of the large products", false},
    {"base", 0, OPT_STRING, &cli_opts.base, "DIR", "base model of an adapter (default: the one that it names)",
     false},
    {"quiet", 'q', OPT_FLAG, &cli_opts.quiet, NULL, "no progress and no notes", false},
    {NULL, 0, OPT_FLAG, NULL, NULL, NULL, false},
};

const char *cli_name = "";
static const char *given[128];
static size_t n_given;
static const char *last_value, *last_list; /* of the last list option that took more words than one: the last */

bool cli_given(const char *name) {
  for (size_t i = 0; i < n_given; i++)
    if (strcmp(given[i], name) == 0) return true;
  return false;
}

int cli_usage(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  fprintf(stderr, "reward %s: ", cli_name);
  vfprintf(stderr, fmt, ap);
  fprintf(stderr, "\n`reward %s --help` shows the options.\n", cli_name);
  va_end(ap);
  return 2;
}

int cli_missing(const char *what) {
  if (!last_list) return cli_usage("%s", what);
  return cli_usage(
      "%s; '%s' was taken as a value of --%s, which takes all words up to the next option: put what is "
      "no value of it first, or behind --",
      what, last_value, last_list);
}

int cli_check_output(const char *out, const char *const *in, size_t n) {
  rw_error err;
  return out && file_check_output(out, in, n, &err) ? cli_usage("%s", cli_text(&err)) : -1;
}

const char *cli_text(rw_error *err) {
  context_spell(&cli_context, err->text);
  return err->text;
}

int cli_fail(rw_error *err) {
  fprintf(stderr, "reward %s: %s\n", cli_name, cli_text(err));
  return err->code == RW_USAGE ? 2 : err->code == RW_INTERRUPTED ? 130 : 1;
}

static arena *memory;

char *cli_keep(const char *s, size_t len) {
  if (!memory) memory = arena_new();
  return memory ? arena_strndup(memory, s, len) : NULL;
}

bool cli_push(cli_list *l, const char *s) {
  if (l->n == l->cap) {
    size_t cap = l->cap ? 2 * l->cap : 8;
    if (!memory) memory = arena_new();
    const char **items = memory ? arena_alloc(memory, cap, sizeof *items) : NULL;
    if (!items) return false;
    if (l->n) memcpy(items, l->items, l->n * sizeof *items);
    l->items = items;
    l->cap = cap;
  }
  l->items[l->n++] = s;
  return true;
}

void cli_end(void) {
  context_end(&cli_context);
  arena_free(memory);
}

enum { HELP_COLUMN = 36, HELP_WIDTH = 110 };

/* The words from HELP_COLUMN on, wrapped. at: columns of the line that are taken. */
static void print_wrapped(const char *text, int at) {
  if (at > HELP_COLUMN - 2) {
    putchar('\n');
    at = 0;
  }
  printf("%*s", HELP_COLUMN - at, "");
  int column = HELP_COLUMN;
  for (const char *c = text; *c;) {
    int n = (int)strcspn(c, " ");
    bool first = column == HELP_COLUMN, fits = column + 1 + n <= HELP_WIDTH;
    if (!first && fits) column += printf(" ");
    if (!first && !fits) {
      printf("\n%*s", HELP_COLUMN, "");
      column = HELP_COLUMN;
    }
    column += printf("%.*s", n, c);
    c += n + (c[n] == ' ');
  }
  putchar('\n');
}

static void print_table(const opt *t) {
  for (; t->name; t++) {
    int at = printf("  %s%c%s--%s%s%s", t->letter ? "-" : "", t->letter ? t->letter : ' ', t->letter ? ", " : "   ",
                    t->name, t->kind == OPT_FLAG ? "" : " ", t->kind == OPT_FLAG ? "" : t->value);
    str text = {0};
    str_addz(&text, t->help);
    if (!strstr(t->help, "default")) {
      const char *s = t->kind == OPT_STRING ? *(const char **)t->out : NULL;
      if (t->kind == OPT_STRING && s) str_printf(&text, " (default: %s)", s);
      if (t->kind == OPT_INT) str_printf(&text, " (default: %lld)", (long long)*(int64_t *)t->out);
      if (t->kind == OPT_NUMBER) str_printf(&text, " (default: %g)", *(double *)t->out);
    }
    print_wrapped(text.p ? text.p : "", at);
    str_free(&text);
  }
}

static void text_json(str *out, const char *s) {
  if (s)
    str_json(out, s, strlen(s));
  else
    str_addz(out, "null");
}

static void value_json(str *out, const opt *o) {
  const cli_list *l = o->out;
  switch (o->kind) {
    case OPT_FLAG: str_addz(out, *(bool *)o->out ? "true" : "false"); break;
    case OPT_STRING: text_json(out, *(const char **)o->out); break;
    case OPT_INT: str_printf(out, "%lld", (long long)*(int64_t *)o->out); break;
    case OPT_NUMBER: str_json_num(out, *(double *)o->out); break;
    case OPT_LIST:
      for (size_t i = 0; i < l->n; i++) {
        str_addz(out, i ? ", " : "[");
        text_json(out, l->items[i]);
      }
      str_addz(out, l->n ? "]" : "[]");
      break;
  }
}

void cli_options_json(str *out, const opt *table) {
  const opt *tables[] = {table, common};
  for (int i = 0; i < 2; i++)
    for (const opt *o = tables[i]; o->name; o++) {
      str_printf(out, "%s\"%s\": ", i || o != table ? ", " : "", o->name);
      value_json(out, o);
    }
}

/* Is value one of the |-separated choices? A choice list has no upper case; "cuda[:N]" takes any index. */
static bool choice_ok(const char *choices, const char *value) {
  if (!strchr(choices, '|')) return true;
  for (const char *c = choices; *c;) {
    size_t n = strcspn(c, "|"), lit = strcspn(c, "[|");
    if (strncmp(c, value, lit) == 0 && (value[lit] == 0 || (lit < n && value[lit] == ':'))) return true;
    if (c[0] >= 'A' && c[0] <= 'Z') return true; /* "best|last|N": a placeholder takes anything */
    c += n + (c[n] == '|');
  }
  return false;
}

static int set_value(const opt *o, const char *v) {
  char *end;
  errno = 0;
  switch (o->kind) {
    case OPT_FLAG: *(bool *)o->out = true; return -1;
    case OPT_STRING:
      if (!choice_ok(o->value, v)) return cli_usage("--%s: expected %s, got '%s'", o->name, o->value, v);
      *(const char **)o->out = v;
      return -1;
    case OPT_INT: {
      long long n = strtoll(v, &end, 10);
      if (errno || end == v || *end) return cli_usage("--%s: expected a whole number, got '%s'", o->name, v);
      *(int64_t *)o->out = n;
      return -1;
    }
    case OPT_NUMBER: {
      double x = strtod(v, &end);
      if (errno == ERANGE || end == v || *end || x - x != 0)
        return cli_usage("--%s: expected a number, got '%s'", o->name, v);
      *(double *)o->out = x;
      return -1;
    }
    case OPT_LIST: {
      if (!cli_push(o->out, v)) return cli_usage("memory ran out");
      return -1;
    }
  }
  return -1;
}

static const opt *find_name(const opt *t, const char *name, size_t len) {
  while (t->name && (strlen(t->name) != len || strncmp(t->name, name, len) != 0)) t++;
  return t->name ? t : NULL;
}
static const opt *find_letter(const opt *t, char letter) {
  while (t->name && t->letter != letter) t++;
  return t->name ? t : NULL;
}

bool cli_is_word(const char *a) { return a[0] != '-' || a[1] == 0; }

const opt *cli_option_named(const opt *table, const char *name, size_t len) {
  const opt *o = find_name(table, name, len);
  return o ? o : find_name(common, name, len);
}

const opt *cli_option_of(const opt *table, const char *word, const char **value) {
  const char *eq = word[1] == '-' ? strchr(word, '=') : word[1] && word[2] ? word + 1 : NULL;
  *value = eq ? eq + 1 : NULL;
  if (word[1] == '-') return cli_option_named(table, word + 2, eq ? (size_t)(eq - word - 2) : strlen(word + 2));
  const opt *o = find_letter(table, word[1]);
  return o ? o : find_letter(common, word[1]);
}

int cli_parse(int argc, char **argv, const opt *table, cli_list *words, size_t max_words, const char *usage,
              const char *about, const char *examples) {
  n_given = 0;
  last_value = last_list = NULL;
  bool only_words = false;
  for (int i = 1; i < argc; i++) {
    const char *a = argv[i];
    if (only_words || cli_is_word(a)) {
      if (words->n == max_words) return cli_usage("'%s': one argument too many", a);
      if (!cli_push(words, a)) return cli_usage("memory ran out");
      continue;
    }
    if (strcmp(a, "--") == 0) {
      only_words = true;
      continue;
    }
    if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0) {
      printf("usage: reward %s\n\n%s\n\nOptions:\n", usage, about);
      print_table(table);
      puts("\nCommon options:");
      print_table(common);
      printf("\nExamples:\n%s", examples);
      return 0;
    }
    const char *v;
    const opt *o = cli_option_of(table, a, &v);
    if (!o) return cli_usage("'%s': unknown option", a);
    if (o->kind == OPT_FLAG && v) return cli_usage("--%s: takes no value", o->name);
    if (n_given < sizeof given / sizeof *given) given[n_given++] = o->name;
    if (o->kind != OPT_FLAG && !v) {
      v = i + 1 < argc ? argv[++i] : NULL;
      if (!v) return cli_usage("--%s: expected %s after it", o->name, o->value);
    }
    int bad = set_value(o, v);
    if (bad >= 0) return bad;
    while (o->many && i + 1 < argc && cli_is_word(argv[i + 1])) {
      if ((bad = set_value(o, argv[++i])) >= 0) return bad;
      last_value = argv[i], last_list = o->name;
    }
  }
  if (cli_given("threads") && (cli_opts.threads < 1 || cli_opts.threads > 1024))
    return cli_usage("--threads: expected 1 to 1024, got %lld", (long long)cli_opts.threads);
  if (cli_opts.seed < 0) return cli_usage("--seed: expected 0 or more, got %lld", (long long)cli_opts.seed);
  return -1;
}

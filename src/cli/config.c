/* config.c - --config FILE.yaml: the same names as on the command line, put before the command line's own. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cli/cli.h"
#include "format/yaml.h"

typedef struct {
  cli *c;
  const char *path;
  option_list out; /* the command line that is made */
} config;

static bool push(config *f, const char *s, size_t len) {
  const char *copy = s ? cli_keep(f->c, s, len) : NULL;
  bool ok = copy && cli_push(f->c, &f->out, copy);
  if (!ok) cli_nomem(f->c);
  return ok;
}

/* The value that the command line gives the option last, "" for a flag; NULL: it does not give it, or no value
 * follows, which the parser will refuse. */
static const char *given_value(const cli *c, const option *wanted) {
  const char *found = NULL, *v;
  for (int i = 1; i < c->argc && strcmp(c->argv[i], "--") != 0; i++) {
    const char *a = c->argv[i];
    if (option_is_value(a)) continue;
    const option *o = cli_option_of_word(c->command, a, &v);
    if (o && o->kind != OPTION_FLAG && !v && i + 1 < c->argc) v = c->argv[++i];
    if (o == wanted) found = o->kind == OPTION_FLAG ? "" : v;
  }
  return found;
}

/* YAML 1.1's words, which its writers still choose from: 1, 0, or -1 for another text. */
static int truth(const char *s, size_t len) {
  static const char *const words[] = {"false", "no", "off", "true", "yes", "on"};
  for (int i = 0; i < 6; i++)
    if (strlen(words[i]) == len && strncasecmp(words[i], s, len) == 0) return i >= 3;
  return -1;
}

/* One word, "--name" or "--name=value": such a value may begin with a dash, and takes no word after it. */
static bool push_value(config *f, const option *o, const char *v, size_t len) {
  int yes = truth(v, len);
  if (o->kind == OPTION_FLAG && yes < 0) {
    cli_usage(f->c, "--config %s: %s: expected true or false, got '%.*s'", f->path, o->name, (int)len, v);
    return false;
  }
  if (o->kind == OPTION_FLAG && yes == 0) return true;
  bool choice = o->kind == OPTION_YES_NO && yes >= 0;
  char *word = o->kind == OPTION_FLAG ? mem_printf("--%s", o->name)
               : choice               ? mem_printf("--%s=%s", o->name, yes ? "yes" : "no")
                                      : mem_printf("--%s=%.*s", o->name, (int)len, v);
  bool ok = push(f, word, word ? strlen(word) : 0);
  mem_free(word);
  return ok;
}

static bool bad_shape(const config *f, const option *o) {
  cli_usage(f->c, "--config %s: %s: expected a value%s", f->path, o->name,
            o->kind == OPTION_FLAG ? "" : " or a list of values");
  return false;
}

/* A list: each value by itself for an option that is repeatable, else one value as on the command line, "a,b,c". */
static bool push_list(config *f, const option *o, struct fy_node *list) {
  struct fy_node *e;
  void *it = NULL;
  str joined = {0};
  bool ok = o->kind != OPTION_FLAG || bad_shape(f, o), any = false;
  while (ok && (e = fy_node_sequence_iterate(list, &it))) {
    size_t len = 0;
    const char *v = fy_node_is_scalar(e) ? fy_node_get_scalar(e, &len) : NULL;
    if (!v) {
      ok = bad_shape(f, o);
    } else if (o->kind == OPTION_LIST) {
      ok = push_value(f, o, v, len);
    } else {
      if (any) str_addc(&joined, ',');
      str_add(&joined, v, len);
      any = true;
    }
  }
  if (ok && any) ok = push_value(f, o, joined.p ? joined.p : "", joined.len);
  str_free(&joined);
  return ok;
}

static bool push_option(config *f, struct fy_node *key, struct fy_node *value) {
  size_t kl = 0, vl = 0;
  const char *k = fy_node_get_scalar(key, &kl),
             *v = fy_node_is_scalar(value) ? fy_node_get_scalar(value, &vl) : NULL;
  const option *o = k ? cli_option_named(f->c->command, k, kl) : NULL;
  if (!o || strcmp(o->name, "config") == 0) {
    const char *near = k && !o ? cli_nearest_option(f->c->command, k, kl) : NULL;
    cli_usage(f->c, "--config %s: '%.*s': unknown option%s%s%s", f->path, k ? (int)kl : 0, k ? k : "",
              near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return false;
  }
  if (given_value(f->c, o)) return true;
  if (fy_node_is_sequence(value)) return push_list(f, o, value);
  return v ? push_value(f, o, v, vl) : bad_shape(f, o);
}

static int read_config(config *f) {
  yaml_file y;
  rw_error err;
  if (yaml_open(&y, f->path, &err)) return cli_usage(f->c, "--config %s", cli_text(&err));
  struct fy_node *root = fy_document_root(y.doc);
  struct fy_node_pair *p;
  void *it = NULL;
  bool ok = root && fy_node_is_mapping(root);
  if (!ok) cli_usage(f->c, "--config %s: expected a YAML file with a mapping of option names", f->path);
  while (ok && (p = fy_node_mapping_iterate(root, &it)))
    ok = push_option(f, fy_node_pair_key(p), fy_node_pair_value(p));
  yaml_close(&y);
  return ok ? -1 : 2;
}

int cli_config(cli *c) {
  const option *o = cli_option_named(c->command, "config", strlen("config"));
  config f = {.c = c, .path = o ? given_value(c, o) : NULL};
  /* a word that follows no option is refused by the parser, but would be one more value of the file's last list */
  if (!f.path || (c->argc > 1 && option_is_value(c->argv[1]))) return -1;
  int status = push(&f, c->argv[0], strlen(c->argv[0])) ? read_config(&f) : 2;
  for (int i = 1; i < c->argc && status < 0; i++)
    if (!push(&f, c->argv[i], strlen(c->argv[i]))) status = 2;
  if (status >= 0) return status;
  c->argc = (int)f.out.n;
  c->argv = (char **)f.out.items;
  return -1;
}

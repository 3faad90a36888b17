/* config.c - --config FILE.yaml: the same names as on the command line, put before the command line's own. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cli/cli.h"
#include "format/yaml.h"

typedef struct {
  const char *path;
  int argc; /* the command line */
  char **argv;
  const opt *table, *more; /* more: NULL, or a second one */
  cli_list *out;
} config;

static bool push(cli_list *l, const char *s, size_t len) {
  const char *copy = s ? cli_keep(s, len) : NULL;
  bool ok = copy && cli_push(l, copy);
  if (!ok) cli_usage("memory ran out");
  return ok;
}

static const opt *option_named(const config *c, const char *name, size_t len) {
  const opt *o = cli_option_named(c->table, name, len);
  return o || !c->more ? o : cli_option_named(c->more, name, len);
}

/* The value that the command line gives the option last, "" for a flag; NULL: it does not give it, or no value
 * follows, which the parser will refuse. */
static const char *given_value(const config *c, const opt *wanted) {
  const char *found = NULL, *v;
  for (int i = 1; i < c->argc && strcmp(c->argv[i], "--") != 0; i++) {
    const char *a = c->argv[i];
    if (cli_is_word(a)) continue;
    const opt *o = cli_option_of(c->table, a, &v);
    if (!o && c->more) o = cli_option_of(c->more, a, &v);
    if (o && o->kind != OPT_FLAG && !v && i + 1 < c->argc) v = c->argv[++i];
    if (o == wanted) found = o->kind == OPT_FLAG ? "" : v;
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
static bool push_value(const config *c, const opt *o, const char *v, size_t len) {
  int yes = truth(v, len);
  if (o->kind == OPT_FLAG && yes < 0) {
    cli_usage("--config %s: %s: expected true or false, got '%.*s'", c->path, o->name, (int)len, v);
    return false;
  }
  if (o->kind == OPT_FLAG && yes == 0) return true;
  bool choice = o->kind == OPT_STRING && strcmp(o->value, "yes|no") == 0 && yes >= 0;
  char *word = o->kind == OPT_FLAG ? mem_printf("--%s", o->name)
               : choice            ? mem_printf("--%s=%s", o->name, yes ? "yes" : "no")
                                   : mem_printf("--%s=%.*s", o->name, (int)len, v);
  bool ok = push(c->out, word, word ? strlen(word) : 0);
  mem_free(word);
  return ok;
}

static bool bad_shape(const config *c, const opt *o) {
  cli_usage("--config %s: %s: expected a value%s", c->path, o->name,
            o->kind == OPT_FLAG ? "" : " or a list of values");
  return false;
}

/* A list: each value by itself for an option that is repeatable, else one value as on the command line, "a,b,c". */
static bool push_list(const config *c, const opt *o, struct fy_node *list) {
  struct fy_node *e;
  void *it = NULL;
  str joined = {0};
  bool ok = o->kind != OPT_FLAG || bad_shape(c, o), any = false;
  while (ok && (e = fy_node_sequence_iterate(list, &it))) {
    size_t len = 0;
    const char *v = fy_node_is_scalar(e) ? fy_node_get_scalar(e, &len) : NULL;
    if (!v) {
      ok = bad_shape(c, o);
    } else if (o->kind == OPT_LIST) {
      ok = push_value(c, o, v, len);
    } else {
      if (any) str_addc(&joined, ',');
      str_add(&joined, v, len);
      any = true;
    }
  }
  if (ok && any) ok = push_value(c, o, joined.p ? joined.p : "", joined.len);
  str_free(&joined);
  return ok;
}

static bool push_option(const config *c, struct fy_node *key, struct fy_node *value) {
  size_t kl = 0, vl = 0;
  const char *k = fy_node_get_scalar(key, &kl),
             *v = fy_node_is_scalar(value) ? fy_node_get_scalar(value, &vl) : NULL;
  const opt *o = k ? option_named(c, k, kl) : NULL;
  if (!o || strcmp(o->name, "config") == 0) {
    cli_usage("--config %s: '%.*s': unknown option", c->path, k ? (int)kl : 0, k ? k : "");
    return false;
  }
  if (given_value(c, o)) return true;
  if (fy_node_is_sequence(value)) return push_list(c, o, value);
  return v ? push_value(c, o, v, vl) : bad_shape(c, o);
}

static int read_config(const config *c) {
  yaml_file f;
  rw_error err;
  if (yaml_open(&f, c->path, &err)) return cli_usage("--config %s", cli_text(&err));
  struct fy_node *root = fy_document_root(f.doc);
  struct fy_node_pair *p;
  void *it = NULL;
  bool ok = root && fy_node_is_mapping(root);
  if (!ok) cli_usage("--config %s: expected a YAML file with a mapping of option names", c->path);
  while (ok && (p = fy_node_mapping_iterate(root, &it)))
    ok = push_option(c, fy_node_pair_key(p), fy_node_pair_value(p));
  yaml_close(&f);
  return ok ? -1 : 2;
}

int cli_config(int *argc, char ***argv, const opt *table, const opt *more) {
  cli_list out = {0};
  config c = {NULL, *argc, *argv, table, more, &out};
  const opt *o = option_named(&c, "config", strlen("config"));
  c.path = o ? given_value(&c, o) : NULL;
  /* a word that follows no option is refused by the parser, but would be one more value of the file's last list */
  if (!c.path || (*argc > 1 && cli_is_word((*argv)[1]))) return -1;
  int status = push(&out, (*argv)[0], strlen((*argv)[0])) ? read_config(&c) : 2;
  for (int i = 1; i < *argc && status < 0; i++)
    if (!push(&out, (*argv)[i], strlen((*argv)[i]))) status = 2;
  if (status >= 0) return status;
  *argc = (int)out.n;
  *argv = (char **)out.items;
  return -1;
}

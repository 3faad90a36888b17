/* config.c - --config FILE.yaml: the same names as on the command line, put before the command line's own. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "reward/yaml.h"

static bool push(cli_list *l, const char *s, size_t len) {
  const char *copy = cli_keep(s, len);
  return copy && cli_push(l, copy);
}

static bool push_option(cli_list *out, struct fy_node *key, struct fy_node *value, const char *path) {
  size_t kl = 0, vl = 0;
  const char *k = fy_node_get_scalar(key, &kl),
             *v = fy_node_is_scalar(value) ? fy_node_get_scalar(value, &vl) : NULL;
  if (!k || !v) {
    cli_usage("%s: expected option names with values or lists of values", path);
    return false;
  }
  char *name = mem_printf("--%.*s", (int)kl, k);
  bool yes = vl == 4 && memcmp(v, "true", 4) == 0, no = vl == 5 && memcmp(v, "false", 5) == 0;
  bool ok = name && (no || (push(out, name, strlen(name)) && (yes || push(out, v, vl))));
  mem_free(name);
  return ok;
}

static int read_config(const char *path, cli_list *out) {
  yaml_file f;
  rw_error err;
  if (yaml_open(&f, path, &err)) return cli_usage("--config %s", err.text);
  struct fy_node *root = fy_document_root(f.doc), *e;
  struct fy_node_pair *p;
  void *it = NULL, *jt;
  bool ok = root && fy_node_is_mapping(root);
  if (!ok) cli_usage("--config %s: expected a YAML file with a mapping of option names", path);
  while (ok && (p = fy_node_mapping_iterate(root, &it))) {
    struct fy_node *value = fy_node_pair_value(p);
    jt = NULL;
    if (!fy_node_is_sequence(value)) ok = push_option(out, fy_node_pair_key(p), value, path);
    while (ok && fy_node_is_sequence(value) && (e = fy_node_sequence_iterate(value, &jt)))
      ok = push_option(out, fy_node_pair_key(p), e, path);
  }
  yaml_close(&f);
  return ok ? -1 : 2;
}

int cli_config(int *argc, char ***argv) {
  cli_list out = {0};
  const char *path = NULL;
  for (int i = 1; i < *argc; i++) {
    if (strcmp((*argv)[i], "--config") == 0 && i + 1 < *argc) path = (*argv)[i + 1];
    if (strncmp((*argv)[i], "--config=", 9) == 0) path = (*argv)[i] + 9;
  }
  if (!path) return -1;
  bool ok = push(&out, (*argv)[0], strlen((*argv)[0]));
  int status = ok ? read_config(path, &out) : 2;
  for (int i = 1; i < *argc && status < 0; i++)
    if (!push(&out, (*argv)[i], strlen((*argv)[i]))) status = 2;
  if (status >= 0) return status;
  *argc = (int)out.n;
  *argv = (char **)out.items;
  return -1;
}

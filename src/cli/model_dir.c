/* model_dir.c - what --model and --base name, as directories that live as long as the command. */
#include <string.h>

#include "cli/cli.h"
#include "format/peft.h"
#include "model/model_dir.h"

static rw_status find(cli *c, const char **path, rw_error *err) {
  char *dir;
  RW_TRY(model_dir_find(&dir, *path, c->context, err));
  const char *kept = cli_keep(c, dir, strlen(dir));
  mem_free(dir);
  if (!kept) return rw_nomem(err, "--model");
  *path = kept;
  return RW_OK;
}

rw_status cli_model_dir(cli *c, const char **path, rw_error *err) {
  RW_TRY(find(c, path, err));
  if (!c->common.base) return RW_OK;
  if (!peft_is(*path))
    return rw_fail(err, RW_USAGE, "--base: expected an adapter (a folder with adapter_config.json), got %s", *path);
  return find(c, &c->common.base, err);
}

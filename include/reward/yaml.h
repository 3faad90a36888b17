/* yaml.h - the whole of a small YAML file (recipes, --config), read by libfyaml. */
#ifndef REWARD_YAML_H
#define REWARD_YAML_H

#include <libfyaml.h>

#include "reward/mem.h"
#include "reward/status.h"

typedef struct {
  str text;
  struct fy_document *doc;
} yaml_file;
/* UTF-8 of at most 1 MB. What is no YAML is RW_DATA with its line. After an error there is nothing to close. */
rw_status yaml_open(yaml_file *f, const char *path, rw_error *err);
void yaml_close(yaml_file *f);

#endif

/* yaml.h - the whole of a small YAML file (recipes, --config), read by libfyaml. */
#ifndef FORMAT_YAML_H
#define FORMAT_YAML_H

#include <libfyaml.h>

#include "base/mem.h"
#include "base/status.h"

typedef struct {
  str text;
  struct fy_document *doc;
} yaml_file;
/* UTF-8 of at most 1 MB. What is no YAML is RW_DATA with its line. After an error there is nothing to close. */
rw_status yaml_open(yaml_file *f, const char *path, rw_error *err);
void yaml_close(yaml_file *f);

#endif

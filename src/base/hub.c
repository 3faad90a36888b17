/* hub.c - names of the Hugging Face hub where a path was expected. */
#include "base/hub.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* ORG/NAME, each of letters, digits, - _ and ., and without the ending of a file of rows or weights. */
static bool is_id(const char *path, size_t len) {
  static const char *const endings[] = {".jsonl", ".json", ".parquet", ".gz", ".zst", ".gguf"};
  size_t slashes = 0;
  for (size_t i = 0; i < len; i++) {
    bool first = i == 0 || path[i - 1] == '/';
    if (path[i] == '/' ? first || i + 1 == len || slashes++
                       : !(isalnum((unsigned char)path[i]) || (!first && strchr("-_.", path[i]))))
      return false;
  }
  for (size_t k = 0; k < sizeof endings / sizeof *endings; k++) {
    size_t n = strlen(endings[k]);
    if (len > n && memcmp(path + len - n, endings[k], n) == 0) return false;
  }
  return slashes == 1;
}

const char *hub_hint(const char *path, const char *kind, char out[HUB_HINT]) {
  const char *colon = strrchr(path, ':'), *slash = strchr(path, '/');
  int len = (int)(colon ? (size_t)(colon - path) : strlen(path));
  bool rows = strcmp(kind, "dataset") == 0;
  out[0] = 0;
  if (!is_id(path, (size_t)len)) return out;
  const char *name = slash + 1;
  int n = len - (int)(name - path);
  snprintf(out, HUB_HINT,
           "; if it is a %s of the Hugging Face hub: hf download %.*s%s --local-dir %.*s, then give %.*s%s instead",
           rows ? "data set" : "model", len, path, rows ? " --repo-type dataset" : "", n, name, n, name,
           colon ? colon : "");
  return out;
}

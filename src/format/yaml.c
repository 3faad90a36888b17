/* yaml.c - a YAML file as a libfyaml document; errors are collected, as the library would print them itself. */
#include "format/yaml.h"

#include <string.h>

#include "base/file.h"

static void no_output(struct fy_diag *diag, void *user, const char *text, size_t len) {
  (void)diag, (void)user, (void)text, (void)len;
}

/* libfyaml 0.7 crashes on some broken files with complex keys ("? key"), which nothing here needs: the line of the
 * first such key, or 0. */
static int complex_key(const char *text, size_t n) {
  int line = 1;
  char before = '\n'; /* what stands before the blanks on the left */
  for (size_t i = 0; i < n; i++) {
    bool apart = i == 0 || text[i - 1] == ' ' || text[i - 1] == '\t' || text[i - 1] == '\n' || text[i - 1] == '\r';
    bool ends =
        i + 1 == n || text[i + 1] == ' ' || text[i + 1] == '\t' || text[i + 1] == '\n' || text[i + 1] == '\r';
    if (text[i] == '?' && ends && (apart || strchr("[{,", before)) && strchr("\n\r-:?[{,", before)) return line;
    if (text[i] == '\n') line++;
    if (text[i] != ' ' && text[i] != '\t') before = text[i] ? text[i] : '0';
  }
  return 0;
}

rw_status yaml_open(yaml_file *f, const char *path, rw_error *err) {
  *f = (yaml_file){0};
  struct fy_diag_cfg diag_cfg;
  fy_diag_cfg_default(&diag_cfg);
  diag_cfg.fp = NULL;
  diag_cfg.output_fn = no_output;
  struct fy_diag *diag = fy_diag_create(&diag_cfg);
  rw_status s = diag ? file_read_text(path, 1 << 20, &f->text, err) : rw_nomem(err, path);
  int line = s ? 0 : complex_key(f->text.p ? f->text.p : "", f->text.len);
  if (line)
    s = rw_fail(err, RW_DATA, "%s:%d: a key that begins with '?'; write it as 'key: value', or quote the text",
                path, line);
  if (!s) {
    struct fy_parse_cfg cfg = {.flags = FYPCF_QUIET, .diag = diag};
    fy_diag_set_collect_errors(diag, true);
    f->doc = fy_document_build_from_string(&cfg, f->text.p ? f->text.p : "", f->text.len);
    void *it = NULL;
    struct fy_diag_error *e = f->doc ? NULL : fy_diag_errors_iterate(diag, &it);
    if (!f->doc)
      s = rw_fail(err, RW_DATA, "%s:%d: %s; is it YAML? Look at its indentation and quotes", path, e ? e->line : 1,
                  e && e->msg ? e->msg : "expected a YAML document");
  }
  if (diag) fy_diag_destroy(diag);
  if (s) yaml_close(f);
  return s;
}

void yaml_close(yaml_file *f) {
  if (f->doc) fy_document_destroy(f->doc);
  str_free(&f->text);
  *f = (yaml_file){0};
}

/* yaml.c - a YAML file as a libfyaml document; errors are collected, as the library would print them itself. */
#include "reward/yaml.h"

#include "reward/file.h"

static void no_output(struct fy_diag *diag, void *user, const char *text, size_t len) {
  (void)diag, (void)user, (void)text, (void)len;
}

rw_status yaml_open(yaml_file *f, const char *path, rw_error *err) {
  *f = (yaml_file){0};
  struct fy_diag_cfg diag_cfg;
  fy_diag_cfg_default(&diag_cfg);
  diag_cfg.fp = NULL;
  diag_cfg.output_fn = no_output;
  struct fy_diag *diag = fy_diag_create(&diag_cfg);
  rw_status s = diag ? file_read_text(path, 1 << 20, &f->text, err) : rw_nomem(err, path);
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

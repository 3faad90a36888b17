/* peft.c - reads adapter_config.json (see peft.h). Field names and meanings as in PEFT's LoraConfig. */
#include "format/peft.h"

#include <stdio.h>
#include <string.h>

#include "reward/json.h"

bool peft_is(const char *dir) {
  char *path = file_join(dir, "adapter_config.json");
  bool is = path && file_exists(path);
  mem_free(path);
  return is;
}

void peft_free(peft_config *c) {
  mem_free(c->base);
  *c = (peft_config){0};
}

/* The folder that `name` means. */
static rw_status find_base(char **out, const char *dir, slice name, const char *path, rw_error *err) {
  char *plain = mem_strndup(name.p, name.len), *beside = plain ? file_join(dir, plain) : NULL;
  rw_status s = plain && beside ? RW_OK : rw_nomem(err, path);
  if (!s && plain[0] != '/' && file_is_dir(beside)) {
    *out = beside;
    beside = NULL;
  } else if (!s && file_is_dir(plain)) {
    *out = plain;
    plain = NULL;
  } else if (!s) {
    s = rw_fail(
        err, RW_IO,
        "%s: base_model_name_or_path: expected the base model's folder, got '%s', which is not here; edit it to "
        "where the base model lies",
        path, plain);
  }
  mem_free(plain);
  mem_free(beside);
  return s;
}

/* Fields whose value must be absent, null, false, empty, or the one given. */
static rw_status refuse_others(json_doc *d, const char *path, rw_error *err) {
  static const char *const neutral[][2] = {{"peft_type", "\"LORA\""},     {"bias", "\"none\""},
                                           {"use_dora", "false"},         {"fan_in_fan_out", "false"},
                                           {"rank_pattern", "{}"},        {"alpha_pattern", "{}"},
                                           {"lora_bias", "false"},        {"megatron_config", "null"},
                                           {"use_qalora", "false"},       {"trainable_token_indices", "null"},
                                           {"target_parameters", "null"}, {"alora_invocation_tokens", "null"}};
  for (size_t i = 0; i < sizeof neutral / sizeof *neutral; i++) {
    json_val v = json_get(d, 0, neutral[i][0]);
    if (v == JSON_NONE || json_kind(d, v) == JSON_NULL) continue;
    slice raw = json_raw(d, v);
    bool empty = (json_kind(d, v) == JSON_ARRAY || json_kind(d, v) == JSON_OBJECT) && json_count(d, v) == 0;
    if (!empty && !slice_is(raw, neutral[i][1]))
      return rw_fail(err, RW_UNSUPPORTED, "%s: %s: expected %s, got %.*s", path, neutral[i][0], neutral[i][1],
                     (int)(raw.len < 60 ? raw.len : 60), raw.p);
  }
  return RW_OK;
}

rw_status peft_read(peft_config *c, const char *dir, rw_error *err) {
  *c = (peft_config){0};
  char *path = file_join(dir, "adapter_config.json");
  json_file f = {0};
  if (!path) return rw_nomem(err, dir);
  rw_status s = json_file_open(&f, path, err);
  if (!s) s = refuse_others(f.doc, path, err);
  if (!s && (!json_int(f.doc, json_get(f.doc, 0, "r"), &c->rank) || c->rank < 1 || c->rank > 65536))
    s = rw_fail(err, RW_DATA, "%s: r: expected a rank of 1 to 65536", path);
  if (!s && !json_number(f.doc, json_get(f.doc, 0, "lora_alpha"), &c->alpha))
    s = rw_fail(err, RW_DATA, "%s: lora_alpha: expected a number", path);
  if (!s) {
    c->rslora = json_kind(f.doc, json_get(f.doc, 0, "use_rslora")) == JSON_TRUE;
    slice name = json_string(f.doc, json_get(f.doc, 0, "base_model_name_or_path"));
    s = name.p && name.len
            ? find_base(&c->base, dir, name, path, err)
            : rw_fail(err, RW_DATA, "%s: base_model_name_or_path: expected the base model's folder", path);
  }
  json_file_close(&f);
  mem_free(path);
  if (s) peft_free(c);
  return s;
}

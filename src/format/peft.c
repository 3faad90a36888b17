/* peft.c - reads adapter_config.json (see peft.h). */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "format/peft.h"

#include <math.h>
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"

bool peft_is(const char *dir) {
  char *path = file_join(dir, "adapter_config.json");
  bool is = path && file_exists(path);
  mem_free(path);
  return is;
}

void peft_free(peft_config *c) {
  mem_free(c->path);
  mem_free(c->base);
  if (c->f.doc) json_file_close(&c->f);
  *c = (peft_config){0};
}

/* The folder that base_model_name_or_path means. */
static rw_status find_base(peft_config *c, const char *dir, rw_error *err) {
  slice name = json_string(c->f.doc, json_get(c->f.doc, 0, "base_model_name_or_path"));
  if (!name.p || !name.len)
    return rw_fail(
        err, RW_DATA,
        "%s: base_model_name_or_path: expected the base model's folder, got none; name it with " FIELD(base) " DIR",
        c->path);
  char *plain = mem_strndup(name.p, name.len), *beside = plain ? file_join(dir, plain) : NULL;
  char **found = beside && plain[0] != '/' && file_is_dir(beside) ? &beside
                 : plain && file_is_dir(plain)                    ? &plain
                                                                  : NULL;
  rw_status s = RW_OK;
  if (!beside) {
    s = rw_nomem(err, c->path);
  } else if (found) {
    c->base = *found;
    *found = NULL;
  } else {
    s = rw_fail(err, RW_IO,
                "%s: base_model_name_or_path: expected the base model's folder, got '%s', which is not here; name "
                "it with " FIELD(base) " DIR",
                c->path, plain);
  }
  mem_free(plain);
  mem_free(beside);
  return s;
}

/* ---- which fields count ---- */

/* Looked at here or when its tensors are read. */
static const char *const used[] = {"base_model_name_or_path",
                                   "r",
                                   "lora_alpha",
                                   "lora_dropout",
                                   "use_rslora",
                                   "target_modules",
                                   "exclude_modules",
                                   "layers_to_transform",
                                   "layers_pattern",
                                   "rank_pattern",
                                   "alpha_pattern",
                                   "modules_to_save"};
/* Records, or matters only while an adapter is made. */
static const char *const without_effect[] = {"task_type",      "auto_mapping",  "peft_version",      "revision",
                                             "inference_mode", "megatron_core", "qalora_group_size", "loftq_config",
                                             "eva_config",     "corda_config"};

static bool among(const char *const *names, size_t n, slice key) {
  for (size_t i = 0; i < n; i++)
    if (slice_is(key, names[i])) return true;
  return false;
}

/* The one value that a field may have (beside null); NULL: null, false or empty. */
static bool is_neutral(json_doc *d, slice key, json_val v) {
  static const char *const only[][2] = {{"peft_type", "LORA"}, {"bias", "none"}};
  /* those that leave the base model as it is */
  static const char *const starts[] = {"gaussian", "eva", "orthogonal"};
  slice text = json_string(d, v);
  json_type kind = json_kind(d, v);
  for (size_t i = 0; i < sizeof only / sizeof *only; i++)
    if (slice_is(key, only[i][0])) return text.p && slice_is(text, only[i][1]);
  if (slice_is(key, "init_lora_weights"))
    return text.p ? among(starts, sizeof starts / sizeof *starts, text) : kind != JSON_OBJECT && kind != JSON_ARRAY;
  return kind == JSON_NULL || kind == JSON_FALSE ||
         ((kind == JSON_ARRAY || kind == JSON_OBJECT) && json_count(d, v) == 0);
}

static rw_status check_fields(const peft_config *c, rw_error *err) {
  json_doc *d = c->f.doc;
  for (json_val v = json_first(d, 0); v != JSON_NONE; v = json_next(d, v)) {
    slice key = json_key(d, v), raw = json_raw(d, v);
    if (among(used, sizeof used / sizeof *used, key) ||
        among(without_effect, sizeof without_effect / sizeof *without_effect, key) || is_neutral(d, key, v))
      continue;
    return rw_fail(err, RW_UNSUPPORTED, "%s: %.*s: %.*s is not supported; merge the adapter where it was made",
                   c->path, (int)key.len, key.p, (int)(raw.len < 60 ? raw.len : 60), raw.p);
  }
  return RW_OK;
}

static bool rank_ok(const json_doc *d, json_val v, int64_t *out) {
  return json_int(d, v, out) && *out >= 1 && *out <= 65536;
}

static rw_status read_numbers(peft_config *c, rw_error *err) {
  json_doc *d = c->f.doc;
  json_val drop = json_get(d, 0, "lora_dropout");
  if (!rank_ok(d, json_get(d, 0, "r"), &c->rank))
    return rw_fail(err, RW_DATA, "%s: r: expected a rank of 1 to 65536", c->path);
  if (!json_number(d, json_get(d, 0, "lora_alpha"), &c->alpha) || !isfinite((float)c->alpha))
    return rw_fail(err, RW_DATA, "%s: lora_alpha: expected a number", c->path);
  if (json_kind(d, drop) != JSON_NULL && (!json_number(d, drop, &c->dropout) || c->dropout < 0 || c->dropout >= 1))
    return rw_fail(err, RW_DATA, "%s: lora_dropout: expected a number from 0 and below 1", c->path);
  c->rslora = json_kind(d, json_get(d, 0, "use_rslora")) == JSON_TRUE;
  return RW_OK;
}

rw_status peft_read(peft_config *c, const char *dir, const char *base, rw_error *err) {
  *c = (peft_config){.path = file_join(dir, "adapter_config.json")};
  if (!c->path) return rw_nomem(err, dir);
  rw_status s = json_file_open(&c->f, c->path, err);
  if (s) c->f.doc = NULL;
  if (!s && json_kind(c->f.doc, 0) != JSON_OBJECT) s = rw_fail(err, RW_DATA, "%s: expected a JSON object", c->path);
  if (!s) s = check_fields(c, err);
  if (!s) s = read_numbers(c, err);
  if (!s && base && !(c->base = mem_strndup(base, strlen(base)))) s = rw_nomem(err, dir);
  if (!s && !base) s = find_base(c, dir, err);
  if (!s && peft_is(c->base))
    s = rw_fail(err, RW_UNSUPPORTED, "%s: its base %.200s is an adapter itself; merge that first", c->path,
                c->base);
  if (s) peft_free(c);
  return s;
}

/* ---- modules ---- */

/* Does the whole of `module` match before + pattern (a regular expression) + after? */
static rw_status matches(const peft_config *c, const char *before, slice pattern, const char *after,
                         const char *module, bool *yes, rw_error *err) {
  int code;
  PCRE2_SIZE at;
  char *whole = mem_printf("%s%.*s%s", before, (int)pattern.len, pattern.p ? pattern.p : "", after);
  if (!whole) return rw_nomem(err, c->path);
  pcre2_code *re =
      pcre2_compile((PCRE2_SPTR)whole, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | PCRE2_ENDANCHORED, &code, &at, NULL);
  mem_free(whole);
  if (!re)
    return rw_fail(err, RW_DATA, "%s: '%.*s': expected a regular expression for names of modules", c->path,
                   (int)pattern.len, pattern.p ? pattern.p : "");
  pcre2_match_data *m = pcre2_match_data_create(1, NULL);
  int n = m ? pcre2_match(re, (PCRE2_SPTR)module, strlen(module), 0, 0, m, NULL) : 0;
  pcre2_match_data_free(m);
  pcre2_code_free(re);
  if (!m) return rw_nomem(err, c->path);
  if (n < 0 && n != PCRE2_ERROR_NOMATCH)
    return rw_fail(err, RW_DATA, "%s: '%.*s': cannot be matched (PCRE2 error %d)", c->path, (int)pattern.len,
                   pattern.p, n);
  *yes = n >= 0;
  return RW_OK;
}

/* Is `name` the module or the end of its path? */
static bool ends_in(const char *module, slice name) {
  size_t len = strlen(module);
  return name.p && name.len <= len && memcmp(module + len - name.len, name.p, name.len) == 0 &&
         (name.len == len || module[len - name.len - 1] == '.');
}

/* A regular expression, "all-linear", or a list of names. */
static rw_status listed(const peft_config *c, const char *field, const char *module, bool *yes, bool *by_list,
                        rw_error *err) {
  json_doc *d = c->f.doc;
  json_val list = json_get(d, 0, field);
  *yes = *by_list = false;
  if (json_kind(d, list) == JSON_STRING) {
    slice s = json_string(d, list);
    if (!s.p) return rw_nomem(err, c->path);
    if (slice_is(s, "all-linear")) return *yes = true, RW_OK;
    return s.len ? matches(c, "", s, "", module, yes, err) : RW_OK;
  }
  *by_list = true;
  for (json_val v = json_first(d, list); v != JSON_NONE; v = json_next(d, v))
    *yes |= ends_in(module, json_string(d, v));
  return RW_OK;
}

/* layers_to_transform and layers_pattern. */
static bool layer_listed(const peft_config *c, const char *module, size_t layer) {
  json_doc *d = c->f.doc;
  json_val list = json_get(d, 0, "layers_to_transform"), pattern = json_get(d, 0, "layers_pattern");
  int64_t n;
  if (json_int(d, list, &n)) return n == (int64_t)layer;
  if (json_count(d, list) == 0) return true;
  bool named = json_kind(d, pattern) == JSON_NULL || json_count(d, pattern) == 0;
  slice one = json_string(d, pattern);
  json_val v = one.p ? pattern : json_first(d, pattern);
  if (one.p) named = one.len == 0;
  for (; !named && v != JSON_NONE; v = one.p ? JSON_NONE : json_next(d, v)) {
    slice p = json_string(d, v);
    char *part = mem_printf("%.*s.%zu.", (int)p.len, p.p ? p.p : "", layer);
    const char *at = part ? strstr(module, part) : NULL;
    named = at && (at == module || at[-1] == '.');
    mem_free(part);
  }
  for (v = json_first(d, list); named && v != JSON_NONE; v = json_next(d, v))
    if (json_int(d, v, &n) && n == (int64_t)layer) return true;
  return false;
}

/* The value that rank_pattern or alpha_pattern has for the module; JSON_NONE: none. */
static rw_status in_pattern(const peft_config *c, const char *field, const char *module, json_val *out,
                            rw_error *err) {
  json_doc *d = c->f.doc;
  json_val all = json_get(d, 0, field);
  *out = JSON_NONE;
  for (json_val v = json_first(d, all); v != JSON_NONE && *out == JSON_NONE; v = json_next(d, v)) {
    bool yes;
    RW_TRY(matches(c, "(.*\\.)?(", json_key(d, v), ")$", module, &yes, err));
    if (yes) *out = v;
  }
  return RW_OK;
}

rw_status peft_at(const peft_config *c, const char *module, size_t layer, peft_module *out, rw_error *err) {
  json_doc *d = c->f.doc;
  bool in, excluded, by_list, unused;
  json_val v;
  double alpha = c->alpha;
  *out = (peft_module){.rank = c->rank};
  RW_TRY(listed(c, "target_modules", module, &in, &by_list, err));
  RW_TRY(listed(c, "exclude_modules", module, &excluded, &unused, err));
  out->targeted = in && !excluded && (!by_list || layer_listed(c, module, layer));
  RW_TRY(in_pattern(c, "rank_pattern", module, &v, err));
  if (v != JSON_NONE && !rank_ok(d, v, &out->rank))
    return rw_fail(err, RW_DATA, "%s: rank_pattern: expected a rank of 1 to 65536 for %s", c->path, module);
  RW_TRY(in_pattern(c, "alpha_pattern", module, &v, err));
  if (v != JSON_NONE && (!json_number(d, v, &alpha) || !isfinite((float)alpha)))
    return rw_fail(err, RW_DATA, "%s: alpha_pattern: expected a number for %s", c->path, module);
  out->scale = alpha / (c->rslora ? sqrt((double)out->rank) : (double)out->rank);
  return RW_OK;
}

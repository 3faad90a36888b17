/* filter_text.c - what a filter asks of texts: their length, the script of their letters, a regular expression.
 *
 * Expressions are PCRE2's, by Unicode, without a compiler for them (JIT), whose limits would be others on another
 * machine: one that takes more than MATCH_LIMIT steps on a text ends the run with an error that names it.
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "curate/stages/filter.h"

enum { MATCH_LIMIT = 1000000, HEAP_KIB = 65536, MAX_SCRIPTS = 32 };

/* ---- in a recipe ---- */

static rw_status read_end(const recipe_reader *r, struct fy_node *v, const char *key, bool *has, double *out) {
  *has = true;
  return reader_number(r, v, key, out);
}

rw_status filter_read_length(const recipe_reader *r, struct fy_node *v, const char *key, filter_kind kind,
                             filter_test *t) {
  void *it = NULL;
  t->kind = kind;
  if (!fy_node_is_mapping(v)) return reader_bad(r, v, key, "{min: N, max: N} or one of them");
  for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(v, &it));) {
    slice name = reader_scalar(fy_node_pair_key(p));
    if (slice_is(name, "min"))
      RW_TRY(read_end(r, fy_node_pair_value(p), "min", &t->range.has_min, &t->range.min));
    else if (slice_is(name, "max"))
      RW_TRY(read_end(r, fy_node_pair_value(p), "max", &t->range.has_max, &t->range.max));
    else
      return reader_bad(r, fy_node_pair_key(p), key, "min or max");
  }
  return t->range.has_min || t->range.has_max ? RW_OK : reader_bad(r, v, key, "min, max or both");
}

static rw_status compile(const recipe_reader *r, struct fy_node *v, const char *key, const char *expected,
                         slice pattern, filter_test *t) {
  int code = 0;
  size_t at = 0;
  char why[120], say[300];
  t->re = pcre2_compile((PCRE2_SPTR)pattern.p, pattern.len, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code,
                        &at, NULL);
  t->limits = pcre2_match_context_create(NULL);
  if (!t->limits) return rw_nomem(r->err, "recipe");
  pcre2_set_match_limit(t->limits, MATCH_LIMIT);
  pcre2_set_heap_limit(t->limits, HEAP_KIB);
  if (t->re) return RW_OK;
  pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
  snprintf(say, sizeof say, "%s (%s)", expected, why);
  return reader_bad(r, v, key, say);
}

rw_status filter_read_regex(const recipe_reader *r, struct fy_node *v, const char *key, filter_kind kind,
                            filter_test *t) {
  slice text = reader_scalar(v);
  t->kind = kind;
  if (!text.p || text.len == 0) return reader_bad(r, v, key, "a regular expression");
  t->text.len = text.len;
  RW_TRY(reader_text(r, text, &t->text.p));
  return compile(r, v, key, "a regular expression as PCRE2 reads it", text, t);
}

/* Is it a name that only a script can have? General categories have one or two letters. */
static bool is_script_name(slice s) {
  bool plain = s.p && s.len > 2 && s.len < 40 && !slice_is(s, "Any");
  for (size_t i = 0; plain && i < s.len; i++) plain = isalpha((unsigned char)s.p[i]) || s.p[i] == '_';
  return plain;
}

static rw_status add_script(const recipe_reader *r, struct fy_node *v, str *class, str *names) {
  slice s = reader_scalar(v);
  if (!is_script_name(s))
    return reader_bad(r, v, "script", "the name of a Unicode script such as Latin, Cyrillic or Han");
  str_printf(class, "\\p{%.*s}", (int)s.len, s.p);
  str_printf(names, "%s%.*s", names->len ? ", " : "", (int)s.len, s.p);
  return RW_OK;
}

/* The letters of the scripts, each run of them as group 1, or a run of other letters. */
static rw_status compile_scripts(const recipe_reader *r, struct fy_node *v, slice class, filter_test *t) {
  str pattern = {0};
  str_printf(&pattern, "((?:(?=\\p{L})[%.*s])+)|(?:(?=\\p{L})[^%.*s])+", (int)class.len, class.p, (int)class.len,
             class.p);
  rw_status st = pattern.oom ? rw_nomem(r->err, "recipe")
                             : compile(r, v, "script", "names of Unicode scripts such as Latin, Cyrillic or Han",
                                       (slice){pattern.p, pattern.len}, t);
  str_free(&pattern);
  return st;
}

rw_status filter_read_script(const recipe_reader *r, struct fy_node *v, filter_test *t) {
  str class = {0}, names = {0};
  void *it = NULL;
  rw_status st = RW_OK;
  t->kind = TEST_SCRIPT;
  if (!fy_node_is_sequence(v)) st = add_script(r, v, &class, &names);
  for (struct fy_node *e; !st && fy_node_is_sequence(v) && (e = fy_node_sequence_iterate(v, &it));)
    st = add_script(r, e, &class, &names);
  if (!st && names.len == 0) st = reader_bad(r, v, "script", "at least one script");
  if (!st)
    st =
        class.oom || names.oom ? rw_nomem(r->err, "recipe") : compile_scripts(r, v, (slice){class.p, class.len}, t);
  if (!st) st = reader_text(r, (slice){names.p, names.len}, &t->text.p);
  t->text.len = names.len;
  str_free(&class);
  str_free(&names);
  return st;
}

void filter_add_range(const filter_range *range, str *out) {
  if (range->has_min) str_printf(out, "not %.9g or more", range->min);
  if (range->has_max) str_printf(out, range->has_min ? ", and %.9g or less" : "not %.9g or less", range->max);
}

void filter_test_reason(const filter_test *t, const char *of, str *out) {
  static const char *const units[] = {"", "words", "characters", "tokens"};
  int len = (int)t->text.len;
  switch (t->kind) {
    case TEST_SCRIPT:
      str_printf(out, "the share of %.*s letters in %s is not %.9g or more", len, t->text.p, of, t->range.min);
      break;
    case TEST_MATCHES: str_printf(out, "%s does not match %.*s", of, len, t->text.p); break;
    case TEST_WITHOUT: str_printf(out, "%s matches %.*s", of, len, t->text.p); break;
    default: str_printf(out, "the number of %s in %s is ", units[t->kind], of); filter_add_range(&t->range, out);
  }
}

void filter_test_close(filter_test *t) {
  pcre2_code_free(t->re);
  pcre2_match_context_free(t->limits);
}

/* ---- in a run ---- */

void filter_lane_close(filter_lane *l) {
  words_free(&l->words);
  pcre2_match_data_free(l->match);
  tok_scratch_free(l->tokens);
  mem_free(l->ids.p);
}

static size_t characters_of(slice s) {
  size_t n = 0;
  for (size_t i = 0; s.p && i < s.len; i++) n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
  return n;
}

/* As `reward stats` counts: the text's own tokens, none around it. */
static rw_status count_tokens(const tokenizer *t, filter_lane *l, slice s, double *sum, rw_error *err) {
  tok_span all = {0, s.len, true};
  if (!l->tokens && !(l->tokens = tok_scratch_new(t))) return rw_nomem(err, "tokens");
  l->ids.len = 0;
  RW_TRY(tok_encode(t, l->tokens, s, &all, 1, &l->ids, NULL, err));
  *sum += (double)l->ids.len;
  return RW_OK;
}

/* The next match from *at on: its groups, or *found false. */
static rw_status find(const filter_test *t, filter_lane *l, slice s, size_t at, bool *found, rw_error *err) {
  if (!l->match && !(l->match = pcre2_match_data_create(2, NULL))) return rw_nomem(err, "a text");
  int n = pcre2_match(t->re, (PCRE2_SPTR)(s.p ? s.p : ""), s.len, at, PCRE2_NO_UTF_CHECK, l->match, t->limits);
  *found = n >= 0;
  if (n >= 0 || n == PCRE2_ERROR_NOMATCH) return RW_OK;
  return rw_fail(err, RW_DATA,
                 "the expression %.*s gave up on a text of %zu bytes after %d steps (PCRE2 error %d); write one "
                 "that needs fewer",
                 (int)t->text.len, t->text.p, s.len, MATCH_LIMIT, n);
}

static rw_status count_letters(const filter_test *t, filter_lane *l, slice s, double *of_script, double *all,
                               rw_error *err) {
  bool found;
  for (size_t at = 0; at < s.len;) {
    RW_TRY(find(t, l, s, at, &found, err));
    if (!found) return RW_OK;
    const size_t *o = pcre2_get_ovector_pointer(l->match);
    double n = (double)characters_of((slice){s.p + o[0], o[1] - o[0]});
    bool own = pcre2_get_ovector_count(l->match) > 1 && o[2] != PCRE2_UNSET;
    *all += n;
    *of_script += own ? n : 0;
    at = o[1];
  }
  return RW_OK;
}

/* What is counted of a text, added to *sum; of a script and of an expression also to *all. */
static rw_status measure(const filter_test *t, const tokenizer *tok, filter_lane *l, slice s, double *sum,
                         double *all, rw_error *err) {
  bool found;
  switch (t->kind) {
    case TEST_WORDS:
      if (!words_of(&l->words, s, false)) return rw_nomem(err, "a text");
      *sum += (double)l->words.n;
      return RW_OK;
    case TEST_CHARACTERS: *sum += (double)characters_of(s); return RW_OK;
    case TEST_TOKENS: return count_tokens(tok, l, s, sum, err);
    case TEST_SCRIPT: return count_letters(t, l, s, sum, all, err);
    default:
      RW_TRY(find(t, l, s, 0, &found, err));
      *sum += found;
      return RW_OK;
  }
}

rw_status filter_test_texts(const filter_test *t, const tokenizer *tok, filter_lane *l, const message *m, size_t n,
                            bool *pass, double *got, rw_error *err) {
  double sum = 0, all = 0;
  for (size_t i = 0; i < n; i++) RW_TRY(measure(t, tok, l, m[i].content, &sum, &all, err));
  bool regex = t->kind == TEST_MATCHES || t->kind == TEST_WITHOUT;
  if (t->kind == TEST_SCRIPT) sum = all > 0 ? sum / all : 1; /* a text without letters is in no other script */
  *got = regex ? NAN : sum;
  if (regex)
    *pass = (sum > 0) == (t->kind == TEST_MATCHES);
  else
    *pass = (!t->range.has_min || sum >= t->range.min) && (!t->range.has_max || sum <= t->range.max);
  return RW_OK;
}

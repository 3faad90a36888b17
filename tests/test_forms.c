/* test_forms.c - the table of forms in docs/data.md: each example read, and compared with what stands behind it;
 * every form of the program's table has one. Then fields by other names.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "data/conversation.h"

static rw_error err;
static json_doc *doc;
static arena *mem;
static conv_row row;

static int setup(void **state) {
  (void)state;
  return (doc = json_new()) && (mem = arena_new()) ? 0 : -1;
}
static int teardown(void **state) {
  (void)state;
  json_free(doc);
  arena_free(mem);
  return 0;
}

static void add_text(str *s, slice text) {
  for (size_t i = 0; i < text.len; i++)
    if (text.p[i] == '\n')
      str_addz(s, "⏎");
    else
      str_addc(s, text.p[i]);
}

/* A conversation as the document shows it. */
static void show(str *s, const conversation *c) {
  for (size_t i = 0; i < c->n_ids; i++) str_printf(s, "%s%d", i ? " " : "", c->ids[i]);
  if (c->text.p) add_text(s, c->text);
  for (size_t i = 0; i < c->n_messages; i++) {
    str_printf(s, "%s%c: ", i ? " " : "", "SUA"[c->messages[i].role]);
    add_text(s, c->messages[i].content);
  }
}

static void read_as(slice json, const row_map *called, const char *want) {
  str s = {0};
  arena_reset(mem);
  if (json_parse(doc, json.p, json.len, &err) || conv_read(&row, doc, 0, called, mem, &err))
    fail_msg("%.*s: %s", (int)json.len, json.p, err.text);
  for (size_t b = 0; b < row.n_branches; b++) {
    if (b) str_addz(&s, row.kind == ROW_PAIR ? " > " : " ; ");
    show(&s, &row.branch[b]);
    if (row.scores) str_printf(&s, " (%g)", row.scores[b]);
  }
  assert_string_equal(s.p, want);
  str_free(&s);
}

static const data_form *form_of_title(slice title) {
  const data_form *f = data_forms;
  while (f->title && !slice_is(title, f->title)) f++;
  return f->title ? f : NULL;
}

static void the_document_says_how_rows_are_read(void **state) {
  (void)state;
  str page = {0};
  bool seen[64] = {0};
  size_t n = 0;
  assert_int_equal(file_read("docs/data.md", 1 << 20, &page, &err), RW_OK);
  for (char *line = strtok(page.p, "\n"); line; line = strtok(NULL, "\n")) {
    char *json = strstr(line, " | `{"), *want = json ? strstr(json, "}` | ") : NULL, *end;
    if (line[0] != '|' || !want || !(end = strstr(want + 5, " |"))) continue;
    const data_form *f = form_of_title((slice){line + 2, (size_t)(json - line - 2)});
    if (!f) continue; /* another table's */
    *end = 0;
    read_as((slice){json + 4, (size_t)(want + 1 - json - 4)}, NULL, want + 5);
    assert_ptr_equal(form_of(doc, 0, NULL, &err), f);
    seen[f - data_forms] = true;
    n++;
  }
  for (const data_form *f = data_forms; f->title; f++)
    if (!seen[f - data_forms]) fail_msg("docs/data.md has no example of the form \"%s\"", f->title);
  assert_true(n > 20);
  str_free(&page);
}

static void other_columns_do_not_disturb(void **state) {
  (void)state;
#define WHOLE(t) "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"" t "\"}]"
  /* whole conversations beside a question of another meaning, or beside the conversation that they begin with */
  read_as(SLICE("{\"question\":7,\"instruction\":{},\"chosen\":" WHOLE("a") ",\"rejected\":" WHOLE("b") "}"), NULL,
          "U: q A: a > U: q A: b");
  read_as(SLICE("{\"system\":\"\",\"input\":\"\",\"instruction\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}"), NULL,
          "U: q A: a > U: q A: b");                                                            /* empty: none */
  read_as(SLICE("{\"system\":\"s\",\"prompt\":\"q\",\"response\":\"a\"}"), NULL, "U: q A: a"); /* as it was */
  read_as(SLICE("{\"conversations\":[{\"from\":\"system\",\"value\":\"own\"},{\"from\":\"user\",\"value\":\"q\"},"
                "{\"from\":\"assistant\",\"value\":\"a\"}],\"system\":\"s\"}"),
          NULL, "S: own U: q A: a");
  read_as(SLICE("{\"prompt\":null,\"question\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}"), NULL,
          "U: q A: a > U: q A: b");
}

static void refused(const char *json, const char *says) {
  arena_reset(mem);
  assert_int_equal(json_parse(doc, json, strlen(json), &err), RW_OK);
  if (conv_read(&row, doc, 0, NULL, mem, &err) != RW_DATA) fail_msg("taken: %s", json);
  if (!strstr(err.text, says)) fail_msg("%s: expected \"%s\", got \"%s\"", json, says, err.text);
}

static void what_is_no_form_is_named(void **state) {
  (void)state;
  refused("{\"good\":\"a\",\"bad\":\"b\"}", "got none of these fields, only good, bad");
  refused("{\"context\":\"q\",\"completions\":[{\"completion\":\"a\",\"rank\":\"first\"}]}",
          "completions[0].rank: expected a number, got string");
  refused("{\"context\":\"q\",\"completions\":[]}", "completions: expected at least one response");
  refused("{\"conversations\":[{\"from\":\"human\",\"value\":\"q\"}]}",
          "conversations: expected a conversation that ends");
  refused("{\"conversations\":[{\"from\":\"human\"}]}", "conversations[0].value: expected a string, got nothing");
  refused("{\"instruction\":\"q\",\"input\":3,\"output\":\"a\"}", "input: expected a string, got number");
  refused("{\"instruction\":\"q\",\"history\":[[\"x\"]],\"output\":\"a\"}", "history: expected lists");
}

static void rankings_of_two_as_pairs(void **state) {
  (void)state;
  read_as(SLICE("{\"prompt\":\"q\",\"responses\":[\"a\",\"b\"],\"scores\":[1,2]}"), NULL,
          "U: q A: a (1) ; U: q A: b (2)");
  assert_true(conv_as_pair(&row));
  assert_true(row.kind == ROW_PAIR && row.n_chosen == 1 && !row.scores);
  assert_true(slice_is(row.branch[0].messages[1].content, "b"));
  read_as(SLICE("{\"prompt\":\"q\",\"responses\":[\"a\",\"b\"],\"scores\":[2,2]}"), NULL,
          "U: q A: a (2) ; U: q A: b (2)");
  assert_false(conv_as_pair(&row));
}

static void fields_by_other_names(void **state) {
  (void)state;
  static const char *const names[] = {"prompt=request.text", "chosen=answers.0", "rejected=answers.1", "id=a.b"};
  row_map called = {0};
  arena *own = arena_new();
  for (size_t i = 0; i < 4; i++) assert_int_equal(row_map_add(&called, names[i], own, &err), RW_OK);
  read_as(SLICE("{\"request\":{\"text\":\"q\"},\"answers\":[\"a\",\"b\"],\"a.b\":7,\"a\":{\"b\":8},\"prompt\":"
                "\"other\"}"),
          &called, "U: q A: a > U: q A: b");
  assert_true(slice_is(row.id, "7")); /* a field of the whole name goes first */
  assert_int_equal(row_map_add(&called, "promt=x", own, &err), RW_USAGE);
  assert_int_equal(row_map_add(&called, "prompt=", own, &err), RW_USAGE);
  assert_int_equal(row_map_add(&called, "prompt", own, &err), RW_USAGE);
  arena_free(own);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_document_says_how_rows_are_read),
      cmocka_unit_test(other_columns_do_not_disturb),
      cmocka_unit_test(what_is_no_form_is_named),
      cmocka_unit_test(rankings_of_two_as_pairs),
      cmocka_unit_test(fields_by_other_names),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}

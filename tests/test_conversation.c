/* test_conversation.c - every row form of the public contract into conversations, and rows that are none: the error
 * names the field.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data/conversation.h"
#include "data/transcript.h"

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

static rw_status read_row(const char *text) {
  arena_reset(mem);
  if (json_parse(doc, text, strlen(text), &err)) fail_msg("%s: %s", text, err.text);
  return conv_read(&row, doc, 0, NULL, mem, &err);
}
static void takes(const char *text, row_kind kind, size_t branches, size_t chosen) {
  if (read_row(text)) fail_msg("%s: %s", text, err.text);
  assert_int_equal(row.kind, kind);
  assert_int_equal(row.n_branches, branches);
  if (kind == ROW_PAIR) assert_int_equal(row.n_chosen, chosen);
}
/* A branch as "role: content|role: content|". */
static void branch_is(size_t i, const char *want) {
  const conversation *c = &row.branch[i];
  str s = {0};
  assert_true(i < row.n_branches && c->messages && !c->text.p && !c->ids);
  for (size_t k = 0; k < c->n_messages; k++)
    str_printf(&s, "%.*s: %.*s|", (int)conv_role_name(&c->messages[k]).len, conv_role_name(&c->messages[k]).p,
               (int)c->messages[k].content.len, c->messages[k].content.p);
  assert_string_equal(s.p, want);
  str_free(&s);
}
static void ids_are(size_t i, const int32_t *want, size_t n) {
  const conversation *c = &row.branch[i];
  assert_true(i < row.n_branches && c->ids && !c->messages && !c->text.p);
  assert_int_equal(c->n_ids, n);
  assert_memory_equal(c->ids, want, n * sizeof *want);
}
static void refuses(const char *text, const char *field, const char *says) {
  if (read_row(text) != RW_DATA) fail_msg("taken: %s", text);
  size_t n = strlen(field);
  if (strncmp(err.text, field, n) != 0 || err.text[n] != ':' || !strstr(err.text, says))
    fail_msg("%s: expected \"%s: … %s\", got \"%s\"", text, field, says, err.text);
}

#define U(t) "{\"role\":\"user\",\"content\":\"" t "\"}"
#define A(t) "{\"role\":\"assistant\",\"content\":\"" t "\"}"
#define S(t) "{\"role\":\"system\",\"content\":\"" t "\"}"

/* ---- pairs ---- */

static void pairs_of_whole_conversations(void **state) {
  (void)state;
  takes("{\"chosen\":[" U("q") "," A("good") "],\"rejected\":[" U("q") "," A("bad") "]}", ROW_PAIR, 2, 1);
  branch_is(0, "user: q|assistant: good|");
  branch_is(1, "user: q|assistant: bad|");
  assert_false(row.chosen_is_list || row.rejected_is_list || row.has_margin);
  assert_null(row.id.p);
  assert_null(row.source.p);
  assert_null(row.prompt.p);
  assert_null(row.scores);
  takes("{\"rejected\":[" S("s") "," U("a\\n\\u00e9") "," A("b") "," U("c") "," A("") "],\"chosen\":[" U("other") "," A("x") "],"
        "\"source\":\"web\",\"id\":\"r1\",\"margin\":1.5,\"unknown\":[1]}",
        ROW_PAIR, 2, 1);
  branch_is(0, "user: other|assistant: x|");
  branch_is(1, "system: s|user: a\n\xC3\xA9|assistant: b|user: c|assistant: |");
  assert_true(slice_is(row.id, "r1") && slice_is(row.source, "web"));
  assert_true(row.has_margin && row.margin == 1.5);
}

static void pairs_that_continue_a_prompt(void **state) {
  (void)state;
  takes("{\"prompt\":\"q\",\"chosen\":\"good\",\"rejected\":\"bad\"}", ROW_PAIR, 2, 1);
  branch_is(0, "user: q|assistant: good|");
  branch_is(1, "user: q|assistant: bad|");
  assert_true(slice_is(row.prompt, "q"));
  takes("{\"prompt\":[" S("s") "," U("q") "],\"chosen\":\"good\",\"rejected\":[" A("bad") "," U("no") "," A(
            "ok") "]}",
        ROW_PAIR, 2, 1);
  branch_is(0, "system: s|user: q|assistant: good|");
  branch_is(1, "system: s|user: q|assistant: bad|user: no|assistant: ok|");
  /* messages that begin with a user or a system message are whole, and the prompt is checked against them */
  takes(
      "{\"prompt\":\"q\",\"chosen\":[" U("q") "," A("good") "],\"rejected\":[" S("s") "," U("q") "," A("bad") "]}",
      ROW_PAIR, 2, 1);
  branch_is(0, "user: q|assistant: good|");
  branch_is(1, "system: s|user: q|assistant: bad|");
  refuses("{\"prompt\":\"q\",\"chosen\":[" U("other") "," A("x") "],\"rejected\":\"bad\"}", "prompt", "chosen");
  refuses("{\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":[" S("q") "," A("x") "]}", "prompt", "rejected");
  /* a transcript is one only where there is no prompt */
  takes("{\"prompt\":\"q\",\"chosen\":\"\\n\\nHuman: a\\n\\nAssistant: b\",\"rejected\":\"c\"}", ROW_PAIR, 2, 1);
  branch_is(0, "user: q|assistant: \n\nHuman: a\n\nAssistant: b|");
}

/* A transcript begins with its first line, after spaces at most. */
static void transcripts_are_known_by_their_first_line(void **state) {
  (void)state;
  static const char *const are[] = {"\n\nHuman:", "\n\nHuman: x\n\nAssistant: y", " \t\r\n\n\nHuman: x"};
  static const char *const are_not[] = {"",
                                        "\n\n",
                                        "\n\nHuman",
                                        "\nHuman: x",
                                        "Human: x",
                                        "\n\nHello: x",
                                        "\n\n Human: x",
                                        "text\n\nHuman: x",
                                        "\n\nAssistant: x\n\nHuman: y"};
  for (size_t i = 0; i < sizeof are / sizeof *are; i++) assert_true(transcript_is((slice){are[i], strlen(are[i])}));
  for (size_t i = 0; i < sizeof are_not / sizeof *are_not; i++)
    assert_false(transcript_is((slice){are_not[i], strlen(are_not[i])}));
}

static void transcripts(void **state) {
  (void)state;
  takes(
      "{\"chosen\":\"\\n\\nHuman: hi\\n\\nAssistant: hello \\n\\nHuman: a\\nb: Human: no turn\\n\\nAssistant: "
      "yes\\n\","
      "\"rejected\":\"\\n\\nHuman: hi\\n\\nAssistant:\"}",
      ROW_PAIR, 2, 1);
  branch_is(0, "user: hi|assistant: hello|user: a\nb: Human: no turn|assistant: yes|");
  branch_is(1, "user: hi|assistant: |");
  refuses(
      "{\"chosen\":\"\\n\\nHuman: hi\\n\\nAssistant: x\\n\\nHuman: and\",\"rejected\":\"\\n\\nHuman: "
      "hi\\n\\nAssistant: y\"}",
      "chosen", "assistant");
  refuses("{\"chosen\":\"\\n\\nAssistant: x\",\"rejected\":\"y\"}", "prompt", "chosen");
  message *m;
  size_t n;
  assert_int_equal(transcript_read(SLICE("\n\nHuman: \0x\0 "), &m, &n, mem, &err), RW_OK);
  assert_true(n == 1 && m[0].content.len == 3 && memcmp(m[0].content.p, "\0x", 3) == 0); /* only white space goes */
  assert_int_equal(transcript_read(SLICE("text first\n\nHuman: x"), &m, &n, mem, &err), RW_DATA);
  assert_int_equal(transcript_read(SLICE(""), &m, &n, mem, &err), RW_DATA);
  assert_int_equal(transcript_read(SLICE("\n\nHuman:"), &m, &n, mem, &err), RW_OK);
  assert_true(n == 1 && m[0].role == ROLE_USER && m[0].content.len == 0);
}

static void lists_of_responses(void **state) {
  (void)state;
  takes("{\"prompt\":\"q\",\"chosen\":[\"a\",\"b\",\"c\"],\"rejected\":[\"d\",[" A("e") "]]}", ROW_PAIR, 5, 3);
  assert_true(row.chosen_is_list && row.rejected_is_list);
  branch_is(2, "user: q|assistant: c|");
  branch_is(4, "user: q|assistant: e|");
  takes("{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":[\"b\"]}", ROW_PAIR, 2, 1);
  assert_true(!row.chosen_is_list && row.rejected_is_list);
  refuses("{\"prompt\":\"q\",\"chosen\":[],\"rejected\":\"a\"}", "chosen", "empty");
  refuses("{\"prompt\":\"q\",\"chosen\":[\"a\",3],\"rejected\":\"a\"}", "chosen[1]", "number");
  refuses("{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":[\"a\",[]]}", "rejected[1]", "empty");
}

static void pairs_of_ids(void **state) {
  (void)state;
  takes("{\"chosen_ids\":[0,2147483647],\"rejected_ids\":[5]}", ROW_PAIR, 2, 1);
  ids_are(0, (const int32_t[]){0, INT32_MAX}, 2);
  ids_are(1, (const int32_t[]){5}, 1);
  refuses("{\"chosen_ids\":[1]}", "rejected_ids", "nothing");
  refuses("{\"rejected_ids\":[1]}", "chosen_ids", "nothing");
  refuses("{\"chosen_ids\":[],\"rejected_ids\":[1]}", "chosen_ids", "empty");
  refuses("{\"chosen_ids\":[1,-1],\"rejected_ids\":[1]}", "chosen_ids[1]", "-1");
  refuses("{\"chosen_ids\":[1],\"rejected_ids\":[2147483648]}", "rejected_ids[0]", "2147483648");
  refuses("{\"chosen_ids\":[1.0],\"rejected_ids\":[1]}", "chosen_ids[0]", "1.0");
  refuses("{\"chosen_ids\":[1],\"rejected_ids\":[\"7\"]}", "rejected_ids[0]", "\"7\"");
  refuses("{\"chosen_ids\":7,\"rejected_ids\":[1]}", "chosen_ids", "number");
}

/* ---- rankings and rows to score ---- */

static void rankings(void **state) {
  (void)state;
  takes("{\"prompt\":\"q\",\"responses\":[\"a\",\"b\",\"c\"],\"scores\":[1,2.5,-3e0]}", ROW_RESPONSES, 3, 0);
  branch_is(1, "user: q|assistant: b|");
  assert_true(row.scores && row.scores[0] == 1 && row.scores[1] == 2.5 && row.scores[2] == -3);
  takes("{\"prompt\":[" U("x") "," A("y") "," U("q") "],\"responses\":[\"a\"]}", ROW_RESPONSES, 1, 0);
  branch_is(0, "user: x|assistant: y|user: q|assistant: a|");
  assert_null(row.scores);
  refuses("{\"prompt\":\"q\",\"responses\":[\"a\",\"b\"],\"scores\":[1]}", "scores", "2");
  refuses("{\"prompt\":\"q\",\"responses\":[\"a\",\"b\"],\"scores\":[1,null]}", "scores[1]", "null");
  refuses("{\"prompt\":\"q\",\"responses\":[\"a\",\"b\"],\"scores\":[1,1e999]}", "scores[1]", "number");
  refuses("{\"prompt\":\"q\",\"responses\":[\"a\"],\"scores\":1}", "scores", "number");
  refuses("{\"prompt\":\"q\",\"responses\":[]}", "responses", "empty");
  refuses("{\"prompt\":\"q\",\"responses\":\"a\"}", "responses", "string");
  refuses("{\"prompt\":\"q\",\"responses\":[\"a\",null]}", "responses[1]", "null");
  refuses("{\"responses\":[\"a\"]}", "prompt", "nothing");
}

static void rows_to_score(void **state) {
  (void)state;
  takes("{\"messages\":[" U("q") "," A("a") "]}", ROW_SINGLE, 1, 0);
  branch_is(0, "user: q|assistant: a|");
  takes("{\"prompt\":\"q\",\"response\":\"a\"}", ROW_SINGLE, 1, 0);
  branch_is(0, "user: q|assistant: a|");
  takes("{\"prompt\":[" S("s") "," U("q") "],\"response\":[" A("a") "]}", ROW_SINGLE, 1, 0);
  branch_is(0, "system: s|user: q|assistant: a|");
  takes("{\"text\":\"as \\u0000 is\"}", ROW_SINGLE, 1, 0);
  assert_null(row.branch[0].messages);
  assert_int_equal(row.branch[0].text.len, 7);
  assert_memory_equal(row.branch[0].text.p, "as \0 is", 7);
  takes("{\"text\":\"\"}", ROW_SINGLE, 1, 0);
  assert_true(row.branch[0].text.p && row.branch[0].text.len == 0);
  takes("{\"input_ids\":[3,1]}", ROW_SINGLE, 1, 0);
  ids_are(0, (const int32_t[]){3, 1}, 2);
  refuses("{\"messages\":\"q\"}", "messages", "string");
  refuses("{\"messages\":[]}", "messages", "empty");
  refuses("{\"messages\":null}", "row", "none of these"); /* null: as absent */
  takes("{\"messages\":null,\"prompt\":null,\"chosen\":null,\"text\":\"t\",\"margin\":null}", ROW_SINGLE, 1, 0);
  refuses("{\"text\":5}", "text", "number");
  refuses("{\"input_ids\":[]}", "input_ids", "empty");
  refuses("{\"response\":\"a\"}", "prompt", "response");
}

static void messages_are_checked(void **state) {
  (void)state;
  refuses("{\"messages\":[" U("q") "]}", "messages", "ends with an assistant");
  refuses("{\"messages\":[" A("a") "]}", "messages[0].role", "user or system");
  refuses("{\"messages\":[" U("q") ",\"a\"]}", "messages[1]", "string");
  refuses("{\"messages\":[{\"role\":\"user\"}]}", "messages[0].content", "nothing");
  refuses("{\"messages\":[{\"content\":\"x\"}]}", "messages[0].role", "nothing");
  refuses("{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}", "messages", "tool last");
  refuses("{\"messages\":[{\"role\":\"User\",\"content\":\"x\"}]}", "messages", "User last");
  refuses("{\"messages\":[" U("q") ",{\"role\":\"assistant\",\"content\":null}]}", "messages[1].content", "null");
  refuses("{\"messages\":[" U("q") ",{\"role\":\"assistant\",\"content\":{}}]}", "messages[1].content", "object");
  refuses("{\"messages\":[" U("q") ",{\"role\":\"assistant\",\"content\":null,\"name\":null}]}",
          "messages[1].content", "null");
  refuses("{\"prompt\":5,\"response\":\"a\"}", "prompt", "number");
  refuses("{\"prompt\":[],\"response\":\"a\"}", "prompt", "empty");
  refuses("{\"chosen\":[" U("q") "," A("a") "]}", "rejected", "nothing");
  refuses("{\"prompt\":\"q\",\"rejected\":\"a\"}", "chosen", "nothing");
  refuses("{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":null}", "rejected", "nothing");
  refuses("{\"prompt\":\"q\",\"chosen\":{},\"rejected\":\"a\"}", "chosen", "object");
}

/* What a message has beside its role and text is kept as it stands. */
static void messages_keep_their_fields(void **state) {
  (void)state;
  takes("{\"tools\": [{\"n\": 1}],\"messages\":[{\"role\":\"developer\",\"content\":\"d\"}," U("q")
            ",{\"role\":\"assistant\",\"tool_calls\":[1]},{\"role\":\"tool\",\"content\":{\"t\": 2}},"
            "{\"role\":\"assistant\",\"content\":\"a\",\"name\":null}]}",
        ROW_SINGLE, 1, 0);
  branch_is(0, "developer: d|user: q|assistant: |tool: {\"t\": 2}|assistant: a|");
  const message *m = row.branch[0].messages;
  assert_true(!m[0].json.p && !m[1].json.p && !m[4].json.p); /* null says nothing */
  assert_true(slice_is(m[2].json, "{\"role\":\"assistant\",\"tool_calls\":[1]}"));
  assert_true(slice_is(m[3].json, "{\"role\":\"tool\",\"content\":{\"t\": 2}}"));
  assert_true(slice_is(row.branch[0].tools, "[{\"n\": 1}]"));
  str s = {0};
  conv_write(&s, m + 1, 2);
  assert_string_equal(s.p,
                      "[{\"role\": \"user\", \"content\": \"q\"}, {\"role\":\"assistant\",\"tool_calls\":[1]}]");
  str_free(&s);
  takes("{\"tools\":\"[{}]\",\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}", ROW_PAIR, 2, 1); /* as text */
  assert_true(slice_is(row.branch[0].tools, "[{}]") && slice_is(row.branch[1].tools, "[{}]"));
  takes("{\"tools\":7,\"text\":\"x\"}", ROW_SINGLE, 1, 0); /* of no message */
  refuses("{\"tools\":7,\"prompt\":\"q\",\"response\":\"a\"}", "tools", "number");
  refuses("{\"tools\":[\"f\"],\"prompt\":\"q\",\"response\":\"a\"}", "tools", "string");
  refuses("{\"tools\":\"[{\",\"prompt\":\"q\",\"response\":\"a\"}", "tools", "cut short");
  /* a tool's answer goes on from the prompt; a developer's message begins a conversation */
  takes("{\"prompt\":[" U("q") ",{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[2]}],"
        "\"chosen\":[{\"role\":\"tool\",\"content\":\"4\"}," A("a") "],\"rejected\":\"b\"}", ROW_PAIR, 2, 1);
  branch_is(0, "user: q|assistant: |tool: 4|assistant: a|");
  takes("{\"prompt\":\"q\",\"response\":[{\"role\":\"developer\",\"content\":\"d\"}," U("q") "," A("a") "]}",
        ROW_SINGLE, 1, 0);
  branch_is(0, "developer: d|user: q|assistant: a|");
}

static void contents_are_parts(void **state) {
  (void)state;
  takes(
      "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\\n\"},"
      "{\"text\":\"b\",\"type\":\"text\",\"x\":1}]},{\"role\":\"assistant\",\"content\":[]}]}",
      ROW_SINGLE, 1, 0);
  branch_is(0, "user: a\nb|assistant: |");
  assert_true(row.branch[0].messages[0].parts && row.branch[0].messages[0].json.p);
#define PARTS(p) "{\"messages\":[{\"role\":\"user\",\"content\":[" p "]}," A("a") "]}"
  refuses(PARTS("{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_url\",\"image_url\":{}}"),
          "messages[0].content[1].type", "image_url");
  refuses(PARTS("{\"type\":\"text\"}"), "messages[0].content[0].text", "nothing");
  refuses(PARTS("{\"text\":\"a\"}"), "messages[0].content[0]", "type");
  refuses(PARTS("\"a\""), "messages[0].content[0]", "string");
}

static void labels_and_margins(void **state) {
  (void)state;
  takes("{\"id\":17,\"source\":null,\"text\":\"x\"}", ROW_SINGLE, 1, 0);
  assert_true(slice_is(row.id, "17"));
  assert_null(row.source.p);
  takes("{\"id\":\"a\\tb\",\"source\":{\"x\": 1},\"text\":\"x\",\"margin\":null}", ROW_SINGLE, 1, 0);
  assert_true(slice_is(row.id, "a\tb") && slice_is(row.source, "{\"x\": 1}"));
  assert_false(row.has_margin);
  takes("{\"text\":\"x\",\"margin\":0}", ROW_SINGLE, 1, 0);
  assert_true(row.has_margin && row.margin == 0);
  refuses("{\"text\":\"x\",\"margin\":\"1\"}", "margin", "got \"1\"");
  refuses("{\"text\":\"x\",\"margin\":1e999}", "margin", "finite");
}

static void rows_that_are_none(void **state) {
  (void)state;
  refuses("{}", "row", "none of these fields");
  refuses("{\"prompt\":\"q\"}", "row", "none of these fields");
  refuses("[1]", "row", "array");
  refuses("\"x\"", "row", "string");
  refuses("null", "row", "null");
}

/* Written as JSON, messages read back the same. */
static void written_messages_read_back(void **state) {
  (void)state;
  static const char text[] = "a\"b\\c\n\t\x01 \xF0\x9F\x98\x80";
  message m[] = {{.role = ROLE_SYSTEM, .content = SLICE("")},
                 {.role = ROLE_USER, .content = {text, sizeof text - 1}},
                 {.role = ROLE_ASSISTANT, .content = SLICE("\x7f</s>")}};
  str s = {0};
  str_addz(&s, "{\"messages\":");
  conv_write(&s, m, 3);
  str_addc(&s, '}');
  takes(s.p, ROW_SINGLE, 1, 0);
  assert_int_equal(row.branch[0].n_messages, 3);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(row.branch[0].messages[i].role, m[i].role);
    assert_true(slice_eq(row.branch[0].messages[i].content, m[i].content));
  }
  str_free(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pairs_of_whole_conversations),
      cmocka_unit_test(pairs_that_continue_a_prompt),
      cmocka_unit_test(transcripts),
      cmocka_unit_test(lists_of_responses),
      cmocka_unit_test(pairs_of_ids),
      cmocka_unit_test(rankings),
      cmocka_unit_test(rows_to_score),
      cmocka_unit_test(messages_are_checked),
      cmocka_unit_test(messages_keep_their_fields),
      cmocka_unit_test(contents_are_parts),
      cmocka_unit_test(labels_and_margins),
      cmocka_unit_test(rows_that_are_none),
      cmocka_unit_test(written_messages_read_back),
      cmocka_unit_test(transcripts_are_known_by_their_first_line),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}

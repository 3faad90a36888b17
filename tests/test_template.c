/* test_template.c - renders equal those of Jinja in the environment of transformers
 * (tests/reference/make_templates.py); spans mark exactly what came from content; the date; bounds and mistakes end
 * in an error that names the place.
 */
#include <sys/stat.h>

#include "base/file.h"
#include "text/template.h"
#include "unit.h"

static json_file expected;
static arena *mem;

static int setup(void **state) {
  (void)state;
  mem = arena_new();
  return mem && !json_file_open(&expected, "tests/data/template/expected.json", &err) ? 0 : -1;
}
static int teardown(void **state) {
  (void)state;
  json_file_close(&expected);
  arena_free(mem);
  return 0;
}

/* A list of messages, or an object of messages and tools. */
static conversation conversation_of(json_val v) {
  json_doc *d = expected.doc;
  conversation c = {0};
  json_val list = json_kind(d, v) == JSON_OBJECT ? json_get(d, v, "messages") : v;
  OK(conv_messages(&c.messages, &c.n_messages, d, list, "messages", mem, &err));
  OK(conv_tools(&c.tools, d, v, NULL, &err));
  return c;
}
static rw_status render_messages(const chat_template *t, message *m, size_t n, rendered *r, tmpl_notes *notes) {
  return tmpl_render(t, &(conversation){.messages = m, .n_messages = n}, r, notes, &err);
}

/* Spans cover the text in order, without gaps. */
static void spans_cover(const rendered *r) {
  size_t at = 0;
  for (size_t i = 0; i < r->n_spans; i++) {
    assert_true(r->spans[i].start == at && r->spans[i].end > at);
    at = r->spans[i].end;
  }
  assert_int_equal(at, r->text.len);
}

static void renders_alike(const chat_template *t, const char *name, const char *list, json_val want) {
  json_doc *d = expected.doc;
  json_val conversations = json_get(d, 0, list);
  assert_true(want != JSON_NONE && json_count(d, want) == json_count(d, conversations));
  rendered r = {0};
  json_val w = json_first(d, want);
  for (json_val v = json_first(d, conversations); v != JSON_NONE; v = json_next(d, v), w = json_next(d, w)) {
    conversation talk = conversation_of(v);
    rw_status s = tmpl_render(t, &talk, &r, NULL, &err);
    slice text = json_string(d, w), c = json_raw(d, v);
    if (!text.p) {
      if (s != RW_DATA && s != RW_UNSUPPORTED)
        fail_msg("%s: %.*s: rendered, but Jinja raised", name, (int)c.len, c.p);
      continue;
    }
    if (s) fail_msg("%s: %.*s: %s", name, (int)c.len, c.p, err.text);
    slice got = {r.text.p ? r.text.p : "", r.text.len};
    if (!slice_eq(got, text))
      fail_msg("%s: %.*s:\n%.*s\nexpected\n%.*s", name, (int)c.len, c.p, (int)got.len, got.p, (int)text.len,
               text.p);
    spans_cover(&r);
  }
  rendered_free(&r);
}

static void own(const char *name) {
  char path[100];
  snprintf(path, sizeof path, "tests/data/template/%s.jinja", name);
  chat_template *t;
  OK(tmpl_load(&t, "tests/data/template", path, &err));
  renders_alike(t, name, "conversations", json_get(expected.doc, json_get(expected.doc, 0, "own"), name));
  renders_alike(t, name, "tool_conversations",
                json_get(expected.doc, json_get(expected.doc, 0, "own_tools"), name));
  tmpl_free(t);
}
static void real(const char *name) {
  const char *shared = getenv("REWARD_SHARED");
  char dir[500];
  snprintf(dir, sizeof dir, "%s/tokenizers/%s", shared ? shared : "../shared", name);
  json_val want = json_get(expected.doc, json_get(expected.doc, 0, "real"), name);
  if (!file_is_dir(dir) || want == JSON_NONE) skip();
  chat_template *t;
  OK(tmpl_load(&t, dir, NULL, &err));
  renders_alike(t, name, "conversations", want);
  renders_alike(t, name, "tool_conversations",
                json_get(expected.doc, json_get(expected.doc, 0, "real_tools"), name));
  tmpl_free(t);
}
#define RENDERS(function, kind, name)  \
  static void function(void **state) { \
    (void)state;                       \
    kind(name);                        \
  }
RENDERS(chatml, own, "chatml")
RENDERS(llama31, own, "llama31")
RENDERS(gemma, own, "gemma")
RENDERS(qwen3, own, "qwen3")
RENDERS(mistral, own, "mistral")
RENDERS(llama2, own, "llama2")
RENDERS(llama32, own, "llama32")
RENDERS(internlm2, own, "internlm2")
RENDERS(parts, own, "parts")
RENDERS(calls, own, "calls")
RENDERS(tools_channels, own, "tools_channels")
RENDERS(tools_chatml, own, "tools_chatml")
RENDERS(tools_flags, own, "tools_flags")
RENDERS(tools_generation, own, "tools_generation")
RENDERS(tools_header, own, "tools_header")
RENDERS(tools_inst, own, "tools_inst")
RENDERS(tools_roles, own, "tools_roles")
RENDERS(tools_types, own, "tools_types")
RENDERS(real_llama, real, "llama-3.1")
RENDERS(real_qwen, real, "qwen3")

/* ---- spans, changes, the date ---- */

static chat_template *parsed(const char *source) {
  chat_template *t;
  OK(tmpl_parse(&t, slice_of(source), "T", &err));
  return t;
}
/* The render with what came from content in «»; notes as tmpl_render gives them. */
static char *marked(const char *source, const conversation *c, tmpl_notes *notes) {
  chat_template *t = parsed(source);
  rendered r = {0};
  str s = {0};
  OK(tmpl_render(t, c, &r, notes, &err));
  spans_cover(&r);
  for (size_t i = 0; i < r.n_spans; i++) {
    if (r.spans[i].content) str_addz(&s, "<<");
    str_add(&s, r.text.p + r.spans[i].start, r.spans[i].end - r.spans[i].start);
    if (r.spans[i].content) str_addz(&s, ">>");
  }
  char *copy = arena_strndup(mem, s.p ? s.p : "", s.len);
  str_free(&s);
  rendered_free(&r);
  tmpl_free(t);
  return copy;
}

static void spans_mark_content(void **state) {
  (void)state;
  message m[] = {{.role = ROLE_USER, .content = SLICE(" ab ")}, {.role = ROLE_ASSISTANT, .content = SLICE("x-y")}};
  static const struct {
    const char *source, *want;
    bool changed;
  } cases[] = {
      {"{% for m in messages %}[{{ m.role }}|{{ m.content }}]{% endfor %}", "[user|<< ab >>][assistant|<<x-y>>]",
       false},
      {"{{ '<' + messages[0].content + '>' }}{{ '(' ~ messages[1]['content'] ~ ')' }}", "<<< ab >>>(<<x-y>>)",
       false},
      {"{{ messages[0].content | trim }}.{{ messages[1].content }}", "<<ab>>.<<x-y>>", true},
      {"{{ messages[0].content.rstrip() }}.{{ messages[1].content }}", "<< ab>>.<<x-y>>", true},
      {"{{ '<i>' | safe + messages[1].content + '&' + messages[0].content }}", "<i><<x-y>>&amp;<< ab >>", false},
      {"{{ messages[1].content + '<' + '>' | safe + \"'\" }}", "<<x-y>>&lt;>&#39;", true},
      {"{{ messages[0].content }}", "<< ab >>", true}, /* the second is not there */
      {"{{ messages[0].content }}:{{ messages[1].content.split('-')[1] }}", "<< ab >>:<<y>>", true},
      {"{% set c %}({{ messages[1].content }}){% endset %}{{ messages[0].content }}{{ c }}", "<< ab >>(<<x-y>>)",
       false},
      {"{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(messages[0].content) }}{{ f(messages[1].content) }}",
       "<<< ab >>><<<x-y>>>", false},
      {"{{ messages[1].content[:2] }}{{ messages[0].content }}{{ messages[1].content }}", NULL, false},
      {"a{# no #}b", "ab", true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tmpl_notes notes = {0};
    char *got = marked(cases[i].source, &(conversation){.messages = m, .n_messages = 2}, &notes);
    if (cases[i].want && strcmp(got, cases[i].want) != 0)
      fail_msg("%s: %s, expected %s", cases[i].source, got, cases[i].want);
    if (notes.changed != cases[i].changed) fail_msg("%s: changed %zu", cases[i].source, notes.changed);
  }
}

/* The render of a row's messages and tools, marked, as the row is read from JSON. */
static char *marked_row(const char *source, const char *row, tmpl_notes *notes) {
  json_doc *d = json_new();
  conversation c = {0};
  assert_non_null(d);
  OK(json_parse(d, row, strlen(row), &err));
  OK(conv_messages(&c.messages, &c.n_messages, d, json_get(d, 0, "messages"), "messages", mem, &err));
  OK(conv_tools(&c.tools, d, 0, NULL, &err));
  char *text = marked(source, &c, notes);
  json_free(d);
  return text;
}

/* Lists of parts reach a template as lists; one that cannot take them gets their texts joined. */
static void contents_as_parts(void **state) {
  (void)state;
  static const char row[] =
      "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"ab\"},{\"type\":\"text\","
      "\"text\":\" c\"}]},{\"role\":\"assistant\",\"content\":\"d\"}]}";
  static const struct {
    const char *source, *want;
    bool changed;
  } cases[] = {
      {"{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
       "[{{ p.text }}]{% endfor %}{% endif %};{% endfor %}",
       "[<<ab>>][<< c>>];<<d>>;", false},
      {"{% for m in messages %}{{ m.content | map(attribute='text') | join if m.content is not string else "
       "m.content }}"
       "{% endfor %}",
       "<<ab c>><<d>>", false},
      {"{% for m in messages %}{{ m.content }};{% endfor %}", "<<ab c>>;<<d>>;", false},      /* would be a list */
      {"{% for m in messages %}{{ m.content + ';' }}{% endfor %}", "<<ab c>>;<<d>>;", false}, /* would fail */
      {"{% for m in messages %}{{ m.content.strip() }};{% endfor %}", "<<ab c>>;<<d>>;", false}, /* the same */
      {"{% for m in messages %}{{ m.content if m.content is string else '' }};{% endfor %}", "<<ab c>>;<<d>>;",
       false},
      {"{% for m in messages %}{{ m.content[0].text if m.content is not string else m.content }};{% endfor %}",
       "<<ab>>;<<d>>;", true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tmpl_notes notes = {0};
    char *got = marked_row(cases[i].source, row, &notes);
    if (strcmp(got, cases[i].want) != 0) fail_msg("%s: %s, expected %s", cases[i].source, got, cases[i].want);
    if (notes.changed != cases[i].changed) fail_msg("%s: changed %zu", cases[i].source, notes.changed);
  }
}

/* Texts of any field are content; a role that is a word is the template's, for it makes control tokens of it. */
static void spans_mark_fields(void **state) {
  (void)state;
  char *got = marked_row(
      "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ m.x }}{{ m.x is not defined }}{% endfor %}"
      "{{ tools[0].a }} {{ tools | tojson }}",
      "{\"messages\":[{\"role\":\"tool\",\"content\":\"q\",\"x\":\"y\"},{\"role\":\"a|>\","
      "\"content\":{\"k\":1}}],\"tools\":[{\"a\":\"b\"}]}",
      NULL);
  assert_string_equal(got, "<|tool|><<q>><<y>>False<|<<a|>>>|>{'<<k>>': 1}True<<b>> [{\"<<a>>\": \"<<b>>\"}]");
}

static void ignored_fields_are_counted(void **state) {
  (void)state;
  static const char row[] =
      "{\"messages\":[{\"role\":\"user\",\"content\":\"q\",\"name\":\"n\",\"weight\":1,\"id\":null},"
      "{\"role\":\"assistant\",\"content\":\"a\",\"weight\":2,\"thinking\":\"t\"}],\"tools\":[{}]}";
  tmpl_notes notes = {0};
  static const char base[] = "{% for m in messages %}{{ m.content }}{% endfor %}";
  char source[200];
  for (int i = 0; i < 2; i++) marked_row(base, row, &notes);
  static const char *const names[] = {"name", "reasoning_content", "tools", "weight"};
  assert_int_equal(notes.n_ignored, 4);
  for (size_t i = 0; i < 4; i++) {
    assert_string_equal(notes.ignored[i].name, names[i]);
    assert_int_equal(notes.ignored[i].n, 2);
  }
  static const struct {
    const char *more;
    size_t left;
  } cases[] = {{"{{ messages[0].name }}", 3},
               {"{% if tools %}{% endif %}", 3},
               {"{{ 'weight' in messages[1] }}", 4}, /* the other message's was not asked for */
               {"{{ messages[1].reasoning_content }}", 3},
               {"{{ messages[1].get('weight') }}{{ messages[0]['weight'] }}", 3},
               {"{{ messages | tojson }}", 1},
               {"{{ messages }}", 1},
               {"{% for k, v in messages[0].items() %}{% endfor %}", 3},
               {"{{ messages[1]['thinking'] }}", 3}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tmpl_notes own = {0};
    snprintf(source, sizeof source, "%s%s", base, cases[i].more);
    marked_row(source, row, &own);
    if (own.n_ignored != cases[i].left) fail_msg("%s: %zu ignored", cases[i].more, own.n_ignored);
  }
}

static void the_date(void **state) {
  (void)state;
  message m[] = {{.role = ROLE_USER, .content = SLICE("x")}};
  chat_template *t = parsed("{{ strftime_now('%d %b %Y|%Y-%m-%d|%B|%%') }}");
  rendered r = {0};
  assert_false(tmpl_used_date(t));
  OK(render_messages(t, m, 1, &r, NULL));
  assert_string_equal(r.text.p, "26 Jul 2024|2024-07-26|July|%");
  assert_true(tmpl_used_date(t));
  OK(tmpl_set_date(t, "2024-02-29", &err));
  OK(tmpl_set_date(t, "1999-12-31", &err));
  OK(render_messages(t, m, 1, &r, NULL));
  assert_string_equal(r.text.p, "31 Dec 1999|1999-12-31|December|%");
  static const char *const bad[] = {"",           "2024",       "2024-13-01",  "2024-00-10", "2024-04-31",
                                    "2023-02-29", "1900-02-29", "2024-01-01x", "26 Jul 2024"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(tmpl_set_date(t, bad[i], &err), RW_USAGE);
  assert_non_null(strstr(err.text, "26 Jul 2024"));
  rendered_free(&r);
  tmpl_free(t);
}

/* A template's file of the test data, rendered. */
static rw_status from_file(const char *name, message *m, size_t n, const char *date, rendered *r) {
  char path[100];
  chat_template *t;
  snprintf(path, sizeof path, "tests/data/template/%s.jinja", name);
  OK(tmpl_load(&t, "tests/data/template", path, &err));
  if (date) OK(tmpl_set_date(t, date, &err));
  rw_status s = render_messages(t, m, n, r, NULL);
  tmpl_free(t);
  return s;
}

/* What a template raises is the error, in its own words: Gemma has no system role, Llama 2's roles take turns. */
static void refusals_are_the_templates_own(void **state) {
  (void)state;
  message m[] = {{.role = ROLE_SYSTEM, .content = SLICE("s")},
                 {.role = ROLE_USER, .content = SLICE("q")},
                 {.role = ROLE_ASSISTANT, .content = SLICE("a")}};
  rendered r = {0};
  assert_int_equal(from_file("gemma", m, 3, NULL, &r), RW_DATA);
  assert_non_null(strstr(err.text, "This model takes no system message"));
  OK(from_file("gemma", m + 1, 2, NULL, &r));
  OK(from_file("llama2", m, 3, NULL, &r));
  assert_string_equal(r.text.p, "<s>[INST] <<SYS>>\ns\n<</SYS>>\n\nq [/INST] a </s>");
  assert_int_equal(from_file("llama2", m + 2, 1, NULL, &r), RW_DATA);
  assert_non_null(strstr(err.text, "Roles must take turns after an optional system message"));
  rendered_free(&r);
}

static void the_date_of_llama_3_2(void **state) {
  (void)state;
  message m[] = {{.role = ROLE_USER, .content = SLICE("q")}};
  rendered r = {0};
  OK(from_file("llama32", m, 1, NULL, &r));
  assert_non_null(strstr(r.text.p, "\nToday Date: 26 Jul 2024\n\n<|eot_id|>"));
  OK(from_file("llama32", m, 1, "2025-01-03", &r));
  assert_non_null(strstr(r.text.p, "\nToday Date: 03 Jan 2025\n\n<|eot_id|>"));
  rendered_free(&r);
}

/* ---- bounds and mistakes ---- */

static void ends_in_error(const char *source, const char *says) {
  message m[] = {{.role = ROLE_USER, .content = SLICE("content")}};
  chat_template *t = NULL;
  rendered r = {0};
  rw_status s = tmpl_parse(&t, slice_of(source), "FILE.jinja", &err);
  if (!s) s = render_messages(t, m, 1, &r, NULL);
  rendered_free(&r);
  tmpl_free(t);
  if (s != RW_DATA && s != RW_UNSUPPORTED && s != RW_NOMEM) fail_msg("%.60s: status %d", source, s);
  if (!strstr(err.text, says) || strncmp(err.text, "FILE.jinja", 10) != 0)
    fail_msg("%.60s: expected \"%s\", got \"%s\"", source, says, err.text);
}
static char *repeated(const char *before, size_t n, const char *middle, const char *after) {
  str s = {0};
  for (size_t i = 0; i < n; i++) str_addz(&s, before);
  str_addz(&s, middle);
  for (size_t i = 0; i < n; i++) str_addz(&s, after);
  char *p = arena_strndup(mem, s.p, s.len);
  str_free(&s);
  return p;
}

static void work_is_bounded(void **state) {
  (void)state;
  ends_in_error("{% for i in range(1000000000) %}x{% endfor %}", "FILE.jinja:1");
  ends_in_error("{{ 'x' * 100000000000 }}", "FILE.jinja:1");
  ends_in_error("{{ range(99999) | list | join('aaaaaaaaaaaaaaaa') * 100000 }}", "FILE.jinja:1");
  ends_in_error("{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}", "without end");
  ends_in_error("{% set r = range(90000) %}{% for i in r %}{% for j in r %}{% endfor %}{% endfor %}",
                "without end");
  ends_in_error("\n{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "FILE.jinja:2");
  ends_in_error("{% set ns = namespace(s='xx') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
                "FILE.jinja:1");
  ends_in_error(repeated("{% if true %}", 5000, "x", "{% endif %}"), "nest");
  ends_in_error(repeated("{{ (", 1, repeated("(", 50000, "1", ")"), ") }}"), "nested");
  ends_in_error(repeated("{{ ", 1, repeated("not ", 50000, "1", ""), " }}"), "nest");
  ends_in_error(repeated("{{ ", 1, repeated("-", 50000, "1", ""), " }}"), "nest");
}

static void mistakes_have_places(void **state) {
  (void)state;
  ends_in_error("{{ raise_exception('so it is') }}", "so it is");
  ends_in_error("\n\n{{ messages[0].content }", "FILE.jinja:3");
  ends_in_error("a\n{% if x %}\n", "the end of the template");
  ends_in_error("{% endfor %}", "expected text or the start of a block, got endfor");
  ends_in_error("a\n{% if x %}\n{% for i in y %}{% endfor %}",
                "expected '{% endif %}' for the 'if' of line 2, got the end");
  ends_in_error("{% if x %}\n{% elif y %}\n{% else %}{% endfor %}",
                "expected '{% endif %}' for the 'if' of line 1, got endfor");
  ends_in_error("{% for i in y %}{% if i %}{% endif %}{% else %}",
                "expected '{% endfor %}' for the 'for' of line 1");
  ends_in_error("{% set a %}{% else %}", "expected '{% endset %}' for the 'set' of line 1, got else");
  ends_in_error("{% include 'other' %}", "include");
  ends_in_error("{{ 'a' | no_such_filter }}", "no_such_filter");
  ends_in_error("{{ 'a' is no_such_test }}", "no_such_test");
  ends_in_error("{{ no_such_function() }}", "no_such_function");
  ends_in_error("{{ 'abc", "FILE.jinja:1");
  ends_in_error("{# abc", "FILE.jinja:1");
  ends_in_error("{{ 1 // 0 }}", "FILE.jinja:1");
  ends_in_error("{{ absent.field }}", "absent");
  ends_in_error("{{ 'a' + 1 }}", "FILE.jinja:1");
  ends_in_error("{{ messages[0].content.__class__ }}{{ ''.__class__.__mro__[1] }}", "FILE.jinja:1");
}

/* Cut anywhere, a template is taken or refused; nothing else happens. */
static void templates_cut_anywhere(void **state) {
  (void)state;
  static const char *const names[] = {"llama31", "qwen3", "parts"};
  message m[] = {{.role = ROLE_USER, .content = SLICE("q")}, {.role = ROLE_ASSISTANT, .content = SLICE("a")}};
  for (int k = 0; k < 3; k++) {
    char path[100];
    str s = {0};
    rendered r = {0};
    snprintf(path, sizeof path, "tests/data/template/%s.jinja", names[k]);
    OK(file_read(path, 1 << 20, &s, &err));
    for (size_t cut = 0; cut < s.len; cut++) {
      chat_template *t = NULL;
      err.text[0] = 0;
      rw_status st = tmpl_parse(&t, (slice){s.p, cut}, "T", &err);
      if (!st) st = render_messages(t, m, 2, &r, NULL);
      if (st) assert_true((st == RW_DATA || st == RW_UNSUPPORTED) && strncmp(err.text, "T:", 2) == 0);
      tmpl_free(t);
    }
    rendered_free(&r);
    str_free(&s);
  }
}

static void put(const char *dir, const char *name, const char *text) {
  char *path = file_join(dir, name);
  OK(file_put(path, text, strlen(text), &err));
  mem_free(path);
}
static void file_renders(const char *dir, const char *file, const char *row, const char *want) {
  chat_template *t;
  tmpl_notes notes = {0};
  rendered r = {0};
  json_doc *d = json_new();
  conversation c = {0};
  OK(tmpl_load(&t, dir, file, &err));
  OK(json_parse(d, row, strlen(row), &err));
  OK(conv_messages(&c.messages, &c.n_messages, d, json_get(d, 0, "messages"), "messages", mem, &err));
  OK(conv_tools(&c.tools, d, 0, NULL, &err));
  OK(tmpl_render(t, &c, &r, &notes, &err));
  assert_string_equal(r.text.p, want);
  json_free(d);
  rendered_free(&r);
  tmpl_free(t);
}

static void dir_renders(const char *dir, const char *row, const char *want) { file_renders(dir, NULL, row, want); }

/* chat_template.json where nothing else has a template; tool_use for conversations with tools, the empty list too.
 */
static void templates_of_a_folder(void **state) {
  (void)state;
  static const char plain[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}",
                    tools[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"tools\":[]}";
  char dir[] = "/tmp/reward-template-XXXXXX", more[80];
  chat_template *t;
  assert_non_null(mkdtemp(dir));
  put(dir, "chat_template.json", "{\"chat_template\": \"json {{ messages[0].content }} {{ sep_token }}\"}");
  dir_renders(dir, plain, "json q ");
  put(dir, "tokenizer_config.json", "{\"sep_token\": \"|\"}");
  dir_renders(dir, tools, "json q |");
  put(dir, "tokenizer_config.json",
      "{\"bos_token\": \"<s>\", \"chat_template\": [{\"name\": \"default\", \"template\": \"{{ bos_token "
      "}}plain\"},"
      "{\"name\": \"tool_use\", \"template\": \"{{ bos_token }}use\"}]}");
  dir_renders(dir, plain, "<s>plain");
  dir_renders(dir, tools, "<s>use");
  put(dir, "chat_template.jinja", "file");
  dir_renders(dir, tools, "file");
  snprintf(more, sizeof more, "%s/additional_chat_templates", dir);
  assert_int_equal(mkdir(more, 0700), 0);
  put(more, "tool_use.jinja", "use {{ tools }}");
  dir_renders(dir, tools, "use []");
  dir_renders(dir, plain, "file");
  snprintf(more, sizeof more, "%s/chat_template.json", dir); /* as --chat-template, before the folder's own */
  file_renders(dir, more, plain, "json q ");
  put(dir, "chat_template.json", "{\"chat\": \"q\"}");
  assert_int_equal(tmpl_load(&t, dir, more, &err), RW_DATA);
  assert_non_null(strstr(err.text, "chat_template: expected a template"));
  OK(file_remove_tree(dir, &err));
}

static void a_model_without_a_template_says_so(void **state) {
  (void)state;
  chat_template *t;
  assert_int_equal(tmpl_load(&t, "tests/data/template", NULL, &err), RW_DATA);
  assert_non_null(strstr(err.text, FIELD(chat_template)));
  assert_null(t);
  assert_int_equal(tmpl_load(&t, "tests/data/template", "tests/data/template/absent", &err), RW_IO);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(chatml),
      cmocka_unit_test(llama31),
      cmocka_unit_test(gemma),
      cmocka_unit_test(qwen3),
      cmocka_unit_test(mistral),
      cmocka_unit_test(llama2),
      cmocka_unit_test(llama32),
      cmocka_unit_test(internlm2),
      cmocka_unit_test(parts),
      cmocka_unit_test(calls),
      cmocka_unit_test(tools_channels),
      cmocka_unit_test(tools_chatml),
      cmocka_unit_test(tools_flags),
      cmocka_unit_test(tools_generation),
      cmocka_unit_test(tools_header),
      cmocka_unit_test(tools_inst),
      cmocka_unit_test(tools_roles),
      cmocka_unit_test(tools_types),
      cmocka_unit_test(refusals_are_the_templates_own),
      cmocka_unit_test(the_date_of_llama_3_2),
      cmocka_unit_test(real_llama),
      cmocka_unit_test(real_qwen),
      cmocka_unit_test(spans_mark_content),
      cmocka_unit_test(contents_as_parts),
      cmocka_unit_test(spans_mark_fields),
      cmocka_unit_test(ignored_fields_are_counted),
      cmocka_unit_test(the_date),
      cmocka_unit_test(work_is_bounded),
      cmocka_unit_test(mistakes_have_places),
      cmocka_unit_test(templates_cut_anywhere),
      cmocka_unit_test(templates_of_a_folder),
      cmocka_unit_test(a_model_without_a_template_says_so),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}

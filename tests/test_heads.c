/* test_heads.c - heads with attributes against PyTorch's recorded answers (tests/reference/make.py): scores and
 * attributes alone and with a shared prompt, and what is refused.
 */
#include "recorded.h"

enum { MOST = 10 };
static const struct {
  const char *name;
  size_t attributes, n, lengths[MOST];
  const char *first, *last;
} heads[] = {
    {"armorm", 19, 7, {9, 10, 17, 31, 64, 128, 257}, "helpsteer-helpfulness", "code-readability"},
    {"nemotron5", 5, 10, {1, 2, 3, 7, 8, 17, 31, 64, 128, 257}, "helpfulness", "verbosity"},
    {"nemotron9", 5, 10, {1, 2, 3, 7, 8, 17, 31, 64, 128, 257}, "helpfulness", "verbosity"},
};
enum { HEADS = sizeof heads / sizeof *heads };

static void must_be_near(const char *what, size_t n, const float *got, const void *ref, size_t count) {
  for (size_t i = 0; i < count; i++) {
    float r;
    memcpy(&r, (const char *)ref + 4 * i, 4);
    if (!(fabsf(got[i] - r) <= 1e-4f * (1 + fabsf(r))))
      fail_msg("%s of %zu tokens, [%zu]: %g, PyTorch %g", what, n, i, got[i], r);
  }
}

static void scores_and_attributes_match(void **state) {
  (void)state;
  for (int k = 0; k < HEADS; k++) {
    fixture f;
    const char *const *names;
    open_recorded(&f, "model", heads[k].name, 2, NULL);
    size_t n = heads[k].n, na = model_attributes(f.m, &names);
    assert_int_equal(na, heads[k].attributes);
    assert_string_equal(names[0], heads[k].first);
    assert_string_equal(names[na - 1], heads[k].last);
    const int32_t *ids[MOST];
    float alone[MOST], alone_attr[MOST][32], together[MOST];
    for (size_t i = 0; i < n; i++) {
      ids[i] = want(&f, "ids.%zu", heads[k].lengths[i])->data;
      id_group g = {&ids[i], &heads[k].lengths[i], 1};
      OK(model_score(f.m, &g, 1, true, &alone[i], &err));
      memcpy(alone_attr[i], model_attribute_values(f.m), na * 4);
      must_be_near("score", heads[k].lengths[i], &alone[i], want(&f, "score.%zu", heads[k].lengths[i])->data, 1);
      must_be_near("attributes", heads[k].lengths[i], alone_attr[i],
                   want(&f, "attributes.%zu", heads[k].lengths[i])->data, na);
    }
    for (int share = 0; share < 2; share++) { /* the gate's token stands in the prompt or in the branch */
      id_group g[2] = {{ids, heads[k].lengths, n - 2}, {ids + n - 2, heads[k].lengths + n - 2, 2}};
      OK(model_score(f.m, g, 2, share, together, &err));
      assert_memory_equal(alone, together, n * 4);
      for (size_t i = 0; i < n; i++)
        assert_memory_equal(alone_attr[i], model_attribute_values(f.m) + i * na, na * 4);
    }
    close_recorded(&f);
  }
}

/* Two responses to a prompt that holds the assistant's header: the gate is read in the shared rows. */
static void gate_in_a_shared_prompt(void **state) {
  (void)state;
  fixture f;
  open_recorded(&f, "model", "armorm", 2, NULL);
  int32_t a[12] = {7, 8, 190, 191, 192, 193, 194, 20, 21, 22, 23, 24}, b[10];
  memcpy(b, a, sizeof b);
  b[9] = 40;
  const int32_t *ids[] = {a, b};
  size_t len[] = {12, 10};
  float shared[2], alone[2];
  OK(model_score(f.m, &(id_group){ids, len, 2}, 1, true, shared, &err));
  for (int i = 0; i < 2; i++) OK(model_score(f.m, &(id_group){&ids[i], &len[i], 1}, 1, true, &alone[i], &err));
  assert_memory_equal(shared, alone, sizeof shared);
  assert_true(shared[0] != shared[1]);
  close_recorded(&f);
}

static void what_cannot_be_is_refused(void **state) {
  (void)state;
  fixture f;
  open_recorded(&f, "model", "armorm", 2, NULL);
  int32_t ids[] = {7, 8, 190, 191, 192, 193, 20};
  const int32_t *p = ids;
  size_t len = 7;
  float r;
  assert_int_equal(model_score(f.m, &(id_group){&p, &len, 1}, 1, true, &r, &err), RW_DATA);
  assert_non_null(strstr(err.text, "190 191 192"));
  assert_int_equal(model_check_ids(f.m, ids, 7, &err), RW_DATA);
  assert_int_equal(model_train(f.m, &(model_train_options){0}, &err), RW_UNSUPPORTED);
  assert_non_null(strstr(err.text, "attributes"));
  close_recorded(&f);
}

/* The logit of one token of the output matrix, its own or the embedding's, soft-capped where the model has it. */
static void logits_match(void **state) {
  (void)state;
  static const char *const names[] = {"logit", "logit_tied"};
  static const size_t lengths[] = {1, 17, 64};
  for (int k = 0; k < 2; k++)
    for (int id = 0; id <= 7; id += 7) {
      char dir[256], path[300], head[16], what[32];
      fixture f;
      snprintf(dir, sizeof dir, "tests/data/model/%s", names[k]);
      snprintf(path, sizeof path, "%s/expected.safetensors", dir);
      snprintf(head, sizeof head, "logit:%d", id);
      snprintf(what, sizeof what, "logit.%d", id);
      context_init(&f.context, NULL, NULL);
      OK(context_start(&f.context, 1, &err));
      OK(model_open(&f.m, dir, &(model_options){.context = &f.context, .head = head}, &err));
      OK(st_open(&f.want, path, &err));
      for (int i = 0; i < 3; i++) {
        const int32_t *ids = want(&f, "ids.%zu", lengths[i])->data;
        float got;
        OK(model_score(f.m, &(id_group){&ids, &lengths[i], 1}, 1, true, &got, &err));
        must_be_near(what, lengths[i], &got, want(&f, "%s.%zu", what, lengths[i])->data, 1);
      }
      assert_int_equal(model_train_check(f.m, &(model_train_options){0}, &err), RW_UNSUPPORTED);
      assert_non_null(strstr(err.text, "output matrix"));
      close_recorded(&f);
    }
  static const char *const wrong[] = {"logit:200", "logit:-1", "logit:", "logit:1x", "score"};
  rw_context context;
  model *m;
  context_init(&context, NULL, NULL);
  OK(context_start(&context, 1, &err));
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    model_options o = {.context = &context, .head = wrong[i]};
    assert_int_equal(model_open(&m, "tests/data/model/logit", &o, &err), RW_USAGE);
    assert_non_null(strstr(err.text, "logit:ID"));
  }
  context_end(&context);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(scores_and_attributes_match),
      cmocka_unit_test(gate_in_a_shared_prompt),
      cmocka_unit_test(what_cannot_be_is_refused),
      cmocka_unit_test(logits_match),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

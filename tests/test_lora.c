/* test_lora.c - adapters against PEFT's recorded answers (tests/reference/make_lora.py): scores, every gradient,
 * eight steps of AdamW; dropout against finite differences and its promise that a row's bits depend on nothing
 * else; files that come back as they were written; configurations that must be refused.
 */
#include <unistd.h>

#include "base/file.h"
#include "format/peft.h"
#include "recorded.h"

static const char *const cases[] = {"llama", "qwen2", "gemma2", "nemotron", "llama_bias"};
enum { CASES = sizeof cases / sizeof *cases };

static void scores_match(void **state) {
  (void)state;
  static const size_t lengths[] = {1, 7, 31, 64, 257};
  for (int k = 0; k < CASES; k++) {
    fixture f;
    open_recorded(&f, "lora", cases[k], 2, NULL);
    for (int i = 0; i < 5; i++) {
      const int32_t *ids = want(&f, "ids.%zu", lengths[i])->data;
      id_group g = {&ids, &lengths[i], 1};
      float got, ref;
      OK(model_score(f.m, &g, 1, true, &got, &err));
      memcpy(&ref, want(&f, "score.%zu", lengths[i])->data, 4);
      if (!(fabsf(got - ref) <= 1e-4f)) fail_msg("%s, %zu tokens: %g, PEFT %g", cases[k], lengths[i], got, ref);
    }
    close_recorded(&f);
  }
}

/* Every trained tensor has PEFT's gradient, and nothing else is trained. */
static void gradients_match(void **state) {
  (void)state;
  for (int k = 0; k < CASES; k++) {
    fixture f;
    pairs p;
    float r[6], loss;
    open_recorded(&f, "lora", cases[k], 2, NULL);
    get_pairs(&f, &p);
    OK(model_train(f.m, &(model_train_options){0}, &err));
    double got = bt_step(f.m, &p, true, 3, r);
    memcpy(&loss, want(&f, "loss")->data, 4);
    assert_true(fabs(got - (double)loss) < 1e-5);
    const model_param *params;
    size_t n = model_params(f.m, &params), trained = 0, recorded = 0;
    for (size_t i = 0; i < st_count(f.want); i++) recorded += strncmp(st_at(f.want, i)->name, "grad.", 5) == 0;
    for (size_t i = 0; i < n; i++) {
      if (!params[i].grad) {
        assert_null(params[i].w.value);
        assert_null(params[i].m1);
        continue;
      }
      trained++;
      bool head = strcmp(params[i].name, "score.weight") == 0;
      const st_tensor *t = want(&f, "grad.%s%s", head ? "base_model.model." : "", params[i].name);
      double d = distance(host_grad(f.m, &params[i]), t->data, params[i].count);
      if (!(d < 1e-4)) fail_msg("%s: gradient of %s is off by %g", cases[k], params[i].name, d);
    }
    assert_int_equal(trained, recorded);
    close_recorded(&f);
  }
}

static void training_matches(void **state) {
  (void)state;
  for (int k = 0; k < CASES; k++) {
    fixture f;
    pairs p;
    float r[6];
    open_recorded(&f, "lora", cases[k], 2, NULL);
    get_pairs(&f, &p);
    OK(model_train(f.m, &(model_train_options){0}, &err));
    const float *loss = want(&f, "train.loss")->data, *norm = want(&f, "train.norm")->data;
    for (int s = 0; s < 8; s++) {
      double l = bt_step(f.m, &p, true, 2, r), g = norm_of(f.m);
      if (fabs(l - (double)loss[s]) > 2e-5 || fabs(g / (double)norm[s] - 1) > 2e-4)
        fail_msg("%s, step %d: loss %g (PEFT %g), norm %g (%g)", cases[k], s, l, (double)loss[s], g,
                 (double)norm[s]);
      model_adamw o = {1e-3, 0.9, 0.999, 1e-8, 0.01, true, true, (uint64_t)s + 1};
      double clip = 1 / (g + 1e-6);
      model_update(f.m, &o, clip < 1 ? clip : 1);
    }
    close_recorded(&f);
  }
}

/* ---- dropout ---- */

/* The gradient under dropout is that of the function with the same elements dropped: central differences along the
 * gradient of each trained tensor. */
static void dropout_gradients_are_right(void **state) {
  (void)state;
  for (int k = 0; k < CASES; k++) {
    fixture f;
    pairs p;
    float r[6];
    open_recorded(&f, "lora", cases[k], 1, NULL);
    get_pairs(&f, &p);
    model_set_dropout(f.m, 0.3);
    model_drop_by(f.m, 5, 11);
    OK(model_train(f.m, &(model_train_options){0}, &err));
    const model_param *params;
    size_t n = model_params(f.m, &params);
    for (size_t i = 0; i < n; i++) {
      if (!params[i].w.value) continue;
      bt_step(f.m, &p, true, 3, r);
      double square = 0, side[2];
      size_t count = params[i].count;
      const float *grad = host_grad(f.m, &params[i]);
      float *way = malloc(count * sizeof *way), *was = malloc(count * sizeof *was),
            *now = malloc(count * sizeof *now);
      for (size_t j = 0; j < count; j++) square += (double)grad[j] * grad[j];
      model_get_values(f.m, &params[i], 0, params[i].count, was);
      for (size_t j = 0; j < count; j++) way[j] = (float)(grad[j] / sqrt(square));
      for (int s = 0; s < 2; s++) {
        for (size_t j = 0; j < count; j++) now[j] = was[j] + (s ? -2e-3f : 2e-3f) * way[j];
        model_put_values(f.m, &params[i], now);
        side[s] = bt_step(f.m, &p, true, 3, r);
      }
      model_put_values(f.m, &params[i], was);
      double slope = (side[0] - side[1]) / 4e-3;
      if (!(fabs(slope - sqrt(square)) < 1e-2 * sqrt(square) + 1e-4))
        fail_msg("%s: %s: slope %g, gradient %g", cases[k], params[i].name, slope, sqrt(square));
      free(way), free(was), free(now);
    }
    close_recorded(&f);
  }
}

/* The same elements are dropped however pairs are cut into passes, at any threads, recomputed or not; a shared
 * prompt loses what it loses alone. Another step, another seed: other elements. Scoring drops nothing. */
static void dropout_keeps_bits(void **state) {
  (void)state;
  fixture f, h;
  pairs p, q;
  float a[6], b[6], c[6], plain[6], scored[6];
  open_recorded(&f, "lora", "llama", 1, NULL);
  open_recorded(&h, "lora", "llama", 3, NULL);
  get_pairs(&f, &p);
  get_pairs(&h, &q);
  OK(model_score(f.m, p.g, 3, true, plain, &err));
  model_set_dropout(f.m, 0.25);
  model_set_dropout(h.m, 0.25);
  model_drop_by(f.m, 1, 2);
  model_drop_by(h.m, 1, 2);
  OK(model_train(f.m, &(model_train_options){0}, &err));
  OK(model_train(h.m, &(model_train_options){.recompute = RECOMPUTE_FULL}, &err));
  bt_step(f.m, &p, true, 3, a);
  bt_step(h.m, &q, true, 1, b);
  assert_memory_equal(a, b, sizeof a);
  const model_param *x, *y;
  size_t n = model_params(f.m, &x);
  model_params(h.m, &y);
  for (size_t i = 0; i < n; i++)
    if (x[i].grad && memcmp(host_grad(f.m, &x[i]), host_grad(h.m, &y[i]), x[i].count * 4) != 0)
      fail_msg("gradient of %s", x[i].name);
  bt_step(f.m, &p, false, 2, c);
  assert_memory_equal(a, c, sizeof a);
  OK(model_score(f.m, p.g, 3, true, scored, &err));
  assert_memory_equal(plain, scored, sizeof plain);
  assert_memory_not_equal(plain, a, sizeof plain);
  model_drop_by(f.m, 1, 3);
  bt_step(f.m, &p, true, 3, b);
  model_drop_by(f.m, 2, 2);
  bt_step(f.m, &p, true, 3, c);
  assert_memory_not_equal(a, b, sizeof a);
  assert_memory_not_equal(a, c, sizeof a);
  assert_memory_not_equal(b, c, sizeof a);
  close_recorded(&f);
  close_recorded(&h);
}

/* Of a conversation of one token, the columns of an A whose gradient is zero are those that were dropped: other
 * ones for every projection of the same input, about p of all. */
static void projections_drop_apart(void **state) {
  (void)state;
  static const char *const inputs[] = {"layers.0.mlp.gate_proj", "layers.0.mlp.up_proj", "layers.1.mlp.gate_proj",
                                       "layers.1.mlp.up_proj"};
  enum { N = sizeof inputs / sizeof *inputs, H = 32, STEPS = 20 };
  fixture f;
  int32_t token = 42;
  const int32_t *ids = &token;
  size_t len = 1, dropped = 0, n;
  id_group g = {&ids, &len, 1};
  float r, d = 1;
  open_recorded(&f, "lora", "llama", 1, NULL);
  model_set_dropout(f.m, 0.25);
  OK(model_train(f.m, &(model_train_options){0}, &err));
  const model_param *p;
  n = model_params(f.m, &p);
  for (uint64_t step = 0; step < STEPS; step++) {
    uint64_t zeros[N] = {0};
    model_drop_by(f.m, 3, step);
    model_zero_grad(f.m);
    OK(model_forward(f.m, &g, 1, true, &r, &err));
    OK(model_backward(f.m, &d, &err));
    for (int k = 0; k < N; k++) {
      for (size_t i = 0; i < n; i++)
        if (strstr(p[i].name, inputs[k]) && strstr(p[i].name, "lora_A")) {
          const float *grad = host_grad(f.m, &p[i]);
          for (size_t c = 0; c < H; c++) zeros[k] |= (uint64_t)(grad[c] == 0) << c;
        }
      dropped += (size_t)__builtin_popcountll(zeros[k]);
      for (int other = 0; other < k; other++) assert_true(zeros[k] != zeros[other]);
    }
  }
  /* 2,560 draws: standard deviation 0.0086 */
  assert_true(fabs((double)dropped / (N * H * STEPS) - 0.25) < 0.035);
  close_recorded(&f);
}

/* Adapters of one input, of 16 columns or more, are one product; with dropout each is its own. A probability so
 * small that nothing is dropped tells that both are the same: scores to the bit, gradients but for the last ones,
 * since an input's gradient is then a sum of its own. */
static void together_as_apart(void **state) {
  (void)state;
  static const char *const targets[] = {"all-linear", "q_proj,v_proj,up_proj"};
  for (int k = 0; k < 2; k++) {
    fixture f, h;
    pairs p;
    float a[6], b[6];
    const model_param *x, *y;
    model *m[2];
    open_recorded(&f, "model", "llama", 2, NULL);
    open_recorded(&h, "model", "llama", 1, NULL);
    m[0] = f.m, m[1] = h.m;
    get_pairs(&f, &p);
    for (int i = 0; i < 2; i++) {
      OK(model_add_lora(m[i], &(lora_options){16 + 4 * k, 32, targets[k], 0, 7}, &err));
      OK(model_train(m[i], &(model_train_options){0}, &err));
      bt_step(m[i], &p, true, 3, a);
      model_update(m[i], &(model_adamw){1e-2, 0.9, 0.999, 1e-8, 0, true, true, 1}, 1); /* B is no longer zero */
    }
    model_set_dropout(h.m, 1e-12);
    model_drop_by(h.m, 1, 2);
    bt_step(f.m, &p, true, 3, a);
    bt_step(h.m, &p, true, 3, b);
    assert_memory_equal(a, b, sizeof a);
    size_t n = model_params(f.m, &x), factors = 0;
    model_params(h.m, &y);
    for (size_t i = 0; i < n; i++) {
      if (!x[i].grad) continue;
      factors += strstr(x[i].name, ".lora_A") != NULL;
      double d = distance(host_grad(f.m, &x[i]), host_grad(h.m, &y[i]), x[i].count);
      if (!(d < 1e-5)) fail_msg("gradient of %s is off by %g", x[i].name, d);
    }
    assert_int_equal(factors, k == 0 ? 14 : 6);
    close_recorded(&f);
    close_recorded(&h);
  }
}

/* ---- files ---- */

static void written_adapters_come_back(void **state) {
  (void)state;
  char dir[] = "/tmp/reward-test-XXXXXX", out[80];
  assert_non_null(mkdtemp(dir));
  for (int k = 0; k < CASES; k++) {
    fixture f;
    pairs p;
    float r[6], a[6], b[6];
    open_recorded(&f, "lora", cases[k], 1, NULL);
    get_pairs(&f, &p);
    OK(model_train(f.m, &(model_train_options){0}, &err));
    bt_step(f.m, &p, true, 3, r);
    model_update(f.m, &(model_adamw){1e-2, 0.9, 0.999, 1e-8, 0, true, true, 1}, 1);
    OK(model_score(f.m, p.g, 3, true, a, &err));
    snprintf(out, sizeof out, "%s/%s", dir, cases[k]);
    OK(file_mkdirs(out, &err));
    OK(model_save(f.m, out, -1, -1, &err));
    model *again;
    OK(model_open(&again, out, &(model_options){.context = &f.context}, &err));
    OK(model_score(again, p.g, 3, true, b, &err));
    assert_memory_equal(a, b, sizeof a);
    model_free(again);
    model_merge(f.m);
    snprintf(out, sizeof out, "%s/%s-merged", dir, cases[k]);
    OK(file_mkdirs(out, &err));
    OK(model_save(f.m, out, DT_F32, -1, &err));
    OK(model_open(&again, out, &(model_options){.context = &f.context}, &err));
    assert_false(model_has_lora(again));
    OK(model_score(again, p.g, 3, true, b, &err));
    for (int i = 0; i < 6; i++) assert_true(fabsf(a[i] - b[i]) < 1e-4f);
    model_free(again);
    close_recorded(&f);
  }
  file_remove_tree(dir, NULL);
}

/* New adapters leave every score as it was, whatever they are put on; then only they and the head are trained. */
static void new_adapters_change_nothing(void **state) {
  (void)state;
  static const char *const bases[] = {"llama", "internlm2", "nemotron_bias", "gemma3_text"};
  static const char *const targets[] = {"q_proj,down_proj", "wqkv,w2", "all-linear", "o_proj"};
  char dir[] = "/tmp/reward-test-XXXXXX";
  assert_non_null(mkdtemp(dir));
  for (int k = 0; k < 4; k++) {
    char path[80];
    rw_context context;
    model *m, *again;
    int32_t tokens[] = {3, 77, 150, 9, 42, 60};
    const int32_t *ids[2] = {tokens, tokens + 1};
    size_t len[2] = {6, 4};
    id_group g = {ids, len, 2};
    float a[2], b[2], d[2] = {1, -1};
    snprintf(path, sizeof path, "tests/data/model/%s", bases[k]);
    context_init(&context, NULL, NULL);
    OK(context_start(&context, 2, &err));
    OK(model_open(&m, path, &(model_options){.context = &context}, &err));
    OK(model_score(m, &g, 1, true, a, &err));
    lora_options o = {4, 8, targets[k], 1, 7};
    OK(model_add_lora(m, &o, &err));
    assert_int_equal(model_lora_from(m), 1);
    OK(model_score(m, &g, 1, true, b, &err));
    assert_memory_equal(a, b, sizeof a);
    OK(model_train(m, &(model_train_options){0}, &err));
    OK(model_forward(m, &g, 1, true, b, &err));
    assert_memory_equal(a, b, sizeof a);
    OK(model_backward(m, d, &err));
    const model_param *p;
    size_t n = model_params(m, &p), factors = 0;
    for (size_t i = 0; i < n; i++) {
      bool factor = strstr(p[i].name, ".lora_") != NULL;
      factors += factor;
      assert_int_equal(p[i].grad != NULL,
                       factor || strcmp(p[i].name, k == 1 ? "v_head.weight" : "score.weight") == 0);
      if (factor) assert_null(strstr(p[i].name, "layers.0."));
    }
    assert_true(factors >= 2 && factors % 2 == 0);
    model_update(m, &(model_adamw){1e-2, 0.9, 0.999, 1e-8, 0, true, true, 1}, 1);
    OK(model_score(m, &g, 1, true, a, &err));
    OK(model_save(m, dir, -1, -1, &err));
    OK(model_open(&again, dir, &(model_options){.context = &context}, &err));
    OK(model_score(again, &g, 1, true, b, &err));
    assert_memory_equal(a, b, sizeof a);
    model_free(again);
    model_free(m);
    context_end(&context);
  }
  file_remove_tree(dir, NULL);
}

/* Each edit of a good adapter_config.json is refused with these words in the message. */
static void bad_configurations_are_named(void **state) {
  (void)state;
  static const struct {
    const char *old, *new;
    rw_status status;
    const char *says;
  } edits[] = {
      {"\"r\": 4", "\"r\": 0", RW_DATA, "r: expected a rank"},
      {"\"r\": 4", "\"r\": 5", RW_DATA, "lora_A.weight: expected shape [5, 32]"},
      {"\"lora_alpha\": 6", "\"lora_alpha\": \"six\"", RW_DATA, "lora_alpha"},
      {"\"lora_dropout\": 0.0", "\"lora_dropout\": 1.0", RW_DATA, "lora_dropout"},
      {"\"peft_type\": \"LORA\"", "\"peft_type\": \"IA3\"", RW_UNSUPPORTED, "peft_type"},
      {"\"bias\": \"none\"", "\"bias\": \"all\"", RW_UNSUPPORTED, "bias"},
      {"\"use_dora\": false", "\"use_dora\": true", RW_UNSUPPORTED, "use_dora"},
      {"\"fan_in_fan_out\": false", "\"fan_in_fan_out\": true", RW_UNSUPPORTED, "fan_in_fan_out"},
      {"\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa\"", RW_UNSUPPORTED, "init_lora_weights"},
      {"\"layer_replication\": null", "\"layer_replication\": [[0, 1]]", RW_UNSUPPORTED, "layer_replication"},
      {"\"use_dora\": false", "\"a_new_field\": 3", RW_UNSUPPORTED, "a_new_field"},
      {"\"rank_pattern\": {}", "\"rank_pattern\": {\"(\": 3}", RW_DATA, "'('"},
      {"\"rank_pattern\": {}", "\"rank_pattern\": {\"q_proj\": -1}", RW_DATA, "rank_pattern"},
      {"\"alpha_pattern\": {}", "\"alpha_pattern\": {\"q_proj\": null}", RW_DATA, "alpha_pattern"},
      {"\"layers_to_transform\": null", "\"layers_to_transform\": 1", RW_UNSUPPORTED, "layers.0."},
      {"\"layers_to_transform\": null", "\"layers_to_transform\": [0, 1], \"layers_pattern\": \"h\"",
       RW_UNSUPPORTED, "target_modules"},
      {"\"exclude_modules\": null", "\"exclude_modules\": [\"q_proj\"]", RW_UNSUPPORTED, "q_proj.lora_"},
      {"\"../../model/llama\"", "\"nowhere\"", RW_IO, FIELD(base)},
      {"\"../../model/llama\"", "null", RW_DATA, FIELD(base)},
      {"{", "[", RW_DATA, "adapter_config.json"},
  };
  char dir[] = "/tmp/reward-test-XXXXXX", path[80], base[600], cwd[500];
  assert_non_null(mkdtemp(dir));
  assert_non_null(getcwd(cwd, sizeof cwd));
  snprintf(base, sizeof base, "%s/tests/data/model/llama", cwd);
  str good = {0};
  file_map weights;
  OK(file_read("tests/data/lora/llama/adapter_config.json", 1 << 20, &good, &err));
  OK(file_map_open(&weights, "tests/data/lora/llama/adapter_model.safetensors", &err));
  snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
  OK(file_put(path, weights.p, weights.len, &err));
  rw_context context;
  model *m;
  context_init(&context, NULL, NULL);
  OK(context_start(&context, 1, &err));
  snprintf(path, sizeof path, "%s/adapter_config.json", dir);
  for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
    char *at = strstr(good.p, edits[i].old);
    assert_non_null(at);
    char *text = mem_printf("%.*s%s%s", (int)(at - good.p), good.p, edits[i].new, at + strlen(edits[i].old));
    OK(file_put(path, text, strlen(text), &err));
    mem_free(text);
    bool finds_base = strstr(edits[i].says, FIELD(base)) != NULL;
    rw_status s =
        model_open(&m, dir, &(model_options){.context = &context, .base = finds_base ? NULL : base}, &err);
    if (s != edits[i].status || !strstr(err.text, edits[i].says))
      fail_msg("%s: status %d, \"%s\"", edits[i].new, s, s ? err.text : "");
  }
  OK(file_put(path, good.p, good.len, &err)); /* as it was, with the base said */
  OK(model_open(&m, dir, &(model_options){.context = &context, .base = base}, &err));
  assert_string_equal(model_dir(m), base);
  lora_options o = {8, 8, "q_proj", 0, 1};
  assert_int_equal(model_add_lora(m, &o, &err), RW_USAGE);
  model_free(m);
  assert_int_equal(model_open(&m, base, &(model_options){.context = &context, .base = base}, &err), RW_USAGE);
  context_end(&context);
  file_map_close(&weights);
  str_free(&good);
  file_remove_tree(dir, NULL);
}

/* A tensor that the configuration does not know, or lacks. */
static void bad_weights_are_named(void **state) {
  (void)state;
  for (int i = 0; i < 200; i++) { /* files cut short or with a damaged header must fail, not crash */
    char dir[] = "/tmp/reward-test-XXXXXX", path[80];
    assert_non_null(mkdtemp(dir));
    file_map a, c;
    OK(file_map_open(&a, "tests/data/lora/qwen2/adapter_model.safetensors", &err));
    OK(file_map_open(&c, "tests/data/lora/qwen2/adapter_config.json", &err));
    uint8_t *copy = malloc(a.len);
    memcpy(copy, a.p, a.len);
    size_t at = (size_t)i * 7 % 900, len = i % 2 ? a.len : (size_t)i * a.len / 200;
    if (i % 2) copy[at] ^= (uint8_t)(1 + i % 31);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
    OK(file_put(path, copy, len, &err));
    snprintf(path, sizeof path, "%s/adapter_config.json", dir);
    OK(file_put(path, c.p, c.len, &err));
    rw_context context;
    model *m;
    context_init(&context, NULL, NULL);
    OK(context_start(&context, 1, &err));
    rw_status s =
        model_open(&m, dir, &(model_options){.context = &context, .base = "tests/data/model/qwen2"}, &err);
    if (i % 2 == 0) assert_int_not_equal(s, RW_OK);
    if (s == RW_OK) model_free(m);
    context_end(&context);
    free(copy);
    file_map_close(&a);
    file_map_close(&c);
    file_remove_tree(dir, NULL);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(scores_match),
      cmocka_unit_test(gradients_match),
      cmocka_unit_test(training_matches),
      cmocka_unit_test(dropout_gradients_are_right),
      cmocka_unit_test(dropout_keeps_bits),
      cmocka_unit_test(together_as_apart),
      cmocka_unit_test(projections_drop_apart),
      cmocka_unit_test(written_adapters_come_back),
      cmocka_unit_test(new_adapters_change_nothing),
      cmocka_unit_test(bad_configurations_are_named),
      cmocka_unit_test(bad_weights_are_named),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

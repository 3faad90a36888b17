/* test_model.c - every family against PyTorch's recorded answers (tests/reference/make.py): scores, hidden states,
 * every gradient, eight steps of AdamW; and the promise that a conversation's bits depend on nothing else.
 */
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "model/model_impl.h"
#include "recorded.h"

static const char *const families[] = {
    "llama",      "llama3",       "mistral",      "qwen2",          "qwen3",    "gemma2",        "gemma3_text",
    "llama_bias", "qwen3_window", "internlm2",    "internlm2_bias", "nemotron", "nemotron_bias", "qwen2_yarn",
    "llama_yarn", "inform",       "qwen2_rm",     "grm_linear",     "grm_mlp",  "eurus",         "starling",
    "gemma",      "phi3",         "llama_long",   "olmo2",          "olmo3",    "smollm3",       "smollm3_window",
    "mixtral",    "qwen3_moe",    "qwen3_moe_raw"};
enum { FAMILIES = sizeof families / sizeof *families, N_LENGTHS = 10 };
static const size_t lengths[N_LENGTHS] = {1, 2, 3, 7, 8, 17, 31, 64, 128, 257};

static void scores_match(void **state) {
  (void)state;
  for (int k = 0; k < FAMILIES; k++) {
    fixture f;
    open_recorded(&f, "model", families[k], 2, NULL);
    for (int i = 0; i < N_LENGTHS; i++) {
      const int32_t *ids = want(&f, "ids.%zu", lengths[i])->data;
      id_group g = {&ids, &lengths[i], 1};
      float got, ref;
      OK(model_score(f.m, &g, 1, true, &got, &err));
      memcpy(&ref, want(&f, "score.%zu", lengths[i])->data, 4);
      if (!(fabsf(got - ref) <= 1e-4f))
        fail_msg("%s, %zu tokens: score %g, PyTorch %g", families[k], lengths[i], got, ref);
    }
    close_recorded(&f);
  }
}

static void hidden_states_match(void **state) {
  (void)state;
  for (int k = 0; k < FAMILIES; k++) {
    fixture f;
    open_recorded(&f, "model", families[k], 1, NULL);
    float out[31 * 64];
    const model_config *c = model_info(f.m);
    for (size_t l = 0; l < c->layers; l++) {
      OK(model_hidden(f.m, want(&f, "ids.31")->data, 31, l, out, &err));
      double d = distance(out, want(&f, "hidden.%zu", l)->data, 31 * c->hidden);
      if (!(d < 1e-5)) fail_msg("%s: hidden state after %zu layers is off by %g", families[k], l, d);
    }
    close_recorded(&f);
  }
}

static void gradients_match(void **state) {
  (void)state;
  for (int k = 0; k < FAMILIES; k++)
    for (int share = 0; share < 2; share++) {
      fixture f;
      pairs p;
      open_recorded(&f, "model", families[k], 2, NULL);
      get_pairs(&f, &p);
      OK(model_train(f.m, &(model_train_options){0}, &err));
      double loss = bt_step(f.m, &p, share, 3, NULL);
      float ref;
      memcpy(&ref, want(&f, "loss")->data, 4);
      assert_true(fabs(loss - ref) < 1e-5);
      const model_param *params;
      size_t n = model_params(f.m, &params);
      for (size_t i = 0; i < n; i++) {
        double d = distance(host_grad(f.m, &params[i]), want(&f, "grad.%s", params[i].name)->data, params[i].count);
        if (!(d < 1e-4))
          fail_msg("%s, share %d: gradient of %s is off by %g", families[k], share, params[i].name, d);
      }
      close_recorded(&f);
    }
}

/* Losses and norms of eight steps; with products in bf16 they stay near those of f32: the worst is a norm of
 * grm_mlp, 12% off where attention's factors are rounded too, on AMX and AVX512_BF16 alike. */
static void training_matches(void **state) {
  (void)state;
  for (int i = 0; i < 2 * FAMILIES; i++) {
    int k = i / 2;
    bool bf16 = i % 2;
    double loose = bf16 ? 100 : 1, norm_loose = bf16 ? 150 : 1;
    fixture f;
    pairs p;
    open_recorded(&f, "model", families[k], 2, NULL);
    model_set_bf16(f.m, bf16);
    get_pairs(&f, &p);
    OK(model_train(f.m, &(model_train_options){0}, &err));
    const float *losses = want(&f, "train.loss")->data, *norms = want(&f, "train.norm")->data;
    for (uint64_t t = 1; t <= 8; t++) {
      double loss = bt_step(f.m, &p, true, 3, NULL), norm = norm_of(f.m), clip = 1 / (norm + 1e-6);
      if (!(fabs(loss - losses[t - 1]) < loose * 2e-4 * (1 + fabs(losses[t - 1]))))
        fail_msg("%s, step %d, bf16 %d: loss %g, PyTorch %g", families[k], (int)t, bf16, loss, losses[t - 1]);
      if (!(fabs(norm - norms[t - 1]) < norm_loose * (1e-3 * norms[t - 1] + 1e-4)))
        fail_msg("%s, step %d, bf16 %d: norm %g, PyTorch %g", families[k], (int)t, bf16, norm, norms[t - 1]);
      model_adamw o = {1e-3, 0.9, 0.999, 1e-8, 0.01, true, true, t};
      model_update(f.m, &o, clip < 1 ? clip : 1);
    }
    close_recorded(&f);
  }
}

/* Alone, among others, in another order, with a shared prompt or not, on 1 or 3 threads, at each CPU level (AMX,
 * and AVX512_BF16 in bf16, sum in an order of their own), in f32 and in bf16. */
static void bits_depend_on_nothing_else(void **state) {
  (void)state;
  enum { LEVELS = 5 };
  static const char *const levels[LEVELS] = {"amx", "avx512bf16", "avx512", "avx2", "baseline"};
  for (int k = 0; k < FAMILIES; k++) {
    float kept[5][6];
    bool have[5] = {false};
    for (int threads = 1; threads <= 3; threads += 2)
      for (int l = 0; l < 2 * LEVELS; l++) {
        const char *level = levels[l % LEVELS];
        bool bf16 = l >= LEVELS;
        int kind = 2 * bf16 + (strcmp(level, "amx") == 0);
        if (bf16 && strcmp(level, "avx512bf16") == 0) kind = 4;
        float *first = kept[kind];
        fixture f;
        pairs p;
        rw_context context;
        context_init(&context, NULL, NULL);
        OK(context_start(&context, 1, &err));
        model_options o = {.context = &context, .level = level};
        model *m;
        rw_status s = model_open(&m, "tests/data/model/llama", &o, &err);
        model_free(s ? NULL : m);
        context_end(&context);
        if (s == RW_UNSUPPORTED) continue; /* this CPU lacks the level */
        open_recorded(&f, "model", families[k], threads, level);
        model_set_bf16(f.m, bf16);
        get_pairs(&f, &p);
        float r[6], one;
        OK(model_score(f.m, p.g, 3, true, r, &err));
        if (!have[kind]) memcpy(first, r, sizeof r);
        have[kind] = true;
        assert_memory_equal(first, r, sizeof r);
        OK(model_score(f.m, p.g, 3, false, r, &err));
        assert_memory_equal(first, r, sizeof r);
        for (int i = 2; i >= 0; i--)
          for (int b = 0; b < 2; b++) {
            id_group g = {&p.ids[i][b], &p.len[i][b], 1};
            OK(model_score(f.m, &g, 1, true, &one, &err));
            assert_memory_equal(&first[2 * i + b], &one, 4);
          }
        close_recorded(&f);
      }
  }
}

/* Gradients add up to the same bits however the pairs are cut into passes, at any number of threads, recomputed.
 */
static void accumulation_keeps_bits(void **state) {
  (void)state;
  for (int i = 0; i < 2 * FAMILIES; i++) {
    int k = i / 2;
    fixture f, h;
    pairs p, q;
    open_recorded(&f, "model", families[k], 1, NULL);
    open_recorded(&h, "model", families[k], 3, NULL);
    model_set_bf16(f.m, i % 2);
    model_set_bf16(h.m, i % 2);
    get_pairs(&f, &p);
    get_pairs(&h, &q);
    OK(model_train(f.m, &(model_train_options){0}, &err));
    OK(model_train(h.m, &(model_train_options){.recompute = i % 2 ? RECOMPUTE_MLP : RECOMPUTE_FULL}, &err));
    bt_step(f.m, &p, true, 3, NULL);
    bt_step(h.m, &q, true, 1, NULL);
    const model_param *a, *b;
    size_t n = model_params(f.m, &a);
    model_params(h.m, &b);
    for (size_t j = 0; j < n; j++)
      if (memcmp(host_grad(f.m, &a[j]), host_grad(h.m, &b[j]), a[j].count * 4) != 0)
        fail_msg("%s: gradient of %s", families[k], a[j].name);
    close_recorded(&f);
    close_recorded(&h);
  }
}

/* The gradients of f, of three pairs with these pieces, in passes of `per` of them. */
static void piece_step(const fixture *f, const size_t piece[3], size_t per) {
  static const float d[6] = {-0.3f, 0.3f, 0.2f, -0.2f, -0.1f, 0.1f};
  pairs p;
  float r[6];
  get_pairs(f, &p);
  model_zero_grad(f->m);
  for (size_t at = 0; at < 3; at += per) {
    model_piece_by(f->m, piece + at);
    OK(model_forward(f->m, p.g + at, 3 - at < per ? 3 - at : per, true, r, &err));
    OK(model_backward(f->m, d + 2 * at, &err));
  }
}
/* Whole pieces keep a gradient's bits, however they are passed. */
static void pieces_keep_bits(void **state) {
  (void)state;
  static const size_t parts[3] = {1, 1, 2};
  fixture f[2];
  const model_param *a[2];
  size_t n = 0;
  for (int i = 0; i < 2; i++) {
    open_recorded(&f[i], "model", "llama", 1, NULL);
    OK(model_train(f[i].m, &(model_train_options){0}, &err));
    piece_step(&f[i], parts, i ? 2 : 3);
    n = model_params(f[i].m, &a[i]);
    const row_pieces *all = &f[i].m->rows.pieces, *last = &f[i].m->rows.last_pieces;
    assert_int_equal(all->n, i ? 1 : 2); /* of the last pass */
    assert_int_equal(all->end[all->n - 1], f[i].m->rows.f.rows);
    assert_int_equal(last->n, all->n);
    assert_int_equal(last->end[0], i ? 2 : 4);
  }
  for (size_t j = 0; j < n; j++)
    assert_memory_equal(host_grad(f[0].m, &a[0][j]), host_grad(f[1].m, &a[1][j]), a[0][j].count * 4);
  for (int i = 0; i < 2; i++) close_recorded(&f[i]);
}

/* Values of all that is trained, one tensor after another, after two updates; the caller frees them. */
static float *after_updates(const char *folder, const char *name, const model_train_options *o, size_t *n,
                            uint64_t *bytes) {
  fixture f;
  pairs p;
  const model_param *params;
  float *values = NULL;
  open_recorded(&f, folder, name, 2, NULL);
  get_pairs(&f, &p);
  model_set_dropout(f.m, model_has_lora(f.m) ? 0.2 : 0);
  *bytes = model_info(f.m)->layers - o->freeze_layers < 2 ? 0 : model_train_bytes(f.m, o, 200).device;
  OK(model_train(f.m, o, &err));
  for (uint64_t t = 1; t <= 2; t++) {
    model_drop_by(f.m, 1, t);
    bt_step(f.m, &p, true, 3, NULL);
    model_update(f.m, &(model_adamw){1e-2, 0.9, 0.999, 1e-8, 0, true, true, t}, 1);
  }
  *n = 0;
  for (size_t i = 0, all = model_params(f.m, &params); i < all; i++) {
    if (!params[i].w.value) continue;
    values = realloc(values, (*n + params[i].count) * sizeof *values);
    model_get_values(f.m, &params[i], 0, params[i].count, values + *n);
    *n += params[i].count;
  }
  close_recorded(&f);
  return values;
}

static void weights_alike(const char *folder, const char *name, size_t freeze) {
  size_t n, count;
  uint64_t bytes, fewer;
  float *kept = after_updates(folder, name, &(model_train_options){.freeze_layers = freeze}, &n, &bytes);
  for (recomputation r = RECOMPUTE_MLP; r < RECOMPUTATIONS; r++, bytes = fewer) {
    float *again = after_updates(folder, name, &(model_train_options){.freeze_layers = freeze, .recompute = r},
                                 &count, &fewer);
    assert_int_equal(n, count);
    if (memcmp(kept, again, n * sizeof *kept) != 0) fail_msg("%s/%s, recompute %d: other weights", folder, name, r);
    if (bytes > 0 && fewer >= bytes) fail_msg("%s/%s, recompute %d: as much memory", folder, name, r);
    free(again);
  }
  free(kept);
}

/* Trained weights do not depend on what a layer keeps: also above frozen layers, of a mixture, of adapters that
 * drop. (All families: accumulation_keeps_bits.) */
static void recomputation_keeps_bits(void **state) {
  (void)state;
  static const char *const some[] = {"llama", "gemma2", "nemotron", "qwen3_moe"};
  for (int k = 0; k < 2 * 4; k++) weights_alike("model", some[k / 2], (size_t)k % 2);
  for (int k = 0; k < 3; k++) weights_alike("lora", some[k], 0);
}

static void frozen_layers_stay(void **state) {
  (void)state;
  fixture f;
  pairs p;
  open_recorded(&f, "model", "llama", 2, NULL);
  get_pairs(&f, &p);
  float before[6], after[6];
  OK(model_train(f.m, &(model_train_options){.freeze_layers = 1}, &err));
  bt_step(f.m, &p, true, 3, NULL);
  const model_param *params;
  size_t n = model_params(f.m, &params), trained = 0;
  for (size_t i = 0; i < n; i++) {
    bool low = strstr(params[i].name, "layers.0.") || strstr(params[i].name, "embed");
    assert_int_equal(low, params[i].w.value == NULL);
    if (!params[i].grad) continue;
    trained++;
    double d = distance(host_grad(f.m, &params[i]), want(&f, "grad.%s", params[i].name)->data, params[i].count);
    assert_true(d < 1e-4);
  }
  assert_true(trained > 0 && trained < n);
  OK(model_score(f.m, p.g, 3, true, before, &err));
  model_adamw o = {1e-2, 0.9, 0.999, 1e-8, 0, true, true, 1};
  model_update(f.m, &o, 1);
  OK(model_score(f.m, p.g, 3, true, after, &err));
  assert_memory_not_equal(before, after, sizeof before);
  close_recorded(&f);
}

/* The states below the trained layers from their file, or computed each time: the same bits, also when the file is
 * full. */
static void kept_frozen_states_change_no_bit(void **state) {
  (void)state;
  static const struct {
    const char *family;
    size_t freeze;
    bool share;
    uint64_t max;
    rlim_t limit;
  } cases[] = {{"llama", 1, true, 1 << 20, RLIM_INFINITY},
               {"gemma2", 1, false, 1 << 20, RLIM_INFINITY},
               {"llama", 2, true, 1 << 20, RLIM_INFINITY},
               {"llama", 1, true, 3000, RLIM_INFINITY},
               {"llama", 1, true, 1 << 20, 3000}};
  signal(SIGXFSZ, SIG_IGN);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    fixture f[2];
    pairs p;
    float scores[2][6];
    for (int k = 0; k < 2; k++) {
      open_recorded(&f[k], "model", cases[i].family, 2, NULL);
      get_pairs(&f[k], &p);
      size_t freeze = cases[i].freeze == 2 ? model_info(f[k].m)->layers : cases[i].freeze;
      OK(model_train(f[k].m, &(model_train_options){.freeze_layers = freeze}, &err));
      if (k == 1) OK(model_keep_frozen(f[k].m, "/tmp", cases[i].max, true, true, &err));
      struct rlimit all, few;
      getrlimit(RLIMIT_FSIZE, &all);
      few = (struct rlimit){cases[i].limit < all.rlim_max ? cases[i].limit : all.rlim_max, all.rlim_max};
      setrlimit(RLIMIT_FSIZE, &few);
      for (uint64_t step = 1; step <= 4; step++) {
        bt_step(f[k].m, &p, cases[i].share, step < 3 ? 3 : 1, NULL);
        model_adamw o = {1e-2, 0.9, 0.999, 1e-8, 0, true, true, step};
        model_update(f[k].m, &o, 1);
        OK(model_score(f[k].m, p.g, 3, cases[i].share, scores[k], &err));
      }
      setrlimit(RLIMIT_FSIZE, &all);
    }
    assert_memory_equal(scores[0], scores[1], sizeof scores[0]);
    model_frozen_use u = model_frozen_used(f[1].m);
    assert_int_equal(model_frozen_used(f[0].m).bytes, 0);
    assert_true(u.bytes <= cases[i].max);
    assert_int_equal(u.hits > 10, cases[i].max > 3000 && cases[i].limit > 3000); /* the first pass fills it */
    for (int k = 0; k < 2; k++) close_recorded(&f[k]);
  }
}

static void saved_model_scores_alike(void **state) {
  (void)state;
  char dir[] = "/tmp/reward-test-XXXXXX";
  assert_non_null(mkdtemp(dir));
  for (int k = 0; k < FAMILIES; k++) {
    fixture f;
    pairs p;
    open_recorded(&f, "model", families[k], 1, NULL);
    get_pairs(&f, &p);
    OK(model_train(f.m, &(model_train_options){0}, &err));
    bt_step(f.m, &p, true, 3, NULL);
    model_adamw o = {1e-2, 0.9, 0.999, 1e-8, 0, true, true, 1};
    model_update(f.m, &o, 1);
    float a[6], b[6];
    OK(model_score(f.m, p.g, 3, true, a, &err));
    OK(model_save(f.m, dir, DT_F32, 0, &err));
    model *again;
    model_options mo = {.context = &f.context};
    OK(model_open(&again, dir, &mo, &err));
    OK(model_score(again, p.g, 3, true, b, &err));
    assert_memory_equal(a, b, sizeof a);
    model_free(again);
    close_recorded(&f);
  }
  file_remove_tree(dir, NULL);
}

/* Without an asked-for dtype a trained model is written in the one that it was read in. */
static void saved_dtype_is_the_inputs(void **state) {
  (void)state;
  static const struct {
    const char *family;
    st_dtype dtype;
  } cases[] = {{"llama", DT_F32}, {"llama_bias", DT_BF16}, {"qwen3_window", DT_F16}};
  for (int k = 0; k < 3; k++) {
    char dir[] = "/tmp/reward-test-XXXXXX", path[100];
    fixture f;
    st_set *in, *out;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "tests/data/model/%s", cases[k].family);
    open_recorded(&f, "model", cases[k].family, 1, NULL);
    OK(model_train(f.m, &(model_train_options){.freeze_layers = 1}, &err));
    OK(model_save(f.m, dir, -1, 0, &err));
    OK(st_open(&in, path, &err));
    OK(st_open(&out, dir, &err));
    assert_int_equal(st_count(in), st_count(out));
    for (size_t i = 0; i < st_count(in); i++) { /* trained for no step: the same bytes */
      const st_tensor *x = st_at(in, i), *y = st_find(out, x->name);
      assert_int_equal(y->dtype, cases[k].dtype);
      assert_int_equal(y->bytes, x->bytes);
      assert_memory_equal(y->data, x->data, x->bytes);
    }
    st_close(in);
    st_close(out);
    close_recorded(&f);
    file_remove_tree(dir, NULL);
  }
}

static void bad_ids_are_named(void **state) {
  (void)state;
  fixture f;
  open_recorded(&f, "model", "llama", 1, NULL);
  int32_t bad[] = {5, 200, 7};
  const int32_t *ids = bad;
  size_t len = 3;
  id_group g = {&ids, &len, 1};
  float r;
  assert_int_equal(model_score(f.m, &g, 1, true, &r, &err), RW_DATA);
  assert_non_null(strstr(err.text, "input_ids[1]"));
  assert_non_null(strstr(err.text, "200"));
  close_recorded(&f);
}

/* Dynamic rotary scaling is as none up to max_position_embeddings, and refused beyond. */
static void dynamic_scaling_has_a_limit(void **state) {
  (void)state;
  fixture f;
  static int32_t many[513];
  const int32_t *ids = many;
  size_t len = 513;
  id_group g = {&ids, &len, 1};
  float r;
  open_recorded(&f, "model", "internlm2", 1, NULL);
  assert_int_equal(model_score(f.m, &g, 1, true, &r, &err), RW_DATA);
  assert_non_null(strstr(err.text, "dynamic"));
  len = 512;
  OK(model_score(f.m, &g, 1, true, &r, &err));
  close_recorded(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(scores_match),
      cmocka_unit_test(hidden_states_match),
      cmocka_unit_test(gradients_match),
      cmocka_unit_test(training_matches),
      cmocka_unit_test(bits_depend_on_nothing_else),
      cmocka_unit_test(accumulation_keeps_bits),
      cmocka_unit_test(pieces_keep_bits),
      cmocka_unit_test(recomputation_keeps_bits),
      cmocka_unit_test(frozen_layers_stay),
      cmocka_unit_test(kept_frozen_states_change_no_bit),
      cmocka_unit_test(saved_model_scores_alike),
      cmocka_unit_test(saved_dtype_is_the_inputs),
      cmocka_unit_test(bad_ids_are_named),
      cmocka_unit_test(dynamic_scaling_has_a_limit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_config.c - config.json of the families: both dialects say the same, absent fields mean what they mean in
 * transformers, and what changes the numbers and is not supported is refused by name.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "model/model.h"

static rw_error err;
static char dir[] = "/tmp/reward-test-XXXXXX";

static int make_dir(void **state) {
  (void)state;
  return mkdtemp(dir) ? 0 : -1;
}
static int remove_dir(void **state) {
  (void)state;
  return file_remove_tree(dir, NULL) ? -1 : 0;
}

#define SIZES                                                                                               \
  "\"hidden_size\": 64, \"num_hidden_layers\": 6, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, " \
  "\"intermediate_size\": 96, \"vocab_size\": 100, \"max_position_embeddings\": 512"

/* Reads a config.json of SIZES, the family and more members (the last of equal ones counts). */
static rw_status read_config(model_config *c, const char *family, const char *more) {
  char *path = file_join(dir, "config.json");
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fprintf(f, "{" SIZES ", \"model_type\": \"%s\"%s%s}", family, *more ? ", " : "", more);
  assert_int_equal(fclose(f), 0);
  mem_free(path);
  return model_config_read(c, dir, &err);
}
static void must_read(model_config *c, const char *family, const char *more) {
  if (read_config(c, family, more)) fail_msg("%s: %s", more, err.text);
}

static void both_dialects_say_the_same(void **state) {
  (void)state;
  static const struct {
    const char *family, *older, *newer;
  } cases[] = {
      {"llama",
       "\"rope_theta\": 500000.0, \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0, "
       "\"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 64}",
       "\"rope_parameters\": {\"rope_theta\": 500000.0, \"rope_type\": \"llama3\", \"factor\": 8.0, "
       "\"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 64}"},
      {"llama", "\"rope_theta\": 7000.0, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4.0}",
       "\"rope_parameters\": {\"rope_theta\": 7000.0, \"rope_type\": \"linear\", \"factor\": 4.0}"},
      {"mistral", "\"rope_theta\": 1e6, \"rope_scaling\": null, \"sliding_window\": null",
       "\"rope_parameters\": {\"rope_theta\": 1e6, \"rope_type\": \"default\"}, \"sliding_window\": null"},
      {"gemma2", "\"rope_theta\": 10000.0, \"sliding_window\": 16",
       "\"rope_parameters\": {\"rope_theta\": 10000.0, \"rope_type\": \"default\"}, \"sliding_window\": 16, "
       "\"layer_types\": [\"sliding_attention\", \"full_attention\", \"sliding_attention\", \"full_attention\", "
       "\"sliding_attention\", \"full_attention\"]"},
      {"gemma3_text",
       "\"rope_theta\": 1e6, \"rope_local_base_freq\": 2e4, \"rope_scaling\": {\"rope_type\": \"linear\", "
       "\"factor\": 8.0}, \"sliding_window\": 16, \"sliding_window_pattern\": 3",
       "\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1e6, \"rope_type\": \"linear\", \"factor\": "
       "8.0}, "
       "\"sliding_attention\": {\"rope_theta\": 2e4, \"rope_type\": \"default\"}}, \"sliding_window\": 16, "
       "\"layer_types\": [\"sliding_attention\", \"sliding_attention\", \"full_attention\", \"sliding_attention\", "
       "\"sliding_attention\", \"full_attention\"]"},
      {"qwen3",
       "\"use_sliding_window\": true, \"sliding_window\": 16, \"max_window_layers\": 2, \"rope_theta\": 1e6",
       "\"use_sliding_window\": true, \"sliding_window\": 16, \"rope_parameters\": {\"rope_theta\": 1e6, "
       "\"rope_type\": \"default\"}, \"layer_types\": [\"full_attention\", \"full_attention\", "
       "\"sliding_attention\", \"sliding_attention\", \"sliding_attention\", \"sliding_attention\"]"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    static model_config a, b;
    must_read(&a, cases[i].family, cases[i].older);
    must_read(&b, cases[i].family, cases[i].newer);
    for (int k = 0; k < MODEL_ROPES; k++) {
      assert_int_equal(a.ropes[k].kind, b.ropes[k].kind);
      assert_true(a.ropes[k].theta == b.ropes[k].theta && a.ropes[k].factor == b.ropes[k].factor);
      assert_true(a.ropes[k].low_freq_factor == b.ropes[k].low_freq_factor);
      assert_true(a.ropes[k].high_freq_factor == b.ropes[k].high_freq_factor);
      assert_int_equal(a.ropes[k].original_max_positions, b.ropes[k].original_max_positions);
    }
    assert_memory_equal(a.window, b.window, sizeof a.window);
    assert_memory_equal(a.rope_of, b.rope_of, sizeof a.rope_of);
  }
}

static void absent_fields_mean_the_classes_defaults(void **state) {
  (void)state;
  static model_config c;
  must_read(&c, "llama", "");
  assert_int_equal(c.head_dim, 16);
  assert_true(c.norm_eps == 1e-6f && c.ropes[0].theta == 10000 && !c.gelu && !c.qkv_bias && c.embed_scale == 1);
  assert_int_equal(c.window[0], 0);
  assert_int_equal(c.pad_token_id, -1);
  must_read(&c, "llama", "\"sliding_window\": 8"); /* which Llama does not have */
  assert_int_equal(c.window[0], 0);
  must_read(&c, "mistral", "");
  assert_int_equal(c.window[5], 4096);
  must_read(&c, "mistral", "\"sliding_window\": null");
  assert_int_equal(c.window[5], 0);
  must_read(&c, "qwen2", "\"sliding_window\": 8");
  assert_int_equal(c.window[5], 0);
  assert_true(c.qkv_bias && !c.o_bias);
  must_read(&c, "internlm2", "\"sliding_window\": 8");
  assert_true(c.grouped_qkv && c.qkv_bias && c.o_bias && !c.mlp_bias && c.window[5] == 0 &&
              c.reward_token_id == -1);
  must_read(&c, "internlm2", "\"bias\": false, \"reward_token_id\": 99");
  assert_true(!c.qkv_bias && !c.o_bias && c.reward_token_id == 99);
  must_read(&c, "nemotron", "\"id2label\": {\"0\": \"a\", \"1\": \"b\", \"2\": \"c\", \"3\": \"d\", \"4\": \"e\"}");
  assert_true(c.layer_norm && c.relu2 && !c.gelu && c.norm_offset == 1 && c.norm_eps == 1e-5f && c.rotary_dim == 8);
  assert_true(c.head == HEAD_WEIGHTED && c.n_outputs == 5 && c.window[0] == 0);
  must_read(&c, "nemotron", "\"rope_parameters\": {\"rope_type\": \"default\", \"partial_rotary_factor\": 0.25}");
  assert_true(c.rotary_dim == 4 && c.head == HEAD_SCALAR && c.n_outputs == 1);
  must_read(&c, "llama", "\"architectures\": [\"LlamaForRewardModelWithGating\"]");
  assert_true(c.head == HEAD_GATED && c.n_outputs == 19 && c.gate_layers == 3 && c.gate_hidden == 1024);
  assert_true(c.gate_temperature == 10 && c.gate_pattern_len == 5 && c.gate_pattern[0] == 128009);
  must_read(&c, "qwen2", "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0}");
  assert_true(c.ropes[0].kind == ROPE_YARN && c.ropes[0].original_max_positions == 512);
  assert_true(fabs(c.ropes[0].attention_factor - 1.1386294) < 1e-6); /* 0.1 ln 4 + 1 */
  must_read(&c, "qwen2", "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0, \"attention_factor\": 0.5}");
  assert_true(c.ropes[0].attention_factor == 0.5);
  must_read(&c, "llama", "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 4.0}");
  assert_true(c.ropes[0].kind == ROPE_DYNAMIC && c.ropes[0].attention_factor == 1);
  must_read(&c, "qwen3", "");
  assert_int_equal(c.head_dim, 128);
  assert_true(c.qk_norm && !c.qkv_bias);
  must_read(&c, "gemma2", "\"hidden_act\": \"gelu\"");
  assert_int_equal(c.head_dim, 256);
  assert_true(c.attn_softcap == 50 && c.gelu && c.post_norms && c.norm_offset == 1 && c.embed_scale == 8);
  assert_true(c.attn_scale == 0.0625f);
  assert_int_equal(c.window[0], 4096);
  assert_int_equal(c.window[1], 0);
  must_read(&c, "gemma2", "\"attn_logit_softcapping\": null, \"query_pre_attn_scalar\": 16");
  assert_true(c.attn_softcap == 0 && c.attn_scale == 0.25f);
  must_read(&c, "gemma3_text", "");
  assert_true(c.ropes[0].theta == 1e6 && c.ropes[1].theta == 10000 && c.attn_softcap == 0 && c.qk_norm);
  assert_int_equal(c.window[4], 4096);
  assert_int_equal(c.window[5], 0);
  assert_int_equal(c.rope_of[4], 1);
  assert_int_equal(c.rope_of[5], 0);
}

/* A class of transformers reads its own fields alone; another family's in its file mean nothing
 * (tests/reference/check_fields.py goes through all of them). */
static void fields_of_other_classes_are_passed_over(void **state) {
  (void)state;
  static const char *const families[] = {"llama", "mistral", "qwen2", "qwen3", "nemotron"};
  static model_config c;
  for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
    must_read(&c, families[i], "\"attn_logit_softcapping\": 2.0, \"query_pre_attn_scalar\": 7, \"mlp_bias\": true");
    bool has = i == 0 || i == 4;
    assert_true(c.attn_softcap == 0 && c.mlp_bias == has);
    assert_true(c.attn_scale == (float)(1 / sqrt((double)c.head_dim)));
  }
  must_read(&c, "mistral", "\"attention_bias\": true");
  assert_true(!c.qkv_bias && !c.o_bias);
  must_read(&c, "qwen2", "\"attention_bias\": true");
  assert_true(c.qkv_bias && !c.o_bias);
  must_read(&c, "qwen3", "\"attention_bias\": true");
  assert_true(c.qkv_bias && c.o_bias);
  must_read(&c, "gemma2", "\"sliding_window_pattern\": 3, \"mlp_bias\": true");
  assert_true(c.window[0] > 0 && c.window[1] == 0 && c.window[2] > 0 && c.window[3] == 0 && !c.mlp_bias);
}

static void unsupported_fields_are_named(void **state) {
  (void)state;
  static const struct {
    const char *family, *more, *expected;
  } cases[] = {
      {"mamba", "", "'mamba'"},
      {"gemma3", "", "'gemma3'"},
      {"llama", "\"model_type\": null", "model_type"},
      {"llama", "\"hidden_act\": \"gelu\"", "hidden_act"},
      {"gemma2", "\"hidden_activation\": \"gelu\"", "hidden_activation"},
      {"llama", "\"hidden_size\": null", "hidden_size"},
      {"llama", "\"hidden_size\": 64.5", "hidden_size"},
      {"llama", "\"hidden_size\": \"64\"", "hidden_size"},
      {"llama", "\"hidden_size\": 0", "hidden_size"},
      {"llama", "\"hidden_size\": 1e30", "hidden_size"},
      {"llama", "\"hidden_size\": 3", "head_dim"},
      {"llama", "\"head_dim\": 7", "head_dim"},
      {"llama", "\"num_hidden_layers\": 100000", "num_hidden_layers: expected 1 to 1024, got 100000"},
      {"llama", "\"num_key_value_heads\": 3", "num_key_value_heads"},
      {"llama", "\"num_key_value_heads\": 8", "num_key_value_heads"},
      {"llama", "\"rope_scaling\": {\"rope_type\": \"longrope\", \"factor\": 4.0}", "short_factor"},
      {"llama", "\"rope_scaling\": {\"rope_type\": \"longrope\", \"short_factor\": [1, 0, 1, 1]}", "short_factor"},
      {"gemma3_text", "\"rope_scaling\": {\"rope_type\": \"longrope\"}", "longrope"},
      {"phi3", "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.0}", "'linear'"},
      {"smollm3", "\"no_rope_layers\": [1, 2]", "no_rope_layers"},
      {"smollm3", "\"no_rope_layers\": [1]", "no_rope_layers"},
      {"llama", "\"architectures\": [\"AtheneForSequenceClassification\"]", "128003"},
      {"llama", "\"architectures\": [\"GRewardModel\"], \"vhead_layer_type\": \"cnn\"", "vhead_layer_type"},
      {"llama", "\"architectures\": [\"GRewardModel\"], \"vhead_num_layers\": 9", "vhead_num_layers"},
      {"llama", "\"rope_scaling\": {\"type\": \"su\"}", "'su'"},
      {"llama", "\"rope_scaling\": {\"rope_type\": \"proportional\"}", "'proportional'"},
      {"qwen2", "\"rope_scaling\": {\"type\": \"mrope\", \"mrope_section\": [2, 3, 3]}", "'mrope'"},
      {"qwen2", "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 0.5}", "factor"},
      {"qwen2", "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0, \"beta_fast\": 0}", "beta_fast"},
      {"qwen2", "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": \"x\"}", "factor"},
      {"llama", "\"rope_scaling\": {\"rope_type\": 7}", "rope type"},
      {"llama", "\"rope_parameters\": {\"rope_type\": \"llama3\", \"factor\": 8.0}", "original_max_position"},
      {"llama", "\"rope_parameters\": {\"rope_type\": \"default\", \"partial_rotary_factor\": 0.5}",
       "partial_rotary"},
      {"llama", "\"partial_rotary_factor\": 0.5", "partial_rotary_factor"},
      {"llama", "\"rope_theta\": \"x\"", "rope_theta"},
      {"llama", "\"quantization_config\": {\"quant_method\": \"awq\"}", "quantization_config"},
      {"internlm2", "\"reward_token_id\": 100", "reward_token_id"},
      {"nemotron", "\"num_labels\": 3", "num_labels"},
      {"nemotron", "\"hidden_act\": \"relu\"", "hidden_act"},
      {"nemotron", "\"partial_rotary_factor\": 0.2", "partial_rotary_factor"},
      {"nemotron", "\"partial_rotary_factor\": 1.5", "partial_rotary_factor"},
      {"llama", "\"architectures\": [\"LlamaForRewardModelWithGating\"], \"gating_temperature\": 0", "gating_temp"},
      {"llama", "\"architectures\": [\"LlamaForRewardModelWithGating\"], \"gating_token_pattern\": [1, 2]",
       "gating_token_pattern"},
      {"gemma3_text",
       "\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\", \"partial_rotary_factor\": 0.5}}",
       "partial_rotary"},
      {"gemma2", "\"layer_types\": [\"sliding_attention\"]", "layer_types[1]"},
      {"gemma2", "\"layer_types\": [\"chunked_attention\"]", "'chunked_attention'"},
      {"gemma2", "\"query_pre_attn_scalar\": 0", "query_pre_attn_scalar"},
      {"gemma3_text", "\"use_bidirectional_attention\": true", "use_bidirectional_attention"},
      {"gemma3_text", "\"attn_logit_softcapping\": 50.0", "attn_logit_softcapping"},
      {"llama", "\"is_causal\": false", "is_causal"},
  };
  static model_config c;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    if (read_config(&c, cases[i].family, cases[i].more) == RW_OK) fail_msg("read: %s", cases[i].more);
    if (!strstr(err.text, cases[i].expected) || !strstr(err.text, "config.json"))
      fail_msg("expected '%s' in: %s", cases[i].expected, err.text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(both_dialects_say_the_same),
      cmocka_unit_test(absent_fields_mean_the_classes_defaults),
      cmocka_unit_test(fields_of_other_classes_are_passed_over),
      cmocka_unit_test(unsupported_fields_are_named),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

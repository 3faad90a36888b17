/* test_golden.c - golden rows that were found right are not scored again, until a file, the level or the record
 * changes; and only where the record can be trusted.
 *
 * Whether they are scored is seen with a head that is changed in memory alone, behind the files' backs.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "folder.h"
#include "model/golden.h"
#include "model/model_impl.h"

enum { VOCAB = 70000, HIDDEN = 64, FF = 64 }; /* large enough for a record */
static rw_context context;

static rw_status values(void *ctx, size_t i, void *to, rw_error *e) {
  const st_spec *spec = &((const st_spec *)ctx)[i];
  size_t n = (size_t)spec->shape[0] * (spec->n_dims == 2 ? (size_t)spec->shape[1] : 1);
  (void)e;
  for (size_t k = 0; k < n; k++)
    ((float *)to)[k] = spec->n_dims == 1 ? 1 : (float)((k * 37 + i) % 101) / 500 - 0.1f;
  return RW_OK;
}

static void make_model(void) {
  static const char config[] =
      "{\"architectures\": [\"LlamaForSequenceClassification\"], \"model_type\": \"llama\", \"hidden_size\": 64,"
      " \"intermediate_size\": 64, \"num_hidden_layers\": 1, \"num_attention_heads\": 4, \"num_key_value_heads\": "
      "4,"
      " \"vocab_size\": 70000, \"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-6, \"rope_theta\": 10000,"
      " \"num_labels\": 1}";
#define LAYER "model.layers.0."
  st_spec specs[] = {{"model.embed_tokens.weight", DT_F32, 2, {VOCAB, HIDDEN}},
                     {LAYER "input_layernorm.weight", DT_F32, 1, {HIDDEN}},
                     {LAYER "self_attn.q_proj.weight", DT_F32, 2, {HIDDEN, HIDDEN}},
                     {LAYER "self_attn.k_proj.weight", DT_F32, 2, {HIDDEN, HIDDEN}},
                     {LAYER "self_attn.v_proj.weight", DT_F32, 2, {HIDDEN, HIDDEN}},
                     {LAYER "self_attn.o_proj.weight", DT_F32, 2, {HIDDEN, HIDDEN}},
                     {LAYER "post_attention_layernorm.weight", DT_F32, 1, {HIDDEN}},
                     {LAYER "mlp.gate_proj.weight", DT_F32, 2, {FF, HIDDEN}},
                     {LAYER "mlp.up_proj.weight", DT_F32, 2, {FF, HIDDEN}},
                     {LAYER "mlp.down_proj.weight", DT_F32, 2, {HIDDEN, FF}},
                     {"model.norm.weight", DT_F32, 1, {HIDDEN}},
                     {"score.weight", DT_F32, 2, {1, HIDDEN}}};
  OK(file_put(in_dir("config.json"), config, sizeof config - 1, &err));
  OK(st_write(dir, "model", specs, sizeof specs / sizeof *specs, 0, values, specs, &err));
}

static model *opened(const char *level) {
  model *m;
  OK(model_open(&m, dir, &(model_options){.context = &context, .level = level}, &err));
  return m;
}

static void wait_until_old(void) { nanosleep(&(struct timespec){3, 100000000}, NULL); }

/* What a check says of a model with another head. */
static rw_status check_changed(const char *level) {
  model *m = opened(level);
  const float *head = m->w->t[m->w->head].data;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  char *begin = (char *)((uintptr_t)head / page * page);
  size_t len = (size_t)((const char *)(head + HIDDEN) - begin);
  assert_int_equal(mprotect(begin, len, PROT_READ | PROT_WRITE), 0);
  for (int i = 0; i < HIDDEN; i++) ((float *)head)[i] += 1;
  rw_status s = golden_check_once(m, dir, &err);
  model_free(m);
  return s;
}

static rw_status check(const char *level) {
  model *m = opened(level);
  rw_status s = golden_check_once(m, dir, &err);
  model_free(m);
  return s;
}

static void once(void **state) {
  (void)state;
  int32_t ids[] = {5, 6, 7, 8};
  const int32_t *row = ids;
  size_t len = 4;
  context_init(&context, NULL, NULL);
  OK(context_start(&context, 1, &err));
  assert_int_equal(setenv("XDG_CACHE_HOME", in_dir("cache"), 1), 0);
  make_model();
  model *m = opened("baseline");
  OK(golden_write(m, dir, (id_group){&row, &len, 1}, &(golden_calibration){.on = "nothing"}, &err));
  model_free(m);
  OK(check("baseline")); /* the files are too new */
  assert_int_equal(check_changed("baseline"), RW_DATA);
  wait_until_old();
  assert_int_equal(check_changed("baseline"), RW_DATA); /* what fails is not recorded */
  assert_int_equal(check_changed("baseline"), RW_DATA);
  OK(check("baseline"));
  OK(check_changed("baseline")); /* it was not scored */
  if (!system("grep -q avx2 /proc/cpuinfo")) assert_int_equal(check_changed("avx2"), RW_DATA);
  /* another time of a file, as any change of it gives it; then what is there is checked, and known again */
  struct timespec times[2] = {{1, 0}, {1, 0}};
  assert_int_equal(utimensat(AT_FDCWD, in_dir("config.json"), times, 0), 0);
  assert_int_equal(check_changed("baseline"), RW_DATA);
  wait_until_old();
  OK(check("baseline"));
  OK(check_changed("baseline"));
  /* a folder that others can write holds no records */
  assert_int_equal(chmod(in_dir("cache/reward/golden"), 0777), 0);
  assert_int_equal(check_changed("baseline"), RW_DATA);
  assert_int_equal(chmod(in_dir("cache/reward/golden"), 0700), 0);
  OK(check_changed("baseline"));
  unsetenv("XDG_CACHE_HOME");
  unsetenv("HOME");
  assert_int_equal(check_changed("baseline"), RW_DATA);
  context_end(&context);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(once, make_dir, remove_dir)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

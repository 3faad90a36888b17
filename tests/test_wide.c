/* test_wide.c - a checkpoint of Llama-3.1-8B's size and shapes opens at once and stays in its file: 16 GB of holes
 * in a sparse file, less than a second, little memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "model/model.h"

static rw_error err;
static const char CONFIG[] =
    "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForSequenceClassification\"], \"hidden_size\": 4096, "
    "\"intermediate_size\": 14336, \"num_hidden_layers\": 32, \"num_attention_heads\": 32, "
    "\"num_key_value_heads\": 8, "
    "\"vocab_size\": 128256, \"max_position_embeddings\": 131072, \"rms_norm_eps\": 1e-05, \"rope_theta\": "
    "500000.0}";

typedef struct {
  str header;
  uint64_t at;
} file_plan;

static void add(file_plan *p, const char *name, uint64_t rows, uint64_t cols) {
  uint64_t bytes = 2 * rows * (cols ? cols : 1);
  str_printf(&p->header, "%s\"%s\": {\"dtype\": \"BF16\", \"shape\": [%llu", p->at ? ", " : "{", name,
             (unsigned long long)rows);
  if (cols) str_printf(&p->header, ", %llu", (unsigned long long)cols);
  str_printf(&p->header, "], \"data_offsets\": [%llu, %llu]}", (unsigned long long)p->at,
             (unsigned long long)(p->at + bytes));
  p->at += bytes;
}

static void write_sparse(const char *dir) {
  static const struct {
    const char *name;
    uint64_t rows, cols;
  } each[] = {
      {"input_layernorm", 4096, 0},     {"self_attn.q_proj", 4096, 4096}, {"self_attn.k_proj", 1024, 4096},
      {"self_attn.v_proj", 1024, 4096}, {"self_attn.o_proj", 4096, 4096}, {"post_attention_layernorm", 4096, 0},
      {"mlp.gate_proj", 14336, 4096},   {"mlp.up_proj", 14336, 4096},     {"mlp.down_proj", 4096, 14336}};
  file_plan p = {0};
  char name[100];
  add(&p, "model.embed_tokens.weight", 128256, 4096);
  for (int l = 0; l < 32; l++)
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
      snprintf(name, sizeof name, "model.layers.%d.%s.weight", l, each[i].name);
      add(&p, name, each[i].rows, each[i].cols);
    }
  add(&p, "model.norm.weight", 4096, 0);
  add(&p, "score.weight", 1, 4096);
  str_addc(&p.header, '}');
  while (p.header.len % 8) str_addc(&p.header, ' ');
  char *path = file_join(dir, "model.safetensors");
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  uint64_t n = p.header.len;
  assert_int_equal(fwrite(&n, 8, 1, f), 1);
  assert_int_equal(fwrite(p.header.p, p.header.len, 1, f), 1);
  assert_int_equal(fclose(f), 0);
  assert_int_equal(truncate(path, (off_t)(8 + n + p.at)), 0);
  assert_true(p.at > (uint64_t)15e9);
  mem_free(path);
  path = file_join(dir, "config.json");
  assert_int_equal(file_put(path, CONFIG, sizeof CONFIG - 1, &err), RW_OK);
  mem_free(path);
  str_free(&p.header);
}

static size_t resident_bytes(void) {
  FILE *f = fopen("/proc/self/statm", "r");
  unsigned long long all = 0, resident = 0;
  if (f && fscanf(f, "%llu %llu", &all, &resident) != 2) resident = 0;
  if (f) fclose(f);
  return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void eight_billion_open_at_once(void **state) {
  (void)state;
  char dir[] = "/tmp/reward-test-XXXXXX";
  rw_context context;
  model *m;
  assert_non_null(mkdtemp(dir));
  write_sparse(dir);
  context_init(&context, NULL, NULL);
  assert_int_equal(context_start(&context, 1, &err), RW_OK);
  size_t before = resident_bytes();
  clock_t began = clock(); /* of this process: the machine may be busy */
  rw_status s = model_open(&m, dir, &(model_options){.context = &context}, &err);
  double took = (double)(clock() - began) / CLOCKS_PER_SEC;
  size_t grown = resident_bytes() - before;
  if (s) fail_msg("%s", err.text);
  print_message("opened in %.3f processor seconds, %.1f MiB more resident\n", took, (double)grown / 1048576);
  assert_int_equal(model_info(m)->layers, 32);
  assert_true(took < 1);
  assert_true(before == 0 || grown < 32 << 20);
  model_free(m);
  context_end(&context);
  assert_int_equal(file_remove_tree(dir, NULL), RW_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(eight_billion_open_at_once)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

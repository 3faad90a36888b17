/* check_models.c - whole small models of every family on a device against PyTorch's records (tests/data/model).
 *
 * usage: check-models DEVICE [UPDATES [FAMILY…]]   DEVICE as --device has it: cuda, cuda:f32, cpu. UPDATES: of the
 * eight that are recorded, so many. No family: all of them.
 * A line a family: scores, gradients, the losses of the updates, and the bits of a conversation alone, among
 * others, with its prompt shared, and behind a prompt that an earlier pass has kept. In f32 as near as test_model
 * asks of the CPU; in bf16 near as bf16 is.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "model/model.h"
#include "model_values.h"

static const char *const families[] = {
    "llama",      "llama3",       "mistral",      "qwen2",          "qwen3",    "gemma2",        "gemma3_text",
    "llama_bias", "qwen3_window", "internlm2",    "internlm2_bias", "nemotron", "nemotron_bias", "qwen2_yarn",
    "llama_yarn", "inform",       "qwen2_rm",     "grm_linear",     "grm_mlp",  "eurus",         "starling",
    "gemma",      "phi3",         "llama_long",   "olmo2",          "olmo3",    "smollm3",       "smollm3_window",
    "mixtral",    "qwen3_moe",    "qwen3_moe_raw"};
enum { FAMILIES = sizeof families / sizeof *families, N_LENGTHS = 10 };
static const size_t lengths[N_LENGTHS] = {1, 2, 3, 7, 8, 17, 31, 64, 128, 257};

static rw_error err;
#define OK(e)                                                         \
  do {                                                                \
    if ((e) != RW_OK) printf("FAIL %s: %s\n", #e, err.text), exit(1); \
  } while (0)

static st_set *records;
static const void *record(const char *fmt, size_t i, const char *name) {
  char text[200];
  snprintf(text, sizeof text, fmt, i, name);
  const st_tensor *t = st_find(records, text);
  if (!t) printf("FAIL expected.safetensors lacks %s\n", text), exit(1);
  return t->data;
}
static size_t record_length(const char *fmt, size_t i) {
  char text[200];
  snprintf(text, sizeof text, fmt, i);
  return (size_t)st_find(records, text)->shape[0];
}
static double distance(const float *a, const float *b, size_t n) { /* |a-b| / |b| */
  double d = 0, s = 0;
  for (size_t i = 0; i < n; i++) d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]), s += (double)b[i] * b[i];
  return sqrt(d) / (sqrt(s) + 1e-30);
}

/* The recorded pairs; the mean Bradley-Terry loss's forward and backward. */
typedef struct {
  const int32_t *ids[3][2];
  size_t len[3][2];
  id_group g[3];
} pairs;
static double bt_step(model *m, const pairs *p, float r[6]) {
  double loss = 0;
  float d[6];
  model_zero_grad(m);
  OK(model_forward(m, p->g, 3, true, r, &err));
  for (size_t i = 0; i < 3; i++) {
    const double x = (double)r[2 * i] - r[2 * i + 1];
    loss += log1p(exp(-x)) / 3;
    d[2 * i] = (float)(-1 / (1 + exp(x)) / 3);
    d[2 * i + 1] = -d[2 * i];
  }
  OK(model_backward(m, d, &err));
  return loss;
}

/* Conversations whose score has other bits alone, in another order or without a shared prompt. */
static int bits(model *m, const pairs *p) {
  float all[6], apart[6], one;
  int differ = 0;
  OK(model_score(m, p->g, 3, true, all, &err));
  OK(model_score(m, p->g, 3, false, apart, &err));
  for (int i = 5; i >= 0; i--) {
    const id_group g = {&p->ids[i / 2][i % 2], &p->len[i / 2][i % 2], 1};
    OK(model_score(m, &g, 1, true, &one, &err));
    differ += memcmp(&all[i], &one, 4) != 0 || memcmp(&all[i], &apart[i], 4) != 0;
  }
  return differ;
}

/* Conversations whose score has other bits behind a beginning that an earlier pass has kept; *found: tokens of such
 * beginnings. */
static int kept_bits(const model *of, rw_context *context, size_t *found) {
  enum { LONG = 128, CONVERSATIONS = 3 };
  static const size_t same[CONVERSATIONS] = {LONG, 97, 70}, length[CONVERSATIONS] = {LONG, 128, 101};
  int32_t ids[CONVERSATIONS][LONG];
  const int32_t *at[CONVERSATIONS];
  float want, got[2][CONVERSATIONS];
  model *plain, *keeping;
  int differ = 0;
  for (size_t c = 0; c < CONVERSATIONS; c++) {
    memcpy(ids[c], record("ids.%zu", LONG, ""), sizeof ids[c]);
    memcpy(ids[c] + same[c], record("ids.%zu", 31, ""), (length[c] - same[c]) * sizeof **ids);
    at[c] = ids[c];
  }
  OK(model_session(&plain, of, context, &err));
  OK(model_session(&keeping, of, context, &err));
  const rw_status keeps = model_keep_prefixes(keeping, 16 << 20, &err);
  if (keeps != RW_UNSUPPORTED) { /* as with longrope */
    OK(keeps);
    for (size_t c = 0; c < CONVERSATIONS; c++)
      OK(model_score(keeping, &(id_group){at + c, length + c, 1}, 1, true, &got[0][c], &err));
    OK(model_score(keeping, &(id_group){at, length, CONVERSATIONS}, 1, true, got[1], &err));
    for (size_t c = 0; c < CONVERSATIONS; c++) {
      OK(model_score(plain, &(id_group){at + c, length + c, 1}, 1, true, &want, &err));
      differ += memcmp(&want, &got[0][c], 4) != 0 || memcmp(&want, &got[1][c], 4) != 0;
    }
    *found = model_prefix_figures(keeping).found_tokens;
    differ += *found < 3 * 64;
  }
  model_free(keeping);
  model_free(plain);
  return differ;
}

/* New adapters whose B is not 0, and the head, to be trained; NULL: such a head takes none. */
static model *adapted(const char *dir, const char *device, rw_context *context) {
  model *m;
  const model_options o = {.context = context, .device = device};
  const model_param *params;
  OK(model_open(&m, dir, &o, &err));
  const rw_status takes = model_add_lora(m, &(lora_options){12, 20, "all-linear", 0, 7}, &err);
  if (takes == RW_UNSUPPORTED) return model_free(m), NULL; /* the head */
  OK(takes);
  OK(model_train(m, &(model_train_options){0}, &err));
  const size_t n = model_params(m, &params);
  rng r = rng_new(7, 1);
  for (size_t i = 0; i < n; i++) {
    if (!strstr(params[i].name, "lora_B")) continue;
    float *values = malloc(params[i].count * sizeof *values);
    for (size_t k = 0; k < params[i].count; k++) values[k] = 0.1f * (float)rng_normal(&r);
    model_put_values(m, &params[i], values);
    free(values);
  }
  return m;
}

/* Does a pass see an update, as it sees the same values when they come from the host? */
static bool sees_update(model *m, const pairs *p) {
  float before[6], after[6], put[6];
  const model_param *params;
  const size_t n = model_params(m, &params);
  OK(model_score(m, p->g, 3, true, before, &err));
  model_update(m, &(model_adamw){1e-2, 0.9, 0.999, 1e-8, 0, true, true, 1}, 1);
  OK(model_score(m, p->g, 3, true, after, &err));
  for (size_t i = 0; i < n; i++) {
    if (!params[i].grad) continue;
    float *values = malloc(params[i].count * sizeof *values);
    model_get_values(m, &params[i], 0, params[i].count, values);
    model_put_values(m, &params[i], values);
    free(values);
  }
  OK(model_score(m, p->g, 3, true, put, &err));
  return memcmp(before, after, sizeof after) != 0 && memcmp(after, put, sizeof put) == 0;
}

/* Adapters on the device beside those on the processor, without dropout and with it: worst[0] of scores, [1] of
 * gradients. Returns the number of conversations whose bits differ. */
static int check_adapters(const char *dir, const char *device, rw_context *context, const pairs *p,
                          double worst[2]) {
  model *m[2] = {adapted(dir, device, context), adapted(dir, "cpu", context)};
  if (!m[0]) return 0;
  const model_param *params[2];
  const size_t n = model_params(m[0], &params[0]);
  int differ = 0;
  model_params(m[1], &params[1]);
  for (int dropping = 0; dropping < 2; dropping++) {
    float r[2][6];
    for (int k = 0; k < 2; k++) {
      model_set_dropout(m[k], 0.2 * dropping);
      model_drop_by(m[k], 3, 4);
      bt_step(m[k], p, r[k]);
    }
    for (int i = 0; i < 6; i++) worst[0] = fmax(worst[0], isfinite(r[0][i]) ? fabs(r[0][i] - r[1][i]) : INFINITY);
    for (size_t i = 0; i < n; i++) {
      if (!params[0][i].grad) continue;
      const float *got = host_grad(m[0], &params[0][i]), *want = host_grad(m[1], &params[1][i]);
      const double d = distance(got, want, params[0][i].count);
      worst[1] = fmax(worst[1], isfinite(d) ? d : INFINITY);
    }
    differ += bits(m[0], p);
  }
  differ += !sees_update(m[0], p);
  model_free(m[0]);
  model_free(m[1]);
  return differ;
}

static bool check(const char *family, const char *device, uint64_t updates) {
  const bool exact = strcmp(device, "cuda") != 0;
  /* bf16: twice what an H100 gave at worst (scores 3.8e-2, gradients 5.7e-2, losses 3.3e-3); but rounding puts some
   * of what grm_mlp's head cuts off at 0 on the other side of it */
  const bool kinks = strcmp(family, "grm_mlp") == 0;
  const double bounds[3] = {exact ? 1e-4 : 8e-2, exact ? 1e-4 : kinks ? 0.3 : 0.12, exact ? 2e-4 : 2e-2};
  char dir[256], path[300];
  rw_context context;
  model *m;
  pairs p;
  snprintf(dir, sizeof dir, "tests/data/model/%s", family);
  snprintf(path, sizeof path, "%s/expected.safetensors", dir);
  context_init(&context, NULL, NULL);
  OK(context_start(&context, 2, &err));
  const model_options o = {.context = &context, .device = device};
  OK(model_open(&m, dir, &o, &err));
  OK(st_open(&records, path, &err));
  for (size_t i = 0; i < 3; i++) {
    for (size_t s = 0; s < 2; s++) {
      const char *name = s ? "pair.%zu.rejected" : "pair.%zu.chosen";
      p.ids[i][s] = record(name, i, "");
      p.len[i][s] = record_length(name, i);
    }
    p.g[i] = (id_group){p.ids[i], p.len[i], 2};
  }
  double worst[3] = {0, 0, 0}, low[2] = {0, 0}; /* scores, gradients, losses; of adapters */
  float r[6];
  for (size_t i = 0; i < N_LENGTHS; i++) {
    const int32_t *ids = record("ids.%zu", lengths[i], "");
    const id_group g = {&ids, &lengths[i], 1};
    float got, want;
    const rw_status scored = model_score(m, &g, 1, true, &got, &err);
    if (scored == RW_UNSUPPORTED) { /* heads so small that no published model has them */
      printf("skip %-15s %s\n", family, err.text);
      model_free(m);
      st_close(records);
      context_end(&context);
      return true;
    }
    OK(scored);
    memcpy(&want, record("score.%zu", lengths[i], ""), 4);
    worst[0] = fmax(worst[0], isfinite(got) ? fabs(got - want) : INFINITY);
  }
  size_t found = 0;
  int differ = bits(m, &p) + kept_bits(m, &context, &found);
  OK(model_train(m, &(model_train_options){0}, &err));
  double loss = bt_step(m, &p, r);
  const model_param *params;
  const size_t n = model_params(m, &params);
  for (size_t i = 0; i < n; i++) {
    char name[200];
    snprintf(name, sizeof name, "grad.%s", params[i].name);
    const st_tensor *t = st_find(records, name);
    const double d = t ? distance(host_grad(m, &params[i]), t->data, params[i].count) : INFINITY;
    worst[1] = fmax(worst[1], isfinite(d) ? d : INFINITY);
  }
  const float *losses = record("train.loss", 0, "");
  for (uint64_t t = 1; t <= updates; t++) {
    const double norm = norm_of(m), clip = 1 / (norm + 1e-6),
                 d = fabs(loss - losses[t - 1]) / (1 + fabs(losses[t - 1]));
    worst[2] = fmax(worst[2], isfinite(d) ? d : INFINITY);
    const model_adamw step = {1e-3, 0.9, 0.999, 1e-8, 0.01, true, true, t};
    model_update(m, &step, clip < 1 ? clip : 1);
    if (t < updates) loss = bt_step(m, &p, r);
  }
  differ += check_adapters(dir, device, &context, &p, low);
  const bool good = !differ && low[0] <= bounds[0] && low[1] <= 2 * bounds[1] && worst[0] <= bounds[0] &&
                    worst[1] <= bounds[1] && worst[2] <= bounds[2];
  printf(
      "%s %-15s scores %.1e (%.0e) gradients %.1e (%.0e) losses %.1e (%.0e) adapters %.1e %.1e bits %d, %zu tokens "
      "kept\n",
      good ? "ok  " : "FAIL", family, worst[0], bounds[0], worst[1], bounds[1], worst[2], bounds[2], low[0], low[1],
      differ, found);
  fflush(stdout);
  model_free(m);
  st_close(records);
  context_end(&context);
  return good;
}

int main(int argc, char **argv) {
  const char *device = argc > 1 ? argv[1] : "cuda";
  const uint64_t updates = argc > 2 ? strtoull(argv[2], NULL, 10) : 8;
  int failed = 0, count = argc > 3 ? argc - 3 : FAMILIES;
  for (int k = 0; k < count; k++) failed += !check(argc > 3 ? argv[k + 3] : families[k], device, updates);
  printf("%d of %d families failed on %s\n", failed, count, device);
  return failed != 0;
}

/* session.c - sessions over weights: another one, its end, and what a caller asks of it. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "model/model_impl.h"

static rw_status open_backend(model *m, const char *device, rw_error *err) {
  return m->w->level ? backend_cpu(&m->be, m->context->threads, m->w->level, err)
                     : backend_open(&m->be, device, m->context->threads, err);
}

/* The device's name with f32 asked for, of a GPU; NULL: no memory. */
static char *in_f32(const char *device) {
  if (strncmp(device, "cuda", 4) != 0 || strstr(device, ":f32")) return mem_strndup(device, strlen(device));
  size_t number = 4; /* it stands before whatever else is said */
  if (device[4] == ':') number += 1 + strspn(device + 5, "0123456789");
  if (device[number - 1] == ':') number--;
  return mem_printf("%.*s:f32%s", (int)number, device, device + number);
}

/* The GPU on which ranks exchange is the one on which this rank computes. */
static rw_status take_rank_s(model *m, char **device, rw_error *err) {
  int gpu = m->context->ranks->gpu;
  if (gpu < 0 || strncmp(*device, "cuda", 4) != 0) return RW_OK;
  if ((*device)[4] == ':' && (*device)[5] >= '0' && (*device)[5] <= '9')
    return atoi(*device + 5) == gpu
               ? RW_OK
               : rw_fail(err, RW_USAGE, FIELD(device) " %s: NCCL has this rank on GPU %d; say cuda", *device, gpu);
  char *numbered = mem_printf("cuda:%d%s", gpu, *device + 4);
  if (!numbered) return rw_nomem(err, "a device");
  mem_free(*device);
  *device = numbered;
  return RW_OK;
}

/* Opens the weights' device and takes its name; NULL: no memory. */
static rw_status open_as(model *m, char *device, rw_error *err) {
  rw_status s = device ? take_rank_s(m, &device, err) : rw_nomem(err, "a device");
  mem_free(m->w->device);
  m->w->device = device;
  return s ? s : open_backend(m, device, err);
}

/* A GPU where there is one that this build can use, else this processor. */
static rw_status open_auto(model *m, bool f32, rw_error *err) {
  const char *level = getenv("REWARD_CPU_LEVEL");
  if (!f32 && !(level && *level) && backend_gpu_likely()) { /* the first two ask for a processor's bits */
    rw_status s = open_as(m, mem_strndup("cuda", 4), err);
    if (s != RW_UNSUPPORTED) return s;
  }
  return open_as(m, mem_strndup("cpu", 3), err);
}

rw_status session_device(model *m, const char *device, const char *level, bool f32, rw_error *err) {
  weights *w = m->w;
  w->level = level ? mem_strndup(level, strlen(level)) : NULL;
  if (level && !w->level) return rw_nomem(err, device);
  rw_status s = strcmp(device, "auto") == 0 && !level
                    ? open_auto(m, f32, err)
                    : open_as(m, f32 ? in_f32(device) : mem_strndup(device, strlen(device)), err);
  w->be = m->be;
  return s;
}

static rw_status session_on(model **out, const model *of, const char *device, rw_context *context, rw_error *err) {
  if (of->tr.training) return rw_fail(err, RW_USAGE, "%s: a model in training has one session", of->w->dir);
  model *m = mem_zalloc(1, sizeof *m);
  if (!m) return rw_nomem(err, of->w->dir);
  m->w = of->w;
  atomic_fetch_add(&m->w->sessions, 1);
  m->context = context;
  m->tr.dropout = of->tr.dropout;
  rw_status s = open_backend(m, device, err);
  if (s) {
    model_free(m);
    return s;
  }
  *out = m;
  return RW_OK;
}

rw_status model_session(model **out, const model *of, rw_context *context, rw_error *err) {
  *out = NULL;
  RW_TRY(session_on(out, of, of->w->device, context, err));
  model_set_bf16(*out, of->bf16);
  return RW_OK;
}

rw_status model_session_f32(model **out, const model *of, rw_error *err) {
  *out = NULL;
  char *device = in_f32(of->w->device);
  rw_status s = device ? session_on(out, of, device, of->context, err) : rw_nomem(err, of->w->dir);
  mem_free(device);
  if (!s) model_set_bf16(*out, false);
  return s;
}

void model_free(model *m) {
  if (!m) return;
  backend *be = m->be;
  if (be) {
    buffer *b[] = {&m->h,          &m->a,          &m->work,       &m->saved,      &m->dx,        &m->dh,
                   &m->dqkv,       &m->d_o,        &m->last_x,     &m->last_o,     &m->final,     &m->last_h,
                   &m->rstd_final, &m->rewards,    &m->d_rewards,  &m->gate_out,   &m->head_acts, &m->head_work,
                   &m->lora_u,     &m->lora_du[0], &m->lora_du[1], &m->lora_du[2], &m->lora_x,    &m->lora_a,
                   &m->known,      &m->cos[0],     &m->cos[1],     &m->sin[0],     &m->sin[1]};
    for (size_t i = 0; i < sizeof b / sizeof *b; i++) be->release(be, MEM_DEVICE, b[i]->p);
    experts_free(m);
    be->release(be, MEM_DEVICE, m->tr.values);
    be->release(be, MEM_DEVICE, m->tr.grads);
    shards_free(m);
    gathered_free(m);
    void *states[] = {m->tr.m1, m->tr.m2, m->tr.codes};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) be->release(be, MEM_STATES, states[i]);
    prefix_cache_free(m->prefixes);
    be->batch_free(be, m->batch);
    if (be != m->w->be) be->close(be);
  }
  frozen_free(m->tr.frozen);
  for (size_t i = 0; i < m->tr.n_units; i++) mem_free(m->tr.units[i].cut);
  void *host[] = {m->tr.units,  m->tr.parts, m->tr.params,    m->ids,        m->pos,   m->rope_rows,
                  m->trees,     m->branches, m->last,         m->attributes, m->gates, m->drop_rows,
                  m->drop_last, m->ends,     m->known_blocks, m->new_blocks};
  for (size_t i = 0; i < sizeof host / sizeof *host; i++) mem_free(host[i]);
  weights_drop(m->w);
  mem_free(m);
}

void model_get(const model *m, void *host, const void *device, size_t bytes) {
  m->be->get(m->be, host, device, bytes);
}
void model_put(model *m, void *device, const void *host, size_t bytes) { m->be->put(m->be, device, host, bytes); }
void model_get_values(const model *m, const model_param *p, size_t at, size_t n, float *host) {
  if (m->tr.apart)
    m->be->get_master(m->be, host, p->own, at - p->first, n);
  else
    m->be->get_master(m->be, host, p->w, at, n);
}
void model_put_values(model *m, const model_param *p, const float *host) {
  m->w->lora_stale = true;
  if (m->tr.apart)
    m->be->put_master(m->be, p->own, 0, host + p->first, p->owned);
  else
    m->be->put_master(m->be, p->w, 0, host, p->count);
  gathered_forget(m);
}
rw_status model_sync(const model *m, rw_error *err) { return m->be->sync(m->be, err); }

const model_config *model_info(const model *m) { return &m->w->cfg; }
const char *model_dir(const model *m) { return m->w->dir; }
const char *model_device(const model *m) { return m->be->traits.name; }
int64_t model_piece_tokens(const model *m) { return (int64_t)m->be->traits.piece_rows; }
int64_t model_train_tokens(const model *m) { return (int64_t)m->be->traits.train_rows; }
int64_t model_score_tokens(const model *m) { return (int64_t)m->be->traits.score_rows; }
const char *model_dtype(const model *m) { return m->bf16 ? "bf16" : "f32"; }
bool model_is_bf16(const model *m) { return m->bf16; }
void model_set_bf16(model *m, bool on) {
  m->bf16 = on || m->be->traits.act == T_BF16;
  if (m->be->set_bf16) m->be->set_bf16(m->be, on);
}
void model_warn_length(rw_context *context, const model_config *c, int64_t max_length) {
  if (max_length > c->max_positions)
    log_warn(
        context,
        FIELD(max_length) " %lld is more than max_position_embeddings of config.json, %lld: longer rows are computed "
        "at positions that the model was not made for",
        (long long)max_length, (long long)c->max_positions);
}
uint64_t model_sent(const model *m) { return m->tr.sent; }
bool model_head_is_new(const model *m) { return m->w->head_is_new; }

size_t model_params(const model *m, const model_param **params) {
  *params = m->tr.params;
  return m->w->n_tensors;
}

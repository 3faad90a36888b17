/* hosted.c - opening a model to be served, and conversations of any kind to its ids. */
#include "serve/hosted.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "serve/policy.h"
#include "serve/serve.h"

enum { SCRATCHES = 64 };

struct hosted {
  char *name;
  scorer *s;
  queue *q;
  policy *policy; /* NULL: none */
  atomic_int held;
  size_t n_attributes;
  pthread_mutex_t lock; /* guards the scratches that nobody uses */
  render_scratch *free[SCRATCHES];
  size_t n_free;
};

const char *hosted_name(const hosted *m) { return m->name; }
scorer *hosted_scorer(const hosted *m) { return m->s; }
queue *hosted_queue(const hosted *m) { return m->q; }

hosted *hosted_hold(hosted *m) {
  atomic_fetch_add(&m->held, 1);
  return m;
}

void hosted_release(hosted *m) {
  if (!m || atomic_fetch_sub(&m->held, 1) > 1) return;
  queue_close(m->q);
  for (size_t i = 0; i < m->n_free; i++) render_scratch_free(m->free[i]);
  policy_free(m->policy);
  scorer_free(m->s);
  pthread_mutex_destroy(&m->lock);
  mem_free(m->name);
  mem_free(m);
}

rw_status hosted_open(hosted **out, rw_context *context, pthread_mutex_t *turn, const serve_model *sm,
                      const serve_options *o, rw_error *err) {
  hosted *m = mem_zalloc(1, sizeof *m);
  if (!m) return rw_nomem(err, sm->dir);
  pthread_mutex_init(&m->lock, NULL);
  atomic_init(&m->held, 1);
  const char *end = sm->dir + strlen(sm->dir), *slash;
  while (end > sm->dir + 1 && end[-1] == '/') end--;
  for (slash = end; slash > sm->dir && slash[-1] != '/';) slash--;
  m->name = sm->name ? mem_strndup(sm->name, strlen(sm->name)) : mem_strndup(slash, (size_t)(end - slash));
  score_options so = o->score;
  so.model = sm->dir;
  so.prefix_cache = o->prefix_cache_mib < 0 ? PREFIXES_DEFAULT : (uint64_t)o->prefix_cache_mib << 20;
  rw_status s = m->name ? RW_OK : rw_nomem(err, sm->dir);
  const char *const *names;
  if (!s) {
    pthread_mutex_lock(turn); /* golden rows are scored on the context's threads */
    s = scorer_open(&m->s, &so, err);
    pthread_mutex_unlock(turn);
  }
  if (!s) m->n_attributes = scorer_attributes(m->s, &names);
  if (!s && o->query_template) s = policy_open(&m->policy, o->query_template, err);
  if (!s) s = queue_open(&m->q, context, turn, m->s, o, err);
  if (s) {
    hosted_release(m);
    return s;
  }
  *out = m;
  return RW_OK;
}

/* ---- rendering ---- */

static render_scratch *take_scratch(hosted *m) {
  pthread_mutex_lock(&m->lock);
  render_scratch *s = m->n_free ? m->free[--m->n_free] : NULL;
  pthread_mutex_unlock(&m->lock);
  return s ? s : render_scratch_new(scorer_renderer(m->s));
}

static void give_scratch(hosted *m, render_scratch *s) {
  pthread_mutex_lock(&m->lock);
  bool room = m->n_free < SCRATCHES;
  if (room) m->free[m->n_free++] = s;
  pthread_mutex_unlock(&m->lock);
  if (!room) render_scratch_free(s);
}

/* Puts the tokenizer's BOS, if there is one, before a text that does not begin with it. */
static rw_status put_bos(const hosted *m, const serve_item *it, ids *out, rw_error *err) {
  const tokenizer *t = renderer_tokenizer(scorer_renderer(m->s));
  int32_t bos = t ? tok_bos(t) : -1;
  if (bos < 0) return RW_OK;
  slice begin = tok_text(t, bos);
  if (it->conv.text.len >= begin.len && memcmp(it->conv.text.p, begin.p, begin.len) == 0) return RW_OK;
  return vec_push(out->p, out->len, out->cap, bos) ? RW_OK : rw_nomem(err, "token ids");
}

static rw_status render_item(hosted *m, request *q, serve_item *it, render_scratch *scratch, const serve_options *o,
                             rw_error *err) {
  if (it->conv.text.p && m->policy) {
    conversation c = {0};
    RW_TRY(policy_parse(m->policy, it->conv.text, &c, q->mem, err));
    c.n_prompt = c.n_messages - 1;
    c.reference = it->conv.reference;
    it->conv = c;
  }
  if (it->conv.text.p && it->conv.reference.p && renderer_compares(scorer_renderer(m->s)))
    return rw_fail(
        err, RW_DATA,
        "reference: a text is scored as it stands, without it; send messages, or set " FIELD(query_template));
  if (it->conv.text.p && it->add_bos) RW_TRY(put_bos(m, it, &it->ids, err));
  overlong over = q->cut || q->most_tokens ? OVERLONG_TRUNCATE : o->score.overlong;
  int64_t most = scorer_max_length(m->s);
  if (q->most_tokens && q->most_tokens < most) most = q->most_tokens;
  bool dropped;
  return scorer_render(m->s, scratch, &it->conv, over, most, &it->ids, &it->truncated, &dropped, err);
}

rw_status hosted_render(hosted *m, request *q, const serve_options *o, rw_error *err) {
  render_scratch *scratch = take_scratch(m);
  if (!scratch) return rw_nomem(err, "a request");
  rw_status s = RW_OK;
  for (size_t i = 0; !s && i < q->n; i++) {
    serve_item *it = &q->items[i];
    rw_error e;
    rw_status item = render_item(m, q, it, scratch, o, &e);
    if (item == RW_NOMEM) s = rw_nomem(err, "a request");
    q->tokens += it->ids.len;
    if (m->n_attributes && !s) {
      it->attributes = arena_alloc(q->mem, m->n_attributes, sizeof *it->attributes);
      if (!it->attributes) s = rw_nomem(err, "a request");
    }
    if (!item || s) continue;
    it->status = e.code == RW_DATA ? (it->conv.text.p && m->policy ? 422 : 400) : 500;
    it->error = arena_strndup(q->mem, e.text, field_spell(e.text, false));
    if (!it->error) s = rw_nomem(err, "a request");
  }
  give_scratch(m, scratch);
  return s;
}

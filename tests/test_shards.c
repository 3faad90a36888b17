/* test_shards.c - when things are exchanged, as a rank sees it whose other rank is a recorder: gradients go while
 * the last backward pass of a slice runs, weights come while another layer computes, and what cannot be parted is
 * refused. What is exchanged is tests/cli_ranks_train.sh's and tests/cli_ranks_shard.sh's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/model_impl.h"

static rw_error err;
#define OK(call) \
  if (call) fail_msg("%s", err.text)

/* The other rank has zeros, which are there when they are asked for a second time. */
typedef struct {
  int begun[COMM_SLOTS], asked[COMM_SLOTS], ended[COMM_SLOTS]; /* asked: while something was under way */
  size_t sent;                                                 /* bytes of gradients */
} record;

static rw_status begin(comm *c, int slot, const comm_part *out, size_t n_out, const comm_part *in, size_t n_in,
                       rw_error *e) {
  record *r = c->state;
  (void)e;
  assert_int_equal(r->begun[slot], r->ended[slot]); /* one at a time */
  for (size_t i = 0; i < n_in; i++) memset(in[i].p, 0, in[i].bytes);
  for (size_t i = 0; i < n_out; i++) {
    assert_int_equal(out[i].peer, 1);
    r->sent += slot == WEIGHTS_SLOT ? 0 : out[i].bytes;
  }
  r->begun[slot]++;
  return RW_OK;
}
static rw_status end(comm *c, int slot, rw_error *e) {
  record *r = c->state;
  (void)e;
  r->ended[slot] = r->begun[slot];
  return RW_OK;
}
static rw_status test(comm *c, int slot, bool *done, rw_error *e) {
  record *r = c->state;
  (void)e;
  assert_true(r->begun[slot] > r->ended[slot]);
  *done = r->asked[slot]++ % 2;
  return RW_OK;
}
static rw_status most(comm *c, int64_t *v, int n, rw_error *e) { return (void)c, (void)v, (void)n, (void)e, RW_OK; }
static rw_status gather(comm *c, void *all, const size_t *at, rw_error *e) {
  return (void)c, (void)all, (void)at, (void)e, RW_OK;
}

typedef struct {
  rw_context context;
  comm ranks;
  record seen;
  model *m;
  float reward;
} one_of_two;

static void open_model(one_of_two *x, const model_train_options *o) {
  memset(x, 0, sizeof *x);
  context_init(&x->context, NULL, NULL);
  x->ranks = comm_alone();
  x->ranks.size = x->ranks.node_size = 2;
  x->ranks.begin = begin;
  x->ranks.end = end;
  x->ranks.test = test;
  x->ranks.most = most;
  x->ranks.gather = gather;
  x->ranks.state = &x->seen;
  x->context.ranks = &x->ranks;
  x->ranks.cores = 1;
  OK(context_start(&x->context, 1, &err));
  OK(model_open(&x->m, "tests/data/model/llama", &(model_options){.context = &x->context, .device = "cpu"}, &err));
  OK(model_train(x->m, o, &err));
}
static void close_model(one_of_two *x) {
  model_free(x->m);
  x->context.ranks = &x->context.alone;
  context_end(&x->context);
}

static void forward(one_of_two *x) {
  const int32_t token[] = {3, 4, 5, 6}, *ids = token;
  size_t len = 4;
  OK(model_forward(x->m, &(id_group){&ids, &len, 1}, 1, true, &x->reward, &err));
}

static void gradients_go_beside_the_last_pass(void **state) {
  (void)state;
  one_of_two x;
  open_model(&x, &(model_train_options){.slices = 2});
  model_begin_round(x.m, 2, true, true);
  model_zero_grad(x.m);
  forward(&x);
  OK(model_backward(x.m, &(float){1}, &err)); /* another one follows: nothing may go */
  assert_int_equal(x.seen.begun[0], 0);
  forward(&x);
  model_close_slice(x.m);
  OK(model_backward(x.m, &(float){1}, &err));
  size_t beside = x.seen.sent;
  assert_true(x.seen.ended[0] > 0);
  assert_true(x.seen.asked[0] > 1);
  OK(model_end_round(x.m, &err));
  assert_true(beside * 2 >
              x.seen.sent); /* most of it: what is left is the embedding's, and the last layer's to end */
  assert_int_equal(x.seen.begun[0] + x.seen.begun[1], 4); /* the embedding, two layers, what follows */
  close_model(&x);
}

static void weights_come_beside_layers(void **state) {
  (void)state;
  one_of_two x;
  open_model(&x, &(model_train_options){.slices = 2, .apart = true});
  model_begin_round(x.m, 2, true, true);
  forward(&x);
  assert_int_equal(x.seen.begun[WEIGHTS_SLOT], 4);
  assert_int_equal(x.seen.ended[WEIGHTS_SLOT], 4);
  assert_true(x.seen.asked[WEIGHTS_SLOT] > 0);
  assert_int_equal(x.seen.sent, 0);
  OK(model_backward(x.m, &(float){1}, &err));
  assert_int_equal(x.seen.begun[WEIGHTS_SLOT], 4); /* both layers were there */
  assert_true(x.seen.asked[0] > 1);
  OK(model_end_round(x.m, &err));
  assert_int_equal(x.seen.begun[0] + x.seen.begun[1], 4);
  forward(&x);
  assert_int_equal(x.seen.begun[WEIGHTS_SLOT], 5); /* the embedding's gradient stood in its place */
  OK(model_share_values(x.m, &err));
  forward(&x);
  assert_int_equal(x.seen.begun[WEIGHTS_SLOT], 9); /* after an update all are others */
  close_model(&x);
}

static void refused_on_other_memory(void **state) {
  (void)state;
  one_of_two x;
  model_train_options o = {.apart = true};
  open_model(&x, &o);
  OK(model_train_check(x.m, &o, &err));
  x.m->be->traits.maps_host = false;
  assert_int_equal(model_train_check(x.m, &o, &err), RW_UNSUPPORTED);
  assert_non_null(strstr(err.text, "all: expected a device whose memory is the host's, got"));
  o.apart = false;
  OK(model_train_check(x.m, &o, &err));
  x.m->be->traits.maps_host = true;
  close_model(&x);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_go_beside_the_last_pass),
                                     cmocka_unit_test(weights_come_beside_layers),
                                     cmocka_unit_test(refused_on_other_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

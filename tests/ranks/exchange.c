/* exchange.c - comm.h under a launcher: every rank sends every other one parts of odd sizes, in all slots at once,
 * and asks whether they are there or waits; a broadcast, a gather of uneven parts, the largest of numbers, and what
 * ranks agree on. Exit status 0: all as it should be. With a word: "abort", "differ" (rank 1 fails and all exit as
 * one), "die" (rank 1 is gone).
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/comm.h"
#include "base/mem.h"

enum { MOST = 4, PARTS = 3 };
static rw_error err;
static comm *c;

static void check(bool ok, const char *what) {
  if (ok) return;
  printf("rank %d of %d: %s: %s\n", c->rank, c->size, what, err.text);
  fflush(stdout);
  c->abort(c, 3);
}

static size_t size_of(int from, int to, int part) {
  return (size_t)(from * 70001 + to * 1009 + part * 4099) + (part > 0);
}
static uint8_t byte_of(int from, int to, size_t i) { return (uint8_t)(i * 31 + (size_t)(from * 7 + to * 3)); }

static void exchange(void) {
  comm_part out[COMM_SLOTS][MOST * PARTS], in[COMM_SLOTS][MOST * PARTS];
  size_t n = 0;
  for (int slot = 0; slot < COMM_SLOTS; slot++) {
    n = 0;
    for (int peer = 0; peer < c->size; peer++)
      for (int k = 0; k < PARTS && peer != c->rank; k++, n++) {
        size_t sent = size_of(c->rank, peer, k), got = size_of(peer, c->rank, k);
        out[slot][n] = (comm_part){peer, mem_alloc(sent, 1), sent};
        in[slot][n] = (comm_part){peer, mem_zalloc(got, 1), got};
        for (size_t i = 0; i < sent; i++) ((uint8_t *)out[slot][n].p)[i] = byte_of(c->rank + slot, peer + k, i);
      }
    check(c->begin(c, slot, out[slot], n, in[slot], n, &err) == RW_OK, "begin");
  }
  for (int slot = COMM_SLOTS - 1; slot >= 0; slot--) {
    for (bool done = slot == 0; !done;) check(c->test(c, slot, &done, &err) == RW_OK, "test");
    check(c->end(c, slot, &err) == RW_OK, "end");
    for (size_t j = 0; j < n; j++) {
      bool same = true;
      for (size_t i = 0; i < in[slot][j].bytes; i++)
        same &= ((uint8_t *)in[slot][j].p)[i] == byte_of(in[slot][j].peer + slot, c->rank + (int)(j % PARTS), i);
      check(same, "other bytes came");
      mem_free(in[slot][j].p);
      mem_free(out[slot][j].p);
    }
  }
}

static void collect(void) {
  size_t at[MOST + 1] = {0};
  for (int r = 0; r < c->size; r++) at[r + 1] = at[r] + (size_t)(r * 1000 % 2001);
  uint8_t *all = mem_zalloc(at[c->size], 1), told[5000];
  memset(all + at[c->rank], c->rank + 1, at[c->rank + 1] - at[c->rank]);
  check(c->gather(c, all, at, &err) == RW_OK, "gather");
  for (int r = 0; r < c->size; r++)
    for (size_t i = at[r]; i < at[r + 1]; i++) check(all[i] == r + 1, "gathered other bytes");
  mem_free(all);
  memset(told, c->rank, sizeof told);
  check(c->bcast(c, told, sizeof told, c->size - 1, &err) == RW_OK && told[4999] == c->size - 1, "bcast");
  int64_t v[3] = {c->rank, -c->rank, INT64_MIN};
  check(c->most(c, v, 3, &err) == RW_OK && v[0] == c->size - 1 && v[1] == 0 && v[2] == INT64_MIN, "most");
}

static void agree(void) {
  check(comm_agree(c, RW_OK, &err) == RW_OK && !c->agreed, "agreed on a failure that was none");
  check(comm_same_text(c, "f32", "dtype", &err) == RW_OK, "same");
  check(comm_same(c, 0x8000000000000001u, "number", &err) == RW_OK, "same");
  if (c->size == 1) return;
  check(comm_same(c, UINT64_C(1) << (c->rank ? 63 : 0), "number", &err) == RW_USAGE && c->agreed, "not the same");
  check(comm_same(c, (uint64_t)(c->rank == 1), "number", &err) == RW_USAGE, "not the same by a bit");
  check(comm_same_text(c, c->rank == 1 ? "bf16" : "f32", "dtype", &err) == RW_USAGE && c->agreed &&
            strcmp(err.text, "rank 1: dtype: expected f32 as on rank 0, got bf16") == 0,
        "not the same");
  /* the lowest failure counts, an interruption only where there is none */
  rw_status mine = c->rank == 0 ? rw_fail(&err, RW_INTERRUPTED, "stop") : rw_fail(&err, RW_DATA, "row %d", c->rank);
  check(comm_agree(c, mine, &err) == RW_DATA && c->agreed && strcmp(err.text, "rank 1: row 1") == 0, "agree");
  mine = c->rank == 1 ? rw_fail(&err, RW_INTERRUPTED, "stop") : RW_OK;
  check(comm_agree(c, mine, &err) == RW_INTERRUPTED && strcmp(err.text, "stop") == 0, "agree to stop");
}

int main(int argc, char **argv) {
  const char *word = argc > 1 ? argv[1] : "";
  comm alone = comm_alone();
  if (comm_open(&c, &alone, &err)) {
    printf("%s\n", err.text);
    return 2;
  }
  if (strcmp(word, "die") == 0 && c->rank == 1) kill(getpid(), SIGKILL);
  if (strcmp(word, "die") == 0) sleep(100);
  if (strcmp(word, "abort") == 0 && c->rank == 1) c->abort(c, 7);
  if (strcmp(word, "abort") == 0) c->most(c, &(int64_t){0}, 1, &err);
  exchange();
  if (c->size <= MOST) collect();
  agree();
  check(getenv("OMPI_COMM_WORLD_SIZE") == NULL || c->size == 1, "its children would be ranks");
  check(c->size == 1 || c->cores >= 1, "cores");
  if (c->rank == 0)
    printf("%s: %d ranks, %d here, %d cores each%s\n", c->name, c->size, c->node_size, c->cores,
           c->bound ? ", bound" : "");
  c->close(c);
  return 0;
}

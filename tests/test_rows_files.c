/* test_rows_files.c - passes over several files: read at once and handed on in order, the first failure in order,
 * hashes of what went through, what waits bounded, pipes opened in their turn.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/sha256.h"
#include "folder.h"
#include "format/rows.h"

enum { FILES = 5, IN_FILE = 16000, RESULT_BYTES = 1 << 15, MOST_WAITING = 400 << 20 };

typedef struct {
  struct several *all;
  size_t index;
  uint64_t seen, fail_at; /* fail_at: the line that work() refuses; 0: none */
  uint64_t every;         /* every so many rows are wanted; 0: all */
  atomic_bool met, ended; /* met: some row was worked on */
  bool skip, waits, large;
  char hash[65];
} one_file;

typedef struct several {
  one_file f[FILES];
  const char *path[FILES]; /* NULL: several.gz */
  const char *pipe;
  size_t now; /* the file that is handed on */
  bool in_order, met_early, texts;
  atomic_size_t waiting; /* bytes of large results that sink() has not had */
  size_t most;
} several;

static rw_status work(void *ctx, rows_lane *lane, slice row, uint64_t line, void *result, rw_error *e) {
  one_file *f = ctx;
  atomic_store(&f->met, true);
  if (f->fail_at && line >= f->fail_at) return rw_fail(e, RW_DATA, "refused");
  if (f->large) {
    assert_non_null(arena_alloc(lane->keep, 1, RESULT_BYTES));
    atomic_fetch_add(&f->all->waiting, RESULT_BYTES);
  }
  *(uint64_t *)result = line * 10 + f->index + (row.len < 9);
  return RW_OK;
}

/* The last row of the first file waits for the second file's rows, which only come where both are read at once. */
static rw_status sink(void *ctx, slice row, uint64_t line, void *result, rw_error *e) {
  one_file *f = ctx;
  several *all = f->all;
  size_t waiting = atomic_load(&all->waiting);
  (void)e;
  if (waiting > all->most) all->most = waiting;
  if (f->large) atomic_fetch_sub(&all->waiting, RESULT_BYTES);
  if (all->texts ? !row.p || strtoull(row.p + 5, NULL, 10) != line : row.p != NULL) all->in_order = false;
  if (f->index < all->now || line != ++f->seen * (f->every ? f->every : 1) ||
      *(uint64_t *)result != line * 10 + f->index)
    all->in_order = false;
  all->now = f->index;
  for (int i = 0; f->waits && line == IN_FILE && i < 5000 && !atomic_load(&all->f[1].met); i++)
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  if (f->waits && line == IN_FILE) all->met_early = atomic_load(&all->f[1].met);
  return RW_OK;
}

static rw_status begin(void *ctx, bool *wanted, rw_error *e) {
  const one_file *f = ctx;
  (void)e;
  *wanted = !f->skip;
  return RW_OK;
}

static bool wants(void *ctx, uint64_t line) {
  const one_file *f = ctx;
  return line % f->every == 0;
}

static rw_status end(void *ctx, const rows_in *in, rw_error *e) {
  one_file *f = ctx;
  (void)e;
  atomic_store(&f->ended, f->all->now == f->index);
  if (!rows_hash(in, f->hash)) f->hash[0] = 0;
  return RW_OK;
}

static rw_status map_several(several *all, int threads) {
  char paths[FILES][300];
  rows_file_job jobs[FILES];
  rows_job job = {.result_size = sizeof(uint64_t), .work = work, .sink = sink, .results_alone = !all->texts};
  rw_context context;
  all->in_order = true;
  for (size_t i = 0; i < FILES; i++) {
    snprintf(paths[i], sizeof paths[i], "%s", in_dir(all->path[i] ? all->path[i] : "several.gz"));
    all->f[i].all = all;
    all->f[i].index = i;
    jobs[i] = (rows_file_job){.path = paths[i],
                              .hashed = true,
                              .ctx = &all->f[i],
                              .begin = begin,
                              .end = end,
                              .wants = all->f[i].every ? wants : NULL};
  }
  context_init(&context, NULL, NULL);
  OK(context_start(&context, threads, &err));
  rw_status s = rows_map_files(jobs, FILES, &job, &context, &err);
  context_end(&context);
  assert_true(all->in_order);
  return s;
}

static int make_files(void **state) {
  rows_out *out[4];
  char row[1100];
  if (make_dir(state)) return -1;
  OK(rows_create(&out[0], in_dir("several.gz"), &err));
  OK(rows_create(&out[1], in_dir("long.gz"), &err));
  OK(rows_create(&out[2], in_dir("plain"), &err));
  OK(rows_create(&out[3], in_dir("short"), &err));
  for (int i = 1; i <= 3 * IN_FILE; i++) {
    int n = snprintf(row, sizeof row, "{\"n\":%d,\"text\":\"%01000d\"}", i, i);
    if (i <= IN_FILE) OK(rows_write(out[0], row, (size_t)n, &err));
    OK(rows_write(out[1], row, (size_t)n, &err));
    if (i <= IN_FILE) OK(rows_write(out[2], row, (size_t)n, &err));
    if (i <= IN_FILE / 3) OK(rows_write(out[3], row, (size_t)n, &err));
  }
  for (int k = 0; k < 4; k++) OK(rows_commit(out[k], &err));
  return 0;
}

static void files_are_read_at_once(void **state) {
  (void)state;
  char hash[65];
  OK(sha256_file(in_dir("several.gz"), hash, &err));
  for (int run = 0; run < 4; run++) {
    int threads = run < 2 ? 1 : 4;
    several all = {.f[0] = {.waits = threads > 1}, .f[2] = {.skip = true}, .texts = run % 2};
    OK(map_several(&all, threads));
    assert_true(threads == 1 || all.met_early);
    for (size_t i = 0; i < FILES; i++) {
      assert_int_equal(all.f[i].ended, i != 2);
      assert_int_equal(all.f[i].seen, i == 2 ? 0 : IN_FILE);
      if (i != 2) assert_string_equal(all.f[i].hash, hash);
    }
  }
}

/* The sums of plain files are taken two at a time, by one thread too: the second is read beside the first. */
static void two_are_hashed_at_once(void **state) {
  static const char *const names[FILES] = {"plain", "short", "plain", "several.gz", "plain"};
  (void)state;
  for (int threads = 1; threads <= 3; threads++) {
    several all = {.f[0] = {.waits = true}};
    memcpy(all.path, names, sizeof names);
    OK(map_several(&all, threads));
    assert_true(all.met_early);
    for (size_t i = 0; i < FILES; i++) {
      char hash[65];
      OK(sha256_file(in_dir(names[i]), hash, &err));
      assert_int_equal(all.f[i].seen, i == 1 ? IN_FILE / 3 : IN_FILE);
      assert_string_equal(all.f[i].hash, hash);
    }
  }
}

static rw_status no_work(void *ctx, rows_lane *lane, slice row, uint64_t line, void *result, rw_error *e) {
  (void)ctx, (void)lane, (void)row, (void)line, (void)result, (void)e;
  return RW_OK;
}
static rw_status count(void *ctx, slice row, uint64_t line, void *result, rw_error *e) {
  one_file *f = ctx;
  (void)row, (void)line, (void)result, (void)e;
  f->seen++;
  return RW_OK;
}

/* Also what is no row, and what is changed where it stands, is of the sum. */
static void sums_are_of_all_bytes(void **state) {
  static const char *const texts[FILES] = {"\xEF\xBB\xBF{}\r\n\n {}", "\n \n", "", " [{},\n {\"a\":\n1} ]\n ",
                                           "{}\n\n\n"};
  static const uint64_t rows[FILES] = {2, 0, 0, 2, 1};
  (void)state;
  for (int threads = 1; threads <= 3; threads++) {
    several all = {0};
    char paths[FILES][300], want[65];
    rows_file_job jobs[FILES];
    rows_job job = {.result_size = 1, .work = no_work, .sink = count};
    rw_context context;
    for (size_t i = 0; i < FILES; i++) {
      snprintf(paths[i], sizeof paths[i], "%s%zu", in_dir("bytes"), i);
      OK(file_put(paths[i], texts[i], strlen(texts[i]), &err));
      all.f[i] = (one_file){.all = &all, .index = i};
      jobs[i] = (rows_file_job){.path = paths[i], .hashed = true, .ctx = &all.f[i], .end = end};
    }
    context_init(&context, NULL, NULL);
    OK(context_start(&context, threads, &err));
    OK(rows_map_files(jobs, FILES, &job, &context, &err));
    context_end(&context);
    for (size_t i = 0; i < FILES; i++) {
      OK(sha256_file(paths[i], want, &err));
      assert_int_equal(all.f[i].seen, rows[i]);
      assert_string_equal(all.f[i].hash, want);
    }
  }
}

static void the_first_failure_in_order_is_told(void **state) {
  (void)state;
  for (int threads = 1; threads <= 4; threads += 3) {
    several lacks = {.path[2] = "no-such"};
    assert_int_equal(map_several(&lacks, threads), RW_IO);
    assert_non_null(strstr(err.text, "no-such"));
    assert_true(lacks.f[1].ended && !lacks.f[3].seen);
    several fails = {.f[1] = {.fail_at = 777}, .f[3] = {.fail_at = 1}, .path[4] = "no-such"};
    assert_int_equal(map_several(&fails, threads), RW_DATA);
    assert_non_null(strstr(err.text, "several.gz:777: refused"));
    assert_true(fails.f[0].ended && fails.f[1].seen == 776 && !fails.f[2].seen);
  }
}

/* 32 KB a row of the second file, 500 MB in all, while the first is three times as long. */
static void what_waits_is_bounded(void **state) {
  (void)state;
  several all = {.f = {[1] = {.large = true}, [2] = {.skip = true}, [3] = {.skip = true}, [4] = {.skip = true}},
                 .path[0] = "long.gz"};
  OK(map_several(&all, 2));
  assert_true(atomic_load(&all.f[1].ended) && all.f[0].seen == 3 * IN_FILE);
  assert_true(all.most > 64 << 20 && all.most < MOST_WAITING);
}

static void only_what_is_wanted_is_worked_on(void **state) {
  (void)state;
  for (int threads = 1; threads <= 4; threads += 3) {
    several all = {
        .f = {{.every = 700}, {.every = IN_FILE + 1, .fail_at = 1}, {.every = IN_FILE}, {.fail_at = 3000}}};
    assert_int_equal(map_several(&all, threads), RW_DATA);
    assert_non_null(strstr(err.text, "several.gz:3000: refused"));
    assert_int_equal(all.f[0].seen, IN_FILE / 700);
    assert_true(all.f[1].hash[0] && all.f[1].seen == 0 && all.f[2].seen == 1 && all.f[3].seen == 2999);
  }
}

static void *write_pipe(void *ctx) {
  several *all = ctx;
  while (!atomic_load(&all->f[0].ended)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  FILE *f = fopen(all->pipe, "w");
  if (f) fputs("{\"n\":1}   \n", f);
  if (f) fclose(f);
  return NULL;
}

/* Who writes to it opens it only after the first file is through. */
static void a_pipe_is_opened_in_its_turn(void **state) {
  (void)state;
  char pipe[300];
  several all = {.path[1] = "pipe", .pipe = pipe};
  pthread_t writer;
  alarm(120);
  snprintf(pipe, sizeof pipe, "%s", in_dir("pipe"));
  assert_int_equal(mkfifo(pipe, 0600), 0);
  assert_int_equal(pthread_create(&writer, NULL, write_pipe, &all), 0);
  OK(map_several(&all, 4));
  pthread_join(writer, NULL);
  alarm(0);
  assert_int_equal(all.f[1].seen, 1);
  assert_string_equal(all.f[1].hash, "");
  assert_int_equal(all.f[4].seen, IN_FILE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(files_are_read_at_once),       cmocka_unit_test(two_are_hashed_at_once),
      cmocka_unit_test(sums_are_of_all_bytes),        cmocka_unit_test(the_first_failure_in_order_is_told),
      cmocka_unit_test(what_waits_is_bounded),        cmocka_unit_test(only_what_is_wanted_is_worked_on),
      cmocka_unit_test(a_pipe_is_opened_in_its_turn),
  };
  return cmocka_run_group_tests(tests, make_files, remove_dir);
}

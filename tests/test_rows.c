/* test_rows.c - row files: plain, gzip and zstd read back what was written; line numbers; damage is an error and
 * never an end; an output appears whole or not at all; parallel passes keep the order of rows and of failures.
 */
#include <dirent.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/rng.h"
#include "base/sha256.h"
#include "row_file.h"

static void lines(void **state) {
  (void)state;
  READS("", "");
  READS("\n\n", "");
  READS("{}\n", "1:{}|");
  READS("{}", "1:{}|"); /* no newline at the end */
  READS("{\"a\":1}\n{\"b\":2}", "1:{\"a\":1}|2:{\"b\":2}|");
  READS("\xEF\xBB\xBF{}\n{}\n", "1:{}|2:{}|");
  READS("\xEF\xBB\xBF", "");
  READS("{}\r\n{ }\r\n\r\n1\r\n", "1:{}|2:{ }|4:1|");
  READS("\n \t\n{}\n\n\n{}\n\n", "3:{}|6:{}|");
  READS("a\rb\n\r\n", "1:a\rb|"); /* a carriage return inside a row is the row's */
  READS("x", "1:x|");
  READS("\x1f", "1:\x1f|"); /* too short for any mark of compression */
}

/* ---- compression ---- */

static str pack_gz(const char *p, size_t len) {
  str out = {0};
  z_stream z = {0};
  assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
  size_t room = deflateBound(&z, len) + 32;
  assert_true(str_reserve(&out, room));
  z.next_in = (unsigned char *)p;
  z.avail_in = (unsigned)len;
  z.next_out = (unsigned char *)out.p;
  z.avail_out = (unsigned)room;
  assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
  out.len = z.total_out;
  deflateEnd(&z);
  return out;
}
static str pack_zst(const char *p, size_t len) {
  str out = {0};
  assert_true(str_reserve(&out, ZSTD_compressBound(len)));
  out.len = ZSTD_compress(out.p, ZSTD_compressBound(len), p, len, 3);
  assert_false(ZSTD_isError(out.len));
  return out;
}
typedef str (*packer)(const char *, size_t);
static const packer packers[] = {pack_gz, pack_zst};

static void compressed_files_read_alike(void **state) {
  (void)state;
  static const char text[] = "\xEF\xBB\xBF{\"a\":1}\r\n\n{\"b\":2}";
  for (int k = 0; k < 2; k++) {
    str p = packers[k](text, sizeof text - 1);
    reads_as(p.p, p.len, "1:{\"a\":1}|3:{\"b\":2}|");
    str_free(&p);
    p = packers[k]("", 0);
    reads_as(p.p, p.len, "");
    str_free(&p);
  }
}

/* As cat and pigz make them: members cut anywhere, also inside a row, one of them empty. */
static void members_follow_each_other(void **state) {
  (void)state;
  for (int k = 0; k < 2; k++) {
    static const char *const parts[] = {"{\"a\":", "", "1}\n{}\n", "{\"last\"", ":0}"};
    str all = {0};
    for (int i = 0; i < 5; i++) {
      str p = packers[k](parts[i], strlen(parts[i]));
      str_add(&all, p.p, p.len);
      str_free(&p);
    }
    reads_as(all.p, all.len, "1:{\"a\":1}|2:{}|3:{\"last\":0}|");
    str_free(&all);
  }
}

static void damage_is_an_error(void **state) {
  (void)state;
  static const char text[] = "{\"row\": \"one\"}\n{\"row\": \"two, a little longer\"}\n";
  str got = {0};
  for (int k = 0; k < 2; k++) {
    str p = packers[k](text, sizeof text - 1);
    for (size_t cut = 4; cut < p.len; cut++) { /* at every byte */
      OK(file_put(in_dir("cut"), p.p, cut, &err));
      if (read_all(in_dir("cut"), &got) != RW_DATA)
        fail_msg("%s cut to %zu bytes passed", k ? "zstd" : "gzip", cut);
      assert_non_null(strstr(err.text, in_dir("cut")));
      assert_non_null(strstr(err.text, "ends too early"));
    }
    str q = {0};
    str_add(&q, p.p, p.len);
    str_add(&q, p.p, p.len / 2); /* the second member */
    OK(file_put(in_dir("cut"), q.p, q.len, &err));
    assert_int_equal(read_all(in_dir("cut"), &got), RW_DATA);
    str_addz(&p, "trailing rubbish");
    OK(file_put(in_dir("cut"), p.p, p.len, &err));
    assert_int_equal(read_all(in_dir("cut"), &got), RW_DATA);
    str_free(&p);
    str_free(&q);
  }
  str p = pack_gz(text, sizeof text - 1);
  p.p[p.len - 5] ^= 1; /* the check sum */
  OK(file_put(in_dir("cut"), p.p, p.len, &err));
  assert_int_equal(read_all(in_dir("cut"), &got), RW_DATA);
  assert_non_null(strstr(err.text, "damaged"));
  str_free(&p);
  str_free(&got);
}

/* Sizes around the reader's buffer: what a decoder holds back at the end of the input is still delivered. */
static void sizes_around_the_buffers(void **state) {
  (void)state;
  static const size_t sizes[] = {131071, 131072, 262143, 262144, 262145, 300000, 393216, 524288, 524289, 700001};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (int kind = 0; kind < 6; kind++) { /* one byte again and again, or noise; three packings */
      char *text = malloc(sizes[i]);
      rng g = rng_new(i, 0);
      for (size_t j = 0; j < sizes[i]; j++) text[j] = kind % 2 ? (char)('0' + rng_below(&g, 70)) : 'x';
      text[0] = 'x'; /* no [, with which an array begins */
      text[sizes[i] - 1] = '\n';
      str p = {0};
      if (kind < 4)
        p = packers[kind / 2](text, sizes[i]);
      else
        str_add(&p, text, sizes[i]);
      OK(file_put(in_dir("sized"), p.p, p.len, &err));
      rows_in *in;
      slice row;
      uint64_t line;
      OK(rows_open(&in, in_dir("sized"), NULL, &err));
      rw_status s = rows_next(in, &row, &line, &err);
      if (s) fail_msg("kind %d, %zu bytes: %s", kind, sizes[i], err.text);
      assert_int_equal(row.len, sizes[i] - 1);
      assert_memory_equal(row.p, text, row.len);
      OK(rows_next(in, &row, &line, &err));
      assert_null(row.p);
      rows_close(in);
      str_free(&p);
      free(text);
    }
}

/* ---- writing ---- */

static void what_is_written_reads_back(void **state) {
  (void)state;
  static const char *const names[] = {"out.jsonl", "out.jsonl.gz", "out.jsonl.zst"};
  enum { BIG = 5 << 20 };
  char *big = malloc(BIG);
  rng g = rng_new(3, 0);
  for (size_t i = 0; i < BIG; i++) big[i] = (char)('a' + rng_below(&g, 26));
  for (int k = 0; k < 3; k++) {
    rows_out *out;
    rows_in *in;
    slice row;
    uint64_t line, done, total;
    OK(rows_create(&out, in_dir(names[k]), &err));
    assert_false(file_exists(in_dir(names[k])));
    OK(rows_write(out, "{\"first\":1}", 11, &err));
    OK(rows_write(out, big, BIG, &err));
    for (int i = 0; i < 5000; i++) OK(rows_write(out, "{}", 2, &err));
    OK(rows_commit(out, &err));
    str head = {0};
    OK(file_read(in_dir(names[k]), 64 << 20, &head, &err));
    static const char *const magic[] = {"{\"f", "\x1f\x8b", "\x28\xb5\x2f\xfd"};
    assert_memory_equal(head.p, magic[k], strlen(magic[k]));
    OK(rows_open(&in, in_dir(names[k]), NULL, &err));
    OK(rows_next(in, &row, &line, &err));
    assert_true(slice_is(row, "{\"first\":1}"));
    rows_position(in, &done, &total);
    assert_true(done < total / 10 && total == head.len); /* by rows given out, not by what was read ahead */
    OK(rows_next(in, &row, &line, &err));
    assert_true(line == 2 && row.len == BIG);
    assert_memory_equal(row.p, big, BIG);
    for (uint64_t i = 3; i < 5003; i++) {
      OK(rows_next(in, &row, &line, &err));
      assert_true(line == i && slice_is(row, "{}"));
    }
    OK(rows_next(in, &row, &line, &err));
    assert_null(row.p);
    rows_position(in, &done, &total);
    assert_true(done == head.len && total == head.len);
    rows_close(in);
    str_free(&head);
  }
  free(big);
}

static void same_rows_same_bytes(void **state) {
  (void)state;
  str first = {0}, second = {0};
  for (int k = 0; k < 2; k++) {
    rows_out *out;
    const char *name = k ? "b.gz" : "a.gz";
    OK(rows_create(&out, in_dir(name), &err));
    OK(rows_write(out, "{}", 2, &err));
    OK(rows_commit(out, &err));
    OK(file_read(in_dir(name), 1000, k ? &second : &first, &err));
  }
  assert_true(first.len == second.len && memcmp(first.p, second.p, first.len) == 0);
  str_free(&first);
  str_free(&second);
}

static int entries(const char *path) {
  DIR *d = opendir(path);
  int n = 0;
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
  closedir(d);
  return n;
}

static void an_aborted_output_leaves_nothing(void **state) {
  (void)state;
  static const char *const names[] = {"sub/a.jsonl", "sub/a.gz", "sub/a.zst"};
  OK(file_mkdirs(in_dir("sub"), &err));
  for (int k = 0; k < 3; k++) {
    rows_out *out;
    OK(rows_create(&out, in_dir(names[k]), &err));
    for (int i = 0; i < 100000; i++) OK(rows_write(out, "{\"a\":1}", 7, &err));
    assert_false(file_exists(in_dir(names[k])));
    rows_abort(out);
    assert_int_equal(entries(in_dir("sub")), 0);
    OK(file_put(in_dir(names[k]), "old", 3, &err)); /* what stood there stays */
    OK(rows_create(&out, in_dir(names[k]), &err));
    OK(rows_write(out, "{}", 2, &err));
    rows_abort(out);
    str kept = {0};
    OK(file_read(in_dir(names[k]), 100, &kept, &err));
    assert_string_equal(kept.p, "old");
    str_free(&kept);
    assert_int_equal(entries(in_dir("sub")), 1);
    unlink(in_dir(names[k]));
  }
  rows_abort(NULL);
}

static void what_cannot_be_opened_is_named(void **state) {
  (void)state;
  rows_in *in;
  rows_out *out;
  assert_int_equal(rows_open(&in, in_dir("absent"), NULL, &err), RW_IO);
  assert_non_null(strstr(err.text, "absent"));
  assert_null(in);
  OK(file_mkdirs(in_dir("empty"), &err));
  assert_int_equal(rows_open(&in, in_dir("empty"), NULL, &err), RW_IO);
  assert_int_equal(rows_create(&out, in_dir("no/such/folder"), &err), RW_IO);
  assert_non_null(strstr(err.text, "no/such/folder"));
  OK(file_put(in_dir("x.parquet"), "PAR1 and so on", 14, &err));
  rw_status s = rows_open(&in, in_dir("x.parquet"), NULL, &err);
  assert_true(s == RW_UNSUPPORTED || s == RW_DATA); /* without or with Arrow's library */
  assert_non_null(strstr(err.text, "Parquet"));
}

/* ---- parallel passes ---- */

typedef struct {
  uint64_t fail_work, fail_sink; /* lines; 0: none */
  uint64_t seen, last_line, worked;
  int opened, closed;
  bool in_order, result_right;
} pass_state;

typedef struct {
  slice text; /* of some rows */
} said;

static rw_status lane_open(void *ctx, void *own, rw_error *e) {
  pass_state *p = ctx;
  (void)e;
  *(uint64_t *)own = 1;
  p->opened++;
  return RW_OK;
}
static void lane_close(void *ctx, void *own) {
  pass_state *p = ctx;
  p->closed++;
  p->worked += *(uint64_t *)own - 1;
}
static rw_status work(void *ctx, rows_lane *lane, slice row, uint64_t line, void *result, rw_error *e) {
  const pass_state *p = ctx;
  said *r = result;
  ++*(uint64_t *)lane->own;
  if (p->fail_work && line >= p->fail_work) return rw_fail(e, RW_DATA, "failed");
  if (line % 3 == 0) return RW_OK;
  RW_TRY(json_parse(lane->doc, row.p, row.len, e));
  char *copy = arena_strndup(lane->mem, row.p, row.len); /* is gone with the next row */
  r->text = (slice){arena_strndup(lane->keep, copy, row.len), row.len};
  return RW_OK;
}
static rw_status sink(void *ctx, slice row, uint64_t line, void *result, rw_error *e) {
  pass_state *p = ctx;
  const said *r = result;
  char want[32];
  int n = snprintf(want, sizeof want, "{\"n\":%llu}", (unsigned long long)line);
  if (line <= p->last_line) p->in_order = false;
  if (row.len != (size_t)n || memcmp(row.p, want, row.len) != 0) p->result_right = false;
  if (line % 3 ? !slice_eq(row, r->text) : r->text.p != NULL) p->result_right = false;
  p->last_line = line;
  p->seen++;
  return p->fail_sink == line ? rw_fail(e, RW_IO, "the sink is full") : RW_OK;
}

enum { MANY = 60000 };
static rw_status pass(int threads, pass_state *p, const char *path) {
  rows_in *in;
  rw_context context;
  rows_job job = {.result_size = sizeof(said),
                  .lane_size = sizeof(uint64_t),
                  .lane_open = lane_open,
                  .lane_close = lane_close,
                  .work = work,
                  .sink = sink,
                  .ctx = p};
  p->in_order = p->result_right = true;
  context_init(&context, NULL, NULL);
  OK(context_start(&context, threads, &err));
  OK(rows_open(&in, path, &context, &err));
  rw_status s = rows_map(in, &job, &err);
  rows_close(in);
  context_end(&context);
  assert_int_equal(p->opened, threads);
  assert_int_equal(p->closed, threads);
  assert_true(p->worked >= p->seen);
  return s;
}
static str many_rows(void) {
  str s = {0};
  for (int i = 1; i <= MANY; i++)
    if (i % 7)
      str_printf(&s, "{\"n\":%d}\n", i);
    else
      str_addc(&s, '\n');
  return s;
}

static void passes_keep_the_order(void **state) {
  (void)state;
  str s = many_rows();
  OK(file_put(in_dir("many"), s.p, s.len, &err));
  for (int threads = 1; threads <= 4; threads += 3) {
    pass_state p = {0};
    OK(pass(threads, &p, in_dir("many")));
    assert_true(p.in_order && p.result_right);
    assert_int_equal(p.seen, MANY - MANY / 7);
    assert_int_equal(p.last_line, MANY);
  }
  OK(file_put(in_dir("none"), "\n\n", 2, &err));
  pass_state p = {0};
  OK(pass(4, &p, in_dir("none")));
  assert_int_equal(p.seen, 0);
  str_free(&s);
}

/* While results are handed on, later rows are worked on: the first result waits for one that comes later than all
 * that were worked on together with it. Or the sink has the threads for itself. */
typedef struct {
  rw_context context;
  atomic_uint_fast64_t highest; /* line that was worked on */
  uint64_t first, last, together, seen;
  atomic_size_t own_tasks;
  bool overlap, early;
} meeting;

static rw_status meet_work(void *ctx, rows_lane *lane, slice row, uint64_t line, void *result, rw_error *e) {
  meeting *m = ctx;
  (void)lane, (void)row, (void)result, (void)e;
  for (uint_fast64_t was = m->highest; line > was && !atomic_compare_exchange_weak(&m->highest, &was, line);) {
  }
  return RW_OK;
}

static void own_task(void *ctx, size_t number, int thread) {
  meeting *m = ctx;
  (void)number, (void)thread;
  m->own_tasks++;
}

static rw_status meet_sink(void *ctx, slice row, uint64_t line, void *result, rw_error *e) {
  meeting *m = ctx;
  (void)row, (void)result, (void)e;
  if (m->seen++ == 0 && m->overlap) {
    for (int i = 0; i < 20000 && m->highest <= m->together; i++)
      nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    m->early = m->highest > m->together;
  } else if (m->seen == 1) {
    m->first = m->highest;
    pool_run(m->context.threads, 9, own_task, m);
    m->early = m->highest > m->first;
  } else if (!m->overlap && m->together == 0 && m->highest != m->first) {
    m->together = m->last; /* more was worked on between that row and this one */
  }
  m->last = line;
  return RW_OK;
}

static void sinks_meet_the_work_on_later_rows(void **state) {
  (void)state;
  str s = many_rows();
  rows_in *in;
  OK(file_put(in_dir("many"), s.p, s.len, &err));
  uint64_t together = 0; /* the last of the rows that are read and worked on with the first */
  for (int overlap = 0; overlap < 2; overlap++) {
    meeting m = {.overlap = overlap, .together = together};
    rows_job job = {.work = meet_work, .sink = meet_sink, .ctx = &m, .sink_runs_pool = !overlap};
    context_init(&m.context, NULL, NULL);
    OK(context_start(&m.context, 2, &err));
    OK(rows_open(&in, in_dir("many"), &m.context, &err));
    OK(rows_map(in, &job, &err));
    rows_close(in);
    context_end(&m.context);
    assert_int_equal(m.seen, MANY - MANY / 7);
    assert_int_equal(m.early, overlap);
    together = m.together;
    assert_true(together > 0 && together < MANY);
    assert_int_equal(m.own_tasks, overlap ? 0 : 9);
  }
  str_free(&s);
}

/* Rows that are held stand in the reader's buffer, whatever it reads meanwhile, until that is taken. */
static void held_rows_stay(void **state) {
  enum { TAKEN = 700 };
  static size_t at[TAKEN], len[TAKEN];
  (void)state;
  str s = many_rows(), text = {0}, want = {0}, got = {0};
  OK(file_put(in_dir("many"), s.p, s.len, &err));
  OK(read_all(in_dir("many"), &want));
  rows_in *in;
  slice row = {"", 0};
  uint64_t line = 0;
  size_t taken, unread, most = 0;
  OK(rows_open(&in, in_dir("many"), NULL, &err));
  assert_true(rows_hold(in));
  while (row.p) {
    uint64_t lines[TAKEN];
    size_t n = 0;
    for (; n < TAKEN; n++) {
      OK(rows_next(in, &row, &lines[n], &err));
      if (!row.p) break;
      at[n] = (size_t)(row.p - rows_held(in, &taken, &unread));
      len[n] = row.len;
      assert_true(taken >= at[n] + len[n]);
    }
    rows_held(in, &taken, &unread);
    assert_true(rows_take(in, &text));
    assert_int_equal(text.len, taken + unread);
    if (text.len > most) most = text.len;
    for (size_t i = 0; i < n; i++) {
      assert_true(lines[i] > line);
      str_printf(&got, "%llu:%.*s|", (unsigned long long)(line = lines[i]), (int)len[i], text.p + at[i]);
    }
  }
  assert_string_equal(got.p, want.p);
  assert_true(most < s.len / 2);
  rows_close(in);
  assert_int_equal(rename(in_dir("many"), in_dir("many.txt")), 0);
  OK(rows_open(&in, in_dir("many.txt"), NULL, &err));
  assert_false(rows_hold(in));
  rows_close(in);
  str *all[] = {&s, &text, &want, &got};
  for (size_t i = 0; i < 4; i++) str_free(all[i]);
}

static void hashes_are_of_the_files(void **state) {
  static const char *const texts[] = {"", "{}\n\n  \n{\"a\":1}", "[{}, {\"a\": 1} ]\n ",
                                      "\xEF\xBB\xBF{}\r\n{}\n\n"};
  (void)state;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    rows_in *in;
    slice row;
    uint64_t line;
    char want[65], got[65];
    OK(file_put(in_dir("hashed"), texts[i], strlen(texts[i]), &err));
    OK(sha256_file(in_dir("hashed"), want, &err));
    OK(rows_open_hashed(&in, in_dir("hashed"), NULL, &err));
    do OK(rows_next(in, &row, &line, &err));
    while (row.p);
    assert_true(rows_hash(in, got));
    assert_string_equal(got, want);
    rows_close(in);
    OK(rows_open(&in, in_dir("hashed"), NULL, &err));
    assert_false(rows_hash(in, got));
    rows_close(in);
  }
}

/* Every row from the failing one on fails: the first in the order of the file is the one that is told, and every
 * row before it has been handed on. */
static void the_first_failure_ends_the_pass(void **state) {
  (void)state;
  static const uint64_t at[] = {1, 2, 4096, 5000, 23456, MANY - 1};
  str s = many_rows();
  OK(file_put(in_dir("many"), s.p, s.len, &err));
  for (int threads = 1; threads <= 4; threads += 3)
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
      pass_state p = {.fail_work = at[i]};
      uint64_t bad = at[i] + (at[i] % 7 == 0); /* a blank line is no row */
      char want[300];
      snprintf(want, sizeof want, "%s:%llu: failed", in_dir("many"), (unsigned long long)bad);
      assert_int_equal(pass(threads, &p, in_dir("many")), RW_DATA);
      assert_string_equal(err.text, want);
      assert_int_equal(p.seen, bad - 1 - (bad - 1) / 7);
      assert_true(p.in_order && p.result_right);
      p = (pass_state){.fail_sink = bad, .fail_work = bad + 1};
      assert_int_equal(pass(threads, &p, in_dir("many")), RW_IO);
      assert_string_equal(err.text, "the sink is full");
      assert_int_equal(p.last_line, bad);
    }
  str_free(&s);
}

/* Rows before the damage are handed on; then the damage is told, unless a row failed before it. */
static void damage_comes_after_the_rows_before_it(void **state) {
  (void)state;
  str s = many_rows(), p = pack_gz(s.p, s.len);
  OK(file_put(in_dir("damaged"), p.p, p.len - 10, &err));
  for (int threads = 1; threads <= 4; threads += 3) {
    pass_state st = {0};
    assert_int_equal(pass(threads, &st, in_dir("damaged")), RW_DATA);
    assert_non_null(strstr(err.text, "ends too early"));
    assert_true(st.in_order && st.result_right && st.seen > MANY / 2);
    st = (pass_state){.fail_work = 100};
    assert_int_equal(pass(threads, &st, in_dir("damaged")), RW_DATA);
    assert_non_null(strstr(err.text, "damaged:100: failed"));
  }
  str_free(&s);
  str_free(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(lines),
      cmocka_unit_test(compressed_files_read_alike),
      cmocka_unit_test(members_follow_each_other),
      cmocka_unit_test(damage_is_an_error),
      cmocka_unit_test(sizes_around_the_buffers),
      cmocka_unit_test(what_is_written_reads_back),
      cmocka_unit_test(same_rows_same_bytes),
      cmocka_unit_test(an_aborted_output_leaves_nothing),
      cmocka_unit_test(what_cannot_be_opened_is_named),
      cmocka_unit_test(passes_keep_the_order),
      cmocka_unit_test(sinks_meet_the_work_on_later_rows),
      cmocka_unit_test(held_rows_stay),
      cmocka_unit_test(hashes_are_of_the_files),
      cmocka_unit_test(the_first_failure_ends_the_pass),
      cmocka_unit_test(damage_comes_after_the_rows_before_it),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

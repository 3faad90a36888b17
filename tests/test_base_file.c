/* test_base_file.c - files that appear whole or not at all, folders that two processes want, and what is refused.
 */
#include <signal.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "folder.h"

#define SAYS(part) assert_non_null(strstr(err.text, part))

static void holds(const char *path, const char *want) {
  str s = {0};
  OK(file_read(path, 1 << 24, &s, &err));
  assert_true(slice_is((slice){s.p, s.len}, want));
  str_free(&s);
}

static void a_name_appears_when_all_is_there(void **state) {
  (void)state;
  const char *path = in_dir("out");
  file_out *out;
  OK(file_put(path, "before", 6, &err));
  OK(file_out_open(&out, path, &err));
  OK(file_out_write(out, "af", 2, &err));
  OK(file_out_write(out, "", 0, &err));
  holds(path, "before");
  OK(file_out_write(out, "ter", 3, &err));
  OK(file_out_commit(out, &err));
  holds(path, "after");
  OK(file_out_open(&out, path, &err));
  OK(file_out_write(out, "never", 5, &err));
  file_out_abort(out);
  file_out_abort(NULL);
  holds(path, "after");
}

static void long_writes_are_whole(void **state) {
  (void)state;
  enum { PIECE = 100000, PIECES = 30, LONG = 1 << 20 };
  char *piece = mem_alloc(LONG, 1);
  file_out *out;
  OK(file_out_open(&out, in_dir("long"), &err));
  for (int i = 0; i < PIECES; i++) {
    memset(piece, i, PIECE);
    OK(file_out_write(out, piece, PIECE, &err));
  }
  memset(piece, 99, LONG);
  OK(file_out_write(out, piece, LONG, &err)); /* more than a buffer at once */
  OK(file_out_commit(out, &err));
  mem_free(piece);
  file_map m;
  OK(file_map_open(&m, in_dir("long"), &err));
  assert_int_equal(m.len, PIECE * PIECES + LONG);
  for (size_t i = 0; i < m.len; i++)
    if (m.p[i] != (i / PIECE < PIECES ? i / PIECE : 99)) fail_msg("byte %zu is %d", i, m.p[i]);
  file_map_close(&m);
}

/* A process that is killed between open and commit leaves the old file; the next one clears up after it. */
static void a_kill_leaves_the_old_file(void **state) {
  (void)state;
  char partial[160] = "", other[160];
  OK(file_out_dir(in_dir("killed"), false, &err));
  const char *path = in_dir("killed/out");
  OK(file_put(path, "old", 3, &err));
  int told[2];
  assert_int_equal(pipe(told), 0);
  pid_t child = fork();
  if (child == 0) {
    file_out *out;
    if (!file_out_open(&out, path, NULL) && !file_out_write(out, "new", 3, NULL) &&
        write(told[1], file_out_partial(out), strlen(file_out_partial(out))) > 0)
      kill(getpid(), SIGKILL);
    _exit(1);
  }
  int status;
  assert_true(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
  holds(path, "old");
  assert_true(read(told[0], partial, sizeof partial - 1) > 0);
  close(told[0]);
  close(told[1]);
  assert_true(file_exists(partial));
  /* of another host's processes nothing is known, nor whether a name is a host's at all */
  snprintf(other, sizeof other, "%s", partial);
  char *last = &other[strlen(other) - 1];
  *last = *last == 'x' ? 'y' : 'x';
  OK(file_put(other, "x", 1, &err));
  OK(file_put(in_dir("killed/out.partial-999999999"), "x", 1, &err));
  assert_int_equal(file_out_dir(in_dir("killed"), false, &err), RW_USAGE); /* not empty: but swept */
  field_spell(err.text, true);
  SAYS("--force");
  assert_false(file_exists(partial));
  assert_true(file_exists(other));
  assert_true(file_exists(in_dir("killed/out.partial-999999999")));
  holds(path, "old");
}

/* Two processes write one file, each at its own place; nothing is there before the commit. */
static void written_by_two(void **state) {
  (void)state;
  file_out *out, *other;
  const char *path = in_dir("both");
  OK(file_out_open(&out, path, &err));
  OK(file_out_join(&other, path, file_out_partial(out), &err));
  OK(file_out_at(other, 3, "def", 3, &err));
  OK(file_out_at(out, 0, "abc", 3, &err));
  OK(file_out_leave(other, &err));
  assert_false(file_exists(path));
  OK(file_out_commit(out, &err));
  holds(path, "abcdef");
  assert_int_equal(file_out_join(&other, path, in_dir("no/such"), &err), RW_IO);
  SAYS("all ranks share");
}

static void a_folder_is_one_processs_at_a_time(void **state) {
  (void)state;
  out_dir d, e;
  OK(file_dir_begin(&d, in_dir("a/b/c"), false, &err));
  assert_int_equal(file_dir_begin(&e, in_dir("a/b/c"), true, &err), RW_USAGE);
  SAYS("another process");
  file_dir_end(&e, true); /* after a begin that failed: nothing */
  assert_true(file_exists(in_dir("a/b/c/.unfinished")));
  file_dir_end(&d, false); /* empty: the folders that begin made go */
  assert_false(file_exists(in_dir("a")));
  OK(file_dir_begin(&d, in_dir("a/b"), false, &err));
  OK(file_put(in_dir("a/b/part"), "1", 1, &err));
  file_dir_end(&d, false);
  assert_true(file_exists(in_dir("a/b/.unfinished")));
  OK(file_dir_begin(&d, in_dir("a/b"), false, &err)); /* taken again without force */
  file_dir_end(&d, true);
  assert_false(file_exists(in_dir("a/b/.unfinished")));
  assert_int_equal(file_dir_begin(&d, in_dir("a/b"), false, &err), RW_USAGE);
  file_dir_end(&d, true);
}

/* What somebody else may have laid in a shared folder. */
static void nothing_is_read_or_written_through_what_others_laid(void **state) {
  (void)state;
  int fd;
  uint64_t size;
  struct stat st;
  char there[200];
  OK(file_mkdirs(in_dir("shared/model"), &err));
  OK(file_put(in_dir("victim"), "mine", 4, &err));
  /* a pipe is not waited for */
  assert_int_equal(mkfifo(in_dir("shared/pipe"), 0600), 0);
  assert_int_equal(file_open_input(&fd, &size, in_dir("shared/pipe"), &err), RW_IO);
  SAYS("shared/pipe: expected a regular file, got a pipe");
  assert_int_equal(file_open_append(&fd, in_dir("shared/pipe"), &err), RW_IO);
  /* a link in the way of what is to be written goes, its target stays */
  snprintf(there, sizeof there, "%s", in_dir("victim"));
  assert_int_equal(symlink(there, in_dir("shared/new")), 0);
  assert_true((fd = file_create_new(in_dir("shared/new"))) >= 0);
  close(fd);
  holds(there, "mine");
  assert_true(lstat(in_dir("shared/new"), &st) == 0 && S_ISREG(st.st_mode));
  /* and nothing is appended through one, nor to a file of two names */
  assert_int_equal(symlink(there, in_dir("shared/link")), 0);
  assert_int_equal(file_open_append(&fd, in_dir("shared/link"), &err), RW_IO);
  SAYS("is a link");
  assert_int_equal(link(there, in_dir("shared/second")), 0);
  assert_int_equal(file_open_append(&fd, in_dir("shared/second"), &err), RW_IO);
  SAYS("with other names");
  assert_int_equal(unlink(in_dir("shared/second")), 0);
  for (int i = 0; i < 2; i++) { /* made, then taken up again */
    OK(file_open_append(&fd, in_dir("shared/own"), &err));
    assert_true(fstat(fd, &st) == 0 && (st.st_mode & 0777) == 0600);
    close(fd);
  }
  /* a copy is no more public than what it is of */
  assert_int_equal(chmod(there, 0600), 0);
  OK(file_put_like(in_dir("copy"), "mine", 4, there, &err));
  assert_true(stat(in_dir("copy"), &st) == 0 && (st.st_mode & 0777) == 0600);
  /* links that stay in their folder are fine, and those of a hub's cache */
  OK(file_put(in_dir("shared/model/a"), "a", 1, &err));
  assert_int_equal(symlink("a", in_dir("shared/model/inner")), 0);
  OK(file_check_inside(in_dir("shared/model"), "inner", &err));
  assert_int_equal(symlink("../../victim", in_dir("shared/model/outer")), 0);
  assert_int_equal(file_check_inside(in_dir("shared/model"), "outer", &err), RW_DATA);
  SAYS("outer: is a link out of its folder");
  OK(file_mkdirs(in_dir("models--a/snapshots/0"), &err));
  OK(file_mkdirs(in_dir("models--a/blobs"), &err));
  OK(file_put(in_dir("models--a/blobs/x"), "x", 1, &err));
  assert_int_equal(symlink("../../blobs/x", in_dir("models--a/snapshots/0/f")), 0);
  assert_int_equal(symlink("../../../victim", in_dir("models--a/snapshots/0/g")), 0);
  OK(file_check_inside(in_dir("models--a/snapshots/0"), "f", &err));
  assert_int_equal(file_check_inside(in_dir("models--a/snapshots/0"), "g", &err), RW_DATA);
}

static void what_is_no_file_is_refused(void **state) {
  (void)state;
  file_map m;
  file_out *out;
  str s = {0};
  OK(file_mkdirs(in_dir("folder/inner"), &err));
  assert_int_equal(file_map_open(&m, in_dir("folder"), &err), RW_IO);
  SAYS("a folder");
  assert_int_equal(file_map_open(&m, "/dev/null", &err), RW_IO);
  SAYS("a device");
  assert_int_equal(file_map_open(&m, in_dir("nowhere"), &err), RW_IO);
  assert_int_equal(file_out_open(&out, in_dir("folder"), &err), RW_IO);
  assert_null(out);
  assert_int_equal(file_out_open(&out, in_dir("nowhere/x"), &err), RW_IO);
  OK(file_put(in_dir("text"), "one\ntwo\xff", 8, &err));
  assert_int_equal(file_read_text(in_dir("text"), 100, &s, &err), RW_DATA);
  SAYS("text:2: expected UTF-8 text, got the byte 0xff");
  str_free(&s);
  assert_int_equal(file_read(in_dir("text"), 7, &s, &err), RW_DATA);
  str_free(&s);
  OK(file_read(in_dir("text"), 8, &s, &err));
  str_free(&s);
  assert_int_equal(file_mkdirs(in_dir("text/x"), &err), RW_IO);
  const char *in[] = {in_dir("text")};
  assert_int_equal(file_check_output(in_dir("./text"), in, 1, &err), RW_USAGE);
  OK(file_check_output(in_dir("other"), in, 1, &err));
  OK(file_check_output("/dev/null", (const char *[]){"/dev/null"}, 1, &err));
  OK(file_put("/dev/null", "x", 1, &err)); /* as it is: nothing is renamed over a device */
  struct stat st;
  assert_true(stat("/dev/null", &st) == 0 && S_ISCHR(st.st_mode));
}

static void an_empty_file_maps_and_hashes(void **state) {
  (void)state;
  char a[33], b[33];
  file_map m;
  OK(file_put(in_dir("empty"), "", 0, &err));
  OK(file_map_open(&m, in_dir("empty"), &err));
  assert_int_equal(m.len, 0);
  file_map_close(&m);
  file_map_close(&m); /* once more does nothing */
  OK(file_hash(in_dir("empty"), a, &err));
  assert_string_equal(a, "99aa06d3014798d86001c324468d497f"); /* XXH3-128 of nothing */
  OK(file_put(in_dir("x"), "x", 1, &err));
  OK(file_hash(in_dir("x"), b, &err));
  assert_string_not_equal(a, b);
}

static void folders_are_replaced_and_removed_whole(void **state) {
  (void)state;
  OK(file_mkdirs(in_dir("from"), &err));
  OK(file_mkdirs(in_dir("to/deep/er"), &err));
  OK(file_put(in_dir("from/f"), "new", 3, &err));
  OK(file_put(in_dir("to/deep/er/f"), "old", 3, &err));
  OK(file_replace_dir(in_dir("from"), in_dir("to"), &err));
  holds(in_dir("to/f"), "new");
  assert_false(file_exists(in_dir("from")) || file_exists(in_dir("to/deep")));
  assert_int_equal(symlink("/etc", in_dir("to/link")), 0);
  OK(file_remove_dir(in_dir("to"), &err)); /* a link is removed, not followed */
  assert_false(file_exists(in_dir("to")) || file_exists(in_dir("to.removed")));
  assert_true(file_is_dir("/etc"));
  OK(file_remove_dir(in_dir("to"), &err));
  OK(file_remove_tree(in_dir("to"), &err));
  char *near = file_nearest_dir(in_dir("no/such/place"));
  assert_string_equal(near, dir);
  assert_true(file_room(near) > 0);
  mem_free(near);
  int fd;
  OK(file_nameless(dir, &fd, &err));
  assert_int_equal(write(fd, "x", 1), 1);
  close(fd);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_name_appears_when_all_is_there),
      cmocka_unit_test(long_writes_are_whole),
      cmocka_unit_test(written_by_two),
      cmocka_unit_test(a_kill_leaves_the_old_file),
      cmocka_unit_test(a_folder_is_one_processs_at_a_time),
      cmocka_unit_test(nothing_is_read_or_written_through_what_others_laid),
      cmocka_unit_test(what_is_no_file_is_refused),
      cmocka_unit_test(an_empty_file_maps_and_hashes),
      cmocka_unit_test(folders_are_replaced_and_removed_whole),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

/* test_torch_file.c - files of torch.save (tests/reference/make_torch.py) hold what safetensors has of the same
 * tensors, whole, in shards and in zip64; what is no plain tensor is refused by name, and nothing is ever run.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "format/safetensors.h"
#include "unit.h"

#define DATA "tests/data/torch/"

static void same_tensors(const char *path) {
  st_set *want, *got;
  OK(st_open(&want, DATA "values.safetensors", &err));
  OK(st_open(&got, path, &err));
  assert_int_equal(st_count(got), 19);
  assert_int_equal(st_count(got), st_count(want));
  for (size_t i = 0; i < st_count(want); i++) {
    const st_tensor *w = st_at(want, i), *g = st_find(got, w->name);
    if (!g || g->dtype != w->dtype || g->n_dims != w->n_dims || g->bytes != w->bytes ||
        memcmp(g->shape, w->shape, (size_t)w->n_dims * sizeof *w->shape) != 0 ||
        (w->bytes && memcmp(g->data, w->data, w->bytes) != 0))
      fail_msg("%s: %s differs", path, w->name);
  }
  st_close(want);
  st_close(got);
}

static void tensors_are_read(void **state) {
  (void)state;
  same_tensors(DATA "values.bin");
  same_tensors(DATA "zip64.bin");
  same_tensors(DATA "protocol4.bin");
  same_tensors(DATA); /* by its index */
  st_set *s;
  OK(st_open(&s, DATA "parameter.bin", &err));
  assert_int_equal(st_find(s, "w")->shape[0], 3);
  st_close(s);
}

static void what_is_no_tensor_is_refused_by_name(void **state) {
  (void)state;
  static const struct {
    const char *file, *says;
  } cases[] = {{"runs.bin", "'posix.system'; nothing of it was run"},
               {"array.bin", "numpy"},
               {"nested.bin", "entry 0, model"},
               {"columns.bin", "do not lie in rows (stride 4, expected 1)"},
               {"old.bin", "before version 1.6"},
               {"packed.bin", "not compressed"},
               {"big_endian.bin", "little-endian"},
               {"missing.bin", "a storage is not in the file"},
               {"short.bin", "a storage is longer than its member"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char path[100];
    st_set *s;
    snprintf(path, sizeof path, DATA "%s", cases[i].file);
    if (st_open(&s, path, &err) == RW_OK) fail_msg("%s: opened", path);
    if (!strstr(err.text, cases[i].says) || strncmp(err.text, path, strlen(path)) != 0)
      fail_msg("%s: %s", path, err.text);
  }
  assert_int_not_equal(access("/tmp/reward-was-run", F_OK), 0);
}

/* Where both are, safetensors counts. */
static void safetensors_wins(void **state) {
  (void)state;
  char dir[] = "/tmp/reward-torch-XXXXXX", path[100];
  str bytes = {0};
  st_set *s;
  assert_non_null(mkdtemp(dir));
  OK(file_read(DATA "parameter.bin", 1 << 20, &bytes, &err));
  snprintf(path, sizeof path, "%s/pytorch_model.bin", dir);
  OK(file_put(path, bytes.p, bytes.len, &err));
  OK(st_open(&s, dir, &err));
  assert_int_equal(st_count(s), 1);
  st_close(s);
  str_clear(&bytes);
  OK(file_read(DATA "values.safetensors", 1 << 20, &bytes, &err));
  snprintf(path, sizeof path, "%s/model.safetensors", dir);
  OK(file_put(path, bytes.p, bytes.len, &err));
  OK(st_open(&s, dir, &err));
  assert_int_equal(st_count(s), 19);
  st_close(s);
  str_free(&bytes);
  OK(file_remove_tree(dir, &err));
}

static void try(int fd, const char *path, const char *bytes, size_t len) {
  st_set *s;
  assert_int_equal(ftruncate(fd, (off_t)len), 0);
  assert_int_equal(pwrite(fd, bytes, len, 0), len);
  if (st_open(&s, path, &err)) return;
  for (size_t i = 0; i < st_count(s); i++) {
    const st_tensor *t = st_at(s, i);
    for (size_t k = 0; k < t->bytes; k++) (void)((const volatile char *)t->data)[k];
  }
  st_close(s);
}

/* Cut anywhere, or with any byte another: an error, or tensors that lie in the file. */
static void damage_is_found(void **state) {
  (void)state;
  str bytes = {0};
  OK(file_read(DATA "zip64.bin", 1 << 20, &bytes, &err));
  int fd = memfd_create("torch", 0);
  char path[40];
  assert_true(fd >= 0);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  for (size_t i = 0; i < bytes.len; i++) {
    char was = bytes.p[i];
    try(fd, path, bytes.p, i);
    bytes.p[i] ^= 0x41;
    try(fd, path, bytes.p, bytes.len);
    bytes.p[i] = was;
  }
  str_free(&bytes);
  close(fd);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(tensors_are_read),
                                     cmocka_unit_test(what_is_no_tensor_is_refused_by_name),
                                     cmocka_unit_test(safetensors_wins), cmocka_unit_test(damage_is_found)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

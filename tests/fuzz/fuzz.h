/* fuzz.h - fuzz targets of parsers that take a path: the input as a file in memory. */
#ifndef FUZZ_H
#define FUZZ_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
  int fd;
  char path[40];
} fuzz_file;

static inline fuzz_file fuzz_file_of(const uint8_t *data, size_t size) {
  fuzz_file f = {.fd = memfd_create("fuzz", 0)};
  if (f.fd < 0 || write(f.fd, data, size) != (ssize_t)size) abort();
  snprintf(f.path, sizeof f.path, "/proc/self/fd/%d", f.fd);
  return f;
}
static inline void fuzz_file_close(fuzz_file *f) { close(f->fd); }

/* A folder whose file `name` holds data, made once a process and removed at its end: for parsers that take one. */
static char fuzz_folder[] = "/dev/shm/reward-fuzz-XXXXXX", fuzz_member[64];
static inline void fuzz_dir_remove(void) {
  unlink(fuzz_member);
  rmdir(fuzz_folder);
}
static inline const char *fuzz_dir(const char *name, const uint8_t *data, size_t size) {
  if (!fuzz_member[0]) {
    if (!mkdtemp(fuzz_folder) || atexit(fuzz_dir_remove)) abort();
    snprintf(fuzz_member, sizeof fuzz_member, "%s/%s", fuzz_folder, name);
  }
  int fd = open(fuzz_member, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || write(fd, data, size) != (ssize_t)size || close(fd)) abort();
  return fuzz_folder;
}

/* Reads every byte, so that one outside of its mapping or block is noticed. */
static inline void fuzz_touch(const void *p, size_t n) {
  for (size_t i = 0; i < n; i++) (void)((const volatile uint8_t *)p)[i];
}

#endif

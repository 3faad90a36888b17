/* open.c - opening files where others may have laid something: inputs that must be files, outputs that follow no
 * link. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static rw_status sys_fail(rw_error *err, const char *path, const char *doing) {
  return rw_fail(err, RW_IO, "%s: %s: %s", path, doing, strerror(errno));
}

static const char *kind_of(mode_t mode) {
  return S_ISDIR(mode) ? "folder" : S_ISFIFO(mode) ? "pipe" : S_ISSOCK(mode) ? "socket" : "device";
}

static rw_status not_regular(const char *path, mode_t mode, rw_error *err) {
  return rw_fail(err, RW_IO, "%s: expected a regular file, got a %s; name a file", path, kind_of(mode));
}

/* A pipe that the command line itself hands over, as <(COMMAND) of a shell does: nothing that a folder could hold.
 */
static bool is_handed_over(const char *path) {
  return strncmp(path, "/dev/fd/", 8) == 0 || strncmp(path, "/proc/self/fd/", 14) == 0 ||
         strcmp(path, "/dev/stdin") == 0;
}

rw_status file_open_input(int *fd, uint64_t *size, const char *path, rw_error *err) {
  bool pipe_fits = size == NULL && is_handed_over(path);
  struct stat st;
  rw_status s = RW_OK;
  /* O_NONBLOCK: a pipe without a writer would be waited for, before anything could tell what it is */
  *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | (pipe_fits ? 0 : O_NONBLOCK));
  if (*fd < 0) {
    int why = errno;
    if (why == ENXIO && stat(path, &st) == 0) return not_regular(path, st.st_mode, err);
    errno = why;
    return sys_fail(err, path, "cannot open");
  }
  if (fstat(*fd, &st) != 0)
    s = sys_fail(err, path, "cannot read its size");
  else if (!S_ISREG(st.st_mode) && !(pipe_fits && !S_ISDIR(st.st_mode)))
    s = not_regular(path, st.st_mode, err);
  else if (size)
    *size = (uint64_t)st.st_size;
  if (!s) return RW_OK;
  close(*fd);
  *fd = -1;
  return s;
}

int file_create_new(const char *path) {
  int fd = -1;
  for (int i = 0; i < 2 && fd < 0; i++) {
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    /* left by a dead process of the same number, or a link that somebody laid: it goes, not what it leads to */
    if (fd < 0 && (errno != EEXIST || unlink(path) != 0)) break;
  }
  return fd;
}

rw_status file_open_append(int *fd, const char *path, rw_error *err) {
  const int flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  struct stat st;
  *fd = open(path, flags | O_CREAT | O_EXCL, 0600);
  if (*fd >= 0) return RW_OK;
  if (errno == EEXIST) *fd = open(path, flags);
  if (*fd < 0)
    return errno == ELOOP
               ? rw_fail(err, RW_IO,
                         "%s: is a link, which nothing is written through; remove it or name another file", path)
               : sys_fail(err, path, "cannot open");
  rw_status s = RW_OK;
  if (fstat(*fd, &st) != 0)
    s = sys_fail(err, path, "cannot look at");
  else if (!S_ISREG(st.st_mode))
    s = not_regular(path, st.st_mode, err);
  else if (st.st_uid != geteuid() || st.st_nlink != 1)
    s = rw_fail(err, RW_IO,
                "%s: expected a file of this user under one name, got one %s; remove it or name another", path,
                st.st_uid != geteuid() ? "of another user" : "with other names");
  if (!s) return RW_OK;
  close(*fd);
  *fd = -1;
  return s;
}

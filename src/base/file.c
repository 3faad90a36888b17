/* file.c - mapped input, atomic output, folders. */
#define _GNU_SOURCE
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utf8proc.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/sha256.h"

static rw_status sys_fail(rw_error *err, const char *path, const char *doing) {
  return rw_fail(err, RW_IO, "%s: %s: %s", path, doing, strerror(errno));
}

static file_id identity_of(const struct stat *st) {
  const int64_t second = 1000000000;
  return (file_id){st->st_dev, st->st_ino, (uint64_t)st->st_size, st->st_mtim.tv_sec * second + st->st_mtim.tv_nsec,
                   st->st_ctim.tv_sec * second + st->st_ctim.tv_nsec};
}
bool file_identify(file_id *id, const char *path) {
  struct stat st;
  bool is = stat(path, &st) == 0 && S_ISREG(st.st_mode);
  if (is) *id = identity_of(&st);
  return is;
}

rw_status file_map_open(file_map *m, const char *path, rw_error *err) {
  *m = (file_map){0};
  int fd;
  uint64_t size;
  RW_TRY(file_open_input(&fd, &size, path, err));
  rw_status s = RW_OK;
  struct stat st = {0};
  fstat(fd, &st);
  if (size > 0) {
    void *p = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
      s = sys_fail(err, path, "cannot map into memory");
    else
      *m = (file_map){.p = p, .len = (size_t)size};
  }
  m->id = identity_of(&st);
  close(fd);
  if (s) return s;
  m->path = mem_strndup(path, strlen(path));
  if (!m->path) {
    file_map_close(m);
    return rw_nomem(err, path);
  }
  return RW_OK;
}

void file_map_close(file_map *m) {
  if (m->p) munmap((void *)m->p, m->len);
  mem_free(m->path);
  *m = (file_map){0};
}

rw_status file_read(const char *path, size_t max, str *s, rw_error *err) {
  int fd;
  struct stat info;
  RW_TRY(file_open_input(&fd, NULL, path, err));
  rw_status st = RW_OK;
  size_t start = s->len;
  /* a file that is too long is not read first */
  bool too_long = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && (uint64_t)info.st_size > max;
  while (!st && !too_long) {
    if (!str_reserve(s, 1 << 16)) {
      st = rw_nomem(err, path);
      break;
    }
    ssize_t n = read(fd, s->p + s->len, 1 << 16);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) st = sys_fail(err, path, "cannot read");
    if (n <= 0) break;
    s->len += (size_t)n;
    too_long = s->len - start > max;
  }
  if (too_long)
    st = rw_fail(err, RW_DATA, "%s: expected at most %zu bytes, got more; is it the right file?", path, max);
  if (s->p) s->p[s->len] = 0;
  close(fd);
  return st;
}

rw_status file_read_text(const char *path, size_t max, str *s, rw_error *err) {
  size_t at = s->len, line = 1;
  RW_TRY(file_read(path, max, s, err));
  while (at < s->len) {
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)s->p + at, (utf8proc_ssize_t)(s->len - at), &c);
    if (n <= 0 || c == 0)
      return rw_fail(err, RW_DATA, "%s:%zu: expected UTF-8 text, got the byte 0x%02x; is it the right file?", path,
                     line, (unsigned char)s->p[at]);
    line += c == '\n';
    at += (size_t)n;
  }
  return RW_OK;
}

/* ---- atomic output ---- */

enum { OUT_BUFFER = 1 << 18, WRITEBACK = 1 << 23 };

struct file_out {
  int fd;
  char *path, *partial; /* partial NULL: stdout, a device or a pipe */
  size_t used;
  char *buffer;           /* OUT_BUFFER bytes */
  sha256 *sum;            /* of what is written; NULL: not wanted */
  uint64_t written, sent; /* by file_out_write; handed to the disk */
};

static void out_free(file_out *o) {
  if (o->fd >= 0 && o->fd != STDOUT_FILENO) close(o->fd);
  mem_free(o->path);
  mem_free(o->partial);
  mem_free(o->buffer);
  mem_free(o);
}

/* This machine's name, as far as it may be part of a file's: a number of a process says nothing on another one. */
static void host_name(char out[64]) {
  char name[64] = "";
  gethostname(name, sizeof name - 1);
  size_t n = 0;
  for (const char *p = name; *p && n < 40; p++)
    out[n++] = (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ? *p : '_';
  out[n] = 0;
}

char *file_partial_name(const char *path) {
  char host[64];
  host_name(host);
  return mem_printf("%s.partial-%ld-%s", path, (long)getpid(), host);
}

rw_status file_out_open(file_out **out, const char *path, rw_error *err) {
  *out = NULL;
  file_out *o = mem_zalloc(1, sizeof *o);
  if (!o) return rw_nomem(err, path);
  struct stat st = {0};
  bool to_stdout = strcmp(path, "-") == 0;
  bool as_is = to_stdout || (stat(path, &st) == 0 && (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)));
  if (S_ISDIR(st.st_mode)) {
    mem_free(o);
    return rw_fail(err, RW_IO, "%s: expected a file to write, got a folder", path);
  }
  o->fd = -1;
  o->path = mem_strndup(to_stdout ? "stdout" : path, to_stdout ? 6 : strlen(path));
  o->buffer = mem_alloc(OUT_BUFFER, 1);
  if (!as_is) o->partial = file_partial_name(path);
  if (!o->path || !o->buffer || (!as_is && !o->partial)) {
    out_free(o);
    return rw_nomem(err, path);
  }
  o->fd = to_stdout ? STDOUT_FILENO : as_is ? open(path, O_WRONLY | O_CLOEXEC) : file_create_new(o->partial);
  if (o->fd < 0) {
    rw_status s = sys_fail(err, path, "cannot create");
    out_free(o);
    return s;
  }
  *out = o;
  return RW_OK;
}

static rw_status write_all(file_out *o, const char *p, size_t len, rw_error *err) {
  if (o->sum) sha256_add(o->sum, p, len);
  while (len > 0) {
    ssize_t n = write(o->fd, p, len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return sys_fail(err, o->path, "cannot write");
    p += n;
    len -= (size_t)n;
    o->written += (uint64_t)n;
  }
  /* the disk starts while the rest is computed, so that the sync at the end has little left to wait for */
  if (o->partial && o->written - o->sent >= WRITEBACK) {
    sync_file_range(o->fd, (off_t)o->sent, (off_t)(o->written - o->sent), SYNC_FILE_RANGE_WRITE);
    o->sent = o->written;
  }
  return RW_OK;
}

rw_status file_out_flush(file_out *o, rw_error *err) {
  size_t n = o->used;
  o->used = 0;
  return write_all(o, o->buffer, n, err);
}

rw_status file_out_write(file_out *o, const void *p, size_t len, rw_error *err) {
  if (o->used + len > OUT_BUFFER) RW_TRY(file_out_flush(o, err));
  if (len >= OUT_BUFFER) return write_all(o, p, len, err);
  memcpy(o->buffer + o->used, p, len);
  o->used += len;
  return RW_OK;
}

void file_out_sum(file_out *o, sha256 *sum) { o->sum = sum; }

const char *file_out_partial(const file_out *o) { return o->partial; }

rw_status file_out_join(file_out **out, const char *path, const char *partial, rw_error *err) {
  file_out *o = *out = mem_zalloc(1, sizeof *o);
  if (!o) return rw_nomem(err, path);
  o->path = mem_strndup(path, strlen(path));
  o->fd = open(partial, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
  if (o->path && o->fd >= 0) return RW_OK;
  rw_status s = !o->path ? rw_nomem(err, path)
                         : rw_fail(err, RW_IO,
                                   "%s: cannot open what rank 0 has begun: %s; expected a folder that all "
                                   "ranks share",
                                   path, strerror(errno));
  out_free(o);
  *out = NULL;
  return s;
}

rw_status file_out_at(file_out *o, uint64_t at, const void *p, size_t len, rw_error *err) {
  uint64_t begin = at;
  size_t all = len;
  for (const char *from = p; len > 0;) {
    ssize_t n = pwrite(o->fd, from, len, (off_t)at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return sys_fail(err, o->path, "cannot write");
    from += n;
    at += (uint64_t)n;
    len -= (size_t)n;
  }
  sync_file_range(o->fd, (off_t)begin, (off_t)all, SYNC_FILE_RANGE_WRITE); /* as in write_all */
  return RW_OK;
}

rw_status file_out_leave(file_out *o, rw_error *err) {
  rw_status s =
      fsync(o->fd) != 0 && errno != EINVAL && errno != ENOTSUP ? sys_fail(err, o->path, "cannot sync") : RW_OK;
  if (close(o->fd) != 0 && !s) s = sys_fail(err, o->path, "cannot close");
  o->fd = -1;
  out_free(o);
  return s;
}

/* fsync of the folder makes the rename itself durable; a file system that cannot is left alone. */
static void sync_parent(const char *path) {
  const char *slash = strrchr(path, '/');
  char *dir = slash ? mem_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : mem_strndup(".", 1);
  int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  if (fd >= 0) {
    fsync(fd);
    close(fd);
  }
  mem_free(dir);
}

rw_status file_out_commit(file_out *o, rw_error *err) {
  rw_status s = file_out_flush(o, err);
  if (o->partial) {
    if (!s && fsync(o->fd) != 0 && errno != EINVAL && errno != ENOTSUP) s = sys_fail(err, o->path, "cannot sync");
    if (close(o->fd) != 0 && !s) s = sys_fail(err, o->path, "cannot close");
    o->fd = -1;
    if (!s && rename(o->partial, o->path) != 0) s = sys_fail(err, o->path, "cannot rename into place");
    if (s)
      unlink(o->partial);
    else
      sync_parent(o->path);
  }
  out_free(o);
  return s;
}

void file_out_abort(file_out *o) {
  if (!o) return;
  if (o->partial) unlink(o->partial);
  out_free(o);
}

rw_status file_put(const char *path, const void *p, size_t len, rw_error *err) {
  return file_put_like(path, p, len, NULL, err);
}

rw_status file_put_like(const char *path, const void *p, size_t len, const char *like, rw_error *err) {
  struct stat from, to;
  file_out *o;
  if (like && stat(like, &from) != 0) return sys_fail(err, like, "cannot look at");
  RW_TRY(file_out_open(&o, path, err));
  rw_status s = RW_OK;
  if (like && o->partial && (fstat(o->fd, &to) != 0 || fchmod(o->fd, to.st_mode & from.st_mode & 0777) != 0))
    s = sys_fail(err, path, "cannot make it as private as what it is copied from");
  if (!s) s = file_out_write(o, p, len, err);
  if (!s) return file_out_commit(o, err);
  file_out_abort(o);
  return s;
}

/* ---- folders ---- */

bool file_same(const char *a, const char *b) {
  struct stat x, y;
  return stat(a, &x) == 0 && stat(b, &y) == 0 && (S_ISREG(x.st_mode) || S_ISDIR(x.st_mode)) &&
         x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

rw_status file_check_output(const char *out, const char *const *in, size_t n, rw_error *err) {
  for (size_t i = 0; i < n; i++)
    if (file_same(out, in[i]))
      return rw_fail(err, RW_USAGE, "%s is read, and writing to it would replace it; name another file", out);
  return RW_OK;
}

bool file_exists(const char *path) { return access(path, F_OK) == 0; }
bool file_has_end(const char *path, const char *end) {
  size_t n = strlen(path), m = strlen(end);
  return n >= m && strcmp(path + n - m, end) == 0;
}

bool file_is_dir(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

rw_status file_mkdirs(const char *path, rw_error *err) {
  char *copy = mem_strndup(path, strlen(path));
  if (!copy) return rw_nomem(err, path);
  rw_status s = RW_OK;
  for (char *p = copy + 1; !s; p++) {
    bool end = *p == 0;
    if (*p != '/' && !end) continue;
    *p = 0;
    if (mkdir(copy, 0777) != 0 && errno != EEXIST) s = sys_fail(err, copy, "cannot make the folder");
    if (end) break;
    *p = '/';
  }
  mem_free(copy);
  if (!s && !file_is_dir(path)) s = rw_fail(err, RW_IO, "%s: expected a folder, got a file; name another", path);
  return s;
}

char *file_cache_dir(void) {
  const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  if (cache && *cache) return mem_printf("%s/reward", cache);
  return home && *home ? mem_printf("%s/.cache/reward", home) : NULL;
}

static const char UNFINISHED[] = ".unfinished";

/* but for the mark of an unfinished run */
static bool dir_is_empty(const char *path) {
  DIR *d = opendir(path);
  if (!d) return true;
  bool empty = true;
  for (struct dirent *e; empty && (e = readdir(d));)
    empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || strcmp(e->d_name, UNFINISHED) == 0;
  closedir(d);
  return empty;
}

/* Removes what a killed process left unfinished: NAME.partial-PID-HOST[.EXT] of a process that is no more, on this
 * host: of another one's processes nothing is known. */
static void sweep_partials(const char *path) {
  char host[64];
  host_name(host);
  size_t host_len = strlen(host);
  DIR *d = opendir(path);
  for (struct dirent *e; d && (e = readdir(d));) {
    const char *mark = strstr(e->d_name, ".partial-");
    char *end, *full;
    long pid = mark ? strtol(mark + 9, &end, 10) : 0;
    bool ours = pid > 0 && *end == '-' && strncmp(end + 1, host, host_len) == 0;
    if (!ours || (end[1 + host_len] && end[1 + host_len] != '.') || kill((pid_t)pid, 0) == 0 || errno != ESRCH ||
        !(full = file_join(path, e->d_name)))
      continue;
    unlink(full);
    mem_free(full);
  }
  if (d) closedir(d);
}

rw_status file_check_dir(const char *path, bool force, rw_error *err) {
  sweep_partials(path);
  if (file_is_dir(path) && !force && !dir_is_empty(path))
    return rw_fail(err, RW_USAGE,
                   "%s: expected a new or empty folder, got one with files; use " FIELD(force) " to write into it",
                   path);
  return RW_OK;
}

rw_status file_out_dir(const char *path, bool force, rw_error *err) {
  RW_TRY(file_check_dir(path, force, err));
  return file_mkdirs(path, err);
}

rw_status file_lock_dir(const char *path, int *fd, rw_error *err) {
  *fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (*fd < 0) return sys_fail(err, path, "cannot open");
  if (flock(*fd, LOCK_EX | LOCK_NB) == 0) return RW_OK;
  rw_status s = errno == EWOULDBLOCK
                    ? rw_fail(err, RW_USAGE,
                              "%s: another process is writing into this folder; wait for it or name another", path)
                    : RW_OK; /* a file system without locks: go on without */
  close(*fd);
  *fd = -1;
  return s;
}

/* The length of the path's longest beginning that is a folder already. */
static size_t existing(const char *path) {
  size_t len = strlen(path);
  char *p = mem_strndup(path, len);
  while (p && len > 0 && !file_is_dir(p)) {
    while (len > 0 && p[len - 1] != '/') len--;
    while (len > 0 && p[len - 1] == '/') len--;
    p[len] = '\0';
  }
  mem_free(p);
  return len;
}

/* Leaves the mark, or not; takes away the folders that begin made, as far as they are empty. */
static void dir_close(out_dir *d, bool unmark) {
  char *slash = strrchr(d->mark, '/');
  if (unmark) unlink(d->mark);
  while (unmark && slash && (size_t)(slash - d->mark) > d->had) {
    *slash = '\0';
    if (rmdir(d->mark) != 0 && errno != ENOENT) break;
    slash = strrchr(d->mark, '/');
  }
  if (d->lock >= 0) close(d->lock);
  mem_free(d->mark);
  *d = (out_dir){NULL, -1, 0};
}

rw_status file_dir_begin(out_dir *d, const char *path, bool force, rw_error *err) {
  *d = (out_dir){file_join(path, UNFINISHED), -1, existing(path)};
  if (!d->mark) return rw_nomem(err, path);
  rw_status s = file_out_dir(path, force || file_exists(d->mark), err);
  if (!s) s = file_lock_dir(path, &d->lock, err);
  if (!s) s = file_put(d->mark, "", 0, err);
  if (s) dir_close(d, d->lock >= 0); /* without the lock the mark, if there is one, is another's */
  return s;
}

void file_dir_end(out_dir *d, bool done) {
  if (!d->mark) return;
  char *slash = strrchr(d->mark, '/');
  *slash = '\0';
  bool empty = dir_is_empty(d->mark);
  *slash = '/';
  dir_close(d, done || empty);
}

rw_status file_nameless(const char *dir, int *fd, rw_error *err) {
  *fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (*fd >= 0) return RW_OK;
  char *path = mem_printf("%s/.partial-XXXXXX", dir); /* a file system without nameless files */
  if (!path) return rw_nomem(err, dir);
  *fd = mkostemp(path, O_CLOEXEC);
  rw_status s = *fd >= 0 ? RW_OK : sys_fail(err, dir, "cannot write a file there");
  if (!s) unlink(path);
  mem_free(path);
  return s;
}

char *file_nearest_dir(const char *path) {
  size_t n = existing(path);
  return n ? mem_strndup(path, n) : mem_strndup(*path == '/' ? "/" : ".", 1);
}

/* Of the folder fd: name, and all in it. Folders are opened by what they are in, so that a link that takes the
 * place of one meanwhile leads nowhere. */
static rw_status remove_at(int fd, const char *name, const char *path, rw_error *err) {
  if (unlinkat(fd, name, 0) == 0 || errno == ENOENT) return RW_OK;
  if (errno != EISDIR && errno != EPERM) return sys_fail(err, path, "cannot remove");
  int inner = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *d = inner >= 0 ? fdopendir(inner) : NULL;
  if (!d) {
    rw_status s = sys_fail(err, path, "cannot list");
    if (inner >= 0) close(inner);
    return s;
  }
  rw_status s = RW_OK;
  for (struct dirent *e; !s && (e = readdir(d));) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    char *child = file_join(path, e->d_name);
    s = child ? remove_at(inner, e->d_name, child, err) : rw_nomem(err, path);
    mem_free(child);
  }
  closedir(d);
  if (!s && unlinkat(fd, name, AT_REMOVEDIR) != 0) s = sys_fail(err, path, "cannot remove");
  return s;
}

rw_status file_remove_tree(const char *path, rw_error *err) { return remove_at(AT_FDCWD, path, path, err); }

rw_status file_remove(const char *path, rw_error *err) {
  return unlink(path) == 0 || errno == ENOENT ? RW_OK : sys_fail(err, path, "cannot remove");
}

rw_status file_remove_dir(const char *path, rw_error *err) {
  char *aside = mem_printf("%s.removed", path);
  rw_status s = aside ? file_remove_tree(aside, err) : rw_nomem(err, path);
  if (!s && rename(path, aside) == 0)
    s = file_remove_tree(aside, err);
  else if (!s && errno != ENOENT)
    s = sys_fail(err, path, "cannot remove");
  mem_free(aside);
  return s;
}

rw_status file_replace_dir(const char *from, const char *to, rw_error *err) {
  if (rename(from, to) == 0) return RW_OK;
  if (errno != ENOTEMPTY && errno != EEXIST) return sys_fail(err, to, "cannot rename into place");
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) == 0) return file_remove_tree(from, err);
  RW_TRY(file_remove_dir(to, err)); /* a file system that cannot exchange them */
  return rename(from, to) == 0 ? RW_OK : sys_fail(err, to, "cannot rename into place");
}

char *file_join(const char *dir, const char *name) { return mem_printf("%s/%s", dir, name); }

rw_status file_hash(const char *path, char out[33], rw_error *err) {
  /* read, not mapped: a mapping of gigabytes counts as the program's own memory */
  enum { BLOCK = 1 << 20 };
  int fd;
  uint64_t size;
  RW_TRY(file_open_input(&fd, &size, path, err)); /* a pipe would have nothing left to read */
  XXH3_state_t *state = XXH3_createState();
  char *block = mem_alloc(BLOCK, 1);
  rw_status s = !state || !block ? rw_nomem(err, path) : RW_OK;
  if (!s) XXH3_128bits_reset(state);
  for (ssize_t n = 1; !s && n != 0;) {
    n = read(fd, block, BLOCK);
    if (n > 0) XXH3_128bits_update(state, block, (size_t)n);
    if (n < 0 && errno != EINTR) s = sys_fail(err, path, "cannot read");
  }
  if (!s) {
    XXH128_hash_t h = XXH3_128bits_digest(state);
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
  }
  mem_free(block);
  XXH3_freeState(state);
  close(fd);
  return s;
}

/* room.c - what a disk has left, and what files take of it (see file.h). */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/file.h"

uint64_t file_room(const char *dir) {
  struct statvfs v;
  return statvfs(dir, &v) == 0 ? (uint64_t)v.f_bavail * v.f_frsize : 0;
}

bool file_room_short(const char *dir, uint64_t need) {
  struct statvfs v;
  return statvfs(dir, &v) == 0 && v.f_blocks > 0 && (uint64_t)v.f_bavail * v.f_frsize < need;
}

uint64_t file_size_limit(void) {
  struct rlimit r;
  return getrlimit(RLIMIT_FSIZE, &r) == 0 && r.rlim_cur != RLIM_INFINITY ? r.rlim_cur : UINT64_MAX;
}

uint64_t file_tree_bytes(const char *path) {
  struct stat st;
  if (lstat(path, &st) != 0) return 0;
  uint64_t sum = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
  DIR *d = S_ISDIR(st.st_mode) ? opendir(path) : NULL;
  for (struct dirent *e; d && (e = readdir(d));) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    char *child = file_join(path, e->d_name);
    if (child) sum += file_tree_bytes(child);
    mem_free(child);
  }
  if (d) closedir(d);
  return sum;
}

void file_size_text(char out[32], uint64_t bytes) {
  static const char *const units[] = {"bytes", "KB", "MB", "GB", "TB"};
  double x = (double)bytes;
  int u = 0;
  for (; x >= 999.5 && u < 4; u++) x /= 1000;
  snprintf(out, 32, "%.*f %s", u > 0 && x < 9.95 ? 1 : 0, x, units[u]);
}

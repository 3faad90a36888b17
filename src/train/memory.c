/* memory.c - reads /proc, the control group (v2 or v1) and the limit on address space. */
#include "train/memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* The number after `name` at a line's beginning (NULL: the first number of the file); false when there is none. */
static bool number_in(const char *path, const char *name, uint64_t *out) {
  FILE *f = fopen(path, "r");
  char line[256];
  bool found = false;
  size_t len = name ? strlen(name) : 0;
  while (f && !found && fgets(line, sizeof line, f)) {
    unsigned long long v;
    if ((!name || strncmp(line, name, len) == 0) && sscanf(line + len, "%llu", &v) == 1) {
      *out = v;
      found = true;
    }
  }
  if (f) fclose(f);
  return found;
}

uint64_t memory_used(void) {
  uint64_t kb;
  return number_in("/proc/self/status", "RssAnon:", &kb) ? kb * 1024 : 0;
}

uint64_t memory_available(void) {
  static const char *const groups[][3] = {
      {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"},
      {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
       "/sys/fs/cgroup/memory/memory.stat"}};
  uint64_t least = UINT64_MAX, kb, max, now, cache = 0;
  if (number_in("/proc/meminfo", "MemAvailable:", &kb)) least = kb * 1024;
  for (int i = 0; i < 2; i++)
    if (number_in(groups[i][0], NULL, &max) && number_in(groups[i][1], NULL, &now)) {
      if (!number_in(groups[i][2], "inactive_file ", &cache)) cache = 0; /* given up when memory is wanted */
      uint64_t used = now > cache ? now - cache : 0, room = max > used ? max - used : 0;
      if (room < least) least = room;
    }
  struct rlimit r;
  uint64_t pages;
  if (getrlimit(RLIMIT_AS, &r) == 0 && r.rlim_cur != RLIM_INFINITY && number_in("/proc/self/statm", NULL, &pages)) {
    uint64_t limit = r.rlim_cur, used = pages * 4096, room = limit > used ? limit - used : 0;
    if (room < least) least = room;
  }
  return least;
}

double memory_peak(void) {
  struct rusage u;
  return getrusage(RUSAGE_SELF, &u) == 0 ? (double)u.ru_maxrss * 1024 : 0;
}

/* plugin.c - finding and opening plugins by dlopen. */
#include "base/plugin.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The folder of the program or shared library that holds this code, with a slash, into dir; "" when not known. */
static void own_dir(char dir[4096]) {
  static const char here;
  Dl_info info;
  struct link_map *loaded = NULL;
  ssize_t n = -1;
  if (dladdr1(&here, &info, (void **)&loaded, RTLD_DL_LINKMAP) && loaded && loaded->l_name[0]) {
    char *real = realpath(loaded->l_name, NULL); /* a shared library */
    if (real && strlen(real) < 4096) n = (ssize_t)strlen(strcpy(dir, real));
    free(real);
  } else {
    n = readlink("/proc/self/exe", dir, 4095);
  }
  dir[n < 0 ? 0 : n] = 0;
  char *slash = strrchr(dir, '/');
  dir[slash ? slash + 1 - dir : 0] = 0;
}

enum { PATH_BYTES = 4096 + 256 };

/* Where it is beside this code; false: nowhere. */
static bool find(char path[PATH_BYTES], const char *name) {
  /* the build folder, its folder of tests; lib/ and bin/ of an installation; last, wherever the system looks */
  static const char *const places[] = {"", "../", "reward/", "../lib/reward/"};
  char dir[4096];
  own_dir(dir);
  for (size_t i = 0; dir[0] && i < sizeof places / sizeof *places; i++) {
    snprintf(path, PATH_BYTES, "%s%s%s", dir, places[i], name);
    if (access(path, F_OK) == 0) return true;
  }
  return false;
}

bool plugin_there(const char *name) {
  char path[PATH_BYTES];
  return find(path, name);
}

void *plugin_open(const char *name, char *why, size_t why_size) {
  char path[PATH_BYTES];
  if (find(path, name)) {
    void *found = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!found) snprintf(why, why_size, "%s", dlerror());
    return found;
  }
  void *found = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (found) return found;
  const char *reason = dlerror(); /* of the plugin itself, or of a library that it needs */
  if (strncmp(reason, name, strlen(name)) == 0 && strstr(reason, "No such file"))
    snprintf(why, why_size, "there is no %s beside this program", name);
  else
    snprintf(why, why_size, "%s", reason);
  return NULL;
}

void *plugin_symbol(void *plugin, const char *symbol) { return dlsym(plugin, symbol); }
void plugin_close(void *plugin) { dlclose(plugin); }

/* fuzz_manifest.c - any bytes as the manifest.json of a folder into which --force writes: whatever it lists, files
 * that no run has written stay, and nothing outside of the folder goes. */
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "curate/outputs.h"
#include "fuzz.h"

/* Beside manifest.json: files with names of a run's and of others, all of one content; one above, and a folder. */
static const char *const names[] = {"notes.jsonl", "key.pem", "README.md", "../outside.jsonl", "folder/a.jsonl"};
enum { FILES = sizeof names / sizeof *names, GOES_IF_RECORDED = 1 };
static const char CONTENT[] = "mine";
static char root[] = "/dev/shm/reward-fuzz-XXXXXX", set[64];

static void done(void) { file_remove_tree(root, NULL); }

static void put(const char *name, const void *p, size_t n) {
  char path[160];
  rw_error err;
  snprintf(path, sizeof path, "%s/%s", set, name);
  if (file_put(path, p, n, &err) != RW_OK) abort();
}

static void make_folder(void) {
  char folder[96];
  if (!mkdtemp(root) || atexit(done)) abort();
  snprintf(set, sizeof set, "%s/set", root);
  snprintf(folder, sizeof folder, "%s/folder", set);
  if (mkdir(set, 0700) || mkdir(folder, 0700)) abort();
  for (size_t i = 0; i < FILES; i++) put(names[i], CONTENT, strlen(CONTENT));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!set[0]) make_folder();
  put("manifest.json", data, size);
  rw_context context;
  rw_error err;
  context_init(&context, NULL, NULL);
  curate_options o = {.out = set, .context = &context};
  curation r = {.o = &o, .mem = arena_new()};
  if (!r.mem) abort();
  bool recorded = memmem(data, size, "\"path\"", 6) && memmem(data, size, "notes.jsonl", 11);
  if (curation_remove_earlier(&r, &err) != RW_OK) abort();
  arena_free(r.mem);
  for (size_t i = 0; i < FILES; i++) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", set, names[i]);
    if (file_exists(path)) continue;
    /* what is listed with the right hash is the run's; no other */
    if (i >= GOES_IF_RECORDED || !recorded) abort();
    put(names[i], CONTENT, strlen(CONTENT));
  }
  return 0;
}

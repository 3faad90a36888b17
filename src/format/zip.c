/* zip.c - a zip file's directory (see zip.h), by PKWARE's APPNOTE 4.3: the end record, its zip64 form, the central
 * directory, and each member's local header.
 */
#include "format/zip.h"

#include <string.h>

enum { LOCAL = 30, CENTRAL = 46, END = 22, END64 = 56, LOCATOR = 20, MOST_COMMENT = 65535 };

typedef struct {
  slice file;
  const char *path;
  rw_error *err;
} reader;

static uint64_t little(const char *p, int n) {
  uint64_t v = 0;
  while (n-- > 0) v = v << 8 | (unsigned char)p[n];
  return v;
}

static bool signed_by(const char *p, char a, char b) {
  return p[0] == 'P' && p[1] == 'K' && p[2] == a && p[3] == b;
}

static rw_status bad(const reader *r, const char *what) {
  return rw_fail(r->err, RW_DATA, "%s: zip: %s; the file is damaged or cut short", r->path, what);
}

bool zip_is(slice file) { return file.len >= 4 && signed_by(file.p, 3, 4); }

/* The record at the file's end; NULL: none. */
static const char *find_end(slice f) {
  size_t most = f.len < END + MOST_COMMENT ? f.len : END + MOST_COMMENT;
  for (size_t back = END; back <= most; back++) {
    const char *p = f.p + f.len - back;
    if (signed_by(p, 5, 6) && little(p + 20, 2) == back - END) return p;
  }
  return NULL;
}

typedef struct {
  uint64_t n, at, len; /* the central directory's entries, offset and bytes */
} central;

static rw_status read_end(const reader *r, central *c) {
  const char *end = find_end(r->file);
  if (!end) return bad(r, "expected a directory at its end, found none");
  size_t place = (size_t)(end - r->file.p);
  *c = (central){little(end + 10, 2), little(end + 16, 4), little(end + 12, 4)};
  uint64_t disk = little(end + 4, 2) | little(end + 6, 2);
  if (place >= LOCATOR && signed_by(end - LOCATOR, 6, 7)) {
    uint64_t at = little(end - LOCATOR + 8, 8);
    if (at > place || place - at < END64 || !signed_by(r->file.p + at, 6, 6))
      return bad(r, "expected its zip64 directory's end where it says, found another thing");
    const char *e = r->file.p + at;
    disk = little(e + 16, 4) | little(e + 20, 4);
    *c = (central){little(e + 32, 8), little(e + 48, 8), little(e + 40, 8)};
  }
  if (disk) return rw_fail(r->err, RW_UNSUPPORTED, "%s: a zip file in several volumes is not supported", r->path);
  if (c->at > place || c->len > place - c->at || c->n > c->len / CENTRAL)
    return bad(r, "its directory does not lie in it");
  return RW_OK;
}

/* Sizes and place that did not fit 32 bits stand in the extra field 1, in this order and only those. */
static bool widen(slice extra, uint64_t *const v[3]) {
  const uint64_t none = UINT32_MAX;
  bool want = *v[0] == none || *v[1] == none || *v[2] == none;
  for (size_t at = 0; want && extra.len - at >= 4;) {
    uint64_t id = little(extra.p + at, 2), len = little(extra.p + at + 2, 2);
    if (len > extra.len - at - 4) return false;
    const char *p = extra.p + at + 4;
    for (int i = 0; id == 1 && i < 3; i++) {
      if (*v[i] != none) continue;
      if (len < 8) return false;
      *v[i] = little(p, 8);
      p += 8;
      len -= 8;
    }
    if (id == 1) return true;
    at += 4 + len;
  }
  return !want;
}

static rw_status read_member(const reader *r, const char *p, size_t left, zip_member *m, size_t *used) {
  if (left < CENTRAL || !signed_by(p, 1, 2))
    return bad(r, "expected an entry of its directory, found another thing");
  uint64_t name = little(p + 28, 2), extra = little(p + 30, 2), comment = little(p + 32, 2);
  uint64_t packed = little(p + 20, 4), size = little(p + 24, 4), at = little(p + 42, 4);
  *used = CENTRAL + name + extra + comment;
  if (*used > left) return bad(r, "an entry of its directory is cut");
  m->name = (slice){p + CENTRAL, name};
  int shown = (int)(name < 80 ? name : 80);
  if (!widen((slice){p + CENTRAL + name, extra}, (uint64_t *const[]){&size, &packed, &at}))
    return bad(r, "an entry of its directory lacks its sizes");
  if (little(p + 8, 2) & 1)
    return rw_fail(r->err, RW_UNSUPPORTED, "%s: %.*s: encrypted members are not supported", r->path, shown,
                   m->name.p);
  if (little(p + 10, 2) != 0 || packed != size)
    return rw_fail(r->err, RW_UNSUPPORTED,
                   "%s: %.*s: expected a member that is not compressed, as torch.save writes", r->path, shown,
                   m->name.p);
  size_t room = r->file.len;
  if (at > room || room - at < LOCAL || !signed_by(r->file.p + at, 3, 4))
    return bad(r, "a member is not where its directory says");
  uint64_t data = at + LOCAL + little(r->file.p + at + 26, 2) + little(r->file.p + at + 28, 2);
  if (data > room || size > room - data) return bad(r, "a member does not lie in it");
  m->bytes = (slice){r->file.p + data, size};
  return RW_OK;
}

rw_status zip_open(zip_dir *z, slice file, const char *path, arena *a, rw_error *err) {
  const reader r = {file, path, err};
  central c = {0};
  RW_TRY(read_end(&r, &c));
  *z = (zip_dir){.m = arena_alloc(a, c.n, sizeof *z->m)};
  if (!z->m) return rw_nomem(err, path);
  const char *p = file.p + c.at;
  size_t left = c.len;
  for (; z->n < c.n; z->n++) {
    size_t used = 0;
    RW_TRY(read_member(&r, p, left, &z->m[z->n], &used));
    p += used;
    left -= used;
  }
  return RW_OK;
}

/* json_differ.c - a walk through two JSON values side by side (see json_differ.h). */
#include "format/json_differ.h"

#include <stdio.h>
#include <string.h>

enum { DIGEST = 64, SHORT_DIGEST = 12 };

static void spell(char *out, size_t room, const json_doc *d, json_val v) {
  slice s = v == JSON_NONE ? SLICE("none") : json_raw(d, v);
  if (v != JSON_NONE && json_kind(d, v) == JSON_STRING) s = (slice){s.p + 1, s.len - 2};
  size_t most = s.len == DIGEST && strspn(s.p, "0123456789abcdef") >= DIGEST ? SHORT_DIGEST : room - 1;
  snprintf(out, room, "%.*s", (int)(s.len < most ? s.len : most), s.p);
}

static bool walk(json_difference *d, size_t at, json_doc *was, json_val a, json_doc *now, json_val b);

static bool step(json_difference *d, size_t at, slice name, json_doc *was, json_val a, json_doc *now, json_val b) {
  int n = snprintf(d->where + at, sizeof d->where - at, "%s%.*s", at ? " " : "", (int)name.len, name.p);
  size_t next = at + (size_t)n;
  return walk(d, next < sizeof d->where ? next : sizeof d->where - 1, was, a, now, b);
}

static json_val member(json_doc *d, json_val object, slice key) {
  json_val v = json_first(d, object);
  while (v != JSON_NONE && !slice_eq(json_key(d, v), key)) v = json_next(d, v);
  return v;
}

static bool walk_members(json_difference *d, size_t at, json_doc *was, json_val a, json_doc *now, json_val b) {
  for (json_val v = json_first(was, a); v != JSON_NONE; v = json_next(was, v)) {
    slice key = json_key(was, v);
    if (step(d, at, key, was, v, now, member(now, b, key))) return true;
  }
  for (json_val v = json_first(now, b); v != JSON_NONE; v = json_next(now, v)) {
    slice key = json_key(now, v);
    if (member(was, a, key) == JSON_NONE && step(d, at, key, was, JSON_NONE, now, v)) return true;
  }
  return false;
}

static bool walk_elements(json_difference *d, size_t at, json_doc *was, json_val a, json_doc *now, json_val b) {
  json_val v = json_first(was, a), w = json_first(now, b);
  for (size_t i = 1; v != JSON_NONE || w != JSON_NONE; i++) {
    char place[24];
    int n = snprintf(place, sizeof place, "%zu", i);
    if (step(d, at, (slice){place, (size_t)n}, was, v, now, w)) return true;
    if (v != JSON_NONE) v = json_next(was, v);
    if (w != JSON_NONE) w = json_next(now, w);
  }
  return false;
}

static bool walk(json_difference *d, size_t at, json_doc *was, json_val a, json_doc *now, json_val b) {
  json_type kind = json_kind(was, a);
  if (a != JSON_NONE && b != JSON_NONE && kind == json_kind(now, b)) {
    if (kind == JSON_OBJECT) return walk_members(d, at, was, a, now, b);
    if (kind == JSON_ARRAY) return walk_elements(d, at, was, a, now, b);
    if (slice_eq(json_raw(was, a), json_raw(now, b))) return false;
  }
  spell(d->was, sizeof d->was, was, a);
  spell(d->now, sizeof d->now, now, b);
  return true;
}

bool json_differ(json_difference *d, json_doc *was, json_val a, json_doc *now, json_val b) {
  *d = (json_difference){0};
  return walk(d, 0, was, a, now, b);
}

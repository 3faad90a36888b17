/* parquet_in.c - records of Parquet files as JSON rows. The batches were checked by Arrow (parquet.h), the types
 * are checked here once, at the start; so the walk over the values trusts both. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "format/json.h"
#include "format/parquet.h"
#include "format/parquet_rows.h"

struct parquet_in {
  parquet_reader *file;
  struct ArrowSchema schema;
  struct ArrowArray batch;
  int64_t next; /* row of the batch */
  uint64_t row, rows;
  char *path;
  str text;
};

/* ---- types ---- */

static bool is_view(const char *f) { return strcmp(f, "vu") == 0; } /* text whose bytes may lie anywhere */
static bool is_list_view(const char *f) { return f[0] == '+' && f[1] == 'v'; }
static bool is_list(const char *f) {
  return f[0] == '+' && (f[1] == 'l' || f[1] == 'L' || f[1] == 'w' || f[1] == 'v');
}

static const char *refused(const char *f) {
  if (f[0] == 't') return "times or durations";
  if (f[0] == 'd') return "decimal numbers";
  if (strchr("zZwv", f[0])) return "bytes without a text type";
  return f[0] == '+' && f[1] == 'm' ? "maps" : "another type";
}

static rw_status check(const parquet_in *in, const struct ArrowSchema *s, const char *name, int depth,
                       rw_error *err) {
  const struct ArrowSchema *v = s->dictionary ? s->dictionary : s;
  bool leaf = v->format[0] && !v->format[1] && strchr("nbcCsSiIlLefguU", v->format[0]);
  if (depth >= JSON_MAX_DEPTH - 1)
    return rw_fail(err, RW_DATA, "%s: column %s: expected at most %d levels, got more", in->path, name,
                   JSON_MAX_DEPTH);
  if (!leaf && !is_view(v->format) && !is_list(v->format) && strcmp(v->format, "+s") != 0)
    return rw_fail(err, RW_UNSUPPORTED,
                   "%s: column %s: expected text, numbers, booleans, lists or structs, got %s (Arrow's \"%s\"); "
                   "drop the column or write it as text",
                   in->path, name, refused(v->format), v->format);
  for (int64_t i = 0; i < v->n_children; i++) {
    const struct ArrowSchema *c = v->children[i];
    char *full = is_list(v->format) ? mem_strndup(name, strlen(name)) : mem_printf("%s.%s", name, c->name);
    rw_status st = full ? check(in, c, full, depth + 1, err) : rw_nomem(err, in->path);
    mem_free(full);
    RW_TRY(st);
  }
  return RW_OK;
}

/* ---- values ---- */

static bool bit(const void *bits, int64_t i) { return ((const uint8_t *)bits)[i >> 3] >> (i & 7) & 1; }

static int64_t whole(char format, const void *p, int64_t i) {
  switch (format) {
    case 'c': return ((const int8_t *)p)[i];
    case 'C': return ((const uint8_t *)p)[i];
    case 's': return ((const int16_t *)p)[i];
    case 'S': return ((const uint16_t *)p)[i];
    case 'i': return ((const int32_t *)p)[i];
    case 'I': return ((const uint32_t *)p)[i];
    default: return ((const int64_t *)p)[i];
  }
}

static void put(str *s, const struct ArrowSchema *t, const struct ArrowArray *a, int64_t i);

static void put_list(str *s, const struct ArrowSchema *t, const struct ArrowArray *a, int64_t i) {
  int64_t from, to;
  if (t->format[1] == 'w') {
    int64_t n = strtoll(t->format + 3, NULL, 10); /* "+w:N" */
    from = i * n, to = from + n;
  } else if (is_list_view(t->format)) { /* where each begins, and how long it is */
    bool large = t->format[2] == 'L';
    from = whole(large ? 'l' : 'i', a->buffers[1], i);
    to = from + whole(large ? 'l' : 'i', a->buffers[2], i);
  } else if (t->format[1] == 'l') {
    const int32_t *at = a->buffers[1];
    from = at[i], to = at[i + 1];
  } else {
    const int64_t *at = a->buffers[1];
    from = at[i], to = at[i + 1];
  }
  str_addc(s, '[');
  for (int64_t k = from; k < to; k++) {
    if (k > from) str_addz(s, ", ");
    put(s, t->children[0], a->children[0], k);
  }
  str_addc(s, ']');
}

/* 16 bytes: the length, then the text where it has at most 12 bytes, else its first 4, its buffer and its place. */
static void put_view(str *s, const struct ArrowArray *a, int64_t i) {
  const char *view = (const char *)a->buffers[1] + 16 * i;
  int32_t at[4];
  memcpy(at, view, sizeof at);
  const char *text = at[0] <= 12 ? view + 4 : (const char *)a->buffers[2 + at[2]] + at[3];
  str_json(s, text, (size_t)at[0]);
}

/* A number that is none where a number decides: a margin that is not finite must not pass for one that is absent.
 */
static bool put_not_finite(str *s, double v) {
  if (isfinite(v)) return false;
  str_json(s, isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity", isnan(v) ? 3 : v > 0 ? 8 : 9);
  return true;
}

static bool put_margin(str *s, const struct ArrowSchema *t, const struct ArrowArray *a, int64_t i) {
  i += a->offset;
  if (!strchr("efg", t->format[0]) || t->format[1] || t->dictionary) return false;
  if (a->null_count != 0 && a->buffers[0] && !bit(a->buffers[0], i)) return false;
  switch (t->format[0]) {
    case 'e': return put_not_finite(s, half_from_f16(((const uint16_t *)a->buffers[1])[i]));
    case 'f': return put_not_finite(s, ((const float *)a->buffers[1])[i]);
    default: return put_not_finite(s, ((const double *)a->buffers[1])[i]);
  }
}

/* The value of row i, counted from the array's own offset. */
static void put(str *s, const struct ArrowSchema *t, const struct ArrowArray *a, int64_t i) {
  char f = t->format[0];
  i += a->offset;
  if (f == 'n' || (a->null_count != 0 && a->buffers[0] && !bit(a->buffers[0], i))) {
    str_addz(s, "null");
    return;
  }
  if (t->dictionary) {
    put(s, t->dictionary, a->dictionary, whole(f, a->buffers[1], i));
    return;
  }
  switch (f) {
    case 'b': str_addz(s, bit(a->buffers[1], i) ? "true" : "false"); break;
    case 'L': str_printf(s, "%" PRIu64, ((const uint64_t *)a->buffers[1])[i]); break;
    case 'e': str_json_f32(s, half_from_f16(((const uint16_t *)a->buffers[1])[i])); break;
    case 'f': str_json_f32(s, ((const float *)a->buffers[1])[i]); break;
    case 'g': str_json_num(s, ((const double *)a->buffers[1])[i]); break;
    case 'u': {
      const int32_t *at = a->buffers[1];
      str_json(s, (const char *)a->buffers[2] + at[i], (size_t)(at[i + 1] - at[i]));
      break;
    }
    case 'U': {
      const int64_t *at = a->buffers[1];
      str_json(s, (const char *)a->buffers[2] + at[i], (size_t)(at[i + 1] - at[i]));
      break;
    }
    case 'v': put_view(s, a, i); break;
    case '+':
      if (t->format[1] != 's') {
        put_list(s, t, a, i);
        break;
      }
      str_addc(s, '{');
      for (int64_t k = 0; k < t->n_children; k++) {
        if (k) str_addz(s, ", ");
        str_json(s, t->children[k]->name, strlen(t->children[k]->name));
        str_addz(s, ": ");
        bool margin = strcmp(t->children[k]->name, "margin") == 0;
        if (!margin || !put_margin(s, t->children[k], a->children[k], i)) put(s, t->children[k], a->children[k], i);
      }
      str_addc(s, '}');
      break;
    default: str_printf(s, "%" PRId64, whole(f, a->buffers[1], i));
  }
}

/* ---- the file ---- */

rw_status parquet_in_open(parquet_in **out, const char *path, rw_error *err) {
  *out = NULL;
  parquet_in *in = mem_zalloc(1, sizeof *in);
  if (!in || !(in->path = mem_strndup(path, strlen(path)))) {
    mem_free(in);
    return rw_nomem(err, path);
  }
  rw_status s = parquet_reader_open(&in->file, path, &in->schema, &in->rows, err);
  for (int64_t i = 0; !s && i < in->schema.n_children; i++)
    s = check(in, in->schema.children[i], in->schema.children[i]->name, 1, err);
  if (s)
    parquet_in_close(in);
  else
    *out = in;
  return s;
}

rw_status parquet_in_next(parquet_in *in, slice *row, rw_error *err) {
  *row = (slice){0};
  if (in->next == in->batch.length) {
    if (in->batch.release) in->batch.release(&in->batch);
    in->next = 0;
    RW_TRY(parquet_reader_next(in->file, &in->batch, err));
    if (in->batch.length == 0 && in->row != in->rows)
      return rw_fail(err, RW_DATA,
                     "%s:%llu: expected %llu rows, as its footer says, got no more; fetch the file again", in->path,
                     (unsigned long long)in->row, (unsigned long long)in->rows);
    if (in->batch.length == 0) return RW_OK;
  }
  str_clear(&in->text);
  put(&in->text, &in->schema, &in->batch, in->next);
  if (in->text.oom) return rw_nomem(err, in->path);
  in->next++;
  in->row++;
  *row = (slice){in->text.p, in->text.len};
  return RW_OK;
}

double parquet_in_done(const parquet_in *in) { return in->row < in->rows ? (double)in->row / (double)in->rows : 1; }

void parquet_in_close(parquet_in *in) {
  if (!in) return;
  if (in->batch.release) in->batch.release(&in->batch);
  if (in->schema.release) in->schema.release(&in->schema);
  parquet_reader_close(in->file);
  str_free(&in->text);
  mem_free(in->path);
  mem_free(in);
}

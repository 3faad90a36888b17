/* torch_file.c - see torch_file.h. Formats: Python's module pickletools (instructions), PyTorch's
 * torch.serialization (the zip's members, persistent ids) and _rebuild_tensor_v2 of torch._utils (a tensor's
 * arguments).
 */
#include "format/torch_file.h"

#include <stdio.h>
#include <string.h>

#include "format/zip.h"

/* ---- values ---- */

typedef enum {
  P_MARK,
  P_NONE,
  P_BOOL,
  P_INT,
  P_FLOAT,
  P_TEXT,
  P_TUPLE,
  P_LIST,
  P_DICT,
  P_NAME,
  P_STORAGE,
  P_TENSOR
} kind;

typedef struct value value;
typedef struct {
  value *items; /* a dictionary's: key, value, key, value… */
  size_t n, cap;
} items;

/* Names that a file may use. */
typedef enum { CALL_DICT, CALL_TENSOR, CALL_PARAMETER, NAME_STORAGE } name_use;
typedef struct {
  const char *module, *name;
  name_use use;
  st_dtype dtype; /* NAME_STORAGE */
} known_name;
static const known_name known[] = {{"collections", "OrderedDict", CALL_DICT, 0},
                                   {"torch._utils", "_rebuild_tensor_v2", CALL_TENSOR, 0},
                                   {"torch._utils", "_rebuild_parameter", CALL_PARAMETER, 0},
                                   {"torch", "FloatStorage", NAME_STORAGE, DT_F32},
                                   {"torch", "HalfStorage", NAME_STORAGE, DT_F16},
                                   {"torch", "BFloat16Storage", NAME_STORAGE, DT_BF16},
                                   {"torch", "DoubleStorage", NAME_STORAGE, DT_F64},
                                   {"torch", "LongStorage", NAME_STORAGE, DT_I64},
                                   {"torch", "IntStorage", NAME_STORAGE, DT_I32},
                                   {"torch", "ShortStorage", NAME_STORAGE, DT_I16},
                                   {"torch", "CharStorage", NAME_STORAGE, DT_I8},
                                   {"torch", "ByteStorage", NAME_STORAGE, DT_U8},
                                   {"torch", "BoolStorage", NAME_STORAGE, DT_BOOL}};

typedef struct {
  st_dtype dtype;
  slice bytes;
} storage;

struct value {
  kind kind;
  union {
    int64_t i;
    slice text;
    items *items; /* tuple, dictionary */
    const known_name *name;
    const storage *storage;
    const st_tensor *tensor;
  };
};

/* ---- the machine ---- */

typedef struct {
  const char *path;
  rw_error *err;
  arena *a;
  const zip_dir *zip;
  size_t prefix; /* length of the members' folder with its slash */
  const char *start, *p, *end;
  value *stack, *memo;
  size_t n, cap, n_memo, cap_memo;
} machine;

static rw_status bad(const machine *m, const char *what) {
  return rw_fail(m->err, RW_DATA, "%s: data.pkl: byte %zu: %s; the file is damaged, or no dictionary of tensors",
                 m->path, (size_t)(m->p - m->start), what);
}

static rw_status push(machine *m, value v) {
  return vec_push(m->stack, m->n, m->cap, v) ? RW_OK : rw_nomem(m->err, m->path);
}

static rw_status pop(machine *m, value *v) {
  if (m->n == 0 || m->stack[m->n - 1].kind == P_MARK) return bad(m, "nothing is there to take");
  *v = m->stack[--m->n];
  return RW_OK;
}

static rw_status take(machine *m, size_t n, const char **bytes) {
  if ((size_t)(m->end - m->p) < n) return bad(m, "it is cut");
  *bytes = m->p;
  m->p += n;
  return RW_OK;
}

static rw_status number(machine *m, int n, uint64_t *v) {
  const char *p = NULL;
  RW_TRY(take(m, (size_t)n, &p));
  *v = 0;
  while (n-- > 0) *v = *v << 8 | (unsigned char)p[n];
  return RW_OK;
}

static rw_status text_of(machine *m, int width, slice *s) {
  uint64_t n;
  RW_TRY(number(m, width, &n));
  s->len = n;
  return take(m, n, &s->p);
}

static rw_status line_of(machine *m, slice *s) {
  const char *end = memchr(m->p, '\n', (size_t)(m->end - m->p));
  if (!end) return bad(m, "it is cut");
  *s = (slice){m->p, (size_t)(end - m->p)};
  m->p = end + 1;
  return RW_OK;
}

/* Where the innermost mark is. */
static rw_status find_mark(const machine *m, size_t *at) {
  size_t i = m->n;
  while (i > 0 && m->stack[i - 1].kind != P_MARK) i--;
  if (i == 0) return bad(m, "expected a mark before this");
  *at = i - 1;
  return RW_OK;
}

/* The last n of the stack as a tuple. */
static rw_status tuple(machine *m, size_t n, bool mark) {
  if (m->n < n) return bad(m, "nothing is there to take");
  items *t = arena_alloc(m->a, 1, sizeof *t);
  value *v = arena_alloc(m->a, n, sizeof *v);
  if (!t || !v) return rw_nomem(m->err, m->path);
  m->n -= n;
  if (n) memcpy(v, m->stack + m->n, n * sizeof *v);
  for (size_t i = 0; i < n; i++)
    if (v[i].kind == P_MARK) return bad(m, "nothing is there to take");
  *t = (items){v, n, n};
  m->n -= mark;
  return push(m, (value){.kind = P_TUPLE, .items = t});
}

static rw_status new_dict(machine *m) {
  items *d = arena_alloc(m->a, 1, sizeof *d);
  return d ? push(m, (value){.kind = P_DICT, .items = d}) : rw_nomem(m->err, m->path);
}

/* What stands from `from` on becomes members of the dictionary before `at`; lists keep nothing. */
static rw_status store(machine *m, size_t at, size_t from, kind into) {
  size_t n = m->n - from;
  if (at == 0 || m->stack[at - 1].kind != into) return bad(m, "expected a list or a dictionary to put values into");
  if (into == P_DICT) {
    items *d = m->stack[at - 1].items;
    if (n % 2) return bad(m, "a key without its value");
    if (n > d->cap - d->n) {
      size_t cap = 2 * (d->n + n);
      value *more = arena_alloc(m->a, cap, sizeof *more);
      if (!more) return rw_nomem(m->err, m->path);
      if (d->n) memcpy(more, d->items, d->n * sizeof *more);
      d->items = more;
      d->cap = cap;
    }
    if (n) memcpy(d->items + d->n, m->stack + from, n * sizeof *d->items);
    d->n += n;
  }
  m->n = at;
  return RW_OK;
}

static rw_status remember(machine *m, uint64_t at) {
  if (m->n == 0 || m->stack[m->n - 1].kind == P_MARK) return bad(m, "nothing is there to remember");
  if (at >= (uint64_t)(m->end - m->start)) return bad(m, "a place that no file of this size needs");
  if (!mem_grow((void **)&m->memo, &m->cap_memo, at + 1, sizeof *m->memo)) return rw_nomem(m->err, m->path);
  for (; m->n_memo <= at; m->n_memo++) m->memo[m->n_memo] = (value){.kind = P_MARK};
  m->memo[at] = m->stack[m->n - 1];
  return RW_OK;
}

static rw_status recall(machine *m, uint64_t at) {
  if (at >= m->n_memo || m->memo[at].kind == P_MARK) return bad(m, "nothing was remembered there");
  return push(m, m->memo[at]);
}

/* ---- names, storages, tensors ---- */

static rw_status global(machine *m, slice module, slice name) {
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (slice_is(module, known[i].module) && slice_is(name, known[i].name))
      return push(m, (value){.kind = P_NAME, .name = &known[i]});
  char text[160];
  snprintf(text, sizeof text, "%.*s.%.*s", (int)(module.len < 70 ? module.len : 70), module.p,
           (int)(name.len < 70 ? name.len : 70), name.p);
  utf8_show(text, false);
  return rw_fail(
      m->err, RW_UNSUPPORTED,
      "%s: data.pkl: expected tensors alone, got '%s'; nothing of it was run: save the state_dict alone, or "
      "as safetensors",
      m->path, text);
}

/* ('storage', type, key, place, elements) */
static rw_status persistent(machine *m) {
  value v;
  RW_TRY(pop(m, &v));
  const value *x = v.kind == P_TUPLE ? v.items->items : NULL;
  if (!x || v.items->n < 5 || x[0].kind != P_TEXT || !slice_is(x[0].text, "storage") || x[1].kind != P_NAME ||
      x[1].name->use != NAME_STORAGE || x[2].kind != P_TEXT || x[4].kind != P_INT || x[4].i < 0)
    return bad(m, "expected a storage");
  storage *s = arena_alloc(m->a, 1, sizeof *s);
  if (!s) return rw_nomem(m->err, m->path);
  s->dtype = x[1].name->dtype;
  slice key = x[2].text;
  const zip_member *found = NULL;
  for (size_t i = 0; i < m->zip->n && !found; i++) {
    slice name = m->zip->m[i].name;
    if (name.len == m->prefix + 5 + key.len && memcmp(name.p + m->prefix, "data/", 5) == 0 &&
        memcmp(name.p + m->prefix + 5, key.p, key.len) == 0)
      found = &m->zip->m[i];
  }
  if (!found || (uint64_t)x[4].i > found->bytes.len / st_dtype_size(s->dtype))
    return bad(m, found ? "a storage is longer than its member" : "a storage is not in the file");
  s->bytes = (slice){found->bytes.p, (size_t)x[4].i * st_dtype_size(s->dtype)};
  return push(m, (value){.kind = P_STORAGE, .storage = s});
}

/* The tensor's shape, whose values must lie in rows, one after another. */
static rw_status shape(machine *m, const items *size, const items *stride, st_tensor *t, size_t *count) {
  *count = 1;
  if (size->n > ST_MAX_DIMS || size->n != stride->n) return bad(m, "expected at most 8 sizes, and as many strides");
  t->n_dims = (int)size->n;
  for (size_t i = size->n; i-- > 0;) {
    const value *n = &size->items[i], *by = &stride->items[i];
    if (n->kind != P_INT || by->kind != P_INT || n->i < 0) return bad(m, "expected sizes and strides");
    if (n->i > 1 && *count > 0 && by->i != (int64_t)*count)
      return rw_fail(
          m->err, RW_UNSUPPORTED,
          "%s: a tensor's values do not lie in rows (stride %lld, expected %zu); save it with contiguous()",
          m->path, (long long)by->i, *count);
    t->shape[i] = n->i;
    if (__builtin_mul_overflow(*count, (size_t)n->i, count) || *count > INT64_MAX)
      return bad(m, "sizes that do not fit");
  }
  return RW_OK;
}

/* (storage, offset, size, stride, requires_grad, hooks, …) */
static rw_status rebuild(machine *m, const items *arg) {
  const value *x = arg->items;
  if (arg->n < 4 || x[0].kind != P_STORAGE || x[1].kind != P_INT || x[1].i < 0 || x[2].kind != P_TUPLE ||
      x[3].kind != P_TUPLE)
    return bad(m, "expected a tensor's storage, offset, sizes and strides");
  st_tensor *t = arena_alloc(m->a, 1, sizeof *t);
  if (!t) return rw_nomem(m->err, m->path);
  const storage *s = x[0].storage;
  size_t count, each = st_dtype_size(s->dtype), room = s->bytes.len / each;
  *t = (st_tensor){.dtype = s->dtype, .file = m->path};
  RW_TRY(shape(m, x[2].items, x[3].items, t, &count));
  if ((uint64_t)x[1].i > room || count > room - (size_t)x[1].i)
    return bad(m, "a tensor does not lie in its storage");
  t->data = s->bytes.p + (size_t)x[1].i * each;
  t->bytes = count * each;
  return push(m, (value){.kind = P_TENSOR, .tensor = t});
}

static rw_status reduce(machine *m) {
  value arg, f;
  RW_TRY(pop(m, &arg));
  RW_TRY(pop(m, &f));
  if (f.kind != P_NAME || arg.kind != P_TUPLE || f.name->use == NAME_STORAGE)
    return bad(m, "expected a known call");
  if (f.name->use == CALL_TENSOR) return rebuild(m, arg.items);
  if (f.name->use == CALL_DICT && arg.items->n == 0) return new_dict(m);
  if (f.name->use == CALL_PARAMETER && arg.items->n >= 1 && arg.items->items[0].kind == P_TENSOR)
    return push(m, arg.items->items[0]);
  return bad(m, "expected another call's arguments");
}

/* ---- instructions ---- */

static rw_status integer(machine *m, int n, bool with_sign) {
  uint64_t v;
  RW_TRY(number(m, n, &v));
  if (with_sign && n < 8 && n > 0 && v >> (8 * n - 1)) v |= UINT64_MAX << 8 * n;
  return push(m, (value){.kind = P_INT, .i = (int64_t)v});
}

static rw_status put_text(machine *m, int width) {
  slice s;
  RW_TRY(text_of(m, width, &s));
  return push(m, (value){.kind = P_TEXT, .text = s});
}

static rw_status long_integer(machine *m) {
  uint64_t n;
  RW_TRY(number(m, 1, &n));
  return n > 8 ? bad(m, "a number of more than 64 bits") : integer(m, (int)n, true);
}

static rw_status by_memo(machine *m, int width, bool put) {
  uint64_t at;
  RW_TRY(number(m, width, &at));
  return put ? remember(m, at) : recall(m, at);
}

static rw_status from_mark(machine *m, kind into) {
  size_t at = 0;
  RW_TRY(find_mark(m, &at));
  return into == P_TUPLE ? tuple(m, m->n - at - 1, true) : store(m, at, at + 1, into);
}

static rw_status stack_global(machine *m) {
  value name, module;
  RW_TRY(pop(m, &name));
  RW_TRY(pop(m, &module));
  if (name.kind != P_TEXT || module.kind != P_TEXT) return bad(m, "expected a name");
  return global(m, module.text, name.text);
}

static rw_status step(machine *m, unsigned char op) {
  const char *skipped;
  slice module, name;
  value v;
  switch (op) {
    case 0x80: return take(m, 1, &skipped); /* PROTO */
    case 0x95: return take(m, 8, &skipped); /* FRAME */
    case '(': return push(m, (value){.kind = P_MARK});
    case 'N': return push(m, (value){.kind = P_NONE});
    case 0x88:
    case 0x89: return push(m, (value){.kind = P_BOOL, .i = op == 0x88});
    case 'J': return integer(m, 4, true);
    case 'K': return integer(m, 1, false);
    case 'M': return integer(m, 2, false);
    case 0x8a: return long_integer(m);
    case 'G': RW_TRY(take(m, 8, &skipped)); return push(m, (value){.kind = P_FLOAT});
    case 'X':
    case 'T': return put_text(m, 4);
    case 'U':
    case 0x8c: return put_text(m, 1);
    case '}': return new_dict(m);
    case ']': return push(m, (value){.kind = P_LIST});
    case ')': return tuple(m, 0, false);
    case 't': return from_mark(m, P_TUPLE);
    case 0x85:
    case 0x86:
    case 0x87: return tuple(m, op - 0x84u, false);
    case 'u': return from_mark(m, P_DICT);
    case 'e': return from_mark(m, P_LIST);
    case 's': return m->n < 3 ? bad(m, "nothing is there to take") : store(m, m->n - 2, m->n - 2, P_DICT);
    case 'a': return m->n < 2 ? bad(m, "nothing is there to take") : store(m, m->n - 1, m->n - 1, P_LIST);
    case 'q': return by_memo(m, 1, true);
    case 'r': return by_memo(m, 4, true);
    case 0x94: return remember(m, m->n_memo);
    case 'h': return by_memo(m, 1, false);
    case 'j': return by_memo(m, 4, false);
    case 'c':
      RW_TRY(line_of(m, &module));
      RW_TRY(line_of(m, &name));
      return global(m, module, name);
    case 0x93: return stack_global(m);
    case 'Q': return persistent(m);
    case 'R': return reduce(m);
    case 'b': /* a dictionary's attributes (_metadata), which are not ours */
      RW_TRY(pop(m, &v));
      return m->n && m->stack[m->n - 1].kind == P_DICT ? RW_OK : bad(m, "attributes of no dictionary");
    default: return bad(m, "an instruction that tensors do not need");
  }
}

static rw_status run(machine *m, value *result) {
  for (;;) {
    const char *op = NULL;
    RW_TRY(take(m, 1, &op));
    if (*op == '.') return pop(m, result);
    RW_TRY(step(m, (unsigned char)*op));
  }
}

static rw_status give(const machine *m, const items *d,
                      rw_status (*take_one)(void *, slice, st_tensor *, rw_error *), void *ctx) {
  for (size_t i = 0; i < d->n; i += 2) {
    const value *key = &d->items[i], *v = key + 1;
    if (key->kind != P_TEXT || v->kind != P_TENSOR)
      return rw_fail(m->err, RW_DATA,
                     "%s: expected a dictionary of names and tensors, got another value at entry %zu%s%.*s",
                     m->path, i / 2, key->kind == P_TEXT ? ", " : "",
                     key->kind == P_TEXT ? (int)(key->text.len < 80 ? key->text.len : 80) : 0,
                     key->kind == P_TEXT ? key->text.p : "");
    st_tensor t = *v->tensor;
    RW_TRY(take_one(ctx, key->text, &t, m->err));
  }
  return RW_OK;
}

/* ---- the file ---- */

/* The pickled number that files of before version 1.6 begin with. */
static const char OLD[] = "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

static bool is_old(slice f) { return f.len >= sizeof OLD - 1 && memcmp(f.p, OLD, sizeof OLD - 1) == 0; }

bool torch_file_is(slice file) { return zip_is(file) || is_old(file); }

/* FOLDER/name, where FOLDER is that of data.pkl; NULL: not there. */
static const zip_member *member(const zip_dir *z, slice folder, const char *name) {
  for (size_t i = 0; i < z->n; i++) {
    slice n = z->m[i].name;
    if (n.len == folder.len + strlen(name) && memcmp(n.p, folder.p, folder.len) == 0 &&
        memcmp(n.p + folder.len, name, strlen(name)) == 0)
      return &z->m[i];
  }
  return NULL;
}

static slice folder_of(const zip_dir *z) {
  static const char pickle[] = "/data.pkl";
  for (size_t i = 0; i < z->n; i++) {
    slice n = z->m[i].name;
    if (n.len >= sizeof pickle - 1 && memcmp(n.p + n.len - sizeof pickle + 1, pickle, sizeof pickle - 1) == 0)
      return (slice){n.p, n.len - sizeof pickle + 2};
  }
  return SLICE("");
}

static rw_status read_zip(machine *m, slice file, rw_status (*take_one)(void *, slice, st_tensor *, rw_error *),
                          void *ctx) {
  zip_dir z;
  value top;
  RW_TRY(zip_open(&z, file, m->path, m->a, m->err));
  slice folder = folder_of(&z);
  const zip_member *order = member(&z, folder, "byteorder"), *pickle = member(&z, folder, "data.pkl");
  if (!pickle)
    return rw_fail(m->err, RW_DATA, "%s: expected a file of torch.save, got a zip without data.pkl", m->path);
  if (order && !slice_is(order->bytes, "little"))
    return rw_fail(m->err, RW_UNSUPPORTED, "%s: expected values in little-endian order, got %.*s", m->path,
                   (int)(order->bytes.len < 20 ? order->bytes.len : 20), order->bytes.p);
  m->zip = &z;
  m->prefix = folder.len;
  m->start = m->p = pickle->bytes.p;
  m->end = m->p + pickle->bytes.len;
  rw_status s = run(m, &top);
  if (!s && top.kind != P_DICT) s = bad(m, "expected a dictionary of tensors");
  if (!s) s = give(m, top.items, take_one, ctx);
  m->zip = NULL;
  return s;
}

rw_status torch_file_read(slice file, const char *path,
                          rw_status (*take_one)(void *, slice, st_tensor *, rw_error *), void *ctx, rw_error *err) {
  if (is_old(file))
    return rw_fail(
        err, RW_UNSUPPORTED,
        "%s: the form that torch.save wrote before version 1.6 is not supported; load it with torch.load and "
        "save it again",
        path);
  machine m = {.path = path, .err = err, .a = arena_new()};
  rw_status s = m.a ? read_zip(&m, file, take_one, ctx) : rw_nomem(err, path);
  mem_free(m.stack);
  mem_free(m.memo);
  arena_free(m.a);
  return s;
}

/* tmpl_eval.c - walking the syntax tree: expressions to values, statements to output, scopes.
 *
 * Jinja's scoping: a for's body, a macro, a block set and a generation block have scopes of their own; if has none.
 * An undefined value prints as nothing, is false and empty, and is an error when anything else is asked of it.
 */
#include <math.h>
#include <string.h>

#include "text/tmpl_internal.h"

typedef enum { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE } flow;

static flow exec(tctx *c, const node *n);

/* ---- names ---- */

static tv *lookup(const tctx *c, slice name) {
  for (tscope *s = c->scope; s; s = s->up)
    for (tvar *v = s->vars; v; v = v->next)
      if (slice_eq(v->name, name)) return v->asked = true, &v->value;
  return NULL;
}

void tmpl_assign(tctx *c, slice name, tv value) {
  for (tvar *v = c->scope->vars; v; v = v->next)
    if (slice_eq(v->name, name)) {
      v->value = value;
      return;
    }
  tvar *v = tmpl_alloc(c, 1, sizeof *v);
  if (!v) return;
  *v = (tvar){.next = c->scope->vars, .name = name, .value = value};
  c->scope->vars = v;
}

static tv eval_name(tctx *c, const node *n) {
  tv *v = lookup(c, n->text);
  if (v) return *v;
  const tbuiltin *b = tmpl_find(tmpl_globals, n->text);
  return b ? tmpl_method(c, b, TV_NONE) : tmpl_undefined(n);
}

/* ---- parts of values ---- */

static tv eval_slice(tctx *c, tv object, const node *s) {
  int64_t v[3];
  bool given_part[3] = {false, false, false};
  for (int k = 0; k < 3; k++) {
    if (!s->kid[k]) continue;
    tv part = tmpl_eval(c, s->kid[k]);
    if (c->st) return TV_UNDEFINED;
    if (part.kind == V_NONE) continue;
    if (!tmpl_index(part, &v[k]))
      return tmpl_error(c, "a slice: expected whole numbers, got a %s", tmpl_kind_name(part));
    given_part[k] = true;
  }
  return tmpl_slice(c, object, given_part[0] ? &v[0] : NULL, given_part[1] ? &v[1] : NULL,
                    given_part[2] ? v[2] : 1);
}

/* ---- calls ---- */

static bool arg_room(tctx *c, targs *a, size_t *cap, size_t more) {
  size_t most = a->n > a->n_named ? a->n : a->n_named;
  if (most + more <= *cap) return true;
  targs old = *a;
  *cap = 2 * (most + more);
  a->pos = tmpl_alloc(c, *cap, sizeof *a->pos);
  a->named = tmpl_alloc(c, *cap, sizeof *a->named);
  a->names = tmpl_alloc(c, *cap, sizeof *a->names);
  if (c->st) return false;
  if (old.n) memcpy(a->pos, old.pos, old.n * sizeof *a->pos);
  if (old.n_named) memcpy(a->named, old.named, old.n_named * sizeof *a->named);
  if (old.n_named) memcpy(a->names, old.names, old.n_named * sizeof *a->names);
  return true;
}

/* f(*values), f(**dict) */
static void spread_arg(tctx *c, tv v, int op, targs *out, size_t *cap) {
  tv *items;
  if (op != '*' && v.kind != V_DICT) {
    tmpl_error(c, "'**': expected a dict, got a value of type %s", tmpl_kind_name(v));
    return;
  }
  int64_t n = tmpl_items(c, v, &items);
  if (n < 0 || !arg_room(c, out, cap, (size_t)n)) return;
  if (op == '*') {
    if (n) memcpy(out->pos + out->n, items, (size_t)n * sizeof *items);
    out->n += (size_t)n;
    return;
  }
  tdict_all_asked(v.dict);
  for (int64_t i = 0; i < n && !c->st; i++) {
    if (items[i].kind != V_STRING) {
      tmpl_error(c, "'**': expected names as keys, got a %s", tmpl_kind_name(items[i]));
      return;
    }
    out->names[out->n_named] = (slice){items[i].s->p, items[i].s->len};
    out->named[out->n_named++] = v.dict->values[i];
  }
}

/* caller (NULL: none): what a call block gives besides. */
static bool eval_args(tctx *c, const node *call, const tv *caller, targs *out) {
  size_t cap = 0;
  *out = (targs){0};
  if (call->n == 0 && !caller) return true;
  if (!arg_room(c, out, &cap, call->n + 1)) return false;
  for (size_t i = 0; i < call->n && !c->st; i++) {
    const node *arg = call->items[i];
    tv v = tmpl_eval(c, arg->kid[0]);
    if (c->st || !arg_room(c, out, &cap, call->n + 1)) return false;
    if (arg->op) {
      spread_arg(c, v, arg->op, out, &cap);
    } else if (arg->text.len) {
      out->names[out->n_named] = arg->text;
      out->named[out->n_named++] = v;
    } else {
      out->pos[out->n++] = v;
    }
  }
  if (caller && !c->st && arg_room(c, out, &cap, 1)) {
    out->names[out->n_named] = SLICE("caller");
    out->named[out->n_named++] = *caller;
  }
  return !c->st;
}

/* Runs a body with its output caught. */
static tv capture(tctx *c, const node *body) {
  tbuf b = {0}, *outer = c->out;
  c->out = &b;
  exec(c, body);
  c->out = outer;
  return tbuf_take(c, &b);
}

/* The arguments at their parameters, and what is left where the body asks for it by varargs, kwargs or caller. */
static void bind_macro(tctx *c, const node *def, const targs *args) {
  bool *used = tmpl_alloc(c, args->n_named + 1, sizeof *used);
  for (size_t i = 0; used && i < def->n && !c->st; i++) {
    const node *p = def->items[i];
    tv v = tmpl_undefined(p);
    bool have = i < args->n;
    if (have) v = args->pos[i];
    for (size_t k = 0; k < args->n_named && !have; k++)
      if (slice_eq(args->names[k], p->text)) {
        v = args->named[k];
        have = used[k] = true;
      }
    if (!have && p->kid[0]) v = tmpl_eval(c, p->kid[0]);
    tmpl_assign(c, p->text, v);
  }
  if (c->st || !used) return;
  tv caller = TV_UNDEFINED;
  tdict *rest = tmpl_new_dict(c);
  size_t left = args->n > def->n ? args->n - def->n : 0;
  for (size_t k = 0; k < args->n_named && !c->st; k++) {
    if (used[k]) continue;
    bool is_caller = slice_is(args->names[k], "caller") && def->op & USES_CALLER;
    if (is_caller && caller.kind == V_UNDEFINED)
      caller = args->named[k];
    else if (def->op & USES_KWARGS)
      tdict_put(c, rest, tmpl_string(c, args->names[k]), args->named[k]);
    else
      tmpl_error(c, "macro '%.*s': got the keyword '%.*s', which it does not have", (int)def->text.len, def->text.p,
                 (int)args->names[k].len, args->names[k].p);
  }
  if (def->op & USES_CALLER) tmpl_assign(c, SLICE("caller"), caller);
  if (def->op & USES_KWARGS) tmpl_assign(c, SLICE("kwargs"), (tv){.kind = V_DICT, .dict = rest});
  if (def->op & USES_VARARGS)
    tmpl_assign(c, SLICE("varargs"), tmpl_list(c, L_TUPLE, left ? args->pos + def->n : NULL, left));
  else if (left)
    tmpl_error(c, "macro '%.*s': expected at most %zu values, got %zu", (int)def->text.len, def->text.p, def->n,
               args->n);
}

static tv call_macro(tctx *c, const tmacro *m, const targs *args) {
  tscope *own = tmpl_alloc(c, 1, sizeof *own), *outer = c->scope; /* a caller or macro of the body may keep it */
  tv result = TV_UNDEFINED;
  if (!own) return result;
  *own = (tscope){m->scope, NULL};
  c->scope = own;
  bind_macro(c, m->def, args);
  if (tmpl_enter(c)) result = capture(c, m->def->kid[0]);
  c->depth--;
  c->scope = outer;
  return result;
}

static tv eval_call(tctx *c, const node *n, const tv *caller) {
  tv f = tmpl_eval(c, n->kid[0]);
  targs args;
  if (c->st || !eval_args(c, n, caller, &args)) return TV_UNDEFINED;
  c->line = n->line;
  if (f.kind == V_METHOD) return tmpl_call_builtin(c, f.method->builtin, "function", f.method->self, &args);
  if (f.kind == V_MACRO) return call_macro(c, f.macro, &args);
  slice name = n->kid[0]->text;
  if (f.kind == V_UNDEFINED) return tmpl_lacks(c, "function '%.*s'", (int)name.len, name.p ? name.p : "");
  return tmpl_error(c, "'%.*s': expected a function, got a %s", (int)name.len, name.p ? name.p : "",
                    tmpl_kind_name(f));
}

static tv eval_builtin(tctx *c, const node *n, const char *kind) {
  tv self = tmpl_eval(c, n->kid[0]);
  targs args;
  if (c->st) return self;
  c->line = n->line;
  if (!n->builtin) return tmpl_lacks(c, "%s '%.*s'", kind, (int)n->text.len, n->text.p);
  return eval_args(c, n, NULL, &args) ? tmpl_call_builtin(c, n->builtin, kind, self, &args) : TV_UNDEFINED;
}

/* ---- operators ---- */

static tv bad_operands(tctx *c, const char *op, tv a, tv b) {
  tv u = a.kind == V_UNDEFINED ? a : b;
  if (u.kind == V_UNDEFINED && u.origin && u.origin->text.len)
    return tmpl_error(c, "'%.*s' is undefined and cannot be used with '%s'", (int)u.origin->text.len,
                      u.origin->text.p, op);
  return tmpl_error(c, "'%s': expected values that go together, got a %s and a %s", op, tmpl_kind_name(a),
                    tmpl_kind_name(b));
}

static tv overflow(tctx *c) { return tmpl_lacks(c, "a whole number beyond 64 bits"); }

/* As markupsafe's escape() writes it. */
static void add_escaped(tctx *c, tbuf *b, const tstr *s) {
  static const char special[] = "&<>'\"";
  static const char *const written[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
  size_t from = 0;
  for (size_t i = 0; i < s->len; i++) {
    const char *at = memchr(special, s->p[i], sizeof special - 1);
    if (!at) continue;
    tbuf_part(c, b, s, from, i);
    tbuf_made(c, b, written[at - special], strlen(written[at - special]), tstr_marked(s, i));
    from = i + 1;
  }
  tbuf_part(c, b, s, from, s->len);
}

/* A text marked safe is added to others as markupsafe's Markup: they are escaped. */
static tv add_texts(tctx *c, const tstr *a, const tstr *b) {
  tbuf s = {0};
  bool safe = a->safe || b->safe;
  (safe && !a->safe ? add_escaped : tbuf_str)(c, &s, a);
  (safe && !b->safe ? add_escaped : tbuf_str)(c, &s, b);
  tv sum = tbuf_take(c, &s);
  return safe ? tmpl_safe(c, sum) : sum;
}

static tv add_values(tctx *c, tv a, tv b) {
  if (a.kind == V_STRING && b.kind == V_STRING) return add_texts(c, a.s, b.s);
  if (a.kind == V_LIST && b.kind == V_LIST && a.list->form == b.list->form && a.list->form <= L_TUPLE) {
    tlist *l = tmpl_new_list(c, a.list->form, a.list->n + b.list->n);
    if (!l) return TV_UNDEFINED;
    if (a.list->n) memcpy(l->items, a.list->items, a.list->n * sizeof *l->items);
    if (b.list->n) memcpy(l->items + a.list->n, b.list->items, b.list->n * sizeof *l->items);
    return (tv){.kind = V_LIST, .list = l};
  }
  return bad_operands(c, "+", a, b);
}

static tv repeat(tctx *c, tv a, int64_t n) {
  if (a.kind == V_STRING) {
    tbuf s = {0};
    for (int64_t i = 0; i < n && tmpl_charge(c, 1); i++) tbuf_str(c, &s, a.s);
    return tbuf_take(c, &s);
  }
  size_t len = a.list->n, total;
  if (n < 0) n = 0;
  if (__builtin_mul_overflow(len, (size_t)n, &total)) return tmpl_error(c, "a repeated list is too long");
  tlist *l = tmpl_new_list(c, a.list->form, total);
  for (size_t i = 0; l && i < total; i++) l->items[i] = a.list->items[i % len];
  return l ? (tv){.kind = V_LIST, .list = l} : TV_UNDEFINED;
}

static tv int_arithmetic(tctx *c, int op, int64_t a, int64_t b) {
  int64_t r;
  switch (op) {
    case '+': return __builtin_add_overflow(a, b, &r) ? overflow(c) : TV_INT(r);
    case '-': return __builtin_sub_overflow(a, b, &r) ? overflow(c) : TV_INT(r);
    case '*': return __builtin_mul_overflow(a, b, &r) ? overflow(c) : TV_INT(r);
    case OP2('/', '/'):
    case '%':
      if (b == 0) return tmpl_error(c, "a division by zero");
      if (b == -1) return op == '%' ? TV_INT(0) : a == INT64_MIN ? overflow(c) : TV_INT(-a);
      r = a % b;
      if (r != 0 && (r < 0) != (b < 0)) { /* Python rounds down */
        r += b;
        return op == '%' ? TV_INT(r) : TV_INT(a / b - 1);
      }
      return op == '%' ? TV_INT(r) : TV_INT(a / b);
    case OP2('*', '*'):
      if (b < 0) return TV_FLOAT(pow((double)a, (double)b));
      r = 1;
      for (int64_t i = 0; i < b && r != 0 && !(r == 1 && i > 0 && a == 1) && tmpl_charge(c, 1); i++)
        if (__builtin_mul_overflow(r, a, &r)) return overflow(c);
      return TV_INT(r);
  }
  return TV_UNDEFINED;
}

static tv arithmetic(tctx *c, int op, tv a, tv b) {
  int64_t i, j;
  double x, y;
  char name[3] = {(char)(op > 255 ? op >> 8 : op), (char)(op > 255 ? op : 0), 0};
  if (op == '%' && a.kind == V_STRING) return tmpl_percent(c, a.s, b);
  if (op == '*' && (a.kind == V_STRING || a.kind == V_LIST) && tmpl_index(b, &j)) return repeat(c, a, j);
  if (op == '*' && (b.kind == V_STRING || b.kind == V_LIST) && tmpl_index(a, &i)) return repeat(c, b, i);
  if (!tmpl_number(a, &x) || !tmpl_number(b, &y))
    return op == '+' ? add_values(c, a, b) : bad_operands(c, name, a, b);
  if (op != '/' && tmpl_index(a, &i) && tmpl_index(b, &j)) return int_arithmetic(c, op, i, j);
  if ((op == '/' || op == '%' || op == OP2('/', '/')) && y == 0) return tmpl_error(c, "a division by zero");
  switch (op) {
    case '+': return TV_FLOAT(x + y);
    case '-': return TV_FLOAT(x - y);
    case '*': return TV_FLOAT(x * y);
    case '/': return TV_FLOAT(x / y);
    case OP2('/', '/'): return TV_FLOAT(floor(x / y));
    case '%': {
      double r = fmod(x, y);
      return TV_FLOAT(r != 0 && (r < 0) != (y < 0) ? r + y : r);
    }
    default: return TV_FLOAT(pow(x, y));
  }
}

static bool compare(tctx *c, int op, tv a, tv b) {
  switch (op) {
    case OP2('=', '='): return tmpl_equal(c, a, b);
    case OP2('!', '='): return !tmpl_equal(c, a, b);
    case OP_IN: return tmpl_contains(c, a, b);
    case OP_NOT_IN: return !tmpl_contains(c, a, b);
  }
  int order = tmpl_order(c, a, b);
  if (c->st || order == 2) return false;
  return op == '<' ? order < 0 : op == '>' ? order > 0 : op == OP2('<', '=') ? order <= 0 : order >= 0;
}

static tv eval_chain(tctx *c, const node *n) {
  tv left = tmpl_eval(c, n->kid[0]);
  for (size_t i = 0; i < n->n && !c->st; i++) {
    tv right = tmpl_eval(c, n->items[i]->kid[0]);
    if (c->st || !compare(c, n->items[i]->op, left, right)) return TV_BOOL(false);
    left = right;
  }
  return TV_BOOL(true);
}

/* ---- expressions ---- */

static tv eval_items(tctx *c, const node *n) {
  if (n->kind == N_DICT) {
    tdict *d = tmpl_new_dict(c);
    for (size_t i = 0; i + 1 < n->n && !c->st; i += 2) {
      tv key = tmpl_eval(c, n->items[i]), value = tmpl_eval(c, n->items[i + 1]);
      if (!c->st) tdict_put(c, d, key, value);
    }
    return c->st ? TV_UNDEFINED : (tv){.kind = V_DICT, .dict = d};
  }
  tlist *l = tmpl_new_list(c, n->kind == N_TUPLE ? L_TUPLE : L_LIST, n->n);
  for (size_t i = 0; i < n->n && !c->st; i++) l->items[i] = tmpl_eval(c, n->items[i]);
  return c->st ? TV_UNDEFINED : (tv){.kind = V_LIST, .list = l};
}

static tv eval_kind(tctx *c, const node *n) {
  tv a, b;
  switch (n->kind) {
    case N_CONST: return n->value;
    case N_NAME: return eval_name(c, n);
    case N_LIST:
    case N_TUPLE:
    case N_DICT: return eval_items(c, n);
    case N_ATTR: a = tmpl_eval(c, n->kid[0]); return c->st ? a : tmpl_attr(c, a, n->text, n);
    case N_ITEM:
      a = tmpl_eval(c, n->kid[0]);
      if (c->st) return a;
      if (n->kid[1]->kind == N_SLICE) return eval_slice(c, a, n->kid[1]);
      b = tmpl_eval(c, n->kid[1]);
      return c->st ? b : tmpl_item(c, a, b, n);
    case N_CALL: return eval_call(c, n, NULL);
    case N_FILTER: return eval_builtin(c, n, "filter");
    case N_TEST: return eval_builtin(c, n, "test");
    case N_NOT: a = tmpl_eval(c, n->kid[0]); return TV_BOOL(!tmpl_truth(a));
    case N_UNARY:
      a = tmpl_eval(c, n->kid[0]);
      if (c->st || n->op == '+') return a;
      return arithmetic(c, '*', TV_INT(-1), a);
    case N_BINARY:
      a = tmpl_eval(c, n->kid[0]);
      b = c->st ? a : tmpl_eval(c, n->kid[1]);
      c->line = n->line;
      return c->st ? TV_UNDEFINED : arithmetic(c, n->op, a, b);
    case N_AND:
    case N_OR:
      a = tmpl_eval(c, n->kid[0]);
      if (c->st || tmpl_truth(a) == (n->kind == N_OR)) return a;
      return tmpl_eval(c, n->kid[1]);
    case N_CONCAT: {
      tbuf s = {0};
      for (size_t i = 0; i < n->n && !c->st; i++) {
        a = tmpl_eval(c, n->items[i]);
        if (!c->st) tmpl_write(c, &s, a, false);
      }
      return tbuf_take(c, &s);
    }
    case N_COMPARE: return eval_chain(c, n);
    case N_COND:
      a = tmpl_eval(c, n->kid[0]);
      if (c->st) return a;
      if (tmpl_truth(a)) return tmpl_eval(c, n->kid[1]);
      return n->kid[2] ? tmpl_eval(c, n->kid[2]) : tmpl_undefined(NULL);
    case N_CAPTURED: return c->captured;
    default: return tmpl_lacks(c, "this expression");
  }
}

tv tmpl_eval(tctx *c, const node *n) {
  tv v = TV_UNDEFINED;
  if (c->st || !n) return v;
  c->line = n->line;
  if (tmpl_enter(c) && tmpl_charge(c, 1)) v = eval_kind(c, n);
  c->depth--;
  return c->st ? TV_UNDEFINED : v;
}

/* ---- statements ---- */

static void set_target(tctx *c, const node *to, tv value) {
  if (c->st) return;
  if (to->kind == N_NAME) {
    tmpl_assign(c, to->text, value);
  } else if (to->kind == N_SET_ATTR) {
    tv *ns = lookup(c, to->text);
    if (!ns || ns->kind != V_NAMESPACE)
      tmpl_error(c, "'%.*s': expected a namespace() to set an attribute of, got %s", (int)to->text.len, to->text.p,
                 ns ? tmpl_kind_name(*ns) : "nothing");
    else
      tdict_put(c, ns->dict, tmpl_string(c, to->name2), value);
  } else {
    tv *items;
    int64_t n = tmpl_items(c, value, &items);
    if (c->st) return;
    if (n != (int64_t)to->n) {
      tmpl_error(c, "expected %zu values to unpack, got %lld", to->n, (long long)n);
      return;
    }
    for (size_t i = 0; i < to->n; i++) set_target(c, to->items[i], items[i]);
  }
}

/* The items that a loop's filter keeps. */
static size_t kept_items(tctx *c, const node *n, tv *items, size_t count, tv *out) {
  size_t kept = 0;
  tscope *outer = c->scope;
  for (size_t i = 0; i < count && !c->st; i++) {
    tscope own = {outer, NULL};
    c->scope = &own;
    set_target(c, n->kid[0], items[i]);
    if (tmpl_truth(tmpl_eval(c, n->kid[2])) && !c->st) out[kept++] = items[i];
  }
  c->scope = outer;
  return kept;
}

static void exec_for(tctx *c, const node *n) {
  tv *items, over = tmpl_eval(c, n->kid[1]);
  int64_t found = c->st ? -1 : tmpl_items(c, over, &items);
  if (c->st || found < 0) return;
  size_t count = (size_t)found;
  if (n->kid[2]) {
    tv *kept = tmpl_alloc(c, count, sizeof *kept);
    if (!kept) return;
    count = kept_items(c, n, items, count, kept);
    items = kept;
  }
  tscope *outer = c->scope;
  tloop *l = tmpl_alloc(c, 1, sizeof *l);
  if (!l) return;
  *l = (tloop){items, count, 0};
  for (; l->i < count && tmpl_charge(c, 1); l->i++) {
    tscope *own = tmpl_alloc(c, 1, sizeof *own); /* a macro defined in the body may keep it */
    if (!own) break;
    *own = (tscope){outer, NULL};
    c->scope = own;
    tmpl_assign(c, SLICE("loop"), (tv){.kind = V_LOOP, .loop = l});
    set_target(c, n->kid[0], items[l->i]);
    if (exec(c, n->kid[3]) == FLOW_BREAK) break;
  }
  c->scope = outer;
  if (count == 0 && n->kid[4]) exec(c, n->kid[4]);
}

static flow exec_scope(tctx *c, const node *body) {
  tscope *outer = c->scope, *own = tmpl_alloc(c, 1, sizeof *own);
  if (!own) return FLOW_ON;
  *own = (tscope){outer, NULL};
  c->scope = own;
  flow f = exec(c, body);
  c->scope = outer;
  return f;
}

/* A body's output through the filters that stand before it. */
static tv filtered(tctx *c, const node *body, const node *by) {
  tscope *outer = c->scope, *own = tmpl_alloc(c, 1, sizeof *own);
  if (!own) return TV_UNDEFINED;
  *own = (tscope){outer, NULL};
  c->scope = own;
  tv v = capture(c, body);
  c->scope = outer;
  if (!by) return v;
  tv before = c->captured;
  c->captured = v;
  v = tmpl_eval(c, by);
  c->captured = before;
  return v;
}

static flow exec_with(tctx *c, const node *n) {
  tscope *outer = c->scope, *own = tmpl_alloc(c, 1, sizeof *own);
  if (!own) return FLOW_ON;
  *own = (tscope){outer, NULL};
  for (size_t i = 0; i + 1 < n->n && !c->st; i += 2) { /* the values see nothing of each other */
    tv v = tmpl_eval(c, n->items[i + 1]);
    c->scope = own;
    set_target(c, n->items[i], v);
    c->scope = outer;
  }
  c->scope = own;
  flow f = exec(c, n->kid[0]);
  c->scope = outer;
  return f;
}

static void write_value(tctx *c, tv v) {
  if (!c->st) tmpl_write(c, c->out, v, false);
}

static tv make_macro(tctx *c, const node *n) {
  tmacro *m = tmpl_alloc(c, 1, sizeof *m);
  if (!m) return TV_UNDEFINED;
  *m = (tmacro){n, c->scope};
  return (tv){.kind = V_MACRO, .macro = m};
}

static void exec_call_body(tctx *c, const node *n) {
  tv caller = make_macro(c, n);
  if (!c->st) write_value(c, eval_call(c, n->kid[1], &caller));
}

static flow exec_one(tctx *c, const node *n) {
  switch (n->kind) {
    case N_BODY:
      for (size_t i = 0; i < n->n && !c->st; i++) {
        flow f = exec(c, n->items[i]);
        if (f != FLOW_ON) return f;
      }
      return FLOW_ON;
    case N_DATA: tbuf_add(c, c->out, n->text.p, n->text.len); return FLOW_ON;
    case N_PRINT: write_value(c, tmpl_eval(c, n->kid[0])); return FLOW_ON;
    case N_IF:
      if (tmpl_truth(tmpl_eval(c, n->kid[0])) && !c->st) return exec(c, n->kid[1]);
      return c->st || !n->kid[2] ? FLOW_ON : exec(c, n->kid[2]);
    case N_FOR: exec_for(c, n); return FLOW_ON;
    case N_SET: set_target(c, n->kid[0], tmpl_eval(c, n->kid[1])); return FLOW_ON;
    case N_SET_BLOCK: set_target(c, n->kid[0], filtered(c, n->kid[1], n->kid[2])); return FLOW_ON;
    case N_FILTERED: write_value(c, filtered(c, n->kid[1], n->kid[2])); return FLOW_ON;
    case N_MACRO: tmpl_assign(c, n->text, make_macro(c, n)); return FLOW_ON;
    case N_CALL_BODY: exec_call_body(c, n); return FLOW_ON;
    case N_WITH: return exec_with(c, n);
    case N_SCOPE: return exec_scope(c, n->kid[0]);
    case N_BREAK: return FLOW_BREAK;
    case N_CONTINUE: return FLOW_CONTINUE;
    default: tmpl_lacks(c, "this statement"); return FLOW_ON;
  }
}

static flow exec(tctx *c, const node *n) {
  flow f = FLOW_ON;
  if (c->st || !n) return f;
  c->line = n->line;
  if (tmpl_enter(c) && tmpl_charge(c, 1)) f = exec_one(c, n);
  c->depth--;
  return f;
}

void tmpl_exec(tctx *c, const node *body) { exec(c, body); }

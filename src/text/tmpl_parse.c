/* tmpl_parse.c - tokens to a syntax tree, by recursive descent with jinja2's grammar and precedences.
 *
 * Statements that chat templates do not use (include, extends, call, …) and recursive loops are refused here, with
 * their line. An unknown filter or test is refused here too, unless it stands in an if: then it may never be
 * reached, and is an error only when it is. Nesting is bounded by TMPL_MAX_NESTING.
 */
#include <stdio.h>
#include <string.h>

#include "text/tmpl_internal.h"

typedef struct {
  const ttoken *t; /* the current token; the last is T_END */
  arena *a;
  const char *name;
  rw_error *err;
  rw_status st;       /* sticky */
  const ttoken *open; /* the word of the innermost tag whose end is still to come, or NULL */
  int depth, in_if, in_loop;
} parser;

static node *expression(parser *p, bool with_if);
static node *unary(parser *p, bool with_filter);
static node *body(parser *p, const char *const *ends);

/* ---- tokens and nodes ---- */

static const char *describe(const ttoken *t, char buf[48]) {
  static const char *const names[] = {"the end of the template", "text", "'{{'", "'}}'", "'{%'", "'%}'"};
  size_t n = t->text.len < 30 ? t->text.len : 30;
  if (t->type <= T_BLOCK_END) return names[t->type];
  if (t->type == T_NAME) memcpy(buf, t->text.p, n);
  if (t->type == T_NAME) buf[n] = 0;
  if (t->type == T_STRING) return "a string";
  if (t->type == T_INT || t->type == T_FLOAT) return "a number";
  if (t->type == T_OP && t->op < 256) memcpy(buf, (char[]){'\'', (char)t->op, '\'', 0}, 4);
  if (t->type == T_OP && t->op > 255) memcpy(buf, (char[]){'\'', (char)(t->op >> 8), (char)t->op, '\'', 0}, 5);
  return buf;
}

static void *expected(parser *p, const char *what) {
  char buf[48];
  if (!p->st)
    p->st = rw_fail(p->err, RW_DATA, "%s:%d: expected %s, got %s; mend the template", p->name, p->t->line, what,
                    describe(p->t, buf));
  return NULL;
}

static void *lacks(parser *p, int line, const char *what, slice name) {
  if (!p->st)
    p->st = rw_fail(p->err, RW_UNSUPPORTED,
                    "%s:%d: %s '%.*s' is not among the template constructs that are supported; give another "
                    "template with " FIELD(chat_template) " FILE",
                    p->name, line, what, (int)(name.len < 60 ? name.len : 60), name.p);
  return NULL;
}

static bool is_op(const parser *p, int op) { return p->t->type == T_OP && p->t->op == op; }
static bool is_word(const ttoken *t, const char *word) { return t->type == T_NAME && slice_is(t->text, word); }
static void next(parser *p) {
  if (p->t->type != T_END) p->t++;
}
static bool take_op(parser *p, int op) {
  bool yes = is_op(p, op);
  if (yes) next(p);
  return yes;
}
static bool take_word(parser *p, const char *word) {
  bool yes = is_word(p->t, word);
  if (yes) next(p);
  return yes;
}
static void need_op(parser *p, int op) {
  char what[] = {'\'', (char)op, '\'', 0};
  if (!take_op(p, op)) expected(p, what);
}
static void need(parser *p, ttype type, const char *what) {
  if (p->t->type == type)
    next(p);
  else
    expected(p, what);
}
static slice need_name(parser *p, const char *what) {
  slice name = p->t->text;
  if (p->t->type != T_NAME) return expected(p, what), SLICE("");
  next(p);
  return name;
}

static node *new_node(parser *p, node_kind kind) {
  node *n = p->st ? NULL : arena_alloc(p->a, 1, sizeof *n);
  if (!n) {
    if (!p->st) p->st = rw_nomem(p->err, p->name);
    return NULL;
  }
  n->kind = kind;
  n->line = p->t->line;
  return n;
}

static node *node1(parser *p, node_kind kind, int op, node *a, node *b) {
  node *n = new_node(p, kind);
  if (!n) return NULL;
  if (a) n->line = a->line;
  n->op = op;
  n->kid[0] = a;
  n->kid[1] = b;
  return n;
}

static void add(parser *p, node *list, node *item) {
  if (p->st || !list || !item) return;
  if (list->n == list->cap) {
    size_t cap = list->cap ? list->cap * 2 : 4;
    node **items = arena_alloc(p->a, cap, sizeof *items);
    if (!items) {
      p->st = rw_nomem(p->err, p->name);
      return;
    }
    if (list->n) memcpy(items, list->items, list->n * sizeof *items);
    list->items = items;
    list->cap = cap;
  }
  list->items[list->n++] = item;
}

static bool deeper(parser *p) {
  if (++p->depth > TMPL_MAX_NESTING && !p->st)
    p->st =
        rw_fail(p->err, RW_DATA, "%s:%d: expected nesting of at most %d levels, got more; simplify the template",
                p->name, p->t->line, TMPL_MAX_NESTING);
  return !p->st;
}

/* ---- expressions ---- */

static node *constant(parser *p, tv v) {
  node *n = new_node(p, N_CONST);
  if (n) n->value = v;
  return n;
}

static node *string(parser *p) {
  str all = {0};
  node *n = new_node(p, N_CONST);
  tstr *s = arena_alloc(p->a, 1, sizeof *s);
  for (; p->t->type == T_STRING; next(p)) str_add(&all, p->t->text.p, p->t->text.len);
  char *text = s && !all.oom ? arena_strndup(p->a, all.p ? all.p : "", all.len) : NULL;
  if (text && n) {
    *s = (tstr){.p = text, .len = all.len};
    for (size_t i = 0; i < all.len; i++) s->chars += ((unsigned char)text[i] & 0xC0) != 0x80;
    n->value = TV_STR(s);
  } else if (!p->st)
    p->st = rw_nomem(p->err, p->name);
  str_free(&all);
  return n;
}

static bool tuple_end(const parser *p, const char *word) {
  return p->t->type == T_PRINT_END || p->t->type == T_BLOCK_END || is_op(p, ')') || (word && is_word(p->t, word));
}

/* One expression, or a tuple where a comma follows. */
static node *tuple(parser *p, bool with_if, bool parentheses, const char *end_word) {
  node *t = new_node(p, N_TUPLE), *only = NULL;
  bool comma = false;
  while (!p->st && !tuple_end(p, end_word)) {
    add(p, t, only = expression(p, with_if));
    if (!take_op(p, ',')) break;
    comma = true;
  }
  if (comma || p->st) return t;
  if (only) return only;
  return parentheses ? t : expected(p, "an expression");
}

static node *list(parser *p) {
  node *n = new_node(p, N_LIST);
  next(p);
  while (!p->st && !is_op(p, ']')) {
    add(p, n, expression(p, true));
    if (!take_op(p, ',')) break;
  }
  need_op(p, ']');
  return n;
}

static node *dict(parser *p) {
  node *n = new_node(p, N_DICT);
  next(p);
  while (!p->st && !is_op(p, '}')) {
    add(p, n, expression(p, true));
    need_op(p, ':');
    add(p, n, expression(p, true));
    if (!take_op(p, ',')) break;
  }
  need_op(p, '}');
  return n;
}

static node *primary(parser *p) {
  const ttoken *t = p->t;
  node *n;
  switch (t->type) {
    case T_NAME: {
      bool yes = slice_is(t->text, "true") || slice_is(t->text, "True");
      if (yes || slice_is(t->text, "false") || slice_is(t->text, "False"))
        n = constant(p, TV_BOOL(yes));
      else if (slice_is(t->text, "none") || slice_is(t->text, "None"))
        n = constant(p, TV_NONE);
      else if ((n = new_node(p, N_NAME)))
        n->text = t->text;
      next(p);
      return n;
    }
    case T_STRING: return string(p);
    case T_INT:
    case T_FLOAT:
      n = constant(p, t->type == T_INT ? TV_INT(t->i) : TV_FLOAT(t->f));
      next(p);
      return n;
    case T_OP:
      if (t->op == '[') return list(p);
      if (t->op == '{') return dict(p);
      if (t->op != '(') break;
      next(p);
      n = tuple(p, true, true, NULL);
      need_op(p, ')');
      return n;
    default: break;
  }
  return expected(p, "an expression");
}

/* After "(": the arguments and ")". */
static void arguments(parser *p, node *call) {
  bool keywords = false;
  while (!p->st && !is_op(p, ')')) {
    if (is_op(p, '*') || is_op(p, OP2('*', '*'))) {
      lacks(p, p->t->line, "argument", SLICE("*"));
      return;
    }
    node *arg = new_node(p, N_ARG);
    if (arg && p->t->type == T_NAME && p->t[1].type == T_OP && p->t[1].op == '=') {
      arg->text = p->t->text;
      next(p);
      next(p);
      keywords = true;
    } else if (keywords)
      expected(p, "a keyword argument after a keyword argument");
    if (arg) arg->kid[0] = expression(p, true);
    add(p, call, arg);
    if (!take_op(p, ',')) break;
  }
  need_op(p, ')');
}

static node *subscribed(parser *p) {
  if (!is_op(p, ':')) {
    node *first = expression(p, true);
    if (!is_op(p, ':')) return first;
    next(p);
    node *n = node1(p, N_SLICE, 0, first, NULL);
    if (n && !is_op(p, ':') && !is_op(p, ']')) n->kid[1] = expression(p, true);
    if (take_op(p, ':') && n && !is_op(p, ']')) n->kid[2] = expression(p, true);
    return n;
  }
  node *n = new_node(p, N_SLICE);
  next(p);
  if (n && !is_op(p, ':') && !is_op(p, ']')) n->kid[1] = expression(p, true);
  if (take_op(p, ':') && n && !is_op(p, ']')) n->kid[2] = expression(p, true);
  return n;
}

static node *postfix(parser *p, node *n) {
  while (!p->st) {
    if (take_op(p, '.')) {
      node *object = n;
      if (p->t->type == T_INT) {
        n = node1(p, N_ITEM, 0, object, constant(p, TV_INT(p->t->i)));
        next(p);
      } else {
        n = node1(p, N_ATTR, 0, object, NULL);
        slice name = need_name(p, "a name after '.'");
        if (n) n->text = name;
      }
    } else if (take_op(p, '[')) {
      n = node1(p, N_ITEM, 0, n, subscribed(p));
      need_op(p, ']');
    } else if (take_op(p, '(')) {
      n = node1(p, N_CALL, 0, n, NULL);
      arguments(p, n);
    } else
      break;
  }
  return n;
}

/* Looks the name up now; an unknown name may stand in an if that is never entered. */
static void resolve(parser *p, node *n, const tbuiltin *table, const char *what) {
  if (!n) return;
  n->builtin = tmpl_find(table, n->text);
  if (!n->builtin && !p->in_if) lacks(p, n->line, what, n->text);
}

static node *filter(parser *p, node *n) {
  node *f = node1(p, N_FILTER, 0, n, NULL);
  slice name = need_name(p, "a filter's name");
  if (f) f->text = name;
  if (take_op(p, '(')) arguments(p, f);
  resolve(p, f, tmpl_filters, "filter");
  return f;
}

static node *test(parser *p, node *n) {
  bool negated = take_word(p, "not");
  node *t = node1(p, N_TEST, 0, n, NULL);
  slice name = need_name(p, "a test's name");
  if (t) t->text = name;
  const ttoken *k = p->t;
  bool operand = k->type == T_NAME || k->type == T_STRING || k->type == T_INT || k->type == T_FLOAT ||
                 is_op(p, '[') || is_op(p, '{');
  if (take_op(p, '('))
    arguments(p, t);
  else if (operand && !is_word(k, "else") && !is_word(k, "or") && !is_word(k, "and")) {
    if (is_word(k, "is")) return expected(p, "no second 'is'");
    node *arg = new_node(p, N_ARG);
    if (arg) arg->kid[0] = postfix(p, primary(p));
    add(p, t, arg);
  }
  resolve(p, t, tmpl_tests, "test");
  return negated ? node1(p, N_NOT, 0, t, NULL) : t;
}

static node *unary(parser *p, bool with_filter) {
  node *n;
  if (!deeper(p)) return NULL;
  if (is_op(p, '-') || is_op(p, '+')) {
    int op = p->t->op;
    next(p);
    n = node1(p, N_UNARY, op, unary(p, false), NULL);
  } else
    n = primary(p);
  n = postfix(p, n);
  while (with_filter && !p->st) {
    if (take_op(p, '|'))
      n = filter(p, n);
    else if (take_word(p, "is"))
      n = test(p, n);
    else if (take_op(p, '(')) {
      n = node1(p, N_CALL, 0, n, NULL);
      arguments(p, n);
    } else
      break;
  }
  p->depth--;
  return n;
}

static node *power(parser *p) {
  node *n = unary(p, true);
  while (!p->st && take_op(p, OP2('*', '*'))) n = node1(p, N_BINARY, OP2('*', '*'), n, unary(p, true));
  return n;
}

static node *product(parser *p) {
  node *n = power(p);
  while (!p->st && (is_op(p, '*') || is_op(p, '/') || is_op(p, OP2('/', '/')) || is_op(p, '%'))) {
    int op = p->t->op;
    next(p);
    n = node1(p, N_BINARY, op, n, power(p));
  }
  return n;
}

static node *concat(parser *p) {
  node *first = product(p);
  if (!is_op(p, '~')) return first;
  node *n = new_node(p, N_CONCAT);
  add(p, n, first);
  while (!p->st && take_op(p, '~')) add(p, n, product(p));
  return n;
}

static node *sum(parser *p) {
  node *n = concat(p);
  while (!p->st && (is_op(p, '+') || is_op(p, '-'))) {
    int op = p->t->op;
    next(p);
    n = node1(p, N_BINARY, op, n, concat(p));
  }
  return n;
}

static int compare_operator(parser *p) {
  int op = p->t->type == T_OP ? p->t->op : 0;
  if (op == OP2('=', '=') || op == OP2('!', '=') || op == '<' || op == '>' || op == OP2('<', '=') ||
      op == OP2('>', '=')) {
    next(p);
    return op;
  }
  if (take_word(p, "in")) return OP_IN;
  if (is_word(p->t, "not") && is_word(p->t + 1, "in")) {
    next(p);
    next(p);
    return OP_NOT_IN;
  }
  return 0;
}

static node *comparison(parser *p) {
  node *first = sum(p), *n = NULL;
  for (int op; !p->st && (op = compare_operator(p));) {
    if (!n) n = node1(p, N_COMPARE, 0, first, NULL);
    add(p, n, node1(p, N_OPERAND, op, sum(p), NULL));
  }
  return n ? n : first;
}

static node *negation(parser *p) {
  if (!is_word(p->t, "not")) return comparison(p);
  if (!deeper(p)) return NULL;
  next(p);
  node *n = node1(p, N_NOT, 0, negation(p), NULL);
  p->depth--;
  return n;
}

static node *conjunction(parser *p) {
  node *n = negation(p);
  while (!p->st && take_word(p, "and")) n = node1(p, N_AND, 0, n, negation(p));
  return n;
}

static node *disjunction(parser *p) {
  node *n = conjunction(p);
  while (!p->st && take_word(p, "or")) n = node1(p, N_OR, 0, n, conjunction(p));
  return n;
}

static node *expression(parser *p, bool with_if) {
  if (!deeper(p)) return NULL;
  node *n = disjunction(p);
  while (with_if && !p->st && take_word(p, "if")) {
    node *test_node = disjunction(p), *value = n;
    n = node1(p, N_COND, 0, test_node, value);
    if (n && take_word(p, "else")) n->kid[2] = expression(p, true);
  }
  p->depth--;
  return n;
}

/* ---- statements ---- */

static node *target(parser *p, bool attributes, const char *end_word) {
  node *t = new_node(p, N_TUPLE), *only = NULL;
  bool comma = false;
  if (!deeper(p)) return NULL;
  while (!p->st && !tuple_end(p, end_word)) {
    if (take_op(p, '(')) {
      only = target(p, attributes, NULL);
      need_op(p, ')');
    } else {
      only = new_node(p, N_NAME);
      slice name = need_name(p, "a name to set");
      if (only) only->text = name;
      if (slice_is(name, "loop") && end_word) expected(p, "another name than 'loop'");
      if (attributes && only && take_op(p, '.')) {
        only->kind = N_SET_ATTR;
        only->name2 = need_name(p, "a name after '.'");
      }
    }
    add(p, t, only);
    if (!take_op(p, ',')) break;
    comma = true;
  }
  p->depth--;
  if (comma || p->st) return t;
  return only ? only : expected(p, "a name to set");
}

/* The rest of the tag, the statements up to {% one of ends, and that word; the tag's end is the caller's. */
static node *block(parser *p, const char *const *ends) {
  take_op(p, ':');
  need(p, T_BLOCK_END, "'%}'");
  return p->st ? NULL : body(p, ends);
}

static node *if_statement(parser *p) {
  static const char *const ends[] = {"elif", "else", "endif", NULL}, *const last[] = {"endif", NULL};
  node *n = NULL, *now = NULL;
  p->in_if++;
  do {
    node *test_node = tuple(p, false, false, NULL), *part = node1(p, N_IF, 0, test_node, NULL);
    if (!part) return NULL;
    part->kid[1] = block(p, ends);
    if (now) now->kid[2] = part;
    if (!n) n = part;
    now = part;
  } while (!p->st && take_word(p, "elif"));
  if (!p->st && take_word(p, "else")) now->kid[2] = block(p, last);
  take_word(p, "endif");
  p->in_if--;
  return n;
}

static node *for_statement(parser *p) {
  static const char *const ends[] = {"else", "endfor", NULL}, *const last[] = {"endfor", NULL};
  node *n = new_node(p, N_FOR), *to = target(p, false, "in");
  if (!take_word(p, "in")) expected(p, "'in'");
  node *over = tuple(p, false, false, "recursive"), *keep = NULL;
  if (take_word(p, "if")) keep = expression(p, true);
  if (is_word(p->t, "recursive")) return lacks(p, p->t->line, "loop kind", p->t->text);
  p->in_loop++;
  node *inner = block(p, ends), *otherwise = NULL;
  p->in_loop--;
  if (!p->st && take_word(p, "else")) otherwise = block(p, last);
  take_word(p, "endfor");
  if (n) memcpy(n->kid, (node *[]){to, over, keep, inner, otherwise}, sizeof n->kid);
  return n;
}

static node *set_statement(parser *p) {
  static const char *const ends[] = {"endset", NULL};
  node *n = new_node(p, N_SET), *to = target(p, true, NULL);
  if (!n) return NULL;
  n->kid[0] = to;
  if (take_op(p, '=')) {
    n->kid[1] = tuple(p, true, false, NULL);
    return n;
  }
  n->kind = N_SET_BLOCK;
  if (is_op(p, '|')) n->kid[2] = new_node(p, N_CAPTURED);
  while (!p->st && take_op(p, '|')) n->kid[2] = filter(p, n->kid[2]);
  n->kid[1] = block(p, ends);
  take_word(p, "endset");
  return n;
}

static node *macro_statement(parser *p) {
  static const char *const ends[] = {"endmacro", NULL};
  node *n = new_node(p, N_MACRO);
  bool defaults = false;
  slice name = need_name(p, "the macro's name");
  need_op(p, '(');
  while (!p->st && !is_op(p, ')')) {
    node *arg = new_node(p, N_ARG);
    slice param = need_name(p, "a parameter's name");
    if (arg) arg->text = param;
    if (arg && take_op(p, '=')) {
      arg->kid[0] = expression(p, true);
      defaults = true;
    } else if (defaults)
      expected(p, "a default for the parameter, as the one before has");
    add(p, n, arg);
    if (!take_op(p, ',')) break;
  }
  need_op(p, ')');
  int outer = p->in_loop;
  p->in_loop = 0;
  node *inner = block(p, ends);
  p->in_loop = outer;
  take_word(p, "endmacro");
  if (n) n->text = name, n->kid[0] = inner;
  return n;
}

/* What must come here in place of another tag or the end. */
static void *unclosed(parser *p, const char *const *ends) {
  char what[120];
  while (ends && ends[1]) ends++;
  if (!ends) return expected(p, "text or the start of a block");
  snprintf(what, sizeof what, "'{%% %s %%}' for the '%.*s' of line %d", *ends, (int)p->open->text.len,
           p->open->text.p, p->open->line);
  return expected(p, what);
}

static bool is_closing(const ttoken *t) {
  return t->type == T_NAME &&
         ((t->text.len > 3 && memcmp(t->text.p, "end", 3) == 0) || is_word(t, "else") || is_word(t, "elif"));
}

static node *tagged(parser *p) {
  static const char *const generation_end[] = {"endgeneration", NULL};
  const ttoken *t = p->t;
  slice word = need_name(p, "a statement");
  if (slice_is(word, "if")) return if_statement(p);
  if (slice_is(word, "for")) return for_statement(p);
  if (slice_is(word, "set")) return set_statement(p);
  if (slice_is(word, "macro")) return macro_statement(p);
  if (slice_is(word, "generation")) {
    node *n = new_node(p, N_SCOPE);
    int outer = p->in_loop;
    p->in_loop = 0;
    node *inner = block(p, generation_end);
    p->in_loop = outer;
    take_word(p, "endgeneration");
    if (n) n->kid[0] = inner;
    return n;
  }
  bool is_break = slice_is(word, "break");
  if (is_break || slice_is(word, "continue")) {
    if (!p->in_loop) return expected(p, "a for around break or continue");
    return new_node(p, is_break ? N_BREAK : N_CONTINUE);
  }
  return p->st ? NULL : lacks(p, t->line, "statement", word);
}

static node *statement(parser *p, const char *const *ends) {
  const ttoken *outer = p->open;
  if (is_closing(p->t)) return unclosed(p, ends);
  p->open = p->t;
  node *n = tagged(p);
  p->open = outer;
  return n;
}

static bool at_end(const parser *p, const char *const *ends) {
  for (; ends && *ends; ends++)
    if (is_word(p->t, *ends)) return true;
  return false;
}

/* Statements up to the tag that begins with one of ends (which stays the current token), or the end when NULL. */
static node *body(parser *p, const char *const *ends) {
  node *b = new_node(p, N_BODY);
  if (!deeper(p)) return NULL;
  while (!p->st) {
    if (p->t->type == T_DATA) {
      node *n = new_node(p, N_DATA);
      if (n) n->text = p->t->text;
      next(p);
      add(p, b, n);
    } else if (p->t->type == T_PRINT_BEGIN) {
      next(p);
      add(p, b, node1(p, N_PRINT, 0, tuple(p, true, false, NULL), NULL));
      need(p, T_PRINT_END, "'}}'");
    } else if (p->t->type == T_BLOCK_BEGIN) {
      next(p);
      if (at_end(p, ends)) break;
      add(p, b, statement(p, ends));
      need(p, T_BLOCK_END, "'%}'");
    } else {
      if (ends || p->t->type != T_END) unclosed(p, ends);
      break;
    }
  }
  p->depth--;
  return b;
}

rw_status tmpl_parse_tokens(node **root, const ttokens *tokens, arena *a, const char *name, rw_error *err) {
  parser p = {.t = tokens->p, .a = a, .name = name, .err = err};
  *root = body(&p, NULL);
  return p.st;
}

/* tmpl_expr.c - tokens to expressions, by recursive descent with jinja2's grammar and precedences.
 *
 * An unknown filter or test is refused here, unless it stands in an if: then it may never be reached, and is an
 * error only when it is.
 */
#include "text/tmpl_parser.h"

static node *unary(parser *p, bool with_filter);

static node *constant(parser *p, tv v) {
  node *n = parser_node(p, N_CONST);
  if (n) n->value = v;
  return n;
}

static node *string(parser *p) {
  str all = {0};
  node *n = parser_node(p, N_CONST);
  tstr *s = arena_alloc(p->a, 1, sizeof *s);
  for (; p->t->type == T_STRING; parser_next(p)) str_add(&all, p->t->text.p, p->t->text.len);
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

bool parser_tuple_end(const parser *p, const char *word) {
  return p->t->type == T_PRINT_END || p->t->type == T_BLOCK_END || parser_is_op(p, ')') ||
         (word && parser_is_word(p->t, word));
}

/* One expression, or a tuple where a comma follows. */
node *parser_tuple(parser *p, bool with_if, bool parentheses, const char *end_word) {
  node *t = parser_node(p, N_TUPLE), *only = NULL;
  bool comma = false;
  while (!p->st && !parser_tuple_end(p, end_word)) {
    parser_add(p, t, only = parser_expression(p, with_if));
    if (!parser_take_op(p, ',')) break;
    comma = true;
  }
  if (comma || p->st) return t;
  if (only) return only;
  return parentheses ? t : parser_expected(p, "an expression");
}

static node *list(parser *p) {
  node *n = parser_node(p, N_LIST);
  parser_next(p);
  while (!p->st && !parser_is_op(p, ']')) {
    parser_add(p, n, parser_expression(p, true));
    if (!parser_take_op(p, ',')) break;
  }
  parser_need_op(p, ']');
  return n;
}

static node *dict(parser *p) {
  node *n = parser_node(p, N_DICT);
  parser_next(p);
  while (!p->st && !parser_is_op(p, '}')) {
    parser_add(p, n, parser_expression(p, true));
    parser_need_op(p, ':');
    parser_add(p, n, parser_expression(p, true));
    if (!parser_take_op(p, ',')) break;
  }
  parser_need_op(p, '}');
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
      else if ((n = parser_node(p, N_NAME)))
        n->text = t->text;
      p->uses |= slice_is(t->text, "varargs")  ? USES_VARARGS
                 : slice_is(t->text, "kwargs") ? USES_KWARGS
                 : slice_is(t->text, "caller") ? USES_CALLER
                                               : 0;
      parser_next(p);
      return n;
    }
    case T_STRING: return string(p);
    case T_INT:
    case T_FLOAT:
      n = constant(p, t->type == T_INT ? TV_INT(t->i) : TV_FLOAT(t->f));
      parser_next(p);
      return n;
    case T_OP:
      if (t->op == '[') return list(p);
      if (t->op == '{') return dict(p);
      if (t->op != '(') break;
      parser_next(p);
      n = parser_tuple(p, true, true, NULL);
      parser_need_op(p, ')');
      return n;
    default: break;
  }
  return parser_expected(p, "an expression");
}

/* After "(": the arguments and ")". */
static void arguments(parser *p, node *call) {
  bool keywords = false, stars = false, twice = false; /* seen: NAME=, *, ** */
  while (!p->st && !parser_is_op(p, ')')) {
    node *arg = parser_node(p, N_ARG);
    int star = parser_is_op(p, '*') || parser_is_op(p, OP2('*', '*')) ? p->t->op : 0;
    if (twice || (star == '*' && stars)) parser_expected(p, "')'");
    if (arg && star) {
      arg->op = star;
      parser_next(p);
      stars |= star == '*';
      twice = star != '*';
    } else if (arg && p->t->type == T_NAME && p->t[1].type == T_OP && p->t[1].op == '=') {
      arg->text = p->t->text;
      parser_next(p);
      parser_next(p);
      keywords = true;
    } else if (keywords || stars)
      parser_expected(p, "a keyword argument after a keyword argument or '*'");
    if (arg) arg->kid[0] = parser_expression(p, true);
    parser_add(p, call, arg);
    if (!parser_take_op(p, ',')) break;
  }
  parser_need_op(p, ')');
}

static node *subscribed(parser *p) {
  if (!parser_is_op(p, ':')) {
    node *first = parser_expression(p, true);
    if (!parser_is_op(p, ':')) return first;
    parser_next(p);
    node *n = parser_node_of(p, N_SLICE, 0, first, NULL);
    if (n && !parser_is_op(p, ':') && !parser_is_op(p, ']')) n->kid[1] = parser_expression(p, true);
    if (parser_take_op(p, ':') && n && !parser_is_op(p, ']')) n->kid[2] = parser_expression(p, true);
    return n;
  }
  node *n = parser_node(p, N_SLICE);
  parser_next(p);
  if (n && !parser_is_op(p, ':') && !parser_is_op(p, ']')) n->kid[1] = parser_expression(p, true);
  if (parser_take_op(p, ':') && n && !parser_is_op(p, ']')) n->kid[2] = parser_expression(p, true);
  return n;
}

static node *postfix(parser *p, node *n) {
  while (!p->st) {
    if (parser_take_op(p, '.')) {
      node *object = n;
      if (p->t->type == T_INT) {
        n = parser_node_of(p, N_ITEM, 0, object, constant(p, TV_INT(p->t->i)));
        parser_next(p);
      } else {
        n = parser_node_of(p, N_ATTR, 0, object, NULL);
        slice name = parser_need_name(p, "a name after '.'");
        if (n) n->text = name;
      }
    } else if (parser_take_op(p, '[')) {
      n = parser_node_of(p, N_ITEM, 0, n, subscribed(p));
      parser_need_op(p, ']');
    } else if (parser_take_op(p, '(')) {
      n = parser_node_of(p, N_CALL, 0, n, NULL);
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
  if (!n->builtin && !p->in_if) parser_lacks(p, n->line, what, n->text);
}

node *parser_filter(parser *p, node *n) {
  node *f = parser_node_of(p, N_FILTER, 0, n, NULL);
  slice name = parser_need_name(p, "a filter's name");
  if (f) f->text = name;
  if (parser_take_op(p, '(')) arguments(p, f);
  resolve(p, f, tmpl_filters, "filter");
  return f;
}

static node *test(parser *p, node *n) {
  bool negated = parser_take_word(p, "not");
  node *t = parser_node_of(p, N_TEST, 0, n, NULL);
  slice name = parser_need_name(p, "a test's name");
  if (t) t->text = name;
  const ttoken *k = p->t;
  bool operand = k->type == T_NAME || k->type == T_STRING || k->type == T_INT || k->type == T_FLOAT ||
                 parser_is_op(p, '[') || parser_is_op(p, '{');
  if (parser_take_op(p, '('))
    arguments(p, t);
  else if (operand && !parser_is_word(k, "else") && !parser_is_word(k, "or") && !parser_is_word(k, "and")) {
    if (parser_is_word(k, "is")) return parser_expected(p, "no second 'is'");
    node *arg = parser_node(p, N_ARG);
    if (arg) arg->kid[0] = postfix(p, primary(p));
    parser_add(p, t, arg);
  }
  resolve(p, t, tmpl_tests, "test");
  return negated ? parser_node_of(p, N_NOT, 0, t, NULL) : t;
}

static node *unary(parser *p, bool with_filter) {
  node *n;
  if (!parser_deeper(p)) return NULL;
  if (parser_is_op(p, '-') || parser_is_op(p, '+')) {
    int op = p->t->op;
    parser_next(p);
    n = parser_node_of(p, N_UNARY, op, unary(p, false), NULL);
  } else
    n = primary(p);
  n = postfix(p, n);
  while (with_filter && !p->st) {
    if (parser_take_op(p, '|'))
      n = parser_filter(p, n);
    else if (parser_take_word(p, "is"))
      n = test(p, n);
    else if (parser_take_op(p, '(')) {
      n = parser_node_of(p, N_CALL, 0, n, NULL);
      arguments(p, n);
    } else
      break;
  }
  p->depth--;
  return n;
}

static node *power(parser *p) {
  node *n = unary(p, true);
  while (!p->st && parser_take_op(p, OP2('*', '*')))
    n = parser_node_of(p, N_BINARY, OP2('*', '*'), n, unary(p, true));
  return n;
}

static node *product(parser *p) {
  node *n = power(p);
  while (!p->st &&
         (parser_is_op(p, '*') || parser_is_op(p, '/') || parser_is_op(p, OP2('/', '/')) || parser_is_op(p, '%'))) {
    int op = p->t->op;
    parser_next(p);
    n = parser_node_of(p, N_BINARY, op, n, power(p));
  }
  return n;
}

static node *concat(parser *p) {
  node *first = product(p);
  if (!parser_is_op(p, '~')) return first;
  node *n = parser_node(p, N_CONCAT);
  parser_add(p, n, first);
  while (!p->st && parser_take_op(p, '~')) parser_add(p, n, product(p));
  return n;
}

static node *sum(parser *p) {
  node *n = concat(p);
  while (!p->st && (parser_is_op(p, '+') || parser_is_op(p, '-'))) {
    int op = p->t->op;
    parser_next(p);
    n = parser_node_of(p, N_BINARY, op, n, concat(p));
  }
  return n;
}

static int compare_operator(parser *p) {
  int op = p->t->type == T_OP ? p->t->op : 0;
  if (op == OP2('=', '=') || op == OP2('!', '=') || op == '<' || op == '>' || op == OP2('<', '=') ||
      op == OP2('>', '=')) {
    parser_next(p);
    return op;
  }
  if (parser_take_word(p, "in")) return OP_IN;
  if (parser_is_word(p->t, "not") && parser_is_word(p->t + 1, "in")) {
    parser_next(p);
    parser_next(p);
    return OP_NOT_IN;
  }
  return 0;
}

static node *comparison(parser *p) {
  node *first = sum(p), *n = NULL;
  for (int op; !p->st && (op = compare_operator(p));) {
    if (!n) n = parser_node_of(p, N_COMPARE, 0, first, NULL);
    parser_add(p, n, parser_node_of(p, N_OPERAND, op, sum(p), NULL));
  }
  return n ? n : first;
}

static node *negation(parser *p) {
  if (!parser_is_word(p->t, "not")) return comparison(p);
  if (!parser_deeper(p)) return NULL;
  parser_next(p);
  node *n = parser_node_of(p, N_NOT, 0, negation(p), NULL);
  p->depth--;
  return n;
}

static node *conjunction(parser *p) {
  node *n = negation(p);
  while (!p->st && parser_take_word(p, "and")) n = parser_node_of(p, N_AND, 0, n, negation(p));
  return n;
}

static node *disjunction(parser *p) {
  node *n = conjunction(p);
  while (!p->st && parser_take_word(p, "or")) n = parser_node_of(p, N_OR, 0, n, conjunction(p));
  return n;
}

node *parser_expression(parser *p, bool with_if) {
  if (!parser_deeper(p)) return NULL;
  node *n = disjunction(p);
  while (with_if && !p->st && parser_take_word(p, "if")) {
    node *test_node = disjunction(p), *value = n;
    n = parser_node_of(p, N_COND, 0, test_node, value);
    if (n && parser_take_word(p, "else")) n->kid[2] = parser_expression(p, true);
  }
  p->depth--;
  return n;
}

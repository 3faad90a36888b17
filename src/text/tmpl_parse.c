/* tmpl_parse.c - tokens to statements, and so to the whole syntax tree.
 *
 * Statements that chat templates do not use (include, extends, block, …) and recursive loops are refused here, with
 * their line. Nesting is bounded by TMPL_MAX_NESTING.
 */
#include <stdio.h>
#include <string.h>

#include "text/tmpl_parser.h"

static node *body(parser *p, const char *const *ends);

static node *target(parser *p, bool attributes, const char *end_word) {
  node *t = parser_node(p, N_TUPLE), *only = NULL;
  bool comma = false;
  if (!parser_deeper(p)) return NULL;
  while (!p->st && !parser_tuple_end(p, end_word)) {
    if (parser_take_op(p, '(')) {
      only = target(p, attributes, NULL);
      parser_need_op(p, ')');
    } else {
      only = parser_node(p, N_NAME);
      slice name = parser_need_name(p, "a name to set");
      if (only) only->text = name;
      if (slice_is(name, "loop") && end_word) parser_expected(p, "another name than 'loop'");
      if (attributes && only && parser_take_op(p, '.')) {
        only->kind = N_SET_ATTR;
        only->name2 = parser_need_name(p, "a name after '.'");
      }
    }
    parser_add(p, t, only);
    if (!parser_take_op(p, ',')) break;
    comma = true;
  }
  p->depth--;
  if (comma || p->st) return t;
  return only ? only : parser_expected(p, "a name to set");
}

/* The rest of the tag, the statements up to {% one of ends, and that word; the tag's end is the caller's. */
static node *block(parser *p, const char *const *ends) {
  parser_take_op(p, ':');
  parser_need(p, T_BLOCK_END, "'%}'");
  return p->st ? NULL : body(p, ends);
}

static node *if_statement(parser *p) {
  static const char *const ends[] = {"elif", "else", "endif", NULL}, *const last[] = {"endif", NULL};
  node *n = NULL, *now = NULL;
  p->in_if++;
  do {
    node *test_node = parser_tuple(p, false, false, NULL), *part = parser_node_of(p, N_IF, 0, test_node, NULL);
    if (!part) return NULL;
    part->kid[1] = block(p, ends);
    if (now) now->kid[2] = part;
    if (!n) n = part;
    now = part;
  } while (!p->st && parser_take_word(p, "elif"));
  if (!p->st && parser_take_word(p, "else")) now->kid[2] = block(p, last);
  parser_take_word(p, "endif");
  p->in_if--;
  return n;
}

static node *for_statement(parser *p) {
  static const char *const ends[] = {"else", "endfor", NULL}, *const last[] = {"endfor", NULL};
  node *n = parser_node(p, N_FOR), *to = target(p, false, "in");
  if (!parser_take_word(p, "in")) parser_expected(p, "'in'");
  node *over = parser_tuple(p, false, false, "recursive"), *keep = NULL;
  if (parser_take_word(p, "if")) keep = parser_expression(p, true);
  if (parser_is_word(p->t, "recursive")) return parser_lacks(p, p->t->line, "loop kind", p->t->text);
  p->in_loop++;
  node *inner = block(p, ends), *otherwise = NULL;
  p->in_loop--;
  if (!p->st && parser_take_word(p, "else")) otherwise = block(p, last);
  parser_take_word(p, "endfor");
  if (n) memcpy(n->kid, (node *[]){to, over, keep, inner, otherwise}, sizeof n->kid);
  return n;
}

/* Filters over a body's output; the first "|" is behind. */
static node *filters(parser *p) {
  node *n = parser_node(p, N_CAPTURED);
  do n = parser_filter(p, n);
  while (!p->st && parser_take_op(p, '|'));
  return n;
}

static node *set_statement(parser *p) {
  static const char *const ends[] = {"endset", NULL};
  node *n = parser_node(p, N_SET), *to = target(p, true, NULL);
  if (!n) return NULL;
  n->kid[0] = to;
  if (parser_take_op(p, '=')) {
    n->kid[1] = parser_tuple(p, true, false, NULL);
    return n;
  }
  n->kind = N_SET_BLOCK;
  if (parser_take_op(p, '|')) n->kid[2] = filters(p);
  n->kid[1] = block(p, ends);
  parser_take_word(p, "endset");
  return n;
}

/* A body that break and continue do not reach out of. */
static node *own_body(parser *p, const char *const *ends) {
  int outer = p->in_loop;
  p->in_loop = 0;
  node *inner = block(p, ends);
  p->in_loop = outer;
  parser_take_word(p, *ends);
  return inner;
}

static node *filter_statement(parser *p) {
  static const char *const ends[] = {"endfilter", NULL};
  node *n = parser_node(p, N_FILTERED), *over = filters(p), *inner = own_body(p, ends);
  if (n) n->kid[1] = inner, n->kid[2] = over;
  return n;
}

static node *with_statement(parser *p) {
  static const char *const ends[] = {"endwith", NULL};
  node *n = parser_node(p, N_WITH);
  while (!p->st && p->t->type != T_BLOCK_END) {
    parser_add(p, n, target(p, false, "="));
    parser_need_op(p, '=');
    parser_add(p, n, parser_expression(p, true));
    if (!parser_take_op(p, ',')) break;
  }
  node *inner = own_body(p, ends);
  if (n) n->kid[0] = inner;
  return n;
}

/* After "(": the parameters of a macro and ")". */
static void signature(parser *p, node *n) {
  bool defaults = false;
  while (!p->st && !parser_is_op(p, ')')) {
    node *arg = parser_node(p, N_ARG);
    slice param = parser_need_name(p, "a parameter's name");
    if (arg) arg->text = param;
    if (arg && parser_take_op(p, '=')) {
      arg->kid[0] = parser_expression(p, true);
      defaults = true;
    } else if (defaults)
      parser_expected(p, "a default for the parameter, as the one before has");
    parser_add(p, n, arg);
    if (!parser_take_op(p, ',')) break;
  }
  parser_need_op(p, ')');
}

/* The body of a macro; what it uses the macro around it uses too. */
static void macro_body(parser *p, node *n, const char *const *ends) {
  int outer = p->uses;
  p->uses = 0;
  node *inner = own_body(p, ends);
  if (n) n->kid[0] = inner, n->op = p->uses;
  p->uses |= outer;
}

static node *macro_statement(parser *p) {
  static const char *const ends[] = {"endmacro", NULL};
  node *n = parser_node(p, N_MACRO);
  slice name = parser_need_name(p, "the macro's name");
  if (n) n->text = name;
  parser_need_op(p, '(');
  signature(p, n);
  macro_body(p, n, ends);
  return n;
}

static node *call_statement(parser *p) {
  static const char *const ends[] = {"endcall", NULL};
  node *n = parser_node(p, N_CALL_BODY);
  if (parser_take_op(p, '(')) signature(p, n);
  node *call = parser_expression(p, true);
  if (call && call->kind != N_CALL) parser_expected(p, "a macro's call before this");
  if (n) n->text = SLICE("caller"), n->kid[1] = call;
  macro_body(p, n, ends);
  return n;
}

/* What must come here in place of another tag or the end. */
static void *unclosed(parser *p, const char *const *ends) {
  char what[120];
  while (ends && ends[1]) ends++;
  if (!ends) return parser_expected(p, "text or the start of a block");
  snprintf(what, sizeof what, "'{%% %s %%}' for the '%.*s' of line %d", *ends, (int)p->open->text.len,
           p->open->text.p, p->open->line);
  return parser_expected(p, what);
}

static bool is_closing(const ttoken *t) {
  return t->type == T_NAME && ((t->text.len > 3 && memcmp(t->text.p, "end", 3) == 0) || parser_is_word(t, "else") ||
                               parser_is_word(t, "elif"));
}

static node *tagged(parser *p) {
  static const char *const generation_end[] = {"endgeneration", NULL};
  const ttoken *t = p->t;
  slice word = parser_need_name(p, "a statement");
  if (slice_is(word, "if")) return if_statement(p);
  if (slice_is(word, "for")) return for_statement(p);
  if (slice_is(word, "set")) return set_statement(p);
  if (slice_is(word, "macro")) return macro_statement(p);
  if (slice_is(word, "call")) return call_statement(p);
  if (slice_is(word, "filter")) return filter_statement(p);
  if (slice_is(word, "with")) return with_statement(p);
  if (slice_is(word, "generation")) {
    node *n = parser_node(p, N_SCOPE), *inner = own_body(p, generation_end);
    if (n) n->kid[0] = inner;
    return n;
  }
  bool is_break = slice_is(word, "break");
  if (is_break || slice_is(word, "continue")) {
    if (!p->in_loop) return parser_expected(p, "a for around break or continue");
    return parser_node(p, is_break ? N_BREAK : N_CONTINUE);
  }
  return p->st ? NULL : parser_lacks(p, t->line, "statement", word);
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
    if (parser_is_word(p->t, *ends)) return true;
  return false;
}

/* Statements up to the tag that begins with one of ends (which stays the current token), or the end when NULL. */
static node *body(parser *p, const char *const *ends) {
  node *b = parser_node(p, N_BODY);
  if (!parser_deeper(p)) return NULL;
  while (!p->st) {
    if (p->t->type == T_DATA) {
      node *n = parser_node(p, N_DATA);
      if (n) n->text = p->t->text;
      parser_next(p);
      parser_add(p, b, n);
    } else if (p->t->type == T_PRINT_BEGIN) {
      parser_next(p);
      parser_add(p, b, parser_node_of(p, N_PRINT, 0, parser_tuple(p, true, false, NULL), NULL));
      parser_need(p, T_PRINT_END, "'}}'");
    } else if (p->t->type == T_BLOCK_BEGIN) {
      parser_next(p);
      if (at_end(p, ends)) break;
      parser_add(p, b, statement(p, ends));
      parser_need(p, T_BLOCK_END, "'%}'");
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

/* tmpl_tree.c - what a parser does with tokens and nodes: reads the ones, makes the others, says what is wrong. */
#include <string.h>

#include "text/tmpl_parser.h"

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

void *parser_expected(parser *p, const char *what) {
  char buf[48];
  if (!p->st)
    p->st = rw_fail(p->err, RW_DATA, "%s:%d: expected %s, got %s; mend the template", p->name, p->t->line, what,
                    describe(p->t, buf));
  return NULL;
}

void *parser_lacks(parser *p, int line, const char *what, slice name) {
  if (!p->st)
    p->st = rw_fail(p->err, RW_UNSUPPORTED,
                    "%s:%d: %s '%.*s' is not among the template constructs that are supported; give another "
                    "template with " FIELD(chat_template) " FILE",
                    p->name, line, what, (int)(name.len < 60 ? name.len : 60), name.p);
  return NULL;
}

bool parser_is_op(const parser *p, int op) { return p->t->type == T_OP && p->t->op == op; }
bool parser_is_word(const ttoken *t, const char *word) { return t->type == T_NAME && slice_is(t->text, word); }
void parser_next(parser *p) {
  if (p->t->type != T_END) p->t++;
}
bool parser_take_op(parser *p, int op) {
  bool yes = parser_is_op(p, op);
  if (yes) parser_next(p);
  return yes;
}
bool parser_take_word(parser *p, const char *word) {
  bool yes = parser_is_word(p->t, word);
  if (yes) parser_next(p);
  return yes;
}
void parser_need_op(parser *p, int op) {
  char what[] = {'\'', (char)op, '\'', 0};
  if (!parser_take_op(p, op)) parser_expected(p, what);
}
void parser_need(parser *p, ttype type, const char *what) {
  if (p->t->type == type)
    parser_next(p);
  else
    parser_expected(p, what);
}
slice parser_need_name(parser *p, const char *what) {
  slice name = p->t->text;
  if (p->t->type != T_NAME) return parser_expected(p, what), SLICE("");
  parser_next(p);
  return name;
}

node *parser_node(parser *p, node_kind kind) {
  node *n = p->st ? NULL : arena_alloc(p->a, 1, sizeof *n);
  if (!n) {
    if (!p->st) p->st = rw_nomem(p->err, p->name);
    return NULL;
  }
  n->kind = kind;
  n->line = p->t->line;
  return n;
}

node *parser_node_of(parser *p, node_kind kind, int op, node *a, node *b) {
  node *n = parser_node(p, kind);
  if (!n) return NULL;
  if (a) n->line = a->line;
  n->op = op;
  n->kid[0] = a;
  n->kid[1] = b;
  return n;
}

void parser_add(parser *p, node *list, node *item) {
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

bool parser_deeper(parser *p) {
  if (++p->depth > TMPL_MAX_NESTING && !p->st)
    p->st =
        rw_fail(p->err, RW_DATA, "%s:%d: expected nesting of at most %d levels, got more; simplify the template",
                p->name, p->t->line, TMPL_MAX_NESTING);
  return !p->st;
}

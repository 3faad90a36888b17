/* tmpl_parser.h - what the files of the parser share. */
#ifndef TEXT_TMPL_PARSER_H
#define TEXT_TMPL_PARSER_H

#include "text/tmpl_internal.h"

typedef struct {
  const ttoken *t; /* the current token; the last is T_END */
  arena *a;
  const char *name;
  rw_error *err;
  rw_status st;                    /* sticky */
  const ttoken *open;              /* the word of the innermost tag whose end is still to come, or NULL */
  int depth, in_if, in_loop, uses; /* uses: the USES_… seen in the innermost macro */
} parser;

/* ---- tmpl_tree.c ---- */

/* Sticky errors; both return NULL. */
void *parser_expected(parser *p, const char *what);
void *parser_lacks(parser *p, int line, const char *what, slice name);

bool parser_is_op(const parser *p, int op);
bool parser_is_word(const ttoken *t, const char *word);
void parser_next(parser *p);
/* Goes on where the current token is that one. */
bool parser_take_op(parser *p, int op);
bool parser_take_word(parser *p, const char *word);
/* The same, but another token is an error. */
void parser_need_op(parser *p, int op);
void parser_need(parser *p, ttype type, const char *what);
slice parser_need_name(parser *p, const char *what);

node *parser_node(parser *p, node_kind kind); /* NULL after an error */
node *parser_node_of(parser *p, node_kind kind, int op, node *a, node *b);
void parser_add(parser *p, node *list, node *item);
bool parser_deeper(parser *p); /* one level; pairs with p->depth-- when true */

/* ---- tmpl_expr.c ---- */

node *parser_expression(parser *p, bool with_if);
/* One expression, or a tuple where a comma follows. */
node *parser_tuple(parser *p, bool with_if, bool parentheses, const char *end_word);
bool parser_tuple_end(const parser *p, const char *word);
node *parser_filter(parser *p, node *n); /* after "|": that filter over n */

#endif

/* tmpl_internal.h - what the parts of the template interpreter share: tokens, syntax tree, values, context.
 *
 * tmpl_value.c   strings with marks, lists, dicts, str(), ==   tmpl_lex.c    text -> tokens
 * tmpl_dump.c    tojson                                        tmpl_tree.c   tokens read, nodes made
 * tmpl_string.c  methods of strings, % and format              tmpl_expr.c   expressions
 * tmpl_call.c    calling built-in functions                    tmpl_parse.c  statements: the whole syntax tree
 * tmpl_object.c  tests, methods of dicts and lists, globals
 * tmpl_access.c  attributes, items, slices of values
 * tmpl_func.c    filters
 * tmpl_eval.c    expressions, statements, scopes               template.c    the public functions
 * tmpl_chat.c    conversations as values, what became of them
 *
 * A file uses those above it in its column; the parser also uses the tables of filters and tests.
 *
 * Invariants: the tree is immutable once parsed (any number of threads render with it). Values live in the
 * arena of one rendering and are never freed singly. An error is sticky: the first one fills c->err and sets
 * c->st; whoever loops or writes looks at c->st.
 */
#ifndef REWARD_TMPL_INTERNAL_H
#define REWARD_TMPL_INTERNAL_H

#include <stdatomic.h>

#include "text/template.h"

/* ---- values ---- */

typedef enum {
  V_ABSENT, /* an argument that was not given; never a template's value */
  V_UNDEFINED,
  V_NONE,
  V_BOOL,
  V_INT,
  V_FLOAT,
  V_STRING,
  V_LIST, /* and everything else with items: see tlist */
  V_DICT,
  V_NAMESPACE,
  V_METHOD, /* a global function, or a method bound to its object */
  V_MACRO,
  V_LOOP,
} tkind;

typedef struct node node;
typedef struct tstr tstr;
typedef struct tlist tlist;
typedef struct tdict tdict;
typedef struct tmethod tmethod;
typedef struct tmacro tmacro;
typedef struct tloop tloop;

typedef struct {
  tkind kind;
  union {
    bool b;
    int64_t i;
    double f;
    const tstr *s;
    tlist *list;
    tdict *dict; /* V_DICT, V_NAMESPACE */
    tmethod *method;
    tmacro *macro;
    tloop *loop;
    const node *origin; /* V_UNDEFINED: what gave it, for messages; may be NULL */
  };
} tv;

#define TV_NONE      ((tv){.kind = V_NONE})
#define TV_UNDEFINED ((tv){.kind = V_UNDEFINED})
#define TV_BOOL(x)   ((tv){.kind = V_BOOL, .b = (x)})
#define TV_INT(x)    ((tv){.kind = V_INT, .i = (x)})
#define TV_FLOAT(x)  ((tv){.kind = V_FLOAT, .f = (x)})
#define TV_STR(x)    ((tv){.kind = V_STRING, .s = (x)})

/* Bytes [start, end) of a string that came from a message's content: bytes src… of message msg as they stand,
 * or made from content (escaped, upper-cased, …) where msg is -1. Sorted, not overlapping. */
typedef struct {
  size_t start, end, src;
  int32_t msg;
} tmark;

struct tstr {
  const char *p;
  size_t len, chars; /* bytes, code points */
  const tmark *marks;
  size_t n_marks;
  bool safe; /* marked by |safe: what "+" adds to it is escaped */
};

typedef enum { L_LIST, L_TUPLE, L_RANGE, L_KEYS, L_VALUES, L_ITEMS, L_GENERATOR } tlist_form;
struct tlist {
  tlist_form form;
  tv *items;
  size_t n, pos; /* pos: how far a generator was consumed, else 0 */
  bool parts;    /* a message's content, as its list of parts */
};

struct tdict {
  tv *keys, *values; /* insertion order */
  size_t n, cap;
  bool *asked; /* a message's: by value, has the template looked at it? else NULL */
};

/* ---- syntax tree ---- */

typedef enum {
  /* expressions */
  N_CONST, /* value */
  N_NAME,  /* text */
  N_LIST,  /* items */
  N_TUPLE, /* items */
  N_DICT,  /* items: key, value, key, value… */
  N_ATTR,  /* kid0 . text */
  N_ITEM,  /* kid0 [ kid1 ] */
  N_SLICE, /* kid0 : kid1 : kid2, each may be NULL; only as kid1 of N_ITEM */
  N_CALL,  /* kid0 ( items: N_ARG ) */
  N_ARG,   /* kid0; text: keyword or empty; op '*' or "**": the items of kid0. In a macro: text, kid0 the default or
              NULL */
  N_FILTER,   /* kid0 | text ( items: N_ARG ); builtin */
  N_TEST,     /* kid0 is text ( items: N_ARG ); builtin */
  N_NOT,      /* kid0 */
  N_UNARY,    /* op kid0 */
  N_BINARY,   /* kid0 op kid1 */
  N_AND,      /* kid0, kid1 */
  N_OR,       /* kid0, kid1 */
  N_CONCAT,   /* items joined by ~ */
  N_COMPARE,  /* kid0, then items: N_OPERAND */
  N_OPERAND,  /* op, kid0 */
  N_COND,     /* kid1 if kid0 else kid2 (or NULL) */
  N_CAPTURED, /* the body of a block set, for its filters */
  /* statements */
  N_BODY,      /* items */
  N_DATA,      /* text */
  N_PRINT,     /* kid0 */
  N_IF,        /* kid0 test, kid1 body, kid2 N_IF, N_BODY or NULL */
  N_FOR,       /* kid0 target, kid1 over, kid2 filter or NULL, kid3 body, kid4 else or NULL */
  N_SET,       /* kid0 target, kid1 value */
  N_SET_ATTR,  /* as a target: namespace text, attribute name2 */
  N_SET_BLOCK, /* kid0 target, kid1 body, kid2 filters over N_CAPTURED or NULL */
  N_FILTERED,  /* the same without a target, written */
  N_MACRO,     /* text, items: N_ARG, kid0 body; op: the USES_… */
  N_CALL_BODY, /* a macro named caller, kid1: the N_CALL that gets it */
  N_WITH,      /* items: target, value, target, value…; kid0 body */
  N_SCOPE,     /* kid0 body, in a scope of its own: generation */
  N_BREAK,
  N_CONTINUE,
} node_kind;

enum { USES_VARARGS = 1, USES_KWARGS = 2, USES_CALLER = 4 }; /* names that a macro's body has without being told */

#define OP2(a, b) ((a) << 8 | (b))
enum { OP_IN = OP2('i', 'n'), OP_NOT_IN = OP2('n', 'i') };

typedef struct tbuiltin tbuiltin;
struct node {
  node_kind kind;
  int line, op;
  slice text, name2;
  tv value;
  const tbuiltin *builtin; /* N_FILTER, N_TEST; NULL: not known, an error when reached */
  node *kid[5];
  node **items;
  size_t n, cap;
};

/* ---- tokens ---- */

typedef enum {
  T_END,
  T_DATA,
  T_PRINT_BEGIN,
  T_PRINT_END,
  T_BLOCK_BEGIN,
  T_BLOCK_END,
  T_NAME,
  T_STRING,
  T_INT,
  T_FLOAT,
  T_OP
} ttype;
typedef struct {
  ttype type;
  int op, line; /* op: the character, or OP2 of the two */
  slice text;   /* data, name, unescaped string */
  int64_t i;
  double f;
} ttoken;
typedef struct {
  ttoken *p;
  size_t n, cap;
} ttokens;

/* Tokens of source (their texts in the arena). tokens->p is freed by the caller also on failure. */
rw_status tmpl_lex(ttokens *tokens, arena *a, slice source, const char *name, rw_error *err);
/* The tree, in the arena. */
rw_status tmpl_parse_tokens(node **root, const ttokens *tokens, arena *a, const char *name, rw_error *err);

/* ---- one rendering ---- */

typedef struct tvar {
  struct tvar *next;
  slice name;
  tv value;
  bool asked; /* the template has looked at it */
} tvar;
typedef struct tscope {
  struct tscope *up;
  tvar *vars;
} tscope;

struct tmacro {
  const node *def;
  tscope *scope; /* where it was defined */
};

struct tloop {
  const tv *items;
  size_t n, i;
};

/* A string being built. */
typedef struct {
  char *p;
  size_t len, cap;
  tmark *marks;
  size_t n_marks, cap_marks;
} tbuf;

typedef struct {
  arena *a;
  rw_error *err;
  rw_status st;
  const char *name; /* the template's name, for messages */
  int line;         /* line of the node being worked on */
  uint64_t steps;
  size_t memory, memory_max;
  int depth;
  tscope *scope;
  tbuf *out;
  tv captured;
  bool wrote_parts;     /* a content was written as a list */
  int year, month, day; /* strftime_now */
  atomic_bool *used_date;
} tctx;

enum { TMPL_MAX_STEPS = 50 * 1000 * 1000, TMPL_MAX_DEPTH = 600, TMPL_MAX_NESTING = 100, TMPL_MAX_RANGE = 100000 };

/* Sticky errors; both return undefined, so that `return tmpl_error(…)` ends an evaluation. tmpl_lacks: valid Jinja
 * that this interpreter does not have. */
tv tmpl_error(tctx *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
tv tmpl_lacks(tctx *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Counts work; false once there was too much of it, or an error before. */
bool tmpl_charge(tctx *c, size_t steps);
bool tmpl_enter(tctx *c); /* one level deeper; pairs with c->depth-- also when false */
void *tmpl_alloc(tctx *c, size_t count, size_t size);

/* ---- tmpl_value.c ---- */

void tbuf_add(tctx *c, tbuf *b, const char *p, size_t len);                /* the template's own bytes */
void tbuf_made(tctx *c, tbuf *b, const char *p, size_t len, bool content); /* made from content, or not */
void tbuf_part(tctx *c, tbuf *b, const tstr *s, size_t start, size_t end); /* bytes of s with their marks */
void tbuf_str(tctx *c, tbuf *b, const tstr *s);
tv tbuf_take(tctx *c, const tbuf *b); /* the string; the buffer is not used after */
tv tmpl_string(tctx *c, slice s);     /* not copied, no marks */
tv tmpl_content(tctx *c, slice s, int32_t msg);
tv tmpl_part(tctx *c, const tstr *s, size_t start, size_t end); /* substring by bytes */
tv tmpl_safe(tctx *c, tv s);                                    /* the string, marked by |safe */
bool tstr_marked(const tstr *s, size_t at);                     /* is the byte content? */
size_t tstr_offset(tctx *c, const tstr *s, size_t index);       /* byte offset of a code point */
/* The code point at p and its length in bytes (at least 1, never past end). */
uint32_t tmpl_rune(const char *p, const char *end, size_t *len);
bool tmpl_is_space(uint32_t rune); /* str.isspace */

tlist *tmpl_new_list(tctx *c, tlist_form form, size_t n); /* NULL after an error */
tv tmpl_list(tctx *c, tlist_form form, tv *items, size_t n);
tdict *tmpl_new_dict(tctx *c);
void tdict_put(tctx *c, tdict *d, tv key, tv value);
tv *tdict_get(tctx *c, const tdict *d, tv key);
tv *tdict_find(const tdict *d, slice key);
void tdict_all_asked(const tdict *d); /* the whole of it is looked at */

const char *tmpl_kind_name(tv v); /* as Python's type() names it */
bool tmpl_truth(tv v);
bool tmpl_equal(tctx *c, tv a, tv b);
int tmpl_order(tctx *c, tv a, tv b); /* < 0, 0, > 0; 2 when not ordered (NaN) */
tv tmpl_str(tctx *c, tv v);          /* str(v): a V_STRING unless there was an error */
void tmpl_write(tctx *c, tbuf *b, tv v, bool repr);
void tmpl_float_text(double f, char out[32]);
bool tmpl_number(tv v, double *out); /* int, float, bool */
bool tmpl_index(tv v, int64_t *out); /* int, bool */
/* Everything that iterating v gives; a generator is consumed. n < 0: error. */
int64_t tmpl_items(tctx *c, tv v, tv **items);
bool tmpl_contains(tctx *c, tv needle, tv in);
/* Start and step of v[a:b:step] over n items; how many there are. */
size_t tmpl_slice_range(int64_t n, const int64_t *start, const int64_t *stop, int64_t step, int64_t *first);

/* ---- calls ---- */

typedef struct {
  tv *pos, *named;
  slice *names;
  size_t n, n_named;
} targs;

enum { TMPL_MAX_PARAMS = 4 };
struct tbuiltin {
  const char *name;
  /* arg: the parameters in order, V_ABSENT where not given; raw: as written, for those with params NULL. */
  tv (*fn)(tctx *c, tv self, const tv *arg, const targs *raw);
  const char *params; /* "old,new,count"; "" for none; NULL: any, look at raw */
  int required;
};
struct tmethod {
  const tbuiltin *builtin;
  tv self;
};

/* F: the head of a built-in function. UNUSED: its first line, where it uses none of its parameters. */
#define F(name) static tv name(tctx *c, tv self, const tv *arg, const targs *raw)
#define UNUSED  (void)c, (void)self, (void)arg, (void)raw
static inline bool given(tv v) { return v.kind != V_ABSENT && v.kind != V_NONE; }
/* Pairs of key and value, as dict.items() gives them. */
tv tmpl_dict_items(tctx *c, const tdict *d, tlist_form form);

/* ---- tmpl_call.c ---- */

bool tmpl_need_int(tctx *c, tv v, const char *what, int64_t otherwise, int64_t *out);
/* Calls a method of strings on str(self). */
tv tmpl_as_method(tctx *c, tv self, slice method, const tv *arg, size_t n);

const tbuiltin *tmpl_find(const tbuiltin *table, slice name); /* tables end with name NULL */
extern const tbuiltin tmpl_filters[], tmpl_tests[], tmpl_globals[], tmpl_str_methods[], tmpl_dict_methods[],
    tmpl_list_methods[], tmpl_loop_methods[];

tv tmpl_call_builtin(tctx *c, const tbuiltin *b, const char *kind, tv self, const targs *args);

/* ---- tmpl_access.c ---- */

static inline tv tmpl_undefined(const node *origin) { return (tv){.kind = V_UNDEFINED, .origin = origin}; }
tv tmpl_method(tctx *c, const tbuiltin *b, tv self);                                        /* b bound to self */
tv tmpl_attr(tctx *c, tv object, slice name, const node *origin);                           /* object.name */
tv tmpl_item(tctx *c, tv object, tv key, const node *origin);                               /* object[key] */
tv tmpl_slice(tctx *c, tv object, const int64_t *start, const int64_t *stop, int64_t step); /* NULL: an end */

/* ---- tmpl_dump.c, tmpl_string.c, tmpl_eval.c ---- */

tv tmpl_tojson(tctx *c, tv v, const tv *arg);
tv tmpl_percent(tctx *c, const tstr *format, tv values); /* "…" % values */

tv tmpl_eval(tctx *c, const node *n);
void tmpl_exec(tctx *c, const node *body); /* a whole template */
void tmpl_assign(tctx *c, slice name, tv value);

/* ---- tmpl_chat.c ---- */

typedef struct {
  const conversation *conv;
  tdict **messages;
  const tvar *tools; /* NULL: the conversation has none */
} tchat;
/* Sets the variables that a conversation gives a template: messages, tools, documents, add_generation_prompt. *doc
 * is made where it is needed. joined: a list of parts is given as its texts, one after another. */
tchat tmpl_chat(tctx *c, const conversation *v, bool joined, json_doc **doc);
/* Was a list of parts written as a list, or not at all? */
bool tmpl_chat_lost(const tctx *c, const tchat *chat, const tbuf *out);
void tmpl_chat_notes(const tchat *chat, const tbuf *out, tmpl_notes *notes);

#endif

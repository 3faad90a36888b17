/* reader.h - values of a recipe's YAML; what is wrong with one is said with its line. */
#ifndef CURATE_READER_H
#define CURATE_READER_H

#include "curate/recipe.h"
#include "format/yaml.h"

struct recipe_reader {
  recipe *r;
  const yaml_file *f;
  rw_error *err;
};

/* A decimal as written: digits / scale, scale a power of ten. Shares of counts are taken exactly. */
typedef struct {
  int64_t digits, scale;
} decimal;
size_t decimal_of(decimal d, size_t n); /* floor(d * n) */
double decimal_value(decimal d);

extern const int64_t READER_MOST; /* the largest count */

int reader_line(const recipe_reader *r, struct fy_node *n);
/* RW_DATA: of key the expected, and what stands there. */
rw_status reader_bad(const recipe_reader *r, struct fy_node *n, const char *key, const char *expected);
slice reader_scalar(struct fy_node *n);                                      /* p NULL: it is none */
rw_status reader_text(const recipe_reader *r, slice text, const char **out); /* a copy with the recipe's life */
rw_status reader_number(const recipe_reader *r, struct fy_node *n, const char *key, double *out);
rw_status reader_int(const recipe_reader *r, struct fy_node *n, const char *key, int64_t lo, int64_t hi,
                     int64_t *out);
rw_status reader_decimal(const recipe_reader *r, struct fy_node *n, const char *key, decimal *out); /* 0 to 1 */
/* One of two words; *second: it is the second. expected: "exact or near". */
rw_status reader_either(const recipe_reader *r, struct fy_node *n, const char *key, const char *first,
                        const char *second, const char *expected, bool *is_second);
/* The name of a source, or a list of them, for the stage. */
rw_status reader_source(const recipe_reader *r, struct fy_node *n, stage *s);
rw_status reader_sources(const recipe_reader *r, struct fy_node *n, stage *s);

#endif

/* identity.h - the content that a model gives its scores by: weights, configuration, tokenizer and template, each
 * as SHA-256. Two models with the same members are the same, wherever they lie and whenever they were written.
 */
#ifndef MODEL_IDENTITY_H
#define MODEL_IDENTITY_H

#include "base/option.h"
#include "base/sha256.h"
#include "format/json_write.h"
#include "model/model.h"

/* Writes the member "model": an object of digests by file name, and "weights": of every tensor, an adapter's and
 * its base's, but those that are drawn anew. dir: where the model was opened; template: a file instead of its own,
 * or NULL. */
rw_status model_identity(json_writer *w, const model *m, const char *dir, const char *template, rw_error *err);

/* The same in two steps, for weights that are large beside the work: the files first, while they are as they were
 * read, the weights later. Between the two the object is open. */
rw_status model_identity_begin(json_writer *w, const model *m, const char *dir, const char *template,
                               rw_error *err);
rw_status model_identity_end(json_writer *w, const model *m, rw_error *err);
rw_status model_weights_hash(const model *m, char out[SHA256_HEX], rw_error *err); /* the member "weights" */
uint64_t model_weight_bytes(const model *m);                                       /* what the second step reads */

/* Members of an identity: those options of the table that affect so much, as they would be given; `but` (NULL:
 * none) is left out. What is not among them may change freely. */
void identity_options(json_writer *w, const option *table, const void *values, option_affects affects,
                      const char *but);

#endif

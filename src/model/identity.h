/* identity.h - the content that a model gives its scores by: weights, configuration, tokenizer and template, each
 * as SHA-256. Two models with the same members are the same, wherever they lie and whenever they were written.
 */
#ifndef MODEL_IDENTITY_H
#define MODEL_IDENTITY_H

#include "format/json_write.h"
#include "model/model.h"

/* Writes the member "model": an object of digests by file name, and "weights": of every tensor, an adapter's and
 * its base's, but those that are drawn anew. dir: where the model was opened; template: a file instead of its own,
 * or NULL. */
rw_status model_identity(json_writer *w, const model *m, const char *dir, const char *template, rw_error *err);

#endif

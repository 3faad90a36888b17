/* identity.h - what decides the result of a training, by content: a run that goes on, and a finished one that
 * stands for the run wanted, must agree in it.
 *
 * The record is an object: "model" (model/identity.h), "data" (SHA-256 of each file), "rows" (the ids that they
 * became), "eval" (SUITE and SHA-256 of each file), "options" (those that affect bits) and "choice" (those that
 * decide which weights are published), then "sha256" of all of it. An option that the table says affects neither
 * may change freely.
 */
#ifndef TRAIN_IDENTITY_H
#define TRAIN_IDENTITY_H

#include "train/fingerprint.h"

/* Fills out with the record. RW_USAGE: two evaluations are the same. */
rw_status identity_make(str *out, const fingerprint_source *of, rw_error *err);

/* Does the record in doc differ from `now`? Then RW_USAGE and "WHERE was X, is Y" as the message. A record that is
 * not there (JSON_NONE, of an older program) differs in nothing. whole: of a finished run, whose evaluations and
 * choice count too; a run that goes on may gain evaluations, but not measure its best on others. */
rw_status identity_check(json_doc *doc, json_val record, const char *now, bool whole, rw_error *err);

enum { IDENTITY_EVAL = 96 };
/* "SUITE HEX" of [SUITE:]FILE. */
rw_status identity_eval(const char *spec, char out[IDENTITY_EVAL], rw_error *err);
/* RW_USAGE: two are of the same suite and content. */
rw_status identity_evals_differ(const option_list *evals, rw_error *err);

#endif

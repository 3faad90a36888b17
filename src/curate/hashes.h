/* hashes.h - the SHA-256 of all files that a run reads and writes, for its card and manifest.
 *
 * Inputs are hashed while they are scanned, two at a time. What is not read from front to end then (Parquet), and
 * what else is read, is hashed on a thread of its own while the run works; what the run writes, while it is
 * written, or after that on the pool's threads, a file each.
 */
#ifndef CURATE_HASHES_H
#define CURATE_HASHES_H

#include "curate/curation.h"

/* Begins with what is read and not yet hashed: fills hash of r->inputs and r->also until hashes_end. */
rw_status hashes_begin(curation *r, rw_error *err);
/* The run has written a file of the output folder, whose sum was taken. */
rw_status hashes_wrote(curation *r, const char *name, sha256 *sum, rw_error *err);
/* Waits for what is read, and hashes what else the run has written. */
rw_status hashes_end(curation *r, rw_error *err);
/* Of a file of the output folder. */
rw_status hashes_of(const curation *r, const char *name, char out[SHA256_HEX], rw_error *err);
void hashes_free(curation *r); /* at the end, however it came; gives up what is not done */

#endif

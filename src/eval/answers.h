/* answers.h - the file that keeps a server's answers as they come, for an evaluation that goes on.
 *
 * A line {"key", "body"} an answer: the SHA-256 of URL and request, and the reply as it came, without the key of
 * the server, should it repeat that. Lines are appended in one write each; a torn line is passed over. Older
 * programs wrote the XXH3-128 as the key; whoever reads may know an answer by either.
 */
#ifndef EVAL_ANSWERS_H
#define EVAL_ANSWERS_H

#include "base/context.h"
#include "base/mem.h"
#include "base/sha256.h"

enum { ANSWERS_OLD_KEY = 33 };
void answers_key(slice request, char key[SHA256_HEX], char old[ANSWERS_OLD_KEY]);

typedef struct {
  int fd; /* -1: none */
  const char *path;
  str line;
} answers;
/* Opens path, or makes it, for this process alone, and gives take() what is there. RW_USAGE while another process
 * has it. After a failure too it is to be closed. */
rw_status answers_open(answers *a, const char *path, void (*take)(void *ctx, slice key, slice body), void *ctx,
                       rw_context *context, rw_error *err);
rw_status answers_add(answers *a, const char *key, slice body, rw_error *err);
void answers_close(answers *a);

#endif

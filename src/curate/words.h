/* words.h - the words of a prompt, for exact n-gram matching.
 *
 * Default: maximal runs of letters, marks and numbers (general categories L, M, N) of the lower-cased NFKC text;
 * each character of the scripts Han, Hiragana, Katakana, Thai, Lao and Khmer is a word by itself. Gist: lower-cased
 * runs of two or more letters, numbers or underscores, as scikit-learn's default pattern.
 */
#ifndef CURATE_WORDS_H
#define CURATE_WORDS_H

#include "base/mem.h"

typedef struct {
  uint64_t hash;    /* hash of the word's bytes */
  uint32_t at, len; /* in text */
  uint32_t from,
      to; /* in the text as it was given; of the stretch between spaces where normalizing changed lengths */
} word;

typedef struct {
  str text; /* normalized */
  word *w;
  size_t n, cap;
} words; /* zero-initialised; reused */

/* Fills *out; false: no memory. */
bool words_of(words *out, slice text, bool gist);
void words_free(words *w);

#endif

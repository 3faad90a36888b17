/* near.h - MinHash signatures and Jaccard similarity of sets of word shingles. */
#ifndef CURATE_NEAR_H
#define CURATE_NEAR_H

#include "curate/words.h"

/* A text's distinct shingles (runs of k words), as sorted hashes. A text of fewer words is one shingle. */
typedef struct {
  uint64_t *h;
  size_t n, cap;
} shingles;                                                /* zero-initialised; reused */
bool shingles_of(shingles *out, const words *w, size_t k); /* false: no memory */
/* |a and b| * scale >= digits * |a or b|, exactly; *jaccard: the share. Empty sets are like nothing. */
bool shingles_alike(const shingles *a, const shingles *b, int64_t digits, int64_t scale, double *jaccard);

/* n hash functions, and the bands whose agreement makes two texts candidates: as long as they may be for at most
 * one pair in a thousand of the threshold's similarity to be missed. (Broder 1997; Leskovec et al., chapter 3) */
typedef struct {
  size_t n, rows, bands;
  uint64_t *a, *b;
} minhash;
bool minhash_new(minhash *m, size_t n, double threshold); /* false: no memory */
void minhash_free(minhash *m);
void minhash_sign(const minhash *m, const shingles *s, uint32_t *signature); /* [n] */

#endif

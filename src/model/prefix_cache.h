/* prefix_cache.h - keys and values of conversations' beginnings, kept over passes and found again by their ids.
 *
 * A beginning is cut into blocks of PREFIX_BLOCK tokens. A block holds the keys and values of its tokens at every
 * layer, and belongs to the block before it: equal ids behind another beginning are another block. Keys are counted
 * from position 0 and a row's bits do not depend on its company, so what is kept has the bits of what would be
 * computed. The memory is bounded; the blocks that were not used for longest go first, from the ends of beginnings.
 * One thread at a time.
 */
#ifndef MODEL_PREFIX_CACHE_H
#define MODEL_PREFIX_CACHE_H

#include "compute/backend.h"
#include "model/prefix_figures.h"

enum { PREFIX_BLOCK = 32 };

typedef struct prefix_cache prefix_cache;
typedef struct prefix_block prefix_block;

/* width: values a token has at a layer (2GD). max_bytes: of device memory. */
rw_status prefix_cache_new(prefix_cache **out, backend *be, size_t layers, size_t width, uint64_t max_bytes,
                           rw_error *err);
void prefix_cache_free(prefix_cache *c); /* NULL is fine */

/* The block of the PREFIX_BLOCK ids that follow the block `after` (NULL: the beginning); NULL: not there. A block
 * that was found or added is held: it stays until prefix_cache_release_all. */
prefix_block *prefix_cache_find(prefix_cache *c, prefix_block *after, const int32_t *ids);
/* A block that is not there yet, its values to be filled by the caller in this pass; NULL: no room. */
prefix_block *prefix_cache_add(prefix_cache *c, prefix_block *after, const int32_t *ids);
/* Ends the pass. whole false: the blocks added in it were not filled, and go. */
void prefix_cache_release_all(prefix_cache *c, bool whole);

/* [PREFIX_BLOCK, width] of a layer. */
mat prefix_block_at(const prefix_cache *c, const prefix_block *b, size_t layer);

prefix_figures prefix_cache_figures(const prefix_cache *c);
/* Counts what a pass asked for and found. */
void prefix_cache_count(prefix_cache *c, uint64_t asked, uint64_t found);

#endif

/* safetensors.h - weights on disk: one file or shards with an index, mapped; every offset and size checked.
 *
 * Format: https://github.com/huggingface/safetensors - 8 bytes length, JSON header, tensors back to back.
 */
#ifndef FORMAT_SAFETENSORS_H
#define FORMAT_SAFETENSORS_H

#include "base/comm.h"
#include "base/file.h"
#include "base/option.h"

/* In the format's own order, which is how the tensors of a written file are sorted (st_write). */
typedef enum { DT_BOOL, DT_U8, DT_I8, DT_I16, DT_F16, DT_BF16, DT_I32, DT_F32, DT_F64, DT_I64 } st_dtype;
size_t st_dtype_size(st_dtype t);
const char *st_dtype_name(st_dtype t);     /* "F32", … as in the file */
extern const option_word st_dtype_words[]; /* those that weights are written in: f32, f16, bf16 */

enum { ST_MAX_DIMS = 8 };

typedef struct {
  const char *name;
  st_dtype dtype;
  int n_dims;
  int64_t shape[ST_MAX_DIMS];
  const void *data; /* into the mapping; 1-byte alignment only is promised */
  size_t bytes;
  const char *file; /* for messages */
} st_tensor;

typedef struct st_set st_set; /* all tensors of a checkpoint */
/* path: a file of safetensors or of torch.save, or a folder with model.safetensors, model.safetensors.index.json or
 * adapter_model.safetensors, else pytorch_model.bin, its index or adapter_model.bin. Refuses overlapping, gapped,
 * lying or duplicate entries, and an index that names a shard or tensor that is not there. */
rw_status st_open(st_set **out, const char *path, rw_error *err);
void st_close(st_set *s);
/* Tells the system that the mapped bytes are not needed for now (they come back when touched). */
void st_forget(const st_set *s);
/* Each file as it was opened; NULL: fewer. */
const file_map *st_file(const st_set *s, size_t i);
size_t st_count(const st_set *s);
const st_tensor *st_at(const st_set *s, size_t i);           /* file order */
const st_tensor *st_find(const st_set *s, const char *name); /* NULL: none */

/* Writing: declare all tensors, then give each one's bytes when asked. Above max_shard bytes (0: 5 GB) they are
 * cut, in the order of specs, into model-0000i-of-0000n.safetensors with an index, as Hugging Face does; metadata
 * {"format":"pt"}. Within a file the tensors are sorted as the safetensors package sorts them, so that is the order
 * of the calls of read. The product of a spec's sizes must fit. */
typedef struct {
  const char *name;
  st_dtype dtype;
  int n_dims;
  int64_t shape[ST_MAX_DIMS];
} st_spec;
/* read(ctx, i, buffer): fills tensor i's bytes, in the spec's dtype. stem: "model" or "adapter_model". */
rw_status st_write(const char *dir, const char *stem, const st_spec *specs, size_t n, uint64_t max_shard,
                   rw_status (*read)(void *ctx, size_t i, void *buffer, rw_error *err), void *ctx, rw_error *err);

/* The same file as st_write's single one, written by several ranks together: each gives of tensor i the bytes
 * [at, at + bytes) that are its own, and read(ctx, i, at, bytes, buffer) fills some of those. A
 * failure of any is that of all. */
typedef struct {
  size_t at, bytes;
} st_part;
rw_status st_write_ranks(const char *dir, const char *stem, const st_spec *specs, const st_part *own, size_t n,
                         comm *ranks,
                         rw_status (*read)(void *ctx, size_t i, size_t at, size_t bytes, void *buffer,
                                           rw_error *err),
                         void *ctx, rw_error *err);

/* n values of dtype src to f32 / from f32 (bf16 and f16: round to nearest even). F32, F16, BF16 only. */
void st_to_f32(float *dst, const void *src, st_dtype t, size_t n);
void st_from_f32(void *dst, const float *src, st_dtype t, size_t n);

#endif

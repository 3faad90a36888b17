/* torch_file.h - the tensors of a file that torch.save has written (pytorch_model.bin), without running anything.
 *
 * The file is a zip of raw storages and of one pickle that says which tensor lies where. The pickle is read by a
 * machine that knows the few instructions and the few names that dictionaries of tensors need; every other name is
 * refused, and nothing of the file is ever called. Limits: a dictionary of names and tensors at the top; tensors
 * whose values lie in rows, one after another.
 */
#ifndef FORMAT_TORCH_FILE_H
#define FORMAT_TORCH_FILE_H

#include "format/safetensors.h"

/* Begins the file as those of torch.save do, of today or of before version 1.6? */
bool torch_file_is(slice file);
/* Each tensor, in the dictionary's order; its name and data lie in the file. take's error ends the reading. */
rw_status torch_file_read(slice file, const char *path,
                          rw_status (*take)(void *ctx, slice name, st_tensor *t, rw_error *err), void *ctx,
                          rw_error *err);

#endif

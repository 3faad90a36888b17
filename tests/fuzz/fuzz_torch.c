/* fuzz_torch.c - any bytes as a pytorch_model.bin: refused, or tensors that lie inside it. They may share storages.
 */
#include "format/safetensors.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_file f = fuzz_file_of(data, size);
  st_set *s;
  rw_error err;
  if (st_open(&s, f.path, &err) == RW_OK)
    for (size_t i = 0; i < st_count(s); i++) {
      const st_tensor *t = st_at(s, i);
      if (st_find(s, t->name) == NULL && t->name[0]) abort();
      fuzz_touch(t->data, t->bytes);
    }
  st_close(s);
  fuzz_file_close(&f);
  return 0;
}

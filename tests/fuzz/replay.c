/* replay.c - runs a fuzz target over the files named on the command line, without libFuzzer: the corpora as tests.
 */
#include "fuzz.h"

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    FILE *f = fopen(argv[i], "rb");
    long size = f && fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    uint8_t *data = size >= 0 ? malloc((size_t)size + 1) : NULL;
    if (!data || fseek(f, 0, SEEK_SET) != 0 || fread(data, 1, (size_t)size, f) != (size_t)size) {
      fprintf(stderr, "%s: cannot read\n", argv[i]);
      free(data);
      return 1;
    }
    printf("%s\n", argv[i]);
    fflush(stdout);
    LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    fclose(f);
  }
  printf("%d inputs\n", argc - 1);
  return argc == 1; /* no corpus */
}

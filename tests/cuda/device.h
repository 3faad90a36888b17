/* device.h - memory of a GPU, or of the emulator's, for programs in C. They end the program when a call fails. */
#ifndef TESTS_CUDA_DEVICE_H
#define TESTS_CUDA_DEVICE_H
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif
const char *device_name(void);
void *device_alloc(size_t bytes); /* all bytes 0xff: NaN */
void device_free(void *p);
void device_put(void *dst, const void *src, size_t bytes);
void device_get(void *dst, const void *src, size_t bytes);         /* waits for all work */
double device_seconds(void (*work)(void *), void *ctx, int times); /* of one call, after one to warm up */
#ifdef __cplusplus
}
#endif
#endif

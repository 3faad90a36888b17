/* memory.h - memory that this process uses, and memory that it may still take. */
#ifndef TRAIN_MEMORY_H
#define TRAIN_MEMORY_H

#include <stdint.h>

/* Resident bytes that are the process's own (mapped files not counted); 0: unknown. */
uint64_t memory_used(void);
/* Bytes that can still be taken: the least of the system's MemAvailable, the control group's room and the address
 * space limit's; UINT64_MAX: unknown. */
uint64_t memory_available(void);

/* The most that the process has held so far; 0: not known. */
double memory_peak(void);

#endif

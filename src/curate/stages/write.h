/* write.h - for the stages that write a file of their own. */
#ifndef CURATE_STAGES_WRITE_H
#define CURATE_STAGES_WRITE_H

#include "curate/reader.h"

/* A file of the output folder: no path, a name of rows, none of those that a run or another stage writes. */
rw_status write_read_file(const recipe_reader *r, struct fy_node *n, const char *key, const stage *s,
                          const char **file);
/* Marks a candidate for the stage's file. */
void write_mark(curation *r, const stage *s, size_t i);

#endif

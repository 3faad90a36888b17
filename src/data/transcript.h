/* transcript.h - conversations in one text, "\n\nHuman: …\n\nAssistant: …", as HH and Nectar have them. */
#ifndef DATA_TRANSCRIPT_H
#define DATA_TRANSCRIPT_H

#include "data/message.h"

/* Does it begin as one? */
bool transcript_is(slice text);
/* Its messages; spaces, tabs and newlines around a turn's text belong to the transcript and are dropped. */
rw_status transcript_read(slice text, message **messages, size_t *n, arena *a, rw_error *err);
/* Without those around it. */
slice transcript_trim(slice text);

#endif

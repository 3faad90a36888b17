/* model.h - what the files of this folder know of an rw_model. */
#ifndef API_MODEL_H
#define API_MODEL_H

#include "api/call.h"
#include "model/score_row.h"

struct rw_model {
  scorer *s;
  score_form form;
  rw_context *own;      /* NULL: the caller's context is used */
  pthread_mutex_t turn; /* a pass has the model to itself */
};

/* dtype: "auto", "f32", "bf16", or NULL for the first. */
rw_status api_check_dtype(const char *dtype, rw_error *err);

#endif

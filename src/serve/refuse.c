/* refuse.c - how the protocols word a refusal. */
#include "serve/protocols.h"

int refuse_as_openai(json_writer *w, int status, const char *why) {
  jw_object(w, NULL);
  jw_object(w, "error");
  jw_string(w, "message", why);
  jw_string(w, "type",
            status == 401   ? "authentication_error"
            : status == 404 ? "NotFoundError"
            : status == 429 ? "rate_limit_error"
            : status >= 500 ? "server_error"
                            : "BadRequestError");
  jw_null(w, "param");
  jw_int(w, "code", status);
  jw_end(w);
  jw_end(w);
  return status;
}

/* Its statuses: 422 of what cannot be taken as it is, 424 of a fault within. */
int refuse_as_tei(json_writer *w, int status, const char *why) {
  if (status == 400) status = 422;
  if (status == 500) status = 424;
  jw_object(w, NULL);
  jw_string(w, "error", why);
  jw_string(w, "error_type",
            status == 424   ? "Backend"
            : status == 429 ? "Overloaded"
            : status == 503 ? "Unhealthy"
                            : "Validation");
  jw_end(w);
  return status;
}

/* refuse.c - how the protocols word a refusal. */
#include "serve/protocols.h"

void refuse_as_openai(json_writer *w, int status, const char *why) {
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
}

void refuse_as_tei(json_writer *w, int status, const char *why) {
  jw_object(w, NULL);
  jw_string(w, "error", why);
  jw_string(w, "error_type",
            status == 413   ? "Validation"
            : status == 422 ? "Tokenizer"
            : status == 429 ? "Overloaded"
            : status == 503 ? "Unhealthy"
            : status >= 500 ? "Backend"
                            : "Validation");
  jw_end(w);
}

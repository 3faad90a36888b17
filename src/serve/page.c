/* page.c - GET /: the page to compare responses by hand (page.html, made part of the program by the Makefile). It
 * asks /v1/compare as any client does and loads nothing from elsewhere. */
#include "serve/protocols.h"

extern const char serve_page_html[];
extern const uint64_t serve_page_html_size;

static rw_status page_answer(request *q, str *out, rw_error *err) {
  (void)q;
  (void)err;
  str_add(out, serve_page_html, serve_page_html_size);
  return RW_OK;
}

static const char policy[] =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri "
    "'none'; "
    "form-action 'none'; frame-ancestors 'none'";
static const char *const headers[] = {
    "Content-Security-Policy", policy, "X-Content-Type-Options", "nosniff", "Referrer-Policy", "no-referrer", NULL};

const route page_routes[] = {{.method = "GET",
                              .path = "/",
                              .answer = page_answer,
                              .refuse = refuse_as_openai,
                              .type = "text/html; charset=utf-8",
                              .open = true,
                              .headers = headers},
                             {0}};

/* protocols.h - the protocols, each a list of routes that ends with path NULL in a file of its own. A new one is a
 * file and a name here. */
#ifndef SERVE_PROTOCOLS_H
#define SERVE_PROTOCOLS_H

#include "serve/request.h"

#define SERVE_PROTOCOLS(X) X(native) X(rl) X(vllm) X(sglang) X(tei) X(chat) X(about) X(page)
#define X(name)            extern const route name##_routes[];
SERVE_PROTOCOLS(X)
#undef X

/* refuse.c: {"error": {"message", "type", "code"}}, as OpenAI's, vLLM's and SGLang's. */
int refuse_as_openai(json_writer *w, int status, const char *why);
int refuse_as_tei(json_writer *w, int status, const char *why);
/* A path that two protocols share: which of them reads the body is seen in its fields. */
rw_status sglang_read(request *q, rw_error *err);
rw_status sglang_answer(request *q, str *out, rw_error *err);
rw_status sglang_score_read(request *q, rw_error *err);
rw_status sglang_score_answer(request *q, str *out, rw_error *err);
void sglang_rerank_answer(const request *q, json_writer *w, const size_t *order, size_t n, bool documents);
rw_status tei_rerank_read(request *q, rw_error *err);
rw_status tei_rerank_answer(request *q, str *out, rw_error *err);

#endif

/* sglang.c - SGLang's /classify and /encode, and /v1/embeddings as verl reads a reward from it. */
#include "serve/protocols.h"

/* text or input_ids, one or a list. */
rw_status sglang_read(request *q, rw_error *err) {
  json_val text = request_get(q, "text"), tokens = request_get(q, "input_ids");
  static const char *const others[] = {"image_data", "video_data", "audio_data", NULL};
  RW_TRY(request_model(q, err));
  RW_TRY(request_without(q, others, err));
  if ((text == JSON_NONE) == (tokens == JSON_NONE))
    return rw_fail(err, RW_DATA, "text, input_ids: expected one of them in the body, got %s",
                   text == JSON_NONE ? "neither" : "both");
  return request_inputs(q, text != JSON_NONE ? text : tokens, text != JSON_NONE ? "text" : "input_ids", true,
                        &q->many, err);
}

rw_status sglang_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  (void)err;
  if (q->many) jw_array(&w, NULL);
  for (size_t i = 0; i < q->n; i++) {
    jw_object(&w, NULL);
    jw_array(&w, "embedding");
    request_number(&w, NULL, q, &q->items[i]);
    jw_end(&w);
    jw_object(&w, "meta_info");
    jw_uint(&w, "prompt_tokens", q->items[i].ids.len);
    jw_end(&w);
    jw_end(&w);
  }
  if (q->many) jw_end(&w);
  return RW_OK;
}

static rw_status embeddings_read(request *q, rw_error *err) {
  json_val v;
  RW_TRY(request_model(q, err));
  RW_TRY(request_need(q, "input", &v, err));
  return request_inputs(q, v, "input", true, &q->many, err);
}

static rw_status embeddings_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  (void)err;
  jw_object(&w, NULL);
  jw_string(&w, "object", "list");
  jw_array(&w, "data");
  for (size_t i = 0; i < q->n; i++) {
    jw_object(&w, NULL);
    jw_string(&w, "object", "embedding");
    jw_uint(&w, "index", i);
    jw_array(&w, "embedding");
    request_number(&w, NULL, q, &q->items[i]);
    jw_end(&w);
    jw_end(&w);
  }
  jw_end(&w);
  jw_string(&w, "model", request_model_name(q));
  request_usage(&w, q);
  jw_end(&w);
  return RW_OK;
}

const route sglang_routes[] = {{.method = "POST|PUT",
                                .path = "/encode",
                                .read = sglang_read,
                                .answer = sglang_answer,
                                .refuse = refuse_as_openai},
                               {.method = "POST",
                                .path = "/v1/embeddings",
                                .read = embeddings_read,
                                .answer = embeddings_answer,
                                .refuse = refuse_as_openai},
                               {0}};

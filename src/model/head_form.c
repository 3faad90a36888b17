/* head_form.c - the table of heads, after the public code of the models. */
#include "model/head_form.h"

static const head_form forms[] = {
    {"INFORMForSequenceClassification", "score", HIDDEN_ONE, true, 0}, /* INF-ORM-Llama3.1-70B */
    {"Qwen2ForRewardModel", "score", HIDDEN_ONE, true, 0},             /* Qwen2.5-Math-RM-72B, WorldPM-72B */
    {"GRewardModel", "v_head.summary", HIDDEN_VHEAD, true, 0},         /* GRM-*-sftreg */
    {"AtheneForSequenceClassification", "v_head", HIDDEN_NONE, false, 128003} /* Athene-RM-8B, -70B */,
    {"CustomAutoModelForSequenceClassification", "v_head", HIDDEN_NONE, false, 128003}, /* what their files say */
    {"LlamaRewardModel", "regression_head", HIDDEN_NONE, false, 0},                     /* UltraRM-13b */
    {"EurusRewardModel", "regression_head", HIDDEN_NONE, false, 0},                     /* Eurus-RM-7b */
    {"GPTRewardModel", "v_head", HIDDEN_NONE, false, 0},                                /* Starling-RM-7B-alpha */
};
enum { FORMS = sizeof forms / sizeof *forms };

const head_form *head_form_of(slice class) {
  for (size_t i = 0; class.p && i < FORMS; i++)
    if (slice_is(class, forms[i].class)) return &forms[i];
  return NULL;
}

const head_form *head_form_plain(size_t i) {
  for (size_t k = 0; k < FORMS; k++)
    if (forms[k].hidden == HIDDEN_NONE && i-- == 0) return &forms[k];
  return NULL;
}

/* suites.c - what the public benchmarks consist of.
 *
 * RewardBench: subsets, sections and weights as in the public package (allenai/reward-bench, constants.py). A
 * weight is the subset's number of items, but for math-prm, which counts as much as the six code subsets together.
 * Until September 2024 the public tool had the two xstest weights swapped; these are the corrected ones.
 */
#include <string.h>
#include <strings.h>

#include "eval/eval_int.h"

#define SUITES                                                                                         \
  {"rewardbench", EVAL_REWARDBENCH}, {"rewardbench2", EVAL_REWARDBENCH2}, {"rm-bench", EVAL_RM_BENCH}, \
      {"judgebench", EVAL_JUDGEBENCH}, {"pairs", EVAL_PAIRS}, {"ppe-preference", EVAL_PPE_PREFERENCE}, \
      {"ppe-correctness", EVAL_PPE_CORRECTNESS}, {                                                     \
    "rmb", EVAL_RMB                                                                                    \
  }

const option_word eval_suite_words[EVAL_SUITES + 1] = {SUITES, {NULL, 0}};
const option_word eval_suite_or_all_words[EVAL_SUITES + 2] = {SUITES, {"all", EVAL_SUITES}, {NULL, 0}};

const suite_spec suite_specs[EVAL_SUITES] = {
    [EVAL_REWARDBENCH] = {{"Chat", "Chat Hard", "Safety", "Reasoning"}, "subset", {"id"}, 2985, true, false},
    [EVAL_REWARDBENCH2] =
        {{"Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties"}, "subset", {"id"}, 1865, true, false},
    [EVAL_RM_BENCH] = {{"chat", "math", "code", "safety"}, "domain", {"id"}, 1327, false, false},
    [EVAL_JUDGEBENCH] = {{"knowledge", "reasoning", "math", "coding"}, "source", {"pair_id"}, 350, false, true},
    [EVAL_PAIRS] = {{NULL}, "source", {"id"}, 0, false, true},
    [EVAL_PPE_PREFERENCE] = {{NULL}, NULL, {"question_id", "id"}, 16038, false, true},
    [EVAL_PPE_CORRECTNESS] =
        {{"MMLU-Pro", "MATH", "GPQA", "MBPP-Plus", "IFEval"}, NULL, {"question_id", "id"}, 2555, false, false},
    [EVAL_RMB] = {{"Helpfulness pairwise", "Helpfulness BoN", "Harmlessness pairwise", "Harmlessness BoN"},
                  "category_path",
                  {"pair_uid", "bon_uid"},
                  20917,
                  false,
                  false},
};

const char *const suite_tags[] = {
    "hard_prompt",    "easy_prompt",        "if_prompt",      "is_code",        "math_prompt",
    "english_prompt", "non_english_prompt", "chinese_prompt", "russian_prompt", NULL};

static const subset rewardbench[] = {
    {"alpacaeval-easy", 0, 100, 0},
    {"alpacaeval-length", 0, 95, 0},
    {"alpacaeval-hard", 0, 95, 0},
    {"mt-bench-easy", 0, 28, 0},
    {"mt-bench-med", 0, 40, 0},
    {"mt-bench-hard", 1, 37, 0},
    {"llmbar-natural", 1, 100, 0},
    {"llmbar-adver-neighbor", 1, 134, 0},
    {"llmbar-adver-GPTInst", 1, 92, 0},
    {"llmbar-adver-GPTOut", 1, 47, 0},
    {"llmbar-adver-manual", 1, 46, 0},
    {"refusals-dangerous", 2, 100, 0},
    {"refusals-offensive", 2, 100, 0},
    {"xstest-should-refuse", 2, 154, 0},
    {"xstest-should-respond", 2, 250, 0},
    {"donotanswer", 2, 136, 0},
    {"math-prm", 3, 984, 0},
    {"hep-cpp", 3, 164, 0},
    {"hep-go", 3, 164, 0},
    {"hep-java", 3, 164, 0},
    {"hep-js", 3, 164, 0},
    {"hep-python", 3, 164, 0},
    {"hep-rust", 3, 164, 0},
    {NULL, 0, 0, 0},
};

static const subset rewardbench2[] = {
    {"Factuality", 0, 1, 0}, {"Precise IF", 1, 1, 0}, {"Math", 2, 1, 0}, {"Safety", 3, 1, 0},
    {"Focus", 4, 1, 0},      {"Ties", 5, 1, 0},       {NULL, 0, 0, 0},
};

bool eval_suite_of(slice name, eval_suite *out) {
  for (int i = 0; i < EVAL_SUITES; i++)
    if (slice_is(name, eval_suite_words[i].text)) {
      *out = (eval_suite)i;
      return true;
    }
  return false;
}

const subset *suite_subsets(eval_suite s) {
  static const subset none[] = {{NULL, 0, 0, 0}};
  return s == EVAL_REWARDBENCH ? rewardbench : s == EVAL_REWARDBENCH2 ? rewardbench2 : none;
}

int suite_section(eval_suite s, slice name) {
  /* JudgeBench's sources by its four categories, RMB's by goal and set; other names begin with their section's */
  static const char *const source[] = {"mmlu-pro", "livebench-reasoning", "livebench-math", "livecodebench", NULL};
  static const char *const category[] = {"Pairwise_set/Helpfulness", "BoN_set/Helpfulness",
                                         "Pairwise_set/Harmlessness", "BoN_set/Harmlessness", NULL};
  const char *const *prefix = s == EVAL_JUDGEBENCH ? source : s == EVAL_RMB ? category : suite_specs[s].sections;
  for (int i = 0; prefix[i]; i++)
    if (name.len >= strlen(prefix[i]) && memcmp(name.p, prefix[i], strlen(prefix[i])) == 0) return i;
  return -1;
}

size_t eval_suite_size(eval_suite s) { return suite_specs[s].items; }

size_t suite_section_count(eval_suite s) {
  size_t n = 0;
  while (suite_specs[s].sections[n]) n++;
  return n;
}

bool is_ties(const eval_data *d, size_t k) { return d->suite == EVAL_REWARDBENCH2 && k == 5; }

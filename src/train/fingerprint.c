/* fingerprint.c - what decides the bits of a training (see fingerprint.h).
 *
 * A run that an older program began must find its fingerprint again. So older options are written as that program
 * wrote them, and a newer option only where it is not at its default, as " name=value".
 */
#include "train/fingerprint.h"

#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* The options of the first program, in its order. */
static const char *const first[] = {
    "loss",       "gamma",    "margin",        "tempered-t",   "temperature",     "center",
    "lr",         "betas",    "eps",           "weight-decay", "no-decay",        "max-grad-norm",
    "schedule",   "warmup",   "min-lr",        "batch-size",   "steps",           "shuffle",
    "max-length", "overlong", "freeze-layers", "share",        "optimizer-states"};
/* These came next, and are written in ways of their own; epochs count as steps. */
static const char *const own[] = {"epochs", "ranking", "lora-rank", "lora-alpha", "lora-targets", "lora-dropout"};
enum { FIRST = sizeof first / sizeof *first, OWN = sizeof own / sizeof *own };

static bool is_among(const char *name, const char *const *names, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (strcmp(names[i], name) == 0) return true;
  return false;
}

/* Choices as numbers, numbers to the last bit. */
static void add_value(str *s, const option *p, const train_options *o) {
  const void *field = (const char *)o + p->field;
  const double *x = field;
  switch (p->kind) {
    case OPTION_FLAG:
    case OPTION_YES_NO: str_printf(s, "%d", *(const bool *)field); break;
    case OPTION_CHOICE: str_printf(s, "%d", *(const int *)field); break;
    case OPTION_INT: str_printf(s, "%lld", (long long)*(const int64_t *)field); break;
    case OPTION_NUMBER: str_printf(s, "%a", *x); break;
    case OPTION_PAIR: str_printf(s, "%a %a", x[0], x[1]); break;
    case OPTION_SET:
      for (const option_word *w = p->words; w->text; w++)
        str_printf(s, "%s%d", w == p->words ? "" : " ", (*(const int *)field & w->value) != 0);
      break;
    case OPTION_TEXT: option_text(p, o, s); break;
    case OPTION_LIST: break; /* names of files: a hash of their contents counts instead */
  }
}

void fingerprint_options(str *s, const train_options *given, const fingerprint_effect *e) {
  train_options o = *given;
  o.steps = e->steps;
  for (size_t i = 0; i < FIRST; i++) {
    const option *p = option_named(train_option_table, first[i], strlen(first[i]));
    if (i > 0) str_addc(s, ' ');
    if (p) add_value(s, p, &o);
  }
  str_printf(s, " %llu %s %s", (unsigned long long)o.seed, e->device, e->dtype);
  if (o.lora_rank > 0) str_printf(s, " lora %lld %a %s ", (long long)o.lora_rank, o.lora_alpha, o.lora_targets);
  if (e->dropout > 0) str_printf(s, " drop %a ", e->dropout);
  if (o.loss.ranking != RANKING_BY_LOSS) str_printf(s, " %d ", o.loss.ranking);
  for (const option *p = train_option_table; p->name; p++) {
    if (p->affects != OPTION_BITS || is_among(p->name, first, FIRST) || is_among(p->name, own, OWN)) continue;
    if (option_is_initial(p, &o)) continue;
    str_printf(s, " %s=", p->name);
    add_value(s, p, &o);
  }
}

rw_status fingerprint_make(char out[33], char (*hashes)[33], const fingerprint_source *of, rw_error *err) {
  const option_list *data = &of->o->data;
  fingerprint_effect effect = {of->steps, model_device(of->m), model_dtype(of->m), model_dropout(of->m)};
  /* what the rows became, by whatever tokenizer and template, and the configuration beside the weights */
  char texts[33], config[33] = "", *path = file_join(model_dir(of->m), "config.json");
  dataset_hash(of->d, texts);
  rw_status hashed = path ? file_hash(path, config, err) : rw_nomem(err, "run");
  mem_free(path);
  RW_TRY(hashed);
  RW_TRY(model_hash(of->m, hashes[data->n], err));
  str s = {0};
  fingerprint_options(&s, of->o, &effect);
  str_addz(&s, texts);
  str_addz(&s, config);
  for (size_t i = 0; i < data->n; i++) {
    /* a pipe cannot be read again: its rows' ids stand for it */
    if (file_hash(data->items[i], hashes[i], NULL)) dataset_hash(of->d, hashes[i]);
    str_addz(&s, hashes[i]);
  }
  str_addz(&s, hashes[data->n]);
  XXH128_hash_t h = XXH3_128bits(s.p, s.len);
  snprintf(out, 33, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
  hashed = s.oom ? rw_nomem(err, "run") : RW_OK;
  str_free(&s);
  return hashed;
}

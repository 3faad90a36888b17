/* cmd_inspect.c - `reward inspect`: what a model directory or weights file holds, and whether it would load.
 *
 * Nothing is computed: the loaders of score and train open the directory, and what they refuse is shown.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "format/gguf.h"
#include "format/peft.h"
#include "model/golden.h"
#include "model/model.h"
#include "report/page.h"
#include "text/render.h"

static const char USAGE[] = "inspect DIR|FILE [options]";
static const char ABOUT[] =
    "Shows what a model directory, a .safetensors or a .gguf file holds: family, sizes, head, tensors, tokenizer,\n"
    "template, limits; and whether score and train (or, of a GGUF file, convert) would take it. Exit status 1: no.";
static const char EXAMPLES[] =
    "  reward inspect rm\n"
    "  reward inspect SmolLM2-135M-Instruct.Q4_1.gguf --tensors\n";

/* Prints with control characters shown. */
static void vput(const char *fmt, va_list ap) {
  str text = {0};
  str_vprintf(&text, fmt, ap);
  if (text.p) utf8_show(text.p, false);
  fputs(text.p && !text.oom ? text.p : "?", stdout);
  str_free(&text);
}
static void put(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void put(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vput(fmt, ap);
  va_end(ap);
}
static void line(const char *what, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void line(const char *what, const char *fmt, ...) {
  printf("%-11s ", what);
  va_list ap;
  va_start(ap, fmt);
  vput(fmt, ap);
  va_end(ap);
  putchar('\n');
}
static void print_shape(const int64_t *shape, int n) {
  putchar('[');
  for (int i = 0; i < n; i++) printf(i ? ", %lld" : "%lld", (long long)shape[i]);
  putchar(']');
}
static void print_text(slice s) { /* a token or key, its control characters escaped */
  str out = {0};
  str_json(&out, s.p, s.len);
  if (out.p) utf8_show(out.p, false);
  fputs(out.p && !out.oom ? out.p : "?", stdout);
  str_free(&out);
}

/* The name takes `width` columns or more. */
static void print_tensor(const char *type, size_t width, const char *name) {
  str clean = {0};
  size_t columns = rep_clean(&clean, slice_of(name), false);
  printf("  %-5s %s%*s ", type, clean.p && !clean.oom ? clean.p : "?", (int)(columns < width ? width - columns : 0),
         "");
  str_free(&clean);
}

/* ---- weights ---- */

typedef struct {
  const char *name; /* dtype or GGUF type */
  size_t n;
  uint64_t values, bytes;
} tally;
enum { TALLIES = 16 };

static void count_tensor(tally *t, const char *type, const int64_t *shape, int n_dims, size_t bytes) {
  uint64_t values = 1;
  for (int i = 0; i < n_dims; i++) values *= (uint64_t)shape[i];
  int k = 0;
  while (k < TALLIES - 1 && t[k].name && strcmp(t[k].name, type) != 0) k++;
  t[k].name = type;
  t[k].n++;
  t[k].values += values;
  t[k].bytes += bytes;
}

static void print_tallies(const tally *t) {
  tally sum = {0};
  for (int k = 0; k < TALLIES && t[k].name; k++) {
    sum.n += t[k].n;
    sum.values += t[k].values;
    sum.bytes += t[k].bytes;
  }
  printf("%-11s %zu tensors, %llu values, %.1f MB:", "weights", sum.n, (unsigned long long)sum.values,
         (double)sum.bytes / 1e6);
  for (int k = 0; k < TALLIES && t[k].name; k++) printf("%s %zu %s", k ? "," : "", t[k].n, t[k].name);
  putchar('\n');
}

/* Is it a tensor of a head? All that is not of the decoder; the language model's is known by its name. */
static bool of_head(const char *name) {
  static const char *const decoder[] = {"model.", "transformer.", "layers.", "embed_tokens.", "norm.", "backbone."};
  static const char adapter[] = "base_model.model.";
  if (strncmp(name, adapter, sizeof adapter - 1) == 0) name += sizeof adapter - 1;
  for (size_t i = 0; i < sizeof decoder / sizeof *decoder; i++)
    if (strncmp(name, decoder[i], strlen(decoder[i])) == 0) return false;
  return true;
}

static rw_status show_weights(const char *path, bool tensors, rw_error *err) {
  st_set *s;
  RW_TRY(st_open(&s, path, err));
  tally t[TALLIES] = {0};
  for (size_t i = 0; i < st_count(s); i++) {
    const st_tensor *x = st_at(s, i);
    count_tensor(t, st_dtype_name(x->dtype), x->shape, x->n_dims, x->bytes);
  }
  print_tallies(t);
  bool any = false;
  for (size_t i = 0; i < st_count(s); i++) {
    const st_tensor *x = st_at(s, i);
    if (!of_head(x->name)) continue;
    put("%-11s %s ", any ? "" : "head", x->name);
    print_shape(x->shape, x->n_dims);
    puts(strcmp(x->name, "lm_head.weight") == 0 ? " (of the language model)" : "");
    any = true;
  }
  if (!any) line("head", "none");
  for (size_t i = 0; tensors && i < st_count(s); i++) {
    const st_tensor *x = st_at(s, i);
    print_tensor(st_dtype_name(x->dtype), 60, x->name);
    print_shape(x->shape, x->n_dims);
    putchar('\n');
  }
  st_close(s);
  return RW_OK;
}

/* ---- a model directory ---- */

static void show_rope(const rope_config *r) {
  if (r->kind == ROPE_DEFAULT)
    line("rotary", "theta %g", r->theta);
  else if (r->kind == ROPE_LINEAR)
    line("rotary", "theta %g, linear scaling by %g", r->theta, r->factor);
  else if (r->kind == ROPE_YARN)
    line("rotary", "theta %g, YaRN by %g from %lld tokens, cosine and sine times %g", r->theta, r->factor,
         (long long)r->original_max_positions, r->attention_factor);
  else if (r->kind == ROPE_LONG)
    line("rotary", "theta %g, LongRoPE: other divisors beyond %lld tokens, cosine and sine times %g", r->theta,
         (long long)r->original_max_positions, r->attention_factor);
  else if (r->kind == ROPE_DYNAMIC)
    line("rotary", "theta %g, dynamic scaling beyond the limit (not supported there)", r->theta);
  else
    line("rotary", "theta %g, Llama 3 scaling by %g (%g to %g) from %lld tokens", r->theta, r->factor,
         r->low_freq_factor, r->high_freq_factor, (long long)r->original_max_positions);
}

/* The last parts of the targets' names, each once; of a regular expression, itself. */
static void add_targets(const peft_config *p, str *out) {
  json_doc *d = p->f.doc;
  json_val list = json_get(d, 0, "target_modules");
  slice s = json_string(d, list);
  if (s.p) str_add(out, s.p, s.len);
  for (json_val v = json_first(d, list); v != JSON_NONE; v = json_next(d, v)) {
    slice name = json_string(d, v);
    const char *dot = name.p ? memrchr(name.p, '.', name.len) : NULL;
    if (dot) name = (slice){dot + 1, name.len - (size_t)(dot + 1 - name.p)};
    if (!name.p || (out->p && memmem(out->p, out->len, name.p, name.len))) continue;
    str_printf(out, "%s%.*s", out->len ? ", " : "", (int)name.len, name.p);
  }
}

/* An adapter's own figures; *base, which the caller frees: where its base is. */
static rw_status show_adapter(const cli *c, const char *dir, char **base, rw_error *err) {
  peft_config p;
  *base = NULL;
  if (!peft_is(dir)) return RW_OK;
  RW_TRY(peft_read(&p, dir, c->common.base, err));
  str modules = {0};
  add_targets(&p, &modules);
  line("adapter", "LoRA of rank %lld, alpha %g%s, dropout %g, on %s", (long long)p.rank, p.alpha,
       p.rslora ? " (by the root of the rank)" : "", p.dropout, modules.p && !modules.oom ? modules.p : "nothing");
  str_free(&modules);
  line("base", "%s", p.base);
  *base = p.base;
  p.base = NULL;
  peft_free(&p);
  return RW_OK;
}

static rw_status show_config(const char *dir, rw_error *err) {
  model_config *c = mem_alloc(1, sizeof *c);
  if (!c) return rw_nomem(err, dir);
  rw_status s = model_config_read(c, dir, err);
  if (!s) {
    line("family", "%s", c->type);
    line("sizes", "%zu layers, hidden %zu, %zu heads (%zu key-value) of %zu, ff %zu, vocabulary %zu", c->layers,
         c->hidden, c->q_heads, c->kv_heads, c->head_dim, c->ff, c->vocab);
    if (c->n_experts)
      line("experts", "%zu of %zu, %zu a token%s", c->n_experts, c->expert_ff, c->experts_per_token,
           c->norm_topk ? ", their weights summing to 1" : "");
    size_t windowed = 0, local = 0;
    int32_t window = 0;
    for (size_t i = 0; i < c->layers; i++) {
      if (c->window[i]) window = c->window[i];
      windowed += c->window[i] > 0;
      local += c->rope_of[i] > 0;
    }
    if (windowed) line("window", "%d tokens in %zu of %zu layers", window, windowed, c->layers);
    show_rope(&c->ropes[0]);
    if (local) show_rope(&c->ropes[1]);
    if (c->attn_softcap > 0) line("soft cap", "%g", (double)c->attn_softcap);
    line("limit", "%lld tokens", (long long)c->max_positions);
    if (c->form && c->head_hidden)
      line("head", "%s, %zu hidden layers of %zu", c->class, c->head_hidden, c->head_width);
    else if (c->form)
      line("head", "%s, one layer", c->class);
    if (c->head == HEAD_GATED) line("outputs", "%zu attributes, weighed by the prompt", c->n_outputs);
    if (c->head == HEAD_WEIGHTED) line("outputs", "%zu, of which the last 5 are attributes", c->n_outputs);
    if (c->reward_token_id >= 0) line("read at", "token %d, appended to the conversation", c->reward_token_id);
  }
  mem_free(c);
  return s;
}

static void show_token(const tokenizer *t, const char *what, int32_t id) {
  if (id < 0) return;
  printf("%s%s ", ", ", what);
  print_text(tok_text(t, id));
  printf(" (%d)", id);
}

/* The tokenizer, and one conversation through the template. */
static rw_status show_text(const cli *c, const char *dir, rw_error *err) {
  renderer *r;
  RW_TRY(renderer_open(&r, text_dir(dir, c->common.base), NULL, NULL, err));
  const tokenizer *t = renderer_tokenizer(r);
  if (!t) {
    line("tokenizer", "none: only rows of token ids can be read");
    renderer_free(r);
    return RW_OK;
  }
  printf("%-11s %zu tokens", "tokenizer", tok_vocab_size(t));
  show_token(t, "bos", tok_bos(t));
  show_token(t, "eos", tok_eos(t));
  show_token(t, "pad", tok_pad(t));
  putchar('\n');
  message m[] = {{.role = ROLE_USER, .content = SLICE("Hello")}, {.role = ROLE_ASSISTANT, .content = SLICE("Hi")}};
  conversation talk = {.messages = m, .n_messages = 2};
  ids out = {0};
  render_scratch *scratch = render_scratch_new(r);
  rw_error why;
  rw_status s = scratch ? render_ids(r, scratch, &talk, &out, &why) : rw_nomem(&why, dir);
  if (s) {
    line("template", "%s", cli_text(&why));
  } else {
    printf("%-11s user \"Hello\", assistant \"Hi\" are %zu tokens, the last ", "template", out.len);
    print_text(out.len ? tok_text(t, out.p[out.len - 1]) : SLICE(""));
    putchar('\n');
  }
  render_scratch_free(scratch);
  mem_free(out.p);
  renderer_free(r);
  return RW_OK;
}

static rw_status show_loading(const cli *c, const char *dir, rw_error *err) {
  model *m;
  model_options o = {
      .device = c->common.device, .context = cli_threads(c), .base = c->common.base, .new_head = true};
  if (!o.context) return rw_nomem(err, "threads");
  RW_TRY(model_open(&m, dir, &o, err));
  rw_status s = golden_check(m, dir, err);
  if (!s)
    line("loads",
         model_head_is_new(m) ? "for train, which starts a head; score and eval need a trained one" : "yes");
  model_free(m);
  return s;
}

/* Runs each part, shows its failure as its line, and keeps the first. */
static rw_status show_dir(const cli *c, const char *dir, bool tensors, rw_error *err) {
  rw_error e;
  char *base;
  rw_status first = show_adapter(c, dir, &base, err);
  if (!first) first = show_config(base ? base : dir, err);
  mem_free(base);
  rw_status s = show_weights(dir, tensors, &e);
  if (first) line("family", "%s", cli_text(err));
  if (s) line("weights", "%s", cli_text(&e));
  rw_status t = show_text(c, dir, &e);
  if (t) line("tokenizer", "%s", cli_text(&e));
  if (t && !first) *err = e;
  if (t && !first) first = t;
  s = show_loading(c, dir, &e);
  if (!s) return first;
  line("loads", "no: %s", cli_text(&e));
  *err = e;
  return s;
}

/* ---- GGUF ---- */

static void show_key(const gguf *g, slice key) {
  char name[200];
  int64_t n;
  double x;
  bool flag;
  slice s;
  snprintf(name, sizeof name, "%.*s", (int)key.len, key.p);
  printf("  ");
  print_text(key);
  putchar(' ');
  if (gguf_string(g, name, &s))
    print_text((slice){s.p, s.len < 60 ? s.len : 60});
  else if (gguf_int(g, name, &n))
    printf("%lld", (long long)n);
  else if (gguf_float(g, name, &x))
    printf("%g", x);
  else if (gguf_bool(g, name, &flag))
    fputs(flag ? "true" : "false", stdout);
  else
    printf("list of %zu", gguf_array_len(g, name));
  putchar('\n');
}

static rw_status show_gguf(const char *path, bool tensors, rw_error *err) {
  gguf *g;
  RW_TRY(gguf_open(&g, path, err));
  slice arch = SLICE("unknown");
  tally t[TALLIES] = {0};
  gguf_string(g, "general.architecture", &arch);
  printf("%-11s ", "family");
  print_text(arch);
  puts(" (GGUF)");
  for (size_t i = 0; i < gguf_count(g); i++) {
    const gguf_tensor *x = gguf_at(g, i);
    count_tensor(t, x->type_name, x->shape, x->n_dims, x->bytes);
  }
  print_tallies(t);
  line("keys", "%zu", gguf_keys(g));
  for (size_t i = 0; i < gguf_keys(g); i++) show_key(g, gguf_key(g, i));
  for (size_t i = 0; tensors && i < gguf_count(g); i++) {
    const gguf_tensor *x = gguf_at(g, i);
    print_tensor(x->type_name, 40, x->name);
    print_shape(x->shape, x->n_dims);
    putchar('\n');
  }
  gguf_close(g);
  rw_status s = gguf_convert(path, NULL, DT_F32, err);
  if (s)
    line("converts", "no: %s", cli_text(err));
  else
    line("converts", "yes: reward convert %s -o DIR", path);
  return s;
}

typedef struct {
  bool tensors;
} options;

static const option table[] = {{"tensors", 't', .kind = OPTION_FLAG, .field = offsetof(options, tensors),
                                .help = "every tensor's type, name and shape"},
                               {.name = NULL}};

static int run_command(cli *c, void *values) {
  const options *o = values;
  if (c->words.n != 1) return cli_usage(c, "a directory or file is needed");
  const char *path = c->words.items[0];
  size_t n = strlen(path);
  rw_error err;
  rw_status s = file_is_dir(path) ? cli_model_dir(c, &path, &err) : RW_OK;
  if (s) return cli_fail(c, &err);
  if (file_is_dir(path))
    s = show_dir(c, path, o->tensors, &err);
  else if (n > 5 && strcmp(path + n - 5, ".gguf") == 0)
    s = show_gguf(path, o->tensors, &err);
  else
    s = show_weights(path, o->tensors, &err);
  return s ? cli_fail(c, &err) : 0;
}

const cli_command cmd_inspect = {.name = "inspect",
                                 .summary = "what a model holds, and whether it would load",
                                 .usage = USAGE,
                                 .about = ABOUT,
                                 .examples = EXAMPLES,
                                 .parts = {{table}},
                                 .values = sizeof(options),
                                 .max_words = 1,
                                 .common = CLI_THREADS | CLI_DEVICE | CLI_BASE | CLI_QUIET,
                                 .run = run_command};

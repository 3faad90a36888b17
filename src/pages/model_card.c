/* model_card.c - README.md of a trained checkpoint, as Hugging Face's hub reads it.
 *
 * It says what run.json and evals.jsonl say, names files without their folders, and stands only where no README.md
 * of somebody else is: ours has a line by which the next run knows it.
 */
#include <ctype.h>
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "pages/runs.h"
#include "pages/runs_int.h"

static const char OURS[] = "# Made by reward.c. Without this line the file is yours, and no command replaces it.\n";

static slice text_of(const train_run_files *r, json_val object, const char *name) {
  slice s = json_string(r->info.doc, json_get(r->info.doc, object, name));
  return s.p ? s : slice_of("");
}

static slice last_part(slice path) {
  while (path.len > 1 && path.p[path.len - 1] == '/') path.len--;
  size_t from = path.len;
  while (from > 0 && path.p[from - 1] != '/') from--;
  return (slice){path.p + from, path.len - from};
}

/* The id on the hub: of ".../models--ORG--NAME/snapshots/..." ORG/NAME, else the path's last part in the characters
 * that an id may have. */
static void add_id(str *s, slice path, const char *kind) {
  slice id = last_part(path);
  bool cached = false;
  str_addc(s, '"');
  for (size_t i = 0, n = strlen(kind); i + n <= path.len && !cached; i++)
    if ((cached = memcmp(path.p + i, kind, n) == 0)) {
      id = (slice){path.p + i + n, path.len - i - n};
      const char *end = memchr(id.p, '/', id.len);
      if (end) id.len = (size_t)(end - id.p);
    }
  for (size_t i = 0; i < id.len; i++) {
    if (cached && i + 1 < id.len && id.p[i] == '-' && id.p[i + 1] == '-') {
      str_addc(s, '/');
      i++;
    } else {
      str_addc(s, isalnum((unsigned char)id.p[i]) || strchr("._-", id.p[i]) ? id.p[i] : '-');
    }
  }
  str_addc(s, '"');
}

/* As a cell of a table, or a line: no character of the markup. */
static void add_plain(str *s, slice text) {
  for (size_t i = 0; i < text.len; i++) {
    if (strchr("|`<>\\*[]", text.p[i]) && text.p[i]) str_addc(s, '\\');
    str_addc(s, (unsigned char)text.p[i] < ' ' ? ' ' : text.p[i]);
  }
}

static void add_head(str *s, const train_run_files *r, bool adapter) {
  json_doc *d = r->info.doc;
  str_printf(s, "---\n%slibrary_name: %s\npipeline_tag: text-classification\nbase_model: ", OURS,
             adapter ? "peft" : "transformers");
  add_id(s, text_of(r, json_get(d, 0, "model"), "path"), "models--");
  str_printf(s, "\nbase_model_relation: %s\ndatasets:\n", adapter ? "adapter" : "finetune");
  json_val data = json_get(d, 0, "data");
  for (json_val v = json_first(d, data); v != JSON_NONE; v = json_next(d, v)) {
    str_addz(s, "- ");
    add_id(s, text_of(r, v, "path"), "datasets--");
    str_addc(s, '\n');
  }
  str_addz(s, "tags:\n- reward-model\n- reward.c\n");
  if (adapter) str_addz(s, "- lora\n");
  str_addz(s, "---\n");
}

static void add_figure(str *s, const eval_figure *f) {
  str_printf(s, f->lo < f->hi ? "%.1f%% (%.1f–%.1f)" : "%.1f%%", f->percent, f->lo, f->hi);
}

static void add_figures(str *s, const train_run_files *r) {
  double step = run_published_step(r);
  str_addz(s, "\n## Figures\n\n");
  if (r->n_evals == 0) {
    str_addz(s, "Not evaluated on held-out rows while it was trained.\n");
    return;
  }
  str_addz(s,
           "| held out on | items | right (95% interval) | before training | by length alone | best |\n"
           "|---|--:|--:|--:|--:|--:|\n");
  for (size_t k = 0; k < r->n_evals; k++) {
    const run_eval *first = &r->evals[k], *now = NULL, *best = first;
    bool seen = false;
    for (size_t i = 0; i < k && !seen; i++) seen = strcmp(r->evals[i].eval, first->eval) == 0;
    if (seen) continue;
    for (size_t i = k; i < r->n_evals; i++) {
      const run_eval *e = &r->evals[i];
      if (strcmp(e->eval, first->eval) != 0) continue;
      if (e->step == step) now = e;
      if (eval_main_figure(&e->result)->percent > eval_main_figure(&best->result)->percent) best = e;
    }
    if (!now) continue;
    str_addz(s, "| ");
    add_plain(s, last_part(slice_of(now->eval)));
    str_printf(s, " | %zu | ", now->result.n_items);
    add_figure(s, eval_main_figure(&now->result));
    str_printf(s, " | %.1f%% | %.1f%% | %.1f%%, step %.0f |\n", eval_main_figure(&first->result)->percent,
               eval_main_figure(&now->result)->baseline, eval_main_figure(&best->result)->percent, best->step);
  }
  str_printf(
      s,
      "\nThese are the weights after step %.0f. Intervals: 2,000 resamples of the items within their subsets. "
      "`report.html` has the curves.\n",
      step);
}

static void add_data(str *s, const train_run_files *r) {
  json_doc *d = r->info.doc;
  json_val rows = json_get(d, 0, "rows"), hash = json_first(d, json_get(d, json_get(d, 0, "identity"), "data"));
  str_addz(s, "\n## Data\n\n| file | SHA-256 |\n|---|---|\n");
  for (json_val v = json_first(d, json_get(d, 0, "data")); v != JSON_NONE; v = json_next(d, v)) {
    slice h = {0};
    if (hash != JSON_NONE) h = json_string(d, hash);
    str_addz(s, "| ");
    add_plain(s, last_part(text_of(r, v, "path")));
    str_printf(s, " | `%.*s` |\n", (int)h.len, h.p ? h.p : "");
    if (hash != JSON_NONE) hash = json_next(d, hash);
  }
  static const char *const counts[][2] = {{"used", "rows trained on"},
                                          {"read", "rows read"},
                                          {"invalid", "invalid"},
                                          {"empty_dropped", "left out as empty"},
                                          {"overlong_dropped", "left out as too long"},
                                          {"identical_dropped", "left out as identical"},
                                          {"truncated", "truncated"}};
  str_addz(s, "\n| rows | |\n|---|--:|\n");
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    double n;
    if (!json_number(d, json_get(d, rows, counts[i][0]), &n) || (n == 0 && i > 1)) continue;
    str_printf(s, "| %s | ", counts[i][1]);
    rep_num(s, n, 0);
    str_addz(s, " |\n");
  }
}

static void add_base(str *s, const train_run_files *r) {
  json_doc *d = r->info.doc;
  json_val files = json_get(d, json_get(d, 0, "identity"), "model");
  str_addz(s, "\n## Base\n\n");
  add_plain(s, last_part(text_of(r, json_get(d, 0, "model"), "path")));
  str_addz(s, "; its files by SHA-256:\n\n| file | SHA-256 |\n|---|---|\n");
  for (json_val v = json_first(d, files); v != JSON_NONE; v = json_next(d, v)) {
    slice h = json_string(d, v);
    if (!h.p || h.len != 64) continue;
    str_addz(s, "| ");
    add_plain(s, json_key(d, v));
    str_printf(s, " | `%.*s` |\n", (int)h.len, h.p);
  }
}

static void add_arguments(str *s, const train_run_files *r) {
  static const char *const elsewhere[] = {"model", "data",   "out",   "eval",  "threads",
                                          "quiet", "resume", "force", "config"};
  json_doc *d = r->info.doc;
  json_val all = json_get(d, json_get(d, 0, "arguments"), "effective");
  size_t rows = 0;
  str_addz(s, "\n## Training\n\n");
  for (json_val v = json_first(d, all); v != JSON_NONE; v = json_next(d, v)) {
    slice name = json_key(d, v), text = json_string(d, v);
    bool skip = !run_argument_changed(r, name, v);
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) skip |= slice_is(name, elsewhere[i]);
    if (skip) continue;
    if (rows++ == 0) str_addz(s, "| argument | |\n|---|---|\n");
    str_printf(s, "| %.*s | ", (int)name.len, name.p);
    add_plain(s, text.p ? text : json_raw(d, v));
    str_addz(s, " |\n");
  }
  double steps, tokens;
  if (json_number(d, json_get(d, 0, "steps_done"), &steps) && json_number(d, json_get(d, 0, "tokens"), &tokens)) {
    slice device = text_of(r, 0, "device"), dtype = text_of(r, 0, "dtype");
    str_printf(s, "%s%.0f steps, ", rows ? "\n" : "", steps);
    rep_num(s, tokens, 0);
    str_printf(s,
               " tokens, on %.*s in %.*s. The other arguments are `reward train`'s defaults; `run.json` has all.\n",
               (int)device.len, device.p, (int)dtype.len, dtype.p);
  }
}

static void add_use(str *s, const train_run_files *r, bool adapter, bool texts) {
  str_addz(s,
           "\n## Use\n\nThe logit is the reward: higher is better, of no unit, the same for a conversation "
           "whatever it is "
           "batched with.\n\n```python\nimport torch\nfrom transformers import AutoModelForSequenceClassification, "
           "AutoTokenizer\n");
  if (adapter) {
    str_addz(s,
             "from peft import PeftModel\n\nbase = AutoModelForSequenceClassification.from_pretrained(\"BASE\", "
             "num_labels=1)\n");
    str_printf(s, "model = PeftModel.from_pretrained(base, \"%s\")\n", r->name);
  } else {
    str_printf(s, "\nmodel = AutoModelForSequenceClassification.from_pretrained(\"%s\")\n", r->name);
  }
  str_printf(
      s,
      "tokenizer = AutoTokenizer.from_pretrained(\"%s\")\n"
      "messages = [{\"role\": \"user\", \"content\": \"2 + 2?\"}, {\"role\": \"assistant\", \"content\": \"4\"}]\n"
      "inputs = tokenizer.apply_chat_template(messages, return_tensors=\"pt\", return_dict=True)\n"
      "with torch.no_grad():\n    print(model.eval()(**inputs).logits[0, 0].item())\n```\n\n```sh\n"
      "reward score --model %s --prompt \"2 + 2?\" --response 4 --response 5\n",
      r->name, r->name);
  if (adapter) str_printf(s, "reward merge %s -o MERGED    # the whole model\n", r->name);
  str_addz(s, "```\n");
  if (texts)
    str_addz(s,
             "\n`reward.json` holds a few training texts, by their ids, with their scores: by these, reward.c "
             "checks what it "
             "opens.\n");
}

/* Is there a README.md that is not ours? */
static bool is_foreign(const char *path) {
  str s = {0};
  bool foreign = file_exists(path) && (file_read(path, 1 << 20, &s, NULL) || !s.p || !strstr(s.p, OURS));
  str_free(&s);
  return foreign;
}

static rw_status write_card(const char *out, const char *path, const train_run_files *r, rw_error *err) {
  char *config = file_join(out, "adapter_config.json"), *golden = file_join(out, "reward.json");
  str s = {0}, texts = {0};
  rw_status st = config && golden ? RW_OK : rw_nomem(err, out);
  if (!st) {
    bool adapter = file_exists(config);
    bool kept =
        file_exists(golden) && !file_read(golden, 1 << 20, &texts, NULL) && texts.p && strstr(texts.p, "\"ids\"");
    add_head(&s, r, adapter);
    str_printf(&s,
               "\n# %s\n\nA reward model, trained by `reward train` of reward.c " REWARD_VERSION
               ": one label, whose logit is the reward of a conversation's last assistant turn.\n",
               r->name);
    add_figures(&s, r);
    add_data(&s, r);
    add_base(&s, r);
    add_arguments(&s, r);
    add_use(&s, r, adapter, kept);
    st = s.oom || texts.oom ? rw_nomem(err, path) : file_put(path, s.p, s.len, err);
  }
  mem_free(config);
  mem_free(golden);
  str_free(&texts);
  str_free(&s);
  return st;
}

rw_status model_card_write(const char *out, rw_context *context, bool *written, rw_error *err) {
  run_set s;
  size_t unread;
  char *path = file_join(out, "README.md");
  *written = false;
  if (!path) return rw_nomem(err, out);
  if (is_foreign(path)) {
    mem_free(path);
    return RW_OK;
  }
  rw_status st = run_set_read(&s, &out, 1, context, &unread, err);
  if (!st) {
    if (s.n_runs == 1 && s.runs[0].info.doc) st = write_card(out, path, &s.runs[0], err);
    *written = !st;
    run_set_free(&s);
  }
  mem_free(path);
  return st;
}

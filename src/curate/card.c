/* card.c - README.md of a curated set: the data card that Hugging Face's hub and datasets.load_dataset(DIR) read.
 */
#include <ctype.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "curate/hashes.h"
#include "curate/outputs.h"
#include "curate/publish.h"

static const char CONFIGS[] =
    "---\n"
    "configs:\n"
    "- config_name: default\n"
    "  data_files:\n"
    "  - split: train\n"
    "    path:\n";

static const char RANKING[] = /* behind its prompt */
    "  - name: responses\n"
    "    list: string\n"
    "  - name: scores\n"
    "    list: float64\n";

static const char MESSAGES[] =
    "  - name: %s\n"
    "    list:\n"
    "    - name: role\n"
    "      dtype: string\n"
    "    - name: content\n"
    "      dtype: string\n";

/* Its lines in the card: its path, or its hash; *bytes grows by its size. */
static rw_status add_file(const curation *r, const char *name, bool hashed, str *s, size_t *bytes, rw_error *err) {
  char hash[SHA256_HEX], *path = file_join(r->o->out, name);
  struct stat st;
  rw_status status = path ? RW_OK : rw_nomem(err, "README.md");
  if (!status && hashed) status = hashes_of(r, name, hash, err);
  if (!status && hashed) str_printf(s, "| %s | `%s` |\n", name, hash);
  if (!status && !hashed) str_printf(s, "    - %s\n", name);
  if (!status && stat(path, &st) == 0) *bytes += (size_t)st.st_size;
  mem_free(path);
  return status;
}

/* Is the stage's file a split beside train, of the same format, as the hub asks? */
static bool is_split(const curation *r, const stage *s) {
  const char *file = s->kind->parts && curation_writes(r, s) ? stage_file(s) : NULL,
             *end = file ? strrchr(file, '.') : NULL;
  return end && (strcmp(end, ".parquet") == 0) == r->o->parquet;
}

/* test.jsonl: test. */
static void add_split_name(const stage *s, str *out) {
  const char *file = stage_file(s);
  for (size_t i = 0, n = strcspn(file, "."); i < n; i++)
    str_addc(out, isalnum((unsigned char)file[i]) ? file[i] : '_');
}

static rw_status add_splits(const curation *r, str *s, size_t *bytes, rw_error *err) {
  for (const stage *g = r->recipe.stages; g < r->recipe.stages + r->recipe.n; g++) {
    if (!is_split(r, g)) continue;
    str_addz(s, "  - split: ");
    add_split_name(g, s);
    str_addz(s, "\n    path:\n");
    RW_TRY(add_file(r, stage_file(g), false, s, bytes, err));
  }
  return RW_OK;
}

static rw_status add_files(const curation *r, bool hashed, str *s, size_t *bytes, rw_error *err) {
  output_names files = {0};
  *bytes = 0;
  rw_status st = curation_row_files(r, &files, err);
  for (size_t k = 0; !st && k < files.n; k++) st = add_file(r, files.items[k], hashed, s, bytes, err);
  mem_free(files.items);
  return st;
}

static void add_features(const curation *r, size_t pairs, str *s) {
  bool category = false, paired = pairs == 0, ranked = false;
  uint32_t own = 0;
  for (size_t i = 0; i < r->n; i++) {
    if (r->c[i].reason && !r->c[i].by->kind->parts) continue;
    category |= r->categories[r->c[i].category].len > 0;
    own |= r->c[i].own;
    bool ranking = r->c[i].own & OWN_RANKING;
    ranked |= ranking;
    paired |= !ranking;
  }
  str_addz(s, "  features:\n");
  if (paired) str_printf(s, MESSAGES, "chosen");
  if (paired) str_printf(s, MESSAGES, "rejected");
  if (ranked) str_printf(s, MESSAGES, "prompt");
  if (ranked) str_addz(s, RANKING);
  str_addz(s, "  - name: source\n    dtype: string\n");
  if (own & OWN_MARGIN) str_addz(s, "  - name: margin\n    dtype: float64\n");
  if (own & OWN_ID) str_addz(s, "  - name: source_id\n    dtype: string\n");
  str_addz(s, "  - name: id\n    dtype: string\n");
  if (category) str_addz(s, "  - name: task_category\n    dtype: string\n");
}

static void add_info(const curation *r, size_t pairs, size_t bytes, str *s) {
  size_t all = r->row_bytes;
  bool own = false;
  for (size_t i = 0; i < r->n_inputs; i++) own |= r->inputs[i].src->rows != NULL;
  str_addz(s, "dataset_info:\n");
  if (!own) add_features(r, pairs, s); /* columns of a user's own are seen by who reads them */
  str_printf(s, "  splits:\n  - name: train\n    num_bytes: %zu\n    num_examples: %zu\n", r->row_bytes, pairs);
  for (const stage *g = r->recipe.stages; g < r->recipe.stages + r->recipe.n; g++) {
    if (!is_split(r, g)) continue;
    str_addz(s, "  - name: ");
    add_split_name(g, s);
    str_printf(s, "\n    num_bytes: %zu\n    num_examples: %zu\n", r->stage_bytes[g->index],
               curation_written(r, g));
    all += r->stage_bytes[g->index];
  }
  str_printf(s, "  download_size: %zu\n  dataset_size: %zu\n---\n", bytes, all);
}

/* The recipe as a block of code, in a fence longer than any within it. */
static void add_fenced(str *s, slice text) {
  size_t longest = 2, run = 0;
  for (size_t i = 0; i < text.len; i++) {
    run = text.p[i] == '`' ? run + 1 : 0;
    if (run > longest) longest = run;
  }
  for (size_t i = 0; i <= longest; i++) str_addc(s, '`');
  str_addz(s, "yaml\n");
  str_add(s, text.p, text.len);
  if (text.len && text.p[text.len - 1] != '\n') str_addc(s, '\n');
  for (size_t i = 0; i <= longest; i++) str_addc(s, '`');
  str_addc(s, '\n');
}

rw_status curation_card(const curation *r, rw_error *err) {
  str s = {0}, text = {0};
  size_t pairs = 0, bytes;
  char *path = file_join(r->o->out, "README.md");
  for (size_t i = 0; i < r->n; i++) pairs += r->c[i].reason == NULL;
  str_addz(&s, CONFIGS);
  rw_status st = path ? add_files(r, false, &s, &bytes, err) : rw_nomem(err, "README.md");
  if (!st) st = add_splits(r, &s, &bytes, err);
  if (!st) st = file_read(r->recipe.path, 1 << 20, &text, err);
  if (!st) {
    add_info(r, pairs, bytes, &s);
    str_printf(
        &s,
        "\n# %s\n\n%zu preference pairs, made by `reward curate` of reward.c " REWARD_VERSION
        ". A row's `id` leads back to its source's row:\n`SOURCE:LINE`, or `SOURCE:LINE+LINE` where a pair comes "
        "from two. `removed.jsonl` has every row left out, and why.\n\n",
        r->recipe.name, pairs);
    str_addz(&s, "| source | file | rows | kept pairs | SHA-256 |\n|---|---|--:|--:|---|\n");
    for (size_t i = 0; i < r->n_inputs; i++) {
      const input *in = &r->inputs[i];
      const char *slash = strrchr(in->path, '/');
      size_t kept = 0;
      for (size_t c = in->first; c < in->first + in->n; c++) kept += r->c[c].reason == NULL;
      str_printf(&s, "| %s | %s | %zu | %zu | `%s` |\n", in->src->name, slash ? slash + 1 : in->path, in->rows,
                 kept, in->hash);
    }
    str_addz(&s, "\n| written | SHA-256 |\n|---|---|\n");
    st = add_files(r, true, &s, &bytes, err);
    for (const stage *g = r->recipe.stages; !st && g < r->recipe.stages + r->recipe.n; g++)
      if (curation_writes(r, g)) st = add_file(r, stage_file(g), true, &s, &bytes, err);
    str_addz(&s, "\nThe recipe; the same recipe and sources give the same bytes");
    if (r->o->seed && curation_uses(r, USES_SEED))
      str_printf(&s, ", here with `--seed %lld`", (long long)*r->o->seed);
    str_addz(&s, ":\n\n");
    add_fenced(&s, (slice){text.p ? text.p : "", text.len});
  }
  if (!st) st = s.oom || text.oom ? rw_nomem(err, path) : file_put(path, s.p, s.len, err);
  mem_free(path);
  str_free(&text);
  str_free(&s);
  return st;
}

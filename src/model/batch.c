/* batch.c - groups of conversations laid out as a forest: each group's common prefix once, then the rests. */
#include <string.h>

#include "model/model_impl.h"

size_t batch_common_prefix(const id_group *g) {
  if (g->n < 2) return 0;
  size_t n = g->len[0] - 1;
  for (size_t b = 1; b < g->n; b++) {
    if (g->len[b] - 1 < n) n = g->len[b] - 1;
    size_t i = 0;
    while (i < n && g->ids[0][i] == g->ids[b][i]) i++;
    n = i;
  }
  return n;
}

size_t model_group_tokens(const id_group *g, bool share) {
  size_t p = share ? batch_common_prefix(g) : 0, n = p;
  for (size_t b = 0; b < g->n; b++) n += g->len[b] - p;
  return n;
}

/* Where the gate of a conversation reads; -1: nowhere. */
static ptrdiff_t gate_position(const model_config *c, const int32_t *ids, size_t len) {
  for (size_t i = len; i-- > 0;)
    if (len - i >= c->gate_pattern_len && memcmp(ids + i, c->gate_pattern, c->gate_pattern_len * sizeof *ids) == 0)
      return (ptrdiff_t)i;
  return -1;
}

rw_status model_check_ids(const model *m, const int32_t *ids, size_t len, rw_error *err) {
  const model_config *c = &m->w->cfg;
  if (len == 0) return rw_fail(err, RW_DATA, "a conversation without tokens cannot be scored");
  for (size_t i = 0; i < len; i++)
    if (ids[i] < 0 || (size_t)ids[i] >= c->vocab)
      return rw_fail(err, RW_DATA, "input_ids[%zu]: expected 0 to %zu (vocab_size), got %d", i, c->vocab - 1,
                     ids[i]);
  if (c->ropes[0].kind == ROPE_DYNAMIC && len > (size_t)c->max_positions)
    return rw_fail(
        err, RW_DATA,
        "%zu tokens: the model's rotary scaling (dynamic) is supported up to its max_position_embeddings, "
        "%lld",
        len, (long long)c->max_positions);
  if (c->head == HEAD_GATED && gate_position(c, ids, len) < 0)
    return rw_fail(
        err, RW_DATA,
        "the tokens that begin an assistant turn (ids %d %d %d …) are not in the conversation; the model "
        "weighs its attributes there",
        c->gate_pattern[0], c->gate_pattern[1], c->gate_pattern[2]);
  return RW_OK;
}

static bool is_long(const model *m, size_t len) {
  const rope_config *r = &m->w->cfg.ropes[0];
  return r->kind == ROPE_LONG && len > (size_t)r->original_max_positions;
}

bool batch_shares(const model *m, const id_group *g, bool share) {
  for (size_t b = 1; share && b < g->n; b++) share = is_long(m, g->len[b]) == is_long(m, g->len[0]);
  return share;
}

void batch_long_rows(model *m, size_t positions) {
  for (size_t i = 0; i < m->rows.f.rows; i++) m->rope_rows[i] = m->pos[i] + m->rope_rows[i] * (int32_t)positions;
  m->rows.f.pos = m->rope_rows;
}

static void add_span(model *m, const int32_t *ids, size_t from, size_t to, bool is_in_long, size_t *rows,
                     span *out) {
  *out = (span){*rows, to - from};
  for (size_t i = from; i < to; i++) {
    m->ids[*rows] = ids[i];
    m->pos[*rows] = (int32_t)i;
    m->rope_rows[*rows] = is_in_long;
    ++*rows;
  }
}

/* The row of position p of a branch; p is not known. */
static size_t row_of(const tree *t, const span *branch, size_t p) {
  size_t shared = t->known.len + t->prompt.len;
  return p < shared ? t->prompt.first + p - t->known.len : branch->first + p - shared;
}

/* How many of the conversations' first tokens need no row because their keys and values are kept: of the `p` that
 * all n have in common, or of a single one all but the last. Notes the blocks, and those that this pass will fill.
 */
static rw_status find_known(model *m, const int32_t *const *ids, const size_t *len, size_t n, size_t p, span *known,
                            rw_error *err) {
  *known = (span){m->known_rows, 0};
  if (!m->prefixes) return RW_OK;
  size_t may_know = n > 1 ? p : len[0] - 1, may_keep = n > 1 ? p : len[0], at = 0;
  for (size_t b = 0; m->w->cfg.head == HEAD_GATED && b < n; b++) { /* the gate is read at a row of its own */
    size_t gate = (size_t)gate_position(&m->w->cfg, ids[b], len[b]);
    if (gate < may_know) may_know = gate;
  }
  prefix_block *block = NULL, *next;
  for (; at + PREFIX_BLOCK <= may_know && (next = prefix_cache_find(m->prefixes, block, ids[0] + at));
       at += PREFIX_BLOCK) {
    block = next;
    if (!vec_push(m->known_blocks, m->n_known_blocks, m->cap_known_blocks, block)) return rw_nomem(err, "a batch");
  }
  prefix_cache_count(m->prefixes, may_know, at);
  known->len = at;
  m->known_rows += at;
  /* the rest of the blocks come out of rows of this tree, which begin at position known->len */
  for (; at + PREFIX_BLOCK <= may_keep; at += PREFIX_BLOCK) {
    if (prefix_cache_find(m->prefixes, block, ids[0] + at))
      break; /* its last token is to be computed all the same */
    block = prefix_cache_add(m->prefixes, block, ids[0] + at);
    if (!block) break;
    if (!vec_push(m->new_blocks, m->n_new_blocks, m->cap_new_blocks, ((new_block){block, at - known->len})))
      return rw_nomem(err, "a batch");
  }
  return RW_OK;
}

rw_status batch_build(model *m, const id_group *groups, size_t n, bool share, rw_error *err) {
  size_t rows = 0, branches = 0, trees = 0;
  m->have_forward = m->dropping = false;
  m->n_known_blocks = m->n_new_blocks = m->known_rows = 0;
  for (size_t g = 0; g < n; g++) {
    for (size_t b = 0; b < groups[g].n; b++) RW_TRY(model_check_ids(m, groups[g].ids[b], groups[g].len[b], err));
    bool shares = batch_shares(m, &groups[g], share);
    rows += model_group_tokens(&groups[g], shares);
    branches += groups[g].n;
    trees += shares ? 1 : groups[g].n;
  }
  if (!mem_grow((void **)&m->ids, &m->cap_rows, rows, sizeof *m->ids) ||
      !mem_grow((void **)&m->pos, &m->cap_rows_pos, rows, sizeof *m->pos) ||
      !mem_grow((void **)&m->rope_rows, &m->cap_rope_rows, rows, sizeof *m->rope_rows) ||
      !mem_grow((void **)&m->trees, &m->cap_trees, trees, sizeof *m->trees) ||
      !mem_grow((void **)&m->branches, &m->cap_branches, branches, sizeof *m->branches) ||
      !mem_grow((void **)&m->last, &m->cap_last, 2 * branches, sizeof *m->last) ||
      !mem_grow((void **)&m->ends, &m->cap_ends, 2 * trees, sizeof *m->ends))
    return rw_nomem(err, "a batch's ids");
  size_t *gate = m->last + branches, *last_ends = m->ends + trees, pieces = 0, piece = 0;
  rows = branches = trees = 0;
  for (size_t g = 0; g < n; g++) {
    const id_group *gr = &groups[g];
    bool shares = batch_shares(m, gr, share);
    size_t p = shares ? batch_common_prefix(gr) : 0;
    for (size_t b = 0; b < gr->n; b++) {
      tree *t = &m->trees[b == 0 || !shares ? trees++ : trees - 1];
      bool in_long = is_long(m, gr->len[b]);
      if (b == 0 || !shares) {
        size_t noted = m->n_new_blocks;
        *t = (tree){.first_branch = branches, .n_branches = shares ? gr->n : 1};
        size_t of = m->tr.pass_piece ? m->tr.pass_piece[g] : 0;
        if (pieces == 0 || of == 0 || of != piece) pieces++;
        piece = of;
        RW_TRY(find_known(m, gr->ids + b, gr->len + b, t->n_branches, p, &t->known, err));
        while (noted < m->n_new_blocks) m->new_blocks[noted++].row += rows;
        if (p > t->known.len) add_span(m, gr->ids[b], t->known.len, p, in_long, &rows, &t->prompt);
        if (!t->prompt.len) t->prompt.first = rows;
      }
      const span *branch = &m->branches[branches];
      size_t from = t->known.len > p ? t->known.len : p;
      add_span(m, gr->ids[b], from, gr->len[b], in_long, &rows, &m->branches[branches]);
      if (m->w->cfg.head == HEAD_GATED)
        gate[branches] = row_of(t, branch, (size_t)gate_position(&m->w->cfg, gr->ids[b], gr->len[b]));
      m->last[branches++] = rows - 1;
      m->ends[pieces - 1] = rows;
      last_ends[pieces - 1] = branches;
    }
  }
  m->rows = (batch_layout){.f = {.rows = rows,
                                 .ids = m->ids,
                                 .pos = m->pos,
                                 .n_trees = trees,
                                 .n_branches = branches,
                                 .trees = m->trees,
                                 .branches = m->branches},
                           .last = m->last,
                           .n_last = m->w->cfg.head == HEAD_GATED ? 2 * branches : branches,
                           .pieces = {m->ends, pieces},
                           .last_pieces = {last_ends, pieces}};
  return RW_OK;
}

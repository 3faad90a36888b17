/* explain.c - the pairs of one row, followed through the stages. */
#include "curate/explain.h"

#include <math.h>
#include <string.h>

static bool names_row(const curation *r, place row, str *id) {
  str_clear(id);
  curation_row_id(r, row, id);
  return id->p && strcmp(id->p, r->o->explain) == 0;
}

/* By the pair's own id, or by that of a row of it. */
static bool names_pair(const curation *r, const candidate *c, str *id) {
  if (names_row(r, c->row[0], id) || names_row(r, c->row[1], id)) return true;
  str_clear(id);
  curation_id(r, c, id);
  return id->p && strcmp(id->p, r->o->explain) == 0;
}

static void add_source(const curation *r, uint32_t in, str *out) {
  for (size_t k = 0; k < r->recipe.n; k++)
    if (stage_reads(&r->recipe.stages[k], r->inputs[in].src)) {
      str_addz(out, "  ");
      stage_describe(r, &r->recipe.stages[k], out);
    }
  str_addz(out, " | ");
}

static void open_pair(const curation *r, const candidate *c, str *out) {
  curation_id(r, c, out);
  str_addc(out, '\n');
  add_source(r, c->input, out);
  if (curation_order(c->row[0], c->row[1]) == 0) {
    str_printf(out, "read from %s", r->inputs[c->input].path);
  } else {
    curation_row_id(r, c->row[0], out);
    str_printf(out, " (read from %s) is chosen, paired with ", r->inputs[c->row[0].input].path);
    curation_row_id(r, c->row[1], out);
    str_printf(out, " (read from %s), rejected", r->inputs[c->row[1].input].path);
  }
  slice category = r->categories[c->category];
  if (category.len) str_printf(out, "; task category: %.*s", (int)category.len, category.p);
  if (!isnan(c->score)) str_printf(out, "; mean score with its source's offset: %.9g", c->score);
  str_addc(out, '\n');
}

rw_status explain_find(curation *r, rw_error *err) {
  str id = {0};
  bool found = false;
  size_t cap = 0;
  rw_status st = RW_OK;
  for (size_t i = 0; i < r->n_loose; i++) {
    if (!names_row(r, r->loose[i].row, &id)) continue;
    found = true;
    str_printf(&r->told, "%s\n", id.p);
    add_source(r, r->loose[i].row.input, &r->told);
    const char *detail = r->loose[i].detail;
    str_printf(&r->told, "read from %s; part of no pair: %s%s%s\n  removed by source\n",
               r->inputs[r->loose[i].row.input].path, r->loose[i].reason, detail ? ": " : "", detail ? detail : "");
  }
  for (size_t i = 0; !st && i < r->n; i++) {
    if (!names_pair(r, &r->c[i], &id)) continue;
    watched w = {.candidate = i};
    open_pair(r, &r->c[i], &w.text);
    if (w.text.oom || !vec_push(r->watch, r->n_watch, cap, w)) {
      str_free(&w.text);
      st = rw_nomem(err, "a row's story");
    }
  }
  if (!st && !found && r->n_watch == 0)
    st = rw_fail(
        err, RW_DATA,
        FIELD(explain) " %s: no such id in what was read; ids are SOURCE:LINE, or SOURCE:LINE+LINE of a pair over "
        "two rows",
        r->o->explain);
  str_free(&id);
  return st;
}

void explain_stage(curation *r, const stage *s) {
  const char *lacks = curation_lacks(r, s);
  for (size_t k = 0; k < r->n_watch; k++) {
    watched *w = &r->watch[k];
    const candidate *c = &r->c[w->candidate];
    const char *name = r->inputs[c->input].src->name;
    if (w->removed_by) continue;
    str_addz(&w->text, "  ");
    stage_describe(r, s, &w->text);
    str_addz(&w->text, " | ");
    if (!stage_is_for(s, r->inputs[c->input].src)) {
      str_printf(&w->text, "not for %s\n", name);
      continue;
    }
    if (lacks) {
      w->open = true;
      str_printf(&w->text, "not run: needs %s\n", lacks);
      continue;
    }
    str_add(&w->text, w->note.p ? w->note.p : "", w->note.len);
    str_clear(&w->note);
    str_printf(&w->text, "%s%s", c->reason ? "removed: " : "kept", c->reason ? c->reason : "");
    if (c->reason) w->removed_by = s;
    if (c->twin) {
      str_addz(&w->text, ": ");
      curation_id(r, &r->c[c->twin - 1], &w->text);
      if (c->jaccard > 0) str_printf(&w->text, ", Jaccard similarity %.6g", c->jaccard);
    }
    str_addc(&w->text, '\n');
  }
}

void explain_end(const curation *r, str *out) {
  str_add(out, r->told.p ? r->told.p : "", r->told.len);
  for (size_t k = 0; k < r->n_watch; k++) {
    const watched *w = &r->watch[k];
    str_add(out, w->text.p ? w->text.p : "", w->text.len);
    if (w->removed_by)
      str_printf(out, "  removed by %s (%s:%d)\n", w->removed_by->kind->name, r->recipe.path, w->removed_by->line);
    else
      str_addz(out, w->open ? "  kept by the stages that ran\n" : "  kept\n");
  }
}

void explain_free(curation *r) {
  for (size_t k = 0; k < r->n_watch; k++) {
    str_free(&r->watch[k].text);
    str_free(&r->watch[k].note);
  }
  mem_free(r->watch);
  str_free(&r->told);
}

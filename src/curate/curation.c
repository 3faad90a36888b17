/* curation.c - questions about the state of a run, and the marks that stages make in it. */
#include "curate/curation.h"

#include <stdio.h>
#include <string.h>

/* ---- rows and pairs ---- */

int curation_order(place a, place b) {
  if (a.input != b.input) return a.input < b.input ? -1 : 1;
  return a.line < b.line ? -1 : a.line > b.line;
}
place curation_later(const candidate *c) { return c->row[curation_order(c->row[0], c->row[1]) < 0]; }
place curation_earlier(const candidate *c) { return c->row[curation_order(c->row[0], c->row[1]) > 0]; }

/* "source:line", or "source:file:line" in a source's second and later files; a pair over two rows "source:a+b", or
 * "source:a+file:b" over two files; one of several pairs of a row "source:line/chosen-rejected", counting its
 * answers from 1. */
void curation_row_id(const curation *r, place row, str *out) {
  const input *i = &r->inputs[row.input];
  str_addz(out, i->src->name);
  if (i->number > 1) str_printf(out, ":%u", i->number);
  str_addc(out, ':');
  str_uint(out, row.line);
}
void curation_id(const curation *r, const candidate *c, str *out) {
  place a = curation_earlier(c), b = curation_later(c);
  curation_row_id(r, a, out);
  if (a.input != b.input) str_printf(out, "+%u:%llu", r->inputs[b.input].number, (unsigned long long)b.line);
  if (a.input == b.input && a.line != b.line) {
    str_addc(out, '+');
    str_uint(out, b.line);
  }
  row_form form = r->inputs[c->input].form;
  if (form == FORM_ADJACENT || form == FORM_ALL) str_printf(out, "/%u-%u", c->chosen + 1, c->rejected + 1);
}

const source *curation_source(const curation *r, const candidate *c) { return r->inputs[c->input].src; }

/* ---- for stages ---- */

bool curation_wants(const curation *r, const stage *s, size_t i) {
  return !r->c[i].reason && stage_is_for(s, curation_source(r, &r->c[i]));
}

uint8_t *curation_wanted(const curation *r, const stage *s, rw_error *err) {
  uint8_t *want = mem_zalloc(r->n, 1);
  if (!want) rw_nomem(err, "candidates");
  for (size_t i = 0; want && i < r->n; i++) want[i] = curation_wants(r, s, i);
  return want;
}

void curation_remove(curation *r, const stage *s, size_t i, const char *reason) {
  r->c[i].by = s;
  r->c[i].reason = reason;
}

void curation_note(curation *r, size_t i, const char *fmt, ...) {
  if (r->n_watch == 0 || i < r->watch[0].candidate || i > r->watch[r->n_watch - 1].candidate) return;
  for (size_t k = 0; k < r->n_watch; k++) {
    if (r->watch[k].candidate != i) continue;
    va_list ap;
    va_start(ap, fmt);
    str_vprintf(&r->watch[k].note, fmt, ap);
    va_end(ap);
    str_addz(&r->watch[k].note, "; ");
  }
}

int curation_cut(slice s, size_t max) {
  if (s.len <= max) return (int)s.len;
  while (max > 0 && ((unsigned char)s.p[max] & 0xC0) == 0x80) max--;
  return (int)max;
}

/* ---- what the run is to do ---- */

bool curation_reads(const curation *r, const source *src) {
  for (size_t i = 0; i < r->o->n_only; i++)
    if (strcmp(r->o->only[i], src->name) == 0) return true;
  return r->o->n_only == 0;
}

bool curation_concerns(const curation *r, const stage *s) {
  for (size_t i = 0; i < r->n_inputs; i++)
    if (stage_is_for(s, r->inputs[i].src)) return true;
  return false;
}

bool curation_uses(const curation *r, stage_uses option) {
  for (size_t k = 0; k < r->recipe.n; k++)
    if (r->recipe.stages[k].kind->uses & option && curation_concerns(r, &r->recipe.stages[k])) return true;
  return false;
}

bool curation_writes(const curation *r, const stage *s) { return stage_file(s) && curation_concerns(r, s); }

bool curation_makes_set(const curation *r) {
  return r->o->out && !r->o->dry_run && !r->o->explain && !r->o->agree_pairs;
}

const char *curation_lacks(const curation *r, const stage *s) {
  return s->kind->ready && !s->kind->ready(r, s) ? s->kind->needs : NULL;
}

bool curation_ends(const curation *r, const stage *s) { return s->kind->ends && s->kind->ends(r); }

/* ---- what it has done ---- */

size_t curation_alive(const curation *r) {
  size_t n = 0;
  for (size_t i = 0; i < r->n; i++) n += r->c[i].reason == NULL;
  return n;
}

void curation_count_stage(curation *r, const stage *s, bool after) {
  for (size_t i = 0; i < r->n; i++) {
    stage_count *n = &r->counts[s->index * r->n_inputs + r->c[i].input];
    if (r->c[i].reason) continue;
    if (after)
      n->kept++;
    else
      n->read++;
  }
}

stage_count curation_count(const curation *r, const stage *s, const source *src) {
  stage_count n = {0};
  for (size_t i = 0; i < r->n_inputs; i++) {
    if ((src && r->inputs[i].src != src) || !stage_is_for(s, r->inputs[i].src)) continue;
    n.read += r->counts[s->index * r->n_inputs + i].read;
    n.kept += r->counts[s->index * r->n_inputs + i].kept;
  }
  return n;
}

size_t curation_written(const curation *r, const stage *s) {
  size_t n = 0;
  for (size_t i = 0; i < r->n; i++) n += r->c[i].written >> s->index & 1;
  return n;
}

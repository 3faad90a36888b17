/* page.c - the page: head, sections, paragraphs, facts, figure frames. */
#include "report/page.h"

#include <stdarg.h>
#include <string.h>

#include "base/file.h"

rep_page *rep_page_new(const char *title, const char *about) {
  rep_page *p = mem_zalloc(1, sizeof *p);
  if (!p) return NULL;
  rep_escape(&p->title, title);
  rep_escape(&p->about, about);
  return p;
}

void rep_page_free(rep_page *p) {
  if (!p) return;
  str_free(&p->title);
  str_free(&p->about);
  str_free(&p->body);
  mem_free(p);
}

static void close_facts(rep_page *p) {
  if (p->in_facts) str_addz(&p->body, "</dl>\n");
  p->in_facts = false;
}

static void open_section(rep_page *p) {
  if (!p->in_section) str_addz(&p->body, "<section>\n");
  p->in_section = true;
}

str *rep_block(rep_page *p) {
  close_facts(p);
  open_section(p);
  return &p->body;
}

/* Appends the formatted text, escaped. */
static void add_formatted(str *out, const char *fmt, va_list ap) {
  str s = {0};
  str_vprintf(&s, fmt, ap);
  if (s.oom) out->oom = true;
  rep_clean(out, (slice){s.p, s.len}, true);
  str_free(&s);
}

void rep_section(rep_page *p, const char *fmt, ...) {
  if (!p) return;
  close_facts(p);
  if (p->in_section) str_addz(&p->body, "</section>\n");
  p->in_section = false;
  open_section(p);
  str_addz(&p->body, "<h2>");
  va_list ap;
  va_start(ap, fmt);
  add_formatted(&p->body, fmt, ap);
  va_end(ap);
  str_addz(&p->body, "</h2>\n");
}

static void paragraph(rep_page *p, const char *tag, const char *fmt, va_list ap) {
  str *b = rep_block(p);
  str_addz(b, tag);
  add_formatted(b, fmt, ap);
  str_addz(b, "</p>\n");
}

void rep_text(rep_page *p, const char *fmt, ...) {
  if (!p) return;
  va_list ap;
  va_start(ap, fmt);
  paragraph(p, "<p>", fmt, ap);
  va_end(ap);
}

void rep_note(rep_page *p, const char *fmt, ...) {
  if (!p) return;
  va_list ap;
  va_start(ap, fmt);
  paragraph(p, "<p class=\"note\">", fmt, ap);
  va_end(ap);
}

static bool fact_open(rep_page *p, const char *name) {
  if (!p) return false;
  open_section(p);
  if (!p->in_facts) str_addz(&p->body, "<dl class=\"facts\">\n");
  p->in_facts = true;
  str_addz(&p->body, "<div><dt>");
  rep_escape(&p->body, name);
  str_addz(&p->body, "</dt><dd>");
  return true;
}

void rep_fact(rep_page *p, const char *name, const char *fmt, ...) {
  if (!fact_open(p, name)) return;
  va_list ap;
  va_start(ap, fmt);
  add_formatted(&p->body, fmt, ap);
  va_end(ap);
  str_addz(&p->body, "</dd></div>\n");
}

void rep_fact_int(rep_page *p, const char *name, int64_t v) {
  if (!fact_open(p, name)) return;
  rep_num(&p->body, (double)v, 0);
  str_addz(&p->body, "</dd></div>\n");
}

void rep_fold(rep_page *p, const char *heading) {
  if (!p) return;
  str *b = rep_block(p);
  str_addz(b, "<details><summary>");
  rep_escape(b, heading);
  str_addz(b, "</summary>\n");
}

void rep_unfold(rep_page *p) {
  if (p) str_addz(rep_block(p), "</details>\n");
}

size_t rep_class(int colour, size_t place) {
  return colour == REP_GREY ? 0 : (colour > 0 ? (size_t)colour - 1 : place) % REP_COLOURS + 1;
}

str *rep_figure_open(rep_page *p, const rep_chart *c) {
  str *b = rep_block(p);
  str_addz(b, c->dots ? "<figure class=\"half\"><figcaption>" : "<figure><figcaption>");
  rep_escape(b, c->title);
  str_addz(b, "</figcaption>\n");
  return b;
}

void rep_figure_close(rep_page *p, const rep_chart *c) {
  if (c->caption) {
    str_addz(&p->body, "<p>");
    rep_escape(&p->body, c->caption);
    str_addz(&p->body, "</p>\n");
  }
  str_addz(&p->body, "</figure>\n");
}

rw_status rep_page_write(rep_page *p, const char *path, rw_error *err) {
  if (!p) return rw_nomem(err, "report page");
  str h = {0};
  str_addz(&h,
           "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
           "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
  str_add(&h, p->title.p, p->title.len);
  str_addz(&h, "</title>\n<style>");
  str_addz(&h, rep_style);
  str_addz(&h, "</style>\n</head>\n<body>\n<main>\n<h1>");
  str_add(&h, p->title.p, p->title.len);
  str_addz(&h, "</h1>\n");
  if (p->about.len) str_printf(&h, "<p class=\"about\">%s</p>\n", p->about.p);
  str_add(&h, p->body.p, p->body.len);
  if (p->in_facts) str_addz(&h, "</dl>\n");
  if (p->in_section) str_addz(&h, "</section>\n");
  str_addz(&h, "</main>\n<footer>Made by reward " REWARD_VERSION "</footer>\n</body>\n</html>\n");
  bool oom = h.oom || p->title.oom || p->about.oom || p->body.oom;
  rw_status s = oom ? rw_nomem(err, "report page") : file_put(path, h.p, h.len, err);
  str_free(&h);
  return s;
}

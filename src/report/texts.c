/* texts.c - texts side by side, a part of each highlighted. */
#include <string.h>

#include "report/page.h"

enum { AROUND = 400, MOST_MARKED = 2000 }; /* bytes shown before and behind the mark, and of it */

static size_t char_start(slice t, size_t i) {
  while (i > 0 && i < t.len && ((unsigned char)t.p[i] & 0xC0) == 0x80) i--;
  return i < t.len ? i : t.len;
}

static void add_part(str *b, slice t, size_t from, size_t to) {
  if (to > from) rep_clean(b, (slice){t.p + from, to - from}, true);
}

void rep_texts(rep_page *p, const char *heading, const rep_marked *t, size_t n) {
  if (!p) return;
  str *b = rep_block(p);
  str_addz(b, "<figure class=\"texts\"><figcaption>");
  rep_escape(b, heading);
  str_addz(b, "</figcaption><div>\n");
  for (size_t i = 0; i < n; i++) {
    slice s = t[i].text;
    size_t from = char_start(s, t[i].from), to = char_start(s, t[i].from + t[i].len);
    size_t first = from > AROUND ? char_start(s, from - AROUND) : 0, last = char_start(s, to + AROUND), cut = to;
    if (to - from > MOST_MARKED) cut = char_start(s, from + MOST_MARKED);
    str_addz(b, "<div><small>");
    rep_escape(b, t[i].name);
    str_addz(b, first > 0 ? "</small><p>…" : "</small><p>");
    add_part(b, s, first, from);
    str_addz(b, "<mark>");
    add_part(b, s, from, cut);
    str_addz(b, cut < to ? " …</mark>" : "</mark>");
    add_part(b, s, to, last);
    str_addz(b, last < s.len ? "…</p></div>\n" : "</p></div>\n");
  }
  str_addz(b, "</div></figure>\n");
}

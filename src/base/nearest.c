/* nearest.c - distances between names (see nearest.h). */
#include "base/nearest.h"

#include <stdbool.h>
#include <string.h>

enum { LONGEST = 40 };

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Letters to put in, take out, replace or swap with the next one, to turn a into b. */
static size_t edits(const char *a, size_t n, const char *b, size_t m) {
  size_t d[LONGEST + 1][LONGEST + 1];
  for (size_t i = 0; i <= n; i++) d[i][0] = i;
  for (size_t j = 0; j <= m; j++) d[0][j] = j;
  for (size_t i = 1; i <= n; i++)
    for (size_t j = 1; j <= m; j++) {
      d[i][j] = smaller(smaller(d[i - 1][j], d[i][j - 1]) + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = smaller(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[n][m];
}

/* Are these the first letters of the long name's words? learning-rate: lr. */
static bool are_initials(const char *name, size_t n, const char *initials) {
  bool begins = true;
  for (size_t i = 0; i < n; i++) {
    if (begins && *initials++ != name[i]) return false;
    begins = name[i] == '-' || name[i] == '_';
  }
  return *initials == 0;
}

/* How far a known name is from the one that was written; NEAREST_FAR and more: it is another one. */
static size_t distance(const char *written, size_t n, const char *known) {
  size_t m = strlen(known), common = smaller(n, m);
  if (n == 0 || n > LONGEST || m > LONGEST) return NEAREST_FAR;
  if (m > 1 && are_initials(written, n, known)) return 2;
  size_t d = edits(written, n, known, m);
  if (d <= 1 + common / 4) return d;
  return common > 2 && memcmp(written, known, common) == 0 ? 3 + n + m - 2 * common
                                                           : NEAREST_FAR; /* one begins the other */
}

void nearest_consider(nearest *w, const char *known) {
  size_t d = distance(w->written, w->n, known);
  if (d >= w->best) return;
  w->best = d;
  w->name = known;
}

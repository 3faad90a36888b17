#!/usr/bin/env bash
# `make install` into a staging folder, what the libraries export, and that tree and installation can be moved.
set -eu
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail() { echo "FAIL: $*"; exit 1; }

make -s install BUILD="$BUILD" DESTDIR="$tmp/stage" PREFIX=/opt/reward >"$tmp/log" 2>&1 || fail "make install: $(cat "$tmp/log")"
mv "$tmp/stage/opt/reward" "$tmp/elsewhere" # nothing in it knows where it was put
at=$tmp/elsewhere
export PKG_CONFIG_PATH=$at/lib/pkgconfig
version=$(pkg-config --modversion reward)
[ "$("$at/bin/reward" --version | head -n 1)" = "reward $version" ] || fail "version $version in reward.pc, another in the program"
[ "$(pkg-config --define-prefix --variable=prefix reward)" = "$(realpath "$at")" ] || fail "reward.pc cannot be moved"
pkg-config --static --libs reward | grep -q -- "-lm .*-lfyaml" || fail "reward.pc lacks what static linking needs"
[ "$(readlink "$at/lib/libreward.so")" = libreward.so.0 ] && [ -e "$at/lib/libreward.so.0" ] || fail "links of libreward.so"
readelf -d "$at/lib/libreward.so" | grep -q 'SONAME.*\[libreward.so.0\]' || fail "soname"
for dynamic in "$at/bin/reward" "$at/lib/libreward.so"; do
  readelf -d "$dynamic" | grep -E "R(UN)?PATH|libarrow|libstdc" && fail "$dynamic: a path, or a library that only the plugin may need"
done

# a page for each command, completions that their shells can read
for c in $("$at/bin/reward" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p'); do
  head -n 3 "$at/share/man/man1/reward-$c.1" | grep -q "^\.TH" || fail "man page of $c"
done
[ -s "$at/share/man/man1/reward.1" ] || fail "man page of reward"
bash -n "$at/share/bash-completion/completions/reward" || fail "completion for bash"
head -n 1 "$at/share/zsh/site-functions/_reward" | grep -q "^#compdef reward" || fail "completion for zsh"
grep -q "^complete -c reward" "$at/share/fish/vendor_completions.d/reward.fish" || fail "completion for fish"

# names that a program linked to the library would meet
foreign=$({ nm -D --defined-only "$at/lib/libreward.so"; nm -g --defined-only "$at/lib/libreward.a"; } | grep -E '^[0-9a-f]+ [A-Z] ' | grep -vE ' rw_[a-z0-9_]+$' || true)
[ -z "$foreign" ] || fail "exported, but no rw_ name: $foreign"

# a program in C and in C++ through pkg-config, by the shared library and by the archive
cat >"$tmp/embed.c" <<'C'
#include <reward.h>
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv) {
  rw_message chat[2];
  rw_model *m;
  rw_error err;
  float score;
  chat[0].role = "user", chat[0].content = "1 2", chat[1].role = "assistant", chat[1].content = "3";
  if (argc < 3) return puts(rw_version()) < 0;
  if (rw_model_open(&m, argv[1], NULL, &err) || rw_score(m, chat, 2, &score, &err)) return !strstr(rw_error_text(&err), argv[2]);
  rw_model_close(m);
  return 1;
}
C
cp "$tmp/embed.c" "$tmp/embed.cc"
flags=(-Wall -Wextra -Werror $(pkg-config --define-prefix --cflags reward))
gcc -std=c11 "${flags[@]}" -o "$tmp/c" "$tmp/embed.c" $(pkg-config --define-prefix --libs reward)
g++ "${flags[@]}" -o "$tmp/cc" "$tmp/embed.cc" $(pkg-config --define-prefix --libs reward)
gcc -std=c11 "${flags[@]}" -o "$tmp/archive" "$tmp/embed.c" "$at/lib/libreward.a" $(pkg-config --libs libpcre2-8 libutf8proc libfyaml libcurl libzstd zlib) -ldl -lm -pthread
for embed in c cc archive; do
  [ "$(LD_LIBRARY_PATH=$at/lib "$tmp/$embed")" = "$version" ] || fail "a program ($embed) over the library"
  LD_LIBRARY_PATH=$at/lib "$tmp/$embed" "$tmp/nowhere" "$tmp/nowhere" || fail "an error through the library ($embed)"
done

# Parquet: beside the program, in an installation, and said to be missing where it is; all else works without
rows=tests/data/parquet/plain.parquet
mkdir -p "$tmp/tree/$BUILD"
cp "$BUILD/reward" "$tmp/tree/$BUILD/"
"$tmp/tree/$BUILD/reward" --version >/dev/null || fail "a moved tree without .deps"
reads() { # PROGRAM: a row out for each row of the file, whatever the model says of it
  "$1" score --quiet --model tests/data/model/llama "$rows" >"$tmp/rows" 2>"$tmp/out" || true
  [ "$(wc -l <"$tmp/rows")" = "$(wc -l <tests/data/parquet/rows.jsonl)" ]
}
reads "$tmp/tree/$BUILD/reward" && fail "Parquet without its plugin"
grep -q "plain.parquet needs Arrow's library for Parquet: there is no libreward-parquet.so" "$tmp/out" || fail "$(cat "$tmp/out")"
if [ -e "$BUILD/libreward-parquet.so" ]; then
  reads "$at/bin/reward" || fail "Parquet as installed: $(cat "$tmp/out")"
  cp "$BUILD/libreward-parquet.so" "$tmp/tree/$BUILD/"
  reads "$tmp/tree/$BUILD/reward" && fail "Parquet without Arrow"
  grep -q "libparquet.so.*No such file" "$tmp/out" || fail "$(cat "$tmp/out")"
  ln -s "$PWD/.deps" "$tmp/tree/.deps"
  reads "$tmp/tree/$BUILD/reward" || fail "Parquet in a moved tree: $(cat "$tmp/out")"
fi
# MPI: beside the others, and in no program or library
[ ! -e "$BUILD/libreward_mpi.so" ] || [ -e "$at/lib/reward/libreward_mpi.so" ] || fail "the plugin for MPI is not installed"
for dynamic in "$at/bin/reward" "$at/lib/libreward.so"; do
  readelf -d "$dynamic" | grep "NEEDED.*libmpi" && fail "$dynamic is linked to MPI"
done
echo "installed files: $(find "$at" -type f -o -type l | wc -l)"

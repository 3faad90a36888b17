#!/usr/bin/env python3
"""No circle of files: within a folder of src/, the files that call each other have an order.

Read from the objects in $BUILD: a file looks at another where it uses a function or table that the other defines. The
tables of sources and stages name the structs of files that look up at them; they are left out. Prints each circle, one a
line. Without arguments all folders are checked, else those that are named.
"""
import os, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / os.environ.get("BUILD", "build") / "src"
TABLES = {"curate/sources", "curate/stages"}

defines, uses = {}, {}
for obj in sorted(BUILD.rglob("*.o")):
    name = str(obj.relative_to(BUILD))[:-2]
    if not (ROOT / "src" / f"{name}.c").exists():
        continue # of C++, or left behind by a file that is gone
    for line in subprocess.run(["nm", obj], capture_output=True, text=True, check=True).stdout.splitlines():
        kind, symbol = line.split()[-2:]
        if kind in "TDBRVW":
            defines[symbol] = name
        elif kind == "U":
            uses.setdefault(name, set()).add(symbol)

folder = lambda name: name.split("/")[0]
edges = {name: {defines[s] for s in used if s in defines and folder(defines[s]) == folder(name)} - {name}
         for name, used in uses.items() if name not in TABLES}

# strongly connected components (Tarjan)
index, low, stack, on, circles = {}, {}, [], set(), []


def visit(v):
    index[v] = low[v] = len(index)
    stack.append(v)
    on.add(v)
    for w in edges.get(v, ()):
        if w not in index:
            visit(w)
            low[v] = min(low[v], low[w])
        elif w in on:
            low[v] = min(low[v], index[w])
    if low[v] == index[v]:
        part = []
        while not part or part[-1] != v:
            part.append(stack.pop())
            on.discard(part[-1])
        if len(part) > 1:
            circles.append(sorted(part))


sys.setrecursionlimit(10000)
for v in sorted(edges):
    if v not in index:
        visit(v)
circles = [c for c in circles if not sys.argv[1:] or folder(c[0]) in sys.argv[1:]]
for c in circles:
    print("a circle: " + ", ".join(f"src/{f}.c" for f in c))
sys.exit(bool(circles))

#!/usr/bin/env python3
"""What the pages name is there: files, functions, options, make's targets, environment variables; and the files that comments name.

Read are README.md, CONTRIBUTING.md, docs/, bench/NOTES.md and examples/README.md: all that stands in backticks, and options in
blocks of commands too. A path may begin at the root or in src/; capitals in it (NAME, LEVEL) stand for any text. Of "`FILE`,
`function`" and "`function` of `FILE`" the file must have the word. tests/check_readme.py runs the commands and follows the links.
"""
import os, re, subprocess, sys
from glob import glob
from pathlib import Path

os.chdir(Path(__file__).resolve().parent.parent)
REWARD = os.environ.get("BUILD", "build") + "/reward"
PAGES = ["README.md", "CONTRIBUTING.md", "bench/NOTES.md", "examples/README.md", *sorted(glob("docs/*.md"))]
TREES = ("src", "include", "tests", "bench", "bindings", "examples", "recipes", "docs")
MADE_UP = {"src/curate/stages/head.c", "src/curate/sources/good_bad.c"} # written out in docs/recipes.md
# options of other programs: trainers, apt, debootstrap, pkg-config, oneDNN, launchers
OTHERS = {"--reward.remote_url", "--rm-type", "--rm-url", "--apply-chat-template", "--foreign", "--arch", "--variant", "--include", "--relative-to",
          "--static", "--libs", "--cflags",
          "--mca", "--bind-to", "--map-by", "--hostfile", # mpirun
          "--nnodes", "--nproc-per-node", "--rdzv-backend", "--rdzv-endpoint", "--no-python", # torchrun
          "--signal", "--requeue", "--open-mode", "--mpi", "--kill-on-bad-exit", "--dependency", "--parsable", "--array"} # Slurm
OTHERS_FILES = {"constants.py", "remote_rm_utils.py"} # of allenai/reward-bench, of OpenRLHF
SPAN = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^(```\w*\n.*?^```|(?:    [^\n]*\n)+)", re.S | re.M)
PATH = re.compile(r"[\w.*-]+(?:/[\w.*-]*)+|[\w*-]+\.(?:c|cc|cu|h|py|sh|S)")

files = [f for tree in TREES for f in glob(f"{tree}/**", recursive=True) if "__pycache__" not in f]
names = {os.path.basename(f) for f in files}
text_of = lambda path: Path(path).read_text(encoding="utf-8", errors="replace") if os.path.isfile(path) else ""
code = "\n".join(text_of(f) for f in files if not f.startswith(("docs", "tests/data", "tests/fuzz/corpus"))) + text_of("Makefile")
blocks = [m[0] for page in PAGES for m in FENCE.finditer(text_of(page))]
words = set(re.findall(r"\w+", code + "\n".join(blocks))) | {Path(f).stem for f in files} | {"padding_idx"} # PyTorch's
make = "".join(map(text_of, ("Makefile", "src/compute/cuda/cuda.mk", "tests/emu/cpu/cpu.mk")))
commands = re.findall(r"^  ([a-z]+) ", subprocess.run([REWARD, "--help"], capture_output=True, text=True, check=True).stdout, re.M)
known = set(OTHERS)
for command in ["", *commands]:
    manual = subprocess.run([REWARD, "--man", *command.split()], capture_output=True, text=True).stdout.replace("\\-", "-")
    known.update(re.findall(r"--[a-z][a-z-]*", manual))
for script in glob("bench/*.py") + glob("tests/**/*.py", recursive=True) + ["tests/check_ops.c"]:
    known.update(re.findall(r'"(--[a-z][a-z-]*)"', text_of(script)))
bad = 0


def fail(page, what):
    global bad
    bad = 1
    print(f"{page}: {what}")


def found(path):
    """The files that a path of a page means, or None where it is no path of this tree."""
    pattern = re.sub(r"[A-Z]{2,}", "*", path)
    if path in MADE_UP | names | OTHERS_FILES:
        return [path]
    if "/" not in path:
        return [f for f in files if Path(f).match(pattern)]
    first = path.split("/")[0]
    if first in TREES:
        return glob(pattern)
    return glob(f"src/{pattern}") if os.path.isdir(f"src/{first}") and "*" not in path else None


def check_pair(page, path, name):
    there = [f for f in found(path) or [] if os.path.isfile(f)]
    if there and not any(re.search(rf"\b{name}\b", text_of(f)) for f in there):
        fail(page, f"`{path}` has no {name}")


for page in PAGES:
    whole = text_of(page)
    prose = FENCE.sub(lambda m: "" if m[0].startswith("`") else m[0], whole)
    for span in SPAN.findall(prose):
        if PATH.fullmatch(span):
            if found(span) == []:
                fail(page, f"no such file: {span}")
        elif re.fullmatch(r"[a-z]\w*_\w*[a-z0-9]", span) and span not in words:
            fail(page, f"no such name in the code: {span}")
        elif span.startswith("make "):
            for target in [w for w in span.split(" && ")[0].split()[1:] if re.fullmatch(r"[a-z-]*[a-z]", w)]:
                if not re.search(rf"^[^#=\t\n]*\b{target}\b[^=\n]*:", make, re.M):
                    fail(page, f"no such target: make {target}")
        for variable in re.findall(r"\bREWARD_[A-Z_]+\b", span):
            if variable not in words:
                fail(page, f"no such variable: {variable}")
    for place in SPAN.findall(prose) + [m[0] for m in FENCE.finditer(whole)]:
        ours = re.sub(r"hf download \S.*", "", place)  # another program's options
        for option in re.findall(r"(?<![\w-])--[a-z][a-z_.-]*[a-z]", ours):
            if option not in known:
                fail(page, f"no such option: {option}")
    joined = re.sub(r"\s+", " ", prose)
    for path, name in re.findall(r"`([\w./*-]+\.(?:c|h|cu))`, `([a-z]\w*)`", joined):
        check_pair(page, path, name)
    for name, path in re.findall(r"`([a-z]\w*)` of `([\w./*-]+\.(?:c|h|cu))`", joined):
        check_pair(page, path, name)
for path in [f for f in files if f.startswith(("src/", "include/")) and f.endswith((".c", ".h", ".cc", ".cu"))]:
    for comment in re.findall(r"/\*.*?\*/", text_of(path), re.S):
        for name in re.findall(r"(?<![\w*/.])(?:[\w-]+/)*([\w-]+\.(?:c|h|cu|py|sh))\b", comment):
            if name not in names | OTHERS_FILES and not re.search(r"[A-Z]{2}", name):
                fail(path, f"a comment names a file that is not there: {name}")
sys.exit(bad)

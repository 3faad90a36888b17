#!/usr/bin/env python3
"""README.md's commands run as written and print what it shows; docs/ names commands and options that exist; links lead somewhere.

usage: tests/check_readme.py [--update]

A block fenced as sh is run by bash, in order, in one scratch directory that holds examples/, recipes/ and build/ as the
repository does; `make` lines are only asked for their targets. A block fenced as text right after it is what it prints, on
both streams. As a test the tiny GGUF model of tests/data stands where `make deps-model` puts the real one, so numbers are
compared as "a number". --update runs the real model and writes the outputs into README.md.
"""
import os, re, subprocess, sys, tempfile, glob

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
ROOT, BUILD, UPDATE = os.getcwd(), os.path.abspath(os.environ.get("BUILD", "build")), "--update" in sys.argv
MODEL = ".deps/SmolLM2-135M-Instruct.Q4_1.gguf"
FENCE = re.compile(r"^```sh\n(.*?)^```\n(?:\n^```text\n(.*?)^```\n)?", re.S | re.M)
bad = 0


def fail(text):
    global bad
    bad = 1
    print(text)


def shape(line):
    """The line without what differs from run to run: numbers, units, CPU levels and their precisions, widths of columns."""
    line = re.sub(r"\b(amx|avx512|avx2|baseline) in (f32|bf16)\b", "LEVEL", line)
    line = re.sub(r"[+-]?\d[\d,.]*(e[+-]?\d+)?( (KB|MB|GB))?", "0", line)
    return re.sub(r"-{2,}", "--", re.sub(r"\s+", " ", line)).strip()


def lines_of(output):
    """Without progress, which depends on the machine's speed."""
    return [l.rstrip() for l in output.splitlines() if not re.match(r"[\w ]+: \d+(/\d+)? \w+( \(\d+%\))?, [\d.e+]+/s", l)]


def missing(shown, got):
    """The first shown line that is not among got, in order; None: all are."""
    got = iter([shape(l) for l in got])
    return next((l for l in shown if l.strip() and shape(l) not in got), None)


def run_readme():
    text = open("README.md", encoding="utf-8").read()
    with tempfile.TemporaryDirectory() as scratch:
        os.mkdir(f"{scratch}/.deps")
        os.symlink(BUILD, f"{scratch}/build")
        for name in ("examples", "recipes"):
            os.symlink(f"{ROOT}/{name}", f"{scratch}/{name}")
        os.symlink(f"{ROOT}/{MODEL if UPDATE else 'tests/data/format/smollm.gguf'}", f"{scratch}/{MODEL}")
        env = dict(os.environ, PATH=f"{BUILD}:{os.environ['PATH']}", XDG_CACHE_HOME=f"{scratch}/cache")
        blocks = list(FENCE.finditer(text))
        if len(blocks) < 5:
            fail("README.md: its command blocks are not found")
        for block in blocks:
            commands = block[1]
            if commands.startswith("make "):
                for target in re.findall(r"^make (\w+)", commands, re.M):
                    if subprocess.run(["make", "-n", target], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
                        fail(f"README.md: no such target: make {target}")
                continue
            done = subprocess.run(["bash", "-e", "-c", commands], cwd=scratch, env=env, text=True, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=None if UPDATE else 300)
            got = lines_of(done.stdout)
            if done.returncode:
                fail(f"README.md: exit status {done.returncode} from\n{commands}" + "\n".join(got[-5:]))
            elif block[2] is not None and UPDATE:
                text = text.replace(block[0], block[0][: block.end(1) - block.start()] + "```\n\n```text\n" + "\n".join(got) + "\n```\n")
            elif block[2] is not None:
                if not block[2].strip():
                    fail(f"README.md: no output is shown of\n{commands}")
                line = missing(block[2].splitlines(), got)
                if line is not None:
                    fail(f"README.md: shows a line that the commands do not print:\n{line}\nof\n{commands}" + "\n".join(got))
    if UPDATE and not bad:
        open("README.md", "w", encoding="utf-8").write(text)


def check_names():
    """`reward` command lines in docs/ and the examples' README: the command and its options exist."""
    helps = {}
    for path in ["README.md", "examples/README.md", *sorted(glob.glob("docs/*.md"))]:
        text = open(path, encoding="utf-8").read()
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            if not link.startswith("http") and not os.path.exists(os.path.join(os.path.dirname(path), link)):
                fail(f"{path}: no such file: {link}")
        for line in re.sub(r"\\\n", "", text).splitlines():
            call = re.match(r"    (?:.*\| )?reward ([a-z]+)(.*)", line)
            if not call:
                continue
            name, rest = call[1], call[2].split("| reward")[0]
            if name not in helps:
                more = ["train"] if name == "sweep" else []  # whose options it hands on
                helps[name] = "".join(subprocess.run([f"{BUILD}/reward", c, "--help"], text=True, capture_output=True).stdout for c in [name, *more])
            if not helps[name]:
                fail(f"{path}: no such command: {line}")
            for option in re.findall(r" (--[a-z-]+)", rest):
                if not re.search(rf" {option}( |$|\[)", helps[name], re.M):
                    fail(f"{path}: reward {name} has no {option}: {line}")


run_readme()
check_names()
sys.exit(bad)

#!/usr/bin/env python3
"""Speed and memory of `reward curate` and `reward decontaminate` on made-up sources of the report's size, in one run
beside plain reading of the same files and a plain Python decontamination of the same rule.

    bench/bench_curate.py [--scale F] [--dir DIR] [--python-mb MB] [--out DIR]

DIR (a temporary folder by default, removed at the end) needs about 10 GB at --scale 1. Python works on the first MB of the
largest source; rates are of the bytes each one read. Every program gets the same cores.
"""
import argparse, json, os, re, shutil, subprocess, sys, tempfile, time, unicodedata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REWARD = str(ROOT / os.environ.get("BUILD", "build") / "reward")
ap = argparse.ArgumentParser()
ap.add_argument("--scale", type=float, default=1.0)
ap.add_argument("--dir", type=Path, help="sources made before by bench/make_sources.py")
ap.add_argument("--out", type=Path, help="where results are written (default: beside the sources)")
ap.add_argument("--python-mb", type=int, default=100)
ap.add_argument("--peer", nargs=2, metavar=("TRAIN", "BENCH"), help=argparse.SUPPRESS)
a = ap.parse_args()


def peer(train, bench):
    """The rule in plain Python: words of NFKC lower case, 8 consecutive ones in common."""
    word = re.compile(r"\w+")
    words = lambda t: word.findall(unicodedata.normalize("NFKC", t).lower().replace("_", " "))
    grams, whole = set(), set()
    for line in open(bench):
        w = words(json.loads(line)["prompt"])
        grams.update(tuple(w[i:i + 8]) for i in range(len(w) - 7))
        if len(w) < 8:
            whole.add(tuple(w))
    hit = 0
    with open(os.devnull, "w") as clean:
        for line in open(train):
            w = words(json.loads(line)["chosen"][0]["content"])
            bad = tuple(w) in whole if len(w) < 8 else any(tuple(w[i:i + 8]) in grams for i in range(len(w) - 7))
            hit += bad
            if not bad:
                clean.write(line)
    print(json.dumps({"contaminated": hit}))


def measured(command):
    """seconds, CPU seconds, peak MB, stdout of a command."""
    t = time.time()
    p = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    out = p.stdout.read()
    _, status, usage = os.wait4(p.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))}: exit {status}")
    return time.time() - t, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out


def row(name, mb, seconds, cpu, peak):
    print(f"{name:44} {mb:8.0f} {seconds:9.2f} {cpu:9.2f} {mb / seconds:8.0f} {peak:9.0f}", flush=True)


def plain_read(files):
    t, block = time.time(), bytearray(1 << 20)
    for f in files:
        with open(f, "rb", buffering=0) as h:
            while h.readinto(block):
                pass
    return time.time() - t


if a.peer:
    peer(*a.peer)
    sys.exit()
tmp = None if a.dir else Path(tempfile.mkdtemp(prefix="bench_curate."))
src = a.dir or tmp
if tmp:
    subprocess.run([sys.executable, ROOT / "bench/make_sources.py", src, "--scale", str(a.scale)], check=True)
out = (a.out or src) / "results"
shutil.rmtree(out, ignore_errors=True)
inputs = (src / "args.txt").read_text().split()
files = [x.split("=", 1)[1] for x in inputs if "=" in x]
magpie = [f for f in files if "magpie-pro" in f or "magpie-air" in f]
size = lambda fs: sum(os.path.getsize(f) for f in fs) / 1e6
print(f"cores {len(os.sched_getaffinity(0))}, load before {os.getloadavg()[0]:.1f}")
print(f"{'':44} {'MB':>8} {'seconds':>9} {'CPU s':>9} {'MB/s':>8} {'peak MB':>9}")
row("plain read of the sources", size(files), plain_read(files), 0, 0)
for name, bench in (("skywork-80k-v0.1", []), ("skywork-80k-v0.2", ["--bench", src / "bench.jsonl"])):  # v0.1 has no stage that reads one
    s, cpu, peak, _ = measured([REWARD, "curate", ROOT / f"recipes/{name}.yaml", *inputs, "--scores", src / "scores.jsonl", *bench, "--quiet", "-o", out / name])
    row(f"reward curate {name}", size(files), s, cpu, peak)
sets = [out / "skywork-80k-v0.1/train.jsonl"]
s, cpu, peak, _ = measured([REWARD, "decontaminate", "--quiet", "--train", *sets, "--bench", src / "bench.jsonl", "-o", out / "clean"])
row("reward decontaminate, that 80K set", size(sets), s, cpu, peak)
s, cpu, peak, _ = measured([REWARD, "decontaminate", "--quiet", "--train", *magpie, "--bench", src / "bench.jsonl", "-o", out / "clean-magpie"])
row("reward decontaminate, the Magpie rows", size(magpie), s, cpu, peak)
shutil.rmtree(out / "clean-magpie")
part = src / "part.jsonl"
with open(magpie[0], "rb") as f, open(part, "wb") as g:
    while g.tell() < a.python_mb * 10**6 and (line := f.readline()):
        g.write(line)
s, cpu, peak, text = measured([sys.executable, __file__, "--peer", part, src / "bench.jsonl"])
row("plain Python, a part of them (no output)", size([part]), s, cpu, peak)
s, cpu, peak, _ = measured([REWARD, "decontaminate", "--quiet", "--train", part, "--bench", src / "bench.jsonl", "-o", out / "part"])
row("reward decontaminate, the same part", size([part]), s, cpu, peak)
ours = json.load(open(out / "part/report.json"))["train_prompts_contaminated"]
print(f"contaminated in the part: ours {ours}, Python {json.loads(text)['contaminated']}; load after {os.getloadavg()[0]:.1f}")
part.unlink()
shutil.rmtree(out)
if tmp:
    shutil.rmtree(tmp)

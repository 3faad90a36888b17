#!/usr/bin/env python3
"""`reward serve` under load, beside `reward score` on the same rows, in one run.

    bench/bench_serve.py MODEL [--groups 64] [--responses 16] [--words 60] [--peer PYTHON] [--threads N]

MODEL is a reward model's folder. Measured, a table each:
  - requests/s, p50 and p99 at 1, 8 and 64 connections: unrelated rows, one a request;
  - the GRPO group: groups x responses single requests at 64 connections, each prompt `responses` times;
  - `reward score` on the same rows: as `responses`, and unrelated with --share no. It pays for opening the model:
    the seconds of a run over one row are taken off;
  - with and without --prefix-cache: responses of 100 tokens to a prompt of 2,000, one after another;
  - with --peer, a Python that has torch, transformers and uvicorn: the model behind a small ASGI server, a batch a
    request, as OpenRLHF ships one (bench/serve_peer.py).
Rows are random words, the same in each part. On a shared machine compare within one run only.
"""
import argparse, http.client, json, random, subprocess, tempfile, threading, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REWARD = ROOT / "build" / "reward"
ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("model")
ap.add_argument("--groups", type=int, default=64)
ap.add_argument("--responses", type=int, default=16)
ap.add_argument("--words", type=int, default=60, help="of a prompt; a response has half as many")
ap.add_argument("--turns", type=int, default=8, help="responses to the long prompt")
ap.add_argument("--long", type=int, default=1500, help="words of the long prompt: some 2,000 tokens")
ap.add_argument("--peer", help="Python of the peer's virtual environment")
ap.add_argument("--threads", default="2")
a = ap.parse_args()
draw = random.Random(1)
WORDS = [line.strip() for line in (ROOT / "README.md").read_text().split() if line.isalpha() and line.islower()]


def words(n):
    return " ".join(draw.choice(WORDS) for _ in range(n))


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(p * len(values)))]


class Server:
    def __init__(self, command):
        self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.port = int(self.process.stdout.readline().decode().strip().rsplit(":", 1)[1])

    def end(self):
        self.process.terminate()
        self.process.wait(60)


def ours(*options):
    return Server([REWARD, "serve", "--model", a.model, "--listen", "127.0.0.1:0", "--threads", a.threads, *options])


def load(server, path, bodies, connections):
    """Requests a second and each one's milliseconds: all bodies, as many at once as there are connections."""
    left, lock, times = iter(bodies), threading.Lock(), []

    def client():
        c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
        while True:
            with lock:
                body = next(left, None)
            if body is None:
                return c.close()
            began = time.perf_counter()
            c.request("POST", path, body, {"Content-Type": "application/json"})
            r = c.getresponse()
            text = r.read()
            if r.status != 200:
                raise SystemExit(text.decode())
            times.append((time.perf_counter() - began) * 1000)

    threads = [threading.Thread(target=client) for _ in range(connections)]
    began = time.perf_counter()
    [t.start() for t in threads]
    [t.join() for t in threads]
    return len(times) / (time.perf_counter() - began), percentile(times, 0.5), percentile(times, 0.99)


def score(rows, *options):
    """Seconds of `reward score`, without those of opening the model."""
    def run(some):
        began = time.perf_counter()
        subprocess.run(list(map(str, [REWARD, "score", "--model", a.model, "-q", "--threads", a.threads, *options])),
                       input="".join(json.dumps(r) + "\n" for r in some).encode(), stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - began

    return run(rows) - run(rows[:1])


def row(name, rate, p50="", p99=""):
    number = lambda x: f"{x:.1f}" if x != "" else ""
    print(f"| {name} | {number(rate)} | {number(p50)} | {number(p99)} |", flush=True)


count = a.groups * a.responses
prompts = [words(a.words) for _ in range(a.groups)]
group = [{"prompt": p, "response": words(a.words // 2)} for p in prompts for _ in range(a.responses)]
single = [{"prompt": words(a.words), "response": words(a.words // 2)} for _ in range(count)]
as_bodies = lambda rows: [json.dumps(r) for r in rows]
shuffled = draw.sample(group, count)

print("| rows | requests/s | p50 ms | p99 ms |\n|---|---|---|---|")
server = ours()
load(server, "/reward", as_bodies(single[:8]), 8)
row("unrelated, 1 connection", *load(server, "/reward", as_bodies(single[: count // 8]), 1))
row("unrelated, 8", *load(server, "/reward", as_bodies(single[: count // 4]), 8))
at_64 = load(server, "/reward", as_bodies(single), 64)
row("unrelated, 64", *at_64)
alone = count / score(single, "--share", "no")
row("`reward score --share no`", alone)
grouped = load(server, "/reward", as_bodies(shuffled), 64)
row(f"{a.groups} x {a.responses}, 64", *grouped)
whole = load(server, "/reward", as_bodies(shuffled), count)
row(f"{a.groups} x {a.responses}, all at once", *whole)
together = count / score([{"prompt": p, "responses": [r["response"] for r in group[i * a.responses : (i + 1) * a.responses]]} for i, p in enumerate(prompts)])
row("`reward score`, as responses", together)
server.end()
if a.peer:
    server = Server([a.peer, ROOT / "bench" / "serve_peer.py", a.model])
    some = max(64, count // 8)
    as_query = lambda rows: [json.dumps({"prompt": r["prompt"], "response": r["response"]}) for r in rows]
    load(server, "/reward", as_query(single[:4]), 1)
    row("peer: unrelated, 64", *load(server, "/reward", as_query(single[:some]), 64))
    row("peer: the group, 64", *load(server, "/reward", as_query(shuffled[:some]), 64))
    server.end()
print(f"\nunrelated: {at_64[0] / alone:.1%} of reward score; the group: {grouped[0] / together:.1%} at 64, {whole[0] / together:.1%} at once\n")

print("| prompt of 2,000 tokens, one response after another | requests/s | p50 ms | p99 ms |\n|---|---|---|---|")
long = words(a.long)
bodies = as_bodies([{"prompt": long, "response": words(a.long // 20)} for _ in range(a.turns + 1)])
for name, options in ("without", []), ("`--prefix-cache 1024`", ["--prefix-cache", "1024"]):
    server = ours(*options)
    load(server, "/reward", bodies[:1], 1)
    row(name, *load(server, "/reward", bodies[1:], 1))
    server.end()

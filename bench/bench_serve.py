#!/usr/bin/env python3
"""`reward serve` under load, beside `reward score` on the same rows, in one run.

    bench/bench_serve.py MODEL [--groups 64] [--responses 16] [--words 120] [--own 30] [--peer PYTHON] [--threads N]

MODEL is a reward model's folder. Measured, a table each:
  - requests/s, p50 and p99 at 1, 8 and 64 connections: unrelated rows, one a request;
  - the GRPO groups: groups x responses single requests, each prompt `responses` times: a group's after one another at
    64 connections, and all of them at once in any order;
  - `reward score` on the same rows: as `responses`, and unrelated with --share no. It pays for opening the model:
    the seconds of a run over one short row are taken off;
  - the processor's seconds of a row, of the server's process and of score's: on a shared machine they say most;
  - with and without --prefix-cache: responses of 100 tokens to a prompt of 2,000, one after another;
  - with --peer, a Python that has torch, transformers and uvicorn: the model behind a small ASGI server, a batch a
    request, as OpenRLHF ships one (bench/serve_peer.py).
Rows are random words, the same in each part. On a shared machine compare within one run only.
"""
import argparse, http.client, json, os, random, subprocess, tempfile, threading, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REWARD = ROOT / "build" / "reward"
ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("model")
ap.add_argument("--groups", type=int, default=64)
ap.add_argument("--responses", type=int, default=16)
ap.add_argument("--words", type=int, default=120, help="of a prompt")
ap.add_argument("--own", type=int, default=30, help="words of a response")
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

    def cpu(self):
        """Seconds of processors that the server has used, those of a child that serves among them."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def end(self):
        self.process.terminate()
        self.process.wait(60)


def ours(*options):
    return Server([REWARD, "serve", "--model", a.model, "--listen", "127.0.0.1:0", "--threads", a.threads, *options])


def load(server, path, bodies, connections):
    """Requests a second, milliseconds, the processor's seconds of one: as many at once as there are connections."""
    left, lock, times, used = iter(bodies), threading.Lock(), [], server.cpu()

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
    rate = len(times) / (time.perf_counter() - began)
    return rate, percentile(times, 0.5), percentile(times, 0.99), (server.cpu() - used) / len(times)


def score(rows, *options):
    """As load, of `reward score`, without the seconds of opening the model. rows hold `count` responses."""
    def run(some):
        began = time.perf_counter()
        p = subprocess.Popen(list(map(str, [REWARD, "score", "--model", a.model, "-q", "--threads", a.threads, *options])),
                             stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        p.stdin.write("".join(json.dumps(r) + "\n" for r in some).encode())
        p.stdin.close()
        _, status, usage = os.wait4(p.pid, 0)
        if status:
            raise SystemExit("reward score failed")
        return time.perf_counter() - began, usage.ru_utime + usage.ru_stime

    whole, opening = run(rows), run([{"prompt": "a", "response": "b"}])
    return count / (whole[0] - opening[0]), "", "", (whole[1] - opening[1]) / count


def row(name, rate, p50, p99, cpu):
    number = lambda x: f"{x:.1f}" if x != "" else ""
    print(f"| {name} | {number(rate)} | {number(p50)} | {number(p99)} | {cpu:.3f} |", flush=True)
    return rate, cpu


def beside(name, ours, other):
    print(f"{name}: {ours[0] / other[0]:.0%} of its rate, {other[1] / ours[1]:.0%} by the processor's seconds")


count = a.groups * a.responses
prompts = [words(a.words) for _ in range(a.groups)]
group = [{"prompt": p, "response": words(a.own)} for p in prompts for _ in range(a.responses)]
single = [{"prompt": words(a.words), "response": words(a.own)} for _ in range(count)]
as_bodies = lambda rows: [json.dumps(r) for r in rows]
shuffled = draw.sample(group, count)

print("| rows | requests/s | p50 ms | p99 ms | processor s a row |\n|---|---|---|---|---|")
server = ours()
load(server, "/reward", as_bodies(single[:8]), 8)
row("unrelated, 1 connection", *load(server, "/reward", as_bodies(single[: count // 8]), 1))
row("unrelated, 8", *load(server, "/reward", as_bodies(single[: count // 4]), 8))
at_64 = row("unrelated, 64", *load(server, "/reward", as_bodies(single), 64))
alone = row("`reward score --share no`", *score(single, "--share", "no"))
grouped = row(f"{a.groups} x {a.responses} in order, 64", *load(server, "/reward", as_bodies(group), 64))
whole = row(f"{a.groups} x {a.responses}, all at once", *load(server, "/reward", as_bodies(shuffled), count))
together = row("`reward score`, as responses", *score([
    {"prompt": p, "responses": [r["response"] for r in group[i * a.responses : (i + 1) * a.responses]]} for i, p in enumerate(prompts)]))
server.end()
if a.peer:
    server = Server([a.peer, ROOT / "bench" / "serve_peer.py", a.model])
    some = max(64, count // 8)
    load(server, "/reward", as_bodies(single[:4]), 1)
    peer_alone = row("peer: unrelated, 64", *load(server, "/reward", as_bodies(single[:some]), 64))
    peer_group = row("peer: the groups, 64", *load(server, "/reward", as_bodies(group[:some]), 64))
    server.end()
print()
beside("unrelated, beside reward score", at_64, alone)
beside("the groups in order, beside reward score", grouped, together)
beside("the groups at once, beside reward score", whole, together)
if a.peer:
    beside("unrelated, beside the peer", at_64, peer_alone)
    beside("the groups in order, beside the peer", grouped, peer_group)
    beside("the groups at once, beside the peer", whole, peer_group)

print("| prompt of 2,000 tokens, one response after another | requests/s | p50 ms | p99 ms | processor s a row |\n|---|---|---|---|---|")
long = words(a.long)
bodies = as_bodies([{"prompt": long, "response": words(a.long // 20)} for _ in range(a.turns + 1)])
for name, options in ("without", []), ("`--prefix-cache 1024`", ["--prefix-cache", "1024"]):
    server = ours(*options)
    load(server, "/reward", bodies[:1], 1)
    row(name, *load(server, "/reward", bodies[1:], 1))
    server.end()

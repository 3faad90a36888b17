#!/usr/bin/env python3
"""`reward serve` under load, beside `reward score` on the same rows, in one run.

    bench/bench_serve.py [MODEL] [--shapes 20:20,120:30,500:30] [--groups 12] [--responses 16] [--rounds 3] [--no-peer] [--threads N]

MODEL is a reward model's folder (default: demo/base with a new head). A shape is WORDS:OWN, the words of a prompt and of a response. For each shape:
  - requests/s, p50 and p99 at 1, 8 and 64 connections: unrelated rows, one a request;
  - the GRPO groups: groups x responses single requests, each prompt `responses` times: a group's after one another at
    64 connections, and all of them at once in any order;
  - `reward score` on the same rows: as `responses`, and unrelated with --share no. It pays for opening the model:
    the seconds of a run over one short row are taken off;
  - without --no-peer, the model in transformers behind a small ASGI server, a batch a request, as OpenRLHF ships one
    (bench/serve_peer.py, run by the peers' Python of bench/peers.py);
  - the processor's seconds of a row, of the server's process and of score's.
What is compared runs in turn in each round, and a ratio is the median of the rounds' ratios: a machine's speed drifts.
At last, without and with what serve keeps of prompts (--prefix-cache): responses of 100 tokens to a prompt of 2,000, one after another.
Rows are random words. Each part of each round has the same ones behind a number of its own, so that nothing is kept of another's.
"""
import argparse, http.client, json, os, random, statistics, subprocess, tempfile, threading, time
from pathlib import Path

from peers import peer_python, with_head

ROOT = Path(__file__).resolve().parent.parent
REWARD = ROOT / "build" / "reward"
ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("model", nargs="?")
ap.add_argument("--shapes", default="20:20,120:30,500:30", help="WORDS:OWN, several parted by commas")
ap.add_argument("--groups", type=int, default=12)
ap.add_argument("--responses", type=int, default=16)
ap.add_argument("--rounds", type=int, default=3)
ap.add_argument("--turns", type=int, default=3, help="responses to the long prompt")
ap.add_argument("--long", type=int, default=1500, help="words of the long prompt: some 2,000 tokens")
ap.add_argument("--no-peer", action="store_true")
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


def score(rows, responses, *options):
    """As load, of `reward score`, without the seconds of opening the model. The rows hold `responses` in all."""
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

    opening, whole = run([{"prompt": "a", "response": "b"}]), run(rows)
    return responses / (whole[0] - opening[0]), None, None, (whole[1] - opening[1]) / responses


def table(first):
    print(f"\n| {first} | requests/s | p50 ms | p99 ms | processor s a row |\n|---|---|---|---|---|")


def row(name, rounds):
    """A line of medians over the rounds."""
    middle = [statistics.median(r[i] for r in rounds) if rounds[0][i] is not None else None for i in range(4)]
    number = lambda x: "" if x is None else f"{x:.1f}" if x >= 10 else f"{x:.3g}"
    print(f"| {name} | " + " | ".join(map(number, middle)) + " |", flush=True)


def beside(name, ours, other):
    ratios = [sorted(pair) for pair in ([x[0] / y[0] for x, y in zip(ours, other)], [y[3] / x[3] for x, y in zip(ours, other)])]
    rate, cpu = (f"{statistics.median(r):.2f} ({r[0]:.2f} to {r[-1]:.2f})" for r in ratios)
    print(f"{name}: {rate} times its rate, {cpu} by the processor's seconds", flush=True)


def as_bodies(rows):
    return [json.dumps(r) for r in rows]


def fresh(rows):
    tag = draw.randrange(100000, 1000000)
    return [{**r, "prompt": f"{tag} {r['prompt']}"} for r in rows]


def shape(prompt_words, own):
    count = a.groups * a.responses
    prompts = [words(prompt_words) for _ in range(a.groups)]
    answers = [[words(own) for _ in range(a.responses)] for _ in prompts]
    group = [{"prompt": p, "response": r} for p, some in zip(prompts, answers) for r in some]
    whole_groups = [{"prompt": p, "responses": some} for p, some in zip(prompts, answers)]
    single = [{"prompt": words(prompt_words), "response": words(own)} for _ in range(count // 2)]
    few = max(16, count // 8)
    server = ours()
    peer = Server([python, ROOT / "bench" / "serve_peer.py", a.model]) if python else None
    parts = {
        "unrelated, 64 connections": lambda: load(server, "/reward", as_bodies(fresh(single)), 64),
        "`reward score --share no`": lambda: score(fresh(single), len(single), "--share", "no"),
        "groups in order, 64": lambda: load(server, "/reward", as_bodies(fresh(group)), 64),
        "groups in any order, all at once": lambda: load(server, "/reward", as_bodies(fresh(draw.sample(group, count))), count),
        "`reward score`, as responses": lambda: score(fresh(whole_groups), count),
        "peer: unrelated, 64": lambda: load(peer, "/reward", as_bodies(fresh(single[:few])), 64),
        "peer: groups, 64": lambda: load(peer, "/reward", as_bodies(fresh(group[:few])), 64),
    }
    names = [name for name in parts if peer or not name.startswith("peer")]
    for s in filter(None, (server, peer)):
        load(s, "/reward", as_bodies(fresh(single[:8])), 8)
    table(f"prompts of {prompt_words} words, responses of {own}")
    row("unrelated, 1 connection", [load(server, "/reward", as_bodies(fresh(single[:few])), 1)])
    row("unrelated, 8", [load(server, "/reward", as_bodies(fresh(single[: 2 * few])), 8)])
    rounds = [{name: parts[name]() for name in names} for _ in range(a.rounds)]
    got = {name: [r[name] for r in rounds] for name in names}
    for name in names:
        row(name, got[name])
    for s in filter(None, (server, peer)):
        s.end()
    print()
    alone, of_score, ordered, at_once, of_groups, *of_peer = (got[name] for name in names)
    beside("unrelated, beside reward score", alone, of_score)
    beside("groups in order, beside reward score", ordered, of_groups)
    beside("groups at once, beside reward score", at_once, of_groups)
    if of_peer:
        beside("unrelated, beside the peer", alone, of_peer[0])
        beside("groups in order, beside the peer", ordered, of_peer[1])
        beside("groups at once, beside the peer", at_once, of_peer[1])


python = None if a.no_peer else peer_python("uvicorn")
if not a.model:
    kept = tempfile.TemporaryDirectory()
    base, pair = ROOT / "demo" / "base", Path(kept.name) / "pair.jsonl"
    pair.write_text(json.dumps({"chosen_ids": [1, 2], "rejected_ids": [1, 3]}) + "\n")
    a.model = with_head(str(base), json.loads((base / "config.json").read_text())["num_hidden_layers"], str(pair), Path(kept.name) / "rm")
for one in a.shapes.split(","):
    shape(*map(int, one.split(":")))
table("prompt of 2,000 tokens, one response after another")
long = words(a.long)
bodies = as_bodies([{"prompt": long, "response": words(a.long // 20)} for _ in range(a.turns + 1)])
for name, options in ("`--prefix-cache 0`", ["--prefix-cache", "0"]), ("as it is", []):
    server = ours(*options)
    load(server, "/reward", bodies[:1], 1)
    row(name, [load(server, "/reward", bodies[1:], 1)])
    server.end()

#!/usr/bin/env python3
"""`reward eval --endpoint` against a server on the loopback that fails in every way a server can.

usage: check_endpoint.py      (BUILD names the build folder)

The first part of a URL's path says how the server behaves; "first…" misbehaves on the first try of each request only.
"""
import base64
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REWARD = ROOT / os.environ.get("BUILD", "build") / "reward"
KEY = "sk-loopback-0123456789abcdef"
bad = []


def check(ok, text):
    if not ok:
        bad.append(text)
        print("FAIL:", text)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen, self.times, self.keys, self.bodies = Counter(), [], [], []
        self.running = self.most = self.turn = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # a client that hangs up

    def url(self, path):
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def fresh(self):
        with self.lock:
            self.seen, self.times, self.keys, self.bodies = Counter(), [], [], []
            self.running = self.most = 0
            self.turn += 1  # requests of an earlier run may still be asleep


def verdict(mode, prompt):
    """What the judge says: replies with GOOD in them are better."""
    if "<reply" not in prompt:
        return "no judge"
    if "<reply>" in prompt:
        return "no number" if mode == "norating" else "[[9]]" if "GOOD" in prompt.split("<reply>")[1] else "[[2]]"
    a = prompt.split("<reply_A>\n")[1].split("\n</reply_A>")[0]
    good = "[[A]]" if "GOOD" in a else "[[B]]"
    return {"tie": "Equal. [[C]]", "refusal": "I'm sorry, but I cannot compare these.", "both": "[[A]] or [[B]]",
            "first": "[[A]]", "lower": "[[a]]", "think": "<think>[[C]]</think>" + good,
            "half": good if good == "[[A]]" else "[[C]]"}.get(mode, "Because. " + good)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def send(self, status, body, headers=(), length=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for k, v in headers:
            self.send_header(k, v)
        self.send_header("Content-Length", str(length or len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        s = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        mode, _, rest = self.path[1:].partition("/")
        with s.lock:
            s.seen[body] += 1
            s.times.append(time.monotonic())
            s.keys.append(self.headers.get("Authorization"))
            s.bodies.append(json.loads(body))
            tries, n = s.seen[body], len(s.times)
            s.running += 1
            turn = s.turn
            s.most = max(s.most, s.running)
        try:
            self.answer(mode, rest, json.loads(body), tries, n)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with s.lock:
                s.running -= turn == s.turn

    def answer(self, mode, rest, q, tries, n):
        if mode == "first500" and tries < 3 or mode == "500":
            return self.send(500, {"error": {"message": "overloaded"}})
        if mode == "429" and n == 1:
            return self.send(429, {"error": "slow down"}, [("Retry-After", "1")])
        if mode == "hang" and tries == 1:
            time.sleep(2)
        if mode == "truncated" and tries == 1:
            self.close_connection = True
            return self.send(200, b'{"choices": [{"mess', length=500)
        if mode == "closed" and tries == 1:
            self.close_connection = True
            return
        if mode == "badjson" and tries == 1:
            return self.send(200, b"<html>oops</html>")
        if mode == "missing" and tries == 1:
            return self.send(200, {"choices": []})
        if mode == "utf8" and tries == 1:
            return self.send(200, b'{"choices": [{"message": {"content": "\xff"}}]}')
        if mode == "huge":
            return self.send(200, b" " * (9 << 20))
        if mode == "drip" and tries == 1:
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            for _ in range(40):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.05)
            return
        if mode == "401":
            return self.send(401, {"error": {"message": f"bad key {self.headers['Authorization']}"}})
        if mode == "401escaped":  # the key as JSON may spell it, too
            key = self.headers["Authorization"]
            return self.send(401, b'{"error": {"message": "bad key %s \\u001b[2J"}}' % "".join(f"\\u{ord(c):04X}" for c in key[7:]).encode())
        if mode == "echo":
            key = self.headers["Authorization"][7:]
            return self.send(200, b'{"choices": [{"message": {"content": "[[A]] %s"}}]}' % ("\\u%04x" % ord(key[0]) + key[1:]).encode())
        if mode == "400" and "item 2" in json.dumps(q):
            return self.send(400, {"error": {"message": "too long for the context"}})
        if mode == "400bytes" and "item 2" in json.dumps(q):
            return self.send(400, b"\xe2\x82\xac is too long \xff\xfe")
        if mode == "away":
            return self.send(307, {}, [("Location", OTHER.url("ok/v1/chat/completions"))])
        if mode == "here":
            return self.send(307, {}, [("Location", "/ok/v1/chat/completions")])
        if mode == "loop":
            return self.send(307, {}, [("Location", self.path)])
        if mode == "slow":
            time.sleep(0.05)
        if "messages" in q and mode not in ("classify", "pooling", "nemotron", "probs", "two"):
            text = verdict(mode, q["messages"][0]["content"])
            reply = {"index": 0, "finish_reason": "length" if mode == "cut" else "stop",
                     "message": {"role": "assistant", "content": "I think" if mode == "cut" else text}}
            if mode == "filter":
                reply["finish_reason"], reply["message"]["content"] = "content_filter", None
            if mode == "parts":
                reply["message"]["content"] = [{"type": "text", "text": text}]
            return self.send(200, {"object": "chat.completion", "choices": [reply]})
        good = "GOOD" in json.dumps(q)
        x = 2.5 if good else -1.25
        if mode == "nemotron":
            values = dict(helpfulness=x, correctness=1, coherence=2, complexity=0.5, verbosity=0.25)
            text = ",".join(f"{k}:{v}" for k, v in values.items())
            logprobs = {"content": [{"token": k, "logprob": v} for k, v in values.items()]}
            choice = {"message": {"content": text}, "logprobs": logprobs}
            if tries and "item 3" in json.dumps(q):
                choice["message"]["content"] = ""
            return self.send(200, {"choices": [choice]})
        self.send(200, {"classify": {"data": [{"index": 0, "label": None, "probs": [x], "num_classes": 1}]},
                        "probs": {"data": [{"probs": [0.9 if good else 0.1]}]},
                        "two": {"data": [{"probs": [0.9, 0.1]}]},
                        "pooling": {"data": [{"object": "pooling", "data": [[x]]}]},
                        "score": {"data": [{"object": "score", "score": x}]},
                        "sglang": [{"embedding": [x], "meta_info": {}}]}[mode])


S, OTHER = Server(), Server()
work = Path(tempfile.mkdtemp())
env = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()} | {"OPENAI_API_KEY": KEY}
outputs = []


def rows(name, items):
    p = work / name
    p.write_text("".join(json.dumps(r) + "\n" for r in items))
    return p


PAIRS = rows("pairs.jsonl", [{"id": str(i), "prompt": f"item {i}", "chosen": f"GOOD {i}", "rejected": f"poor {i}"}
                             for i in range(6)])


def run(mode, *args, data=PAIRS, suite="pairs", kind="chat", path="v1", out="r.json", url=None, **more):
    S.fresh()
    OTHER.fresh()
    o = work / out
    o.unlink(missing_ok=True)
    cmd = [str(REWARD), "eval", "--suite", suite, "--data", str(data), "--endpoint", url or S.url(f"{mode}/{path}"),
           "--endpoint-kind", kind, "-o", str(o), "--retry-wait", "0.02", *map(str, args)]
    p = subprocess.run(cmd, capture_output=True, text=True, env=more.get("env", env), timeout=60)
    outputs.append(p.stdout + p.stderr)
    check("Sanitizer" not in p.stderr, f"{mode}: {p.stderr[-600:]}")
    if o.exists():
        outputs.append(o.read_text())
    return p.returncode, json.loads(o.read_text()) if o.exists() else None, p.stdout + p.stderr


def expect(mode, *args, overall=100.0, requests=None, retried=None, judge=None, **more):
    code, r, text = run(mode, *args, **more)
    check(code == 0 and r is not None, f"{mode}: exit {code}: {text[-300:]}")
    if not r:
        return None
    check(abs(r["overall"] - overall) < 1e-9, f"{mode}: overall {r['overall']}, expected {overall}")
    e = r["endpoint"]
    check(requests is None or e["requests"] == requests == len(S.times), f"{mode}: {e}, expected {requests} requests")
    check(retried is None or e["retried"] == retried, f"{mode}: {e}, expected {retried} retries")
    for k, v in (judge or {}).items():
        got = r["judge"].get(k, r["judge"]["answers"].get(k))
        check(got == v, f"{mode}: judge.{k} is {got}, expected {v}")
    check(not list(work.glob("r.json.replies*")), f"{mode}: answers left beside the results")
    return r


def fails(mode, text, *args, code=1, **more):
    got, r, said = run(mode, *args, **more)
    check(got == code and r is None and text in said, f"{mode}: exit {got}, expected {code} and '{text}' in: {said[-400:]}")
    return said


# verdicts
r = expect("ok", requests=12, retried=0, judge={"won": 6, "comparisons": 6, "first": 6, "second": 6})
check(r["ties"] == 0 and r["endpoint"]["kind"] == "chat" and r["endpoint"]["url"].endswith("/ok/v1/chat/completions"), "record")
check(all(k == f"Bearer {KEY}" for k in S.keys), "the key was not sent")
q = S.bodies[0]
check(q["temperature"] == 0 and q["max_tokens"] == 2048 and "model" not in q, f"request {q}")
expect("think", judge={"won": 6})
expect("parts", judge={"won": 6})
expect("tie", overall=0, judge={"tied": 6, "tie": 12})
expect("refusal", overall=0, judge={"refused": 6})
expect("filter", overall=0, judge={"refused": 6})
expect("both", overall=0, judge={"unparsable": 6})
expect("lower", overall=0, judge={"unparsable": 6})
expect("cut", overall=0, judge={"unparsable": 6, "cut_off": 12})
r = expect("first", overall=0, judge={"swapped": 6, "first": 12})
check(r["ties"] == 6, "a verdict that follows the order is a tie")
expect("half", overall=0, judge={"tied": 6})
expect("ok", "--endpoint-params", '{"temperature": null, "max_tokens": null, "max_completion_tokens": 9}', "--endpoint-model", "m")
check(set(S.bodies[0]) == {"model", "messages", "max_completion_tokens"}, f"parameters: {S.bodies[0].keys()}")

# every suite
three = lambda w: [f"{w} {i}" for i in range(3)]
rm = rows("rm.jsonl", [{"id": f"{d}{i}", "domain": d, "prompt": "p", "chosen": three("GOOD"), "rejected": three("poor")}
                       for d in ("chat", "math", "code", "safety-refuse") for i in range(2)])
r = expect("ok", data=rm, suite="rm-bench", requests=18, judge={"comparisons": 72, "won": 72})  # equal requests are asked once
check(r["hard"] == 100, "rm-bench")
rb2 = [{"id": f"{s}{i}", "subset": s, "prompt": f"{s}{i}", "chosen": ["GOOD"], "rejected": ["a", "b", "c"], "num_correct": 1}
       for s in ("Factuality", "Precise IF", "Math", "Safety", "Focus") for i in range(2)]
rb2 += [{"id": f"{k}:1", "subset": "Ties", "prompt": k, "chosen": ["GOOD 1", "GOOD 2"][:n], "rejected": ["x", "y"], "num_correct": n}
        for k, n in (("ref", 1), ("tied", 2))]
rb2 = rows("rb2.jsonl", rb2)
r = expect("ok", data=rb2, suite="rewardbench2", judge={"comparisons": 30, "won": 30, "ratings": 7})
check(r["subsets"]["Ties"]["ref_accuracy"] == 100, "Ties by ratings")
r = expect("tie", data=rb2, suite="rewardbench2", overall=(5 * 25 + r["sections"]["Ties"]) / 6)
r = run("norating", data=rb2, suite="rewardbench2")[1]
check(r["judge"]["answers"]["unparsable"] == 7 and r["subsets"]["Ties"]["correct"] == 0, f"replies without a rating: {r['judge']}")
jb = rows("jb.jsonl", [{"pair_id": str(i), "source": "livebench-math", "question": f"q{i}", "response_A": "GOOD" if i % 2 else "poor",
                        "response_B": "poor" if i % 2 else "GOOD", "label": "A>B" if i % 2 else "B>A"} for i in range(4)])
expect("ok", data=jb, suite="judgebench")
expect("half", data=jb, suite="judgebench", judge={"won": 4})   # a win and a tie, as JudgeBench counts
expect("first", data=jb, suite="judgebench", overall=0)         # not the rule for equal rewards
pref = rows("pref.jsonl", [{"question_id": str(i), "prompt": f"q{i}", "winner": w, "response_1": "GOOD" if w == "model_a" else "poor",
                            "response_2": "poor" if w == "model_a" else "GOOD"} for i, w in enumerate(["model_a", "model_b", "tie"])])
r = expect("ok", data=pref, suite="ppe-preference", requests=4, judge={"comparisons": 2, "won": 2})  # nobody is asked of a tie
check(r["without_preference"] == 1 and r["items"]["n"] == 2, "rows without a preference")
corr = [{"question_id": str(i), "benchmark": b, "prompt": f"{b} {i}", "scores": [False, True, True], "conflict_pairs": [[0, 1], [2, 0]],
         "sampled_conflict_pairs": [[0, 2], [2, 0], [1, 0]], "response_1": "poor", "response_2": "GOOD 1", "response_3": "GOOD 2"}
        for b in ("mmlu_pro", "math", "gpqa", "mbpp_plus", "ifeval") for i in range(2)]
corr = rows("corr.jsonl", corr)
r = expect("ok", data=corr, suite="ppe-correctness", requests=40, judge={"comparisons": 30, "won": 30})  # equal requests are asked once
check(all(u["pairs"] == 6 for u in r["subsets"].values()) and "best_of_k" not in r, "a judge's pairs are the sampled ones")
expect("first", data=corr, suite="ppe-correctness", overall=0, judge={"swapped": 30})
sides = [(f"{k}_set/{g}/S1", {"chosen": {"answer": "GOOD"}, "reject": {"answer": "poor"}} if k == "Pairwise" else
          {"bon_best": {"answer": "GOOD"}, "loser_list": [{"answer": "poor"}, {"answer": "bad"}]})
         for k in ("Pairwise", "BoN") for g in ("Helpfulness", "Harmlessness")]
bon = rows("rmb.jsonl", [{"pair_uid": c, "category_path": c, "conversation_input": [{"role": "user", "content": c}], **answers} for c, answers in sides])
expect("ok", data=bon, suite="rmb", judge={"comparisons": 6, "won": 6})
expect("tie", data=bon, suite="rmb", overall=0, judge={"tied": 6})
turns = rows("turns.jsonl", [{"chosen": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"},
                                         {"role": "user", "content": "item"}, {"role": "assistant", "content": "GOOD"}],
                              "rejected": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "other"},
                                           {"role": "user", "content": "more"}, {"role": "assistant", "content": "poor"}]}])
expect("ok", data=turns)
check("Assistant: two\n\nUser: item\n\nAssistant: GOOD" in S.bodies[0]["messages"][0]["content"], "turns in the prompt")
fails("ok", "token ids", data=rows("ids.jsonl", [{"chosen_ids": [1, 2], "rejected_ids": [1, 3]}]))

# failures that pass
for mode, args in (("first500", ()), ("truncated", ()), ("closed", ()), ("badjson", ()), ("missing", ()), ("utf8", ()),
                   ("hang", ("--timeout", "0.5")), ("drip", ("--timeout", "0.5"))):
    # libcurl asks again by itself where a kept connection is closed; a slow machine may need a third try
    exact = {"first500": 36, "closed": None, "hang": None, "drip": None}.get(mode, 24)
    r = expect(mode, *args, requests=exact, retried=exact and exact - 12)
    check(len(S.times) >= 24 and min(S.seen.values()) >= 2, f"{mode}: {len(S.times)} requests")
r = expect("429", "--concurrency", 1, requests=13, retried=1)
check(r["endpoint"]["rate_limited"] == 1 and S.times[1] - S.times[0] >= 0.99, "Retry-After was not honoured")

# failures that do not
said = fails("500", "8 requests in a row failed", "--retries", "1")
check("HTTP status 500: overloaded" in said and len(S.times) <= 24, f"500: {len(S.times)} requests: {said[-200:]}")
fails("huge", "over 8 MB", "--concurrency", "2")
check(max(S.seen.values()) == 1, "a huge reply was asked for again")
said = fails("401", "HTTP status 401")
check(len(S.times) <= 8 and "****" in said, f"401: {len(S.times)} requests: {said[-200:]}")
fails("loop", "redirect")
# one item that fails for good is named and counted; the others' answers stay for another try
def unscored(mode, why, n=1, **more):
    got, r, said = run(mode, **more)
    check(got == 1 and r and r["unscored"] == n and r["overall"] is None and why in r["unscored_items"][0]["why"] and why in said,
          f"{mode}: exit {got}: {r and (r['unscored'], r['unscored_items'])} {said[-300:]}")
    return r or {}, said


r, said = unscored("400", "HTTP status 400: too long for the context")
check("pairs.jsonl:3 (id 2): HTTP status 400" in said and "1 of 6 items" in said and "10 answers are kept" in said, f"400: {said[-300:]}")
check(r["items"]["n"] == 5 and r["judge"]["comparisons"] == 5 and r["judge"]["won"] == 5, f"400: {r['items']} {r['judge']}")
check(r["unscored_items"][0]["line"] == 3 and r["subsets"]["all"]["unscored"] == 1, f"400: {r['unscored_items']}")
(work / "r.json.replies.jsonl").unlink()
# an item that asks the same, and a row that nothing can be asked for; an answer that is no UTF-8 does not spoil the results
same = rows("same.jsonl", [{"id": k, "prompt": f"item {i}", "chosen": f"GOOD {i}", "rejected": f"poor {i}"} for k, i in (("a", 2), ("b", 1), ("c", 2))]
            + [{"id": "d", "chosen_ids": [1, 2], "rejected_ids": [1, 3]}])
r, said = unscored("400bytes", "is too long ??", n=3, data=same)
check([u["id"] for u in r["unscored_items"]] == ["a", "c", "d"] and "token ids" in r["unscored_items"][2]["why"], f"{r['unscored_items']}")
check(r["judge"]["won"] == r["items"]["n"] == 1 and len(S.times) == 4, f"{len(S.times)} requests {r['judge']}")
(work / "r.json.replies.jsonl").unlink()
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    closed = s.getsockname()[1]
fails("", "requests in a row failed", "--retries", "1", url=f"http://127.0.0.1:{closed}/v1")
said = fails("hang", "requests in a row failed", "--retries", "0", "--timeout", "0.5")
check("timed out" in said.lower() or "timeout" in said.lower(), f"a timeout is not named: {said[-200:]}")
began = time.monotonic()
fails("500", "--total-timeout", "--total-timeout", "0.5", "--retries", "50", "--retry-wait", "0.2")
check(time.monotonic() - began < 2, "--total-timeout")

# redirects and the key
expect("here")
check(set(S.keys) == {f"Bearer {KEY}"}, "a redirect within the host lost the key")
said = fails("away", "another origin")
check(OTHER.url("ok/v1/chat/completions") in said and not OTHER.keys, f"a redirect to another port was followed: {OTHER.keys} {said[-300:]}")
said = fails("401escaped", "HTTP status 401")
check("\x1b" not in said and "****" in said, f"a key that JSON escapes, an escape: {said!r}")
run("echo", "--cache", work / "echo.jsonl")
check("****" in (work / "echo.jsonl").read_text() and os.stat(work / "echo.jsonl").st_mode & 0o777 == 0o600, "the cache of answers")
(work / "echo.jsonl").rename(work / "echo.jsonl.json")  # looked at for keys at the end
for params in ({"api_key": "sk-other"}, {"extra": {"headers": [{"Authorization": "Bearer sk-other"}]}}, {"user": KEY}):
    got, r, said = run("ok", "--endpoint-params", json.dumps(params))
    check(got == 0 and "looks like a key" in said and r["endpoint"]["params"] == "not recorded", f"{params}: {said[-300:]}")
got, r, said = run("ok", "--endpoint-params", '{"max_tokens": 9, "top_k": 1}')
check("looks like" not in said and r["endpoint"]["params"] == {"max_tokens": 9, "top_k": 1}, f"parameters: {said[-300:]}")
said = run("ok", env=env | {"http_proxy": f"http://u:p@127.0.0.1:{OTHER.server_address[1]}"}, url="http://127.0.0.1:9/v1")[2]
check(f"to the proxy 127.0.0.1:{OTHER.server_address[1]};" in said and "u:p@" not in said, f"a plain proxy: {said[-300:]}")
expect("ok", env={k: v for k, v in env.items() if k != "OPENAI_API_KEY"})
check(set(S.keys) == {None}, "a key out of nowhere")
expect("ok", "--api-key-env", "MINE", env=env | {"MINE": KEY + "x"})
check(set(S.keys) == {f"Bearer {KEY}x"}, "--api-key-env")
fails("ok", "MINE is not set", "--api-key-env", "MINE", code=2)
fails("ok", "no key has", code=2, env=env | {"OPENAI_API_KEY": "a\r\nX-Evil: 1"})

# pace
expect("slow", "--concurrency", 3)
check(S.most == 3, f"{S.most} requests at a time, expected 3")
expect("ok", "--rate-limit", 20)
check(S.times[-1] - S.times[0] >= 11 / 20 - 0.05, f"12 requests at 20/s took {S.times[-1] - S.times[0]:.2f} s")

# killed, torn, resumed: nothing is asked twice, and the results are the same
many = rows("many.jsonl", [{"prompt": f"item {i}", "chosen": f"GOOD {i}" if i % 3 else f"bad {i}", "rejected": f"poor {i}"} for i in range(40)])
whole = expect("slow", data=many, overall=65.0)
for cache in ([], ["--cache", str(work / "kept.jsonl")]):
    S.fresh()
    (work / "k.json").unlink(missing_ok=True)
    p = subprocess.Popen([str(REWARD), "eval", "--suite", "pairs", "--data", str(many), "--endpoint", S.url("slow/v1"), "--endpoint-kind",
                          "chat", "-o", str(work / "k.json"), "--concurrency", "2", *cache], env=env,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(S.times) < 20:
        time.sleep(0.01)
    p.send_signal(signal.SIGKILL)
    p.wait()
    before, file = len(S.times), Path(cache[1]) if cache else work / "k.json.replies.jsonl"
    check(not (work / "k.json").exists(), "a killed evaluation left results")
    outputs.append(file.read_text())
    with open(file, "a") as f:
        f.write('{"key": "0123')
    code, r, text = run("slow", *cache, data=many, out="k.json")
    check(code == 0 and r["endpoint"]["cached"] >= 17 and before + len(S.times) <= 82, f"resume: {before} + {len(S.times)}: {text[-300:]}")
    same = lambda x: {k: v for k, v in x.items() if k != "endpoint"}
    check(same(r) == same(whole), "resumed results differ")
    check(file.exists() == bool(cache), "the named cache stays, the other goes")
code, r, text = run("slow", "--cache", work / "kept.jsonl", data=many)
check(code == 0 and not S.times and r["endpoint"]["cached"] == 80 and same(r) == same(whole), "all answers from the cache")

# reward servers
for mode, path, args in (("nemotron", "v1/chat/completions", ()), ("nemotron", "v1", ("--endpoint-format", "nemotron")), ("classify", "classify", ()),
                         ("pooling", "pooling", ()), ("score", "v1/score", ()), ("classify", "x", ("--endpoint-format", "classify"))):
    expect(mode, *args, kind="reward", path=path, requests=12)
expect("classify", kind="reward", path="classify")
check(S.bodies[0]["use_activation"] is False and S.bodies[0]["messages"][1]["role"] == "assistant", f"classify: {S.bodies[0]}")
expect("score", kind="reward", path="score")
check({"text_1", "text_2"} <= S.bodies[0].keys(), f"score: {S.bodies[0]}")
fails("sglang", "--endpoint-tokenizer", "--endpoint-format", "sglang", kind="reward", path="classify")
tok = work / "tok"
shutil.copytree(ROOT / "tests/data/tokenizer/llama3", tok)
shutil.copy(ROOT / "tests/data/template/chatml.jinja", tok / "chat_template.jinja")
expect("sglang", "--endpoint-format", "sglang", "--endpoint-tokenizer", tok, kind="reward", path="classify", overall=0)
sent = [b["input_ids"] for b in S.bodies]
chats = [json.loads(l) for l in PAIRS.read_text().splitlines()]
chats = rows("chats.jsonl", [{"messages": [{"role": "user", "content": r["prompt"]}, {"role": "assistant", "content": r[k]}]}
                             for r in chats for k in ("chosen", "rejected")])
p = subprocess.run([str(REWARD), "tokenize", "--model", str(tok), str(chats)], capture_output=True, text=True)
want = [json.loads(l)["input_ids"] for l in p.stdout.splitlines()]
check(sorted(sent) == sorted(want) and len(want) == 12, f"ids sent to SGLang: {sent[:1]}, expected {want[:1]} {p.stderr}")
r = expect("classify", "--endpoint-tokenizer", tok, kind="reward", path="classify", overall=0)
check(sorted(b["input"] for b in S.bodies) == sorted(want), "ids sent to /classify")
_, _, text = run("probs", kind="reward", path="classify")
check("sigmoid" in text, "no warning of a sigmoid")
fails("two", "one number", "--retries", "0", kind="reward", path="classify")
fails("ok", "name:number", "--retries", "0", kind="reward", path="v1/chat/completions")

# usage
fails("ok", "--endpoint-kind", code=2, kind="neither")
fails("ok", "/classify", kind="reward", path="v1/rank", code=2)
fails("ok", "expected http", url="ftp://x/v1", code=2)
fails("ok", "user or password", url="http://u:p@127.0.0.1/v1", code=2)
fails("ok", "--endpoint-params", "--endpoint-params", "[1]", code=2)
fails("ok", "--concurrency", "--concurrency", "0", code=2)
p = subprocess.run([str(REWARD), "eval", "--suite", "pairs", "--data", str(PAIRS), "--scores", str(PAIRS), "--retries", "3"],
                   capture_output=True, text=True)
check(p.returncode == 2 and "expected --endpoint" in p.stderr, "options of an endpoint without one")

# nothing that was printed or written holds a key
text = "".join(outputs) + "".join(f.read_text() for f in work.glob("*.json*"))
for secret in (KEY, base64.b64encode(KEY.encode()).decode(), "Bearer sk"):
    check(secret not in text, f"the key stands in an output: {text[max(0, text.find(secret) - 80):][:200]}")

shutil.rmtree(work)
print(f"{len(outputs)} outputs looked at" if not bad else f"{len(bad)} checks failed")
raise SystemExit(bool(bad))

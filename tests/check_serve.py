#!/usr/bin/env python3
"""`reward serve` as its clients meet it: every protocol's answer beside `reward score`, errors, limits, load, ends.

usage: check_serve.py      (BUILD names the build folder; SERVE_SECONDS: how long the load lasts, 5)
"""
import http.client
import json
import math
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import tiny_model

ROOT = Path(__file__).resolve().parent.parent
REWARD = ROOT / os.environ.get("BUILD", "build") / "reward"
LOAD_SECONDS = float(os.environ.get("SERVE_SECONDS", "5"))
work = Path(tempfile.mkdtemp())
bad = []


def check(ok, text):
    if not ok:
        bad.append(text)
        print("FAIL:", text)


class Server:
    """A running server; `ask` sends one request over a connection of its own."""

    def __init__(self, *options, model=work / "rm", env=None, listen="127.0.0.1:0"):
        self.err = open(work / "serve.err", "ab")
        self.process = subprocess.Popen([REWARD, "serve", "--model", model, "--listen", listen, *options],
                                        stdout=subprocess.PIPE, stderr=self.err, env={**os.environ, **(env or {})})
        self.url = self.process.stdout.readline().decode().strip()
        if self.url.startswith("http"):
            self.port = int(self.url.rsplit(":", 1)[1])

    def memory(self):
        """MiB that the server holds."""
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1024

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, path, body=None, method=None, headers=None, connection=None):
        c = connection or self.connect()
        data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        c.request(method or ("GET" if body is None else "POST"), path, data, headers or {})
        r = c.getresponse()
        text = r.read().decode()
        if connection is None:
            c.close()
        return r.status, text, r.headers

    def json(self, path, body=None, **more):
        status, text, _ = self.ask(path, body, **more)
        return status, json.loads(text)

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        status = self.process.wait(60)
        self.process.stdout.close()
        self.err.close()
        return status


def score(rows, *options, model=work / "rm"):
    text = "".join(json.dumps(r) + "\n" for r in rows)
    out = subprocess.run([REWARD, "score", "--model", model, "-q", *options], input=text.encode(), capture_output=True)
    return [json.loads(line) for line in out.stdout.decode().splitlines()]


def say(user, assistant):
    return [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]


def rendered(user, assistant):
    return f"<s><|user|>{user}<|end|><|assistant|>{assistant}<|end|>"


def protocols(s):
    """Each protocol's number is `reward score`'s of the same conversation."""
    texts = ["yes", "no, never", "perhaps, if it rains"]
    want = score([{"prompt": "Is it late?", "responses": texts}])[0]["scores"]
    text_of = [rendered("Is it late?", t) for t in texts]
    sigmoid = [1 / (1 + math.exp(-x)) for x in want]
    near = lambda a, b: len(a) == len(b) and all(abs(x - y) < 1e-7 for x, y in zip(a, b))
    get = lambda path, body: s.json(path, body)[1]

    rows = [{"prompt": "Is it late?", "responses": texts, "mine": 7}, {"messages": say("a", "b")},
            {"chosen": say("a", "b"), "rejected": say("a", "c")}, {"text": text_of[0]}, {"input_ids": [256, 1, 2]},
            {"prompt": "no answer"}, {"prompt": "x", "response": "y"}]
    expected = score(rows)
    check(get("/v1/rewards", {"rows": rows})["rows"] == expected, "/v1/rewards: rows")
    check(get("/v1/rewards", rows[0]) == expected[0], "/v1/rewards: one row")
    lines = s.ask("/v1/rewards", "\n".join(json.dumps(r) for r in rows), headers={"Content-Type": "application/x-ndjson"})
    check([json.loads(x) for x in lines[1].splitlines()] == expected, "/v1/rewards: lines")
    check("error" in expected[5] and lines[0] == 200, "/v1/rewards: a row that fails is that row's error")

    r = get("/v1/compare", {"prompt": "Is it late?", "responses": texts})
    order = sorted(range(3), key=lambda i: -want[i])
    check(r["scores"] == want and r["order"] == order and r["preferred"] == order[0], "/v1/compare")
    check(near(r["probability"][0], [1 / (1 + math.exp(x - want[0])) for x in want]), "/v1/compare: probability")

    r = get("/get_reward", {"query": text_of, "prompts": ["p"] * 3, "labels": ["l"] * 3})
    check(r == {"rewards": want, "scores": want, "extra_logs": {}}, "OpenRLHF")
    check(get("/get_reward", {"query": [], "prompts": []}) == {"rewards": [], "scores": [], "extra_logs": {}}, "OpenRLHF: no samples")
    check(get("/reward", {"prompt": "Is it late?", "response": "yes", "label": ""}) == want[0], "slime")
    check(get("/reward", {"prompt": say("Is it late?", "")[:1], "response": "yes"}) == want[0], "slime: messages")
    check(get("/reward?key=reward", {"prompt": "Is it late?", "response": "yes"}) == {"reward": want[0]}, "slime: key")

    stripped = [t.removeprefix("<s>") for t in text_of]  # as verl sends them
    r = get("/classify", {"model": "rm", "input": stripped[0], "use_activation": False})
    check(r["data"][-1]["probs"][-1] == want[0] and r["usage"]["prompt_tokens"] == len("Is it late?yes") + 5, "verl: /classify")
    r = get("/v1/embeddings", {"model": "rm", "input": stripped[0]})
    check(r["data"][-1]["embedding"][-1] == want[0], "verl: /v1/embeddings")
    probs = lambda r: [d["probs"][0] for d in r["data"]]
    check(probs(get("/classify", {"input": text_of})) == want, "vLLM: the BOS is not doubled; open activation is raw")
    check(near(probs(get("/classify", {"input": text_of, "use_activation": True})), sigmoid), "vLLM: use_activation")
    check(near(probs(get("/classify", {"input": text_of, "activation": True})), sigmoid), "vLLM: activation")
    check(probs(get("/classify", {"messages": say("Is it late?", "yes")})) == want[:1], "vLLM: messages")
    check(near(probs(get("/classify", {"input": text_of, "softmax": True})), sigmoid), "vLLM: softmax")
    check(probs(get("/v1/classify", {"model": "default", "input": text_of})) == want, "/v1/classify, of a model without a name")
    check(probs(get("/classify", {"model": str(work / "rm"), "input": text_of})) == want, "a model by its folder")
    check(get("/pooling", {"input": text_of, "task": "classify"})["data"][1]["data"] == [want[1]], "vLLM: /pooling")
    ids = [[256, *b"hi"], [256, *b"ho"]]
    by_ids = [r["score"] for r in score([{"input_ids": i} for i in ids])]
    check(probs(get("/classify", {"input": ids})) == by_ids and probs(get("/classify", {"input": ids[0]})) == by_ids[:1], "vLLM: ids")
    bare = score([{"input_ids": list(b"hi")}])[0]["score"]
    check(probs(get("/classify", {"input": "hi", "add_special_tokens": False})) == [bare], "vLLM: add_special_tokens")
    plain = {"chat_template": None, "chat_template_kwargs": {}, "continue_final_message": False, "truncation_side": "left"}
    check(probs(get("/classify", {"messages": say("Is it late?", "yes"), **plain})) == want[:1], "vLLM: fields that say nothing")
    long = get("/classify", {"input": [[256, *b"x" * 3000]], "truncate_prompt_tokens": -1})
    check(long["usage"]["prompt_tokens"] == 2048, "vLLM: truncate_prompt_tokens: -1")
    cut = get("/classify", {"input": [[256, *b"hello"]], "truncate_prompt_tokens": 3})
    check(probs(cut) == [score([{"input_ids": [256, *b"lo"]}])[0]["score"]], "vLLM: truncate_prompt_tokens")
    for path in "/score", "/v1/score":
        r = get(path, {"queries": "Is it late?", "documents": texts})
        check([d["score"] for d in r["data"]] == want, path)
        r = get(path, {"queries": "Is it late?", "items": texts, "max_tokens_per_doc": 0, "instruction": None})
        check([d["score"] for d in r["data"]] == want, path + ": items")
        r = get(path, {"query": "<s><|user|>Is it late?<|end|>", "items": [f"<|assistant|>{t}<|end|>" for t in texts]})
        check(r["scores"] == [[x] for x in want] and r["object"] == "scoring", "SGLang: " + path)
        r = get(path, {"query": "<|assistant|>yes<|end|>", "items": "<s><|user|>Is it late?<|end|>", "item_first": True})
        check(r["scores"] == [want[:1]], "SGLang: " + path + ": item_first")
        r = get(path, {"text_1": ["Is it late?"] * 3, "text_2": texts})
        check([d["score"] for d in r["data"]] == want, path + ": zipped")
    for path in "/rerank", "/v1/rerank", "/v2/rerank":
        r = get(path, {"query": "Is it late?", "documents": texts, "top_n": 2})["results"]
        check([x["index"] for x in r] == order[:2] and [x["relevance_score"] for x in r] == [want[i] for i in order[:2]], path)
        check(r[0]["document"]["text"] == texts[order[0]], path + ": document")
        r = get(path, {"query": "Is it late?", "documents": texts, "return_documents": False})["results"]
        check("document" not in r[0], path + ": return_documents")
        r = get(path, {"query": "Is it late?", "documents": texts, "model": "unknown", "rid": None, "return_documents": True})
        check([(x["index"], x["score"], x["document"]) for x in r] == [(i, want[i], texts[i]) for i in order], "SGLang: " + path)

    r = get("/classify", {"text": text_of})
    check([x["embedding"] for x in r] == [[x] for x in want] and r[0]["meta_info"]["prompt_tokens"] == 19, "SGLang: /classify")
    check(get("/encode", {"text": stripped[0]})["embedding"] == want[:1], "SGLang: /encode, BOS stripped")
    check(s.json("/classify", {"input_ids": ids}, method="PUT")[1][1]["embedding"] == by_ids[1:], "SGLang: PUT, ids")

    check(near([get("/predict", {"inputs": text_of[0]})[0]["score"]], sigmoid[:1]), "TEI: /predict")
    check(get("/predict", {"inputs": ["Is it late?", "yes"], "raw_scores": True})[0]["score"] == want[0], "TEI: a pair")
    r = get("/predict", {"inputs": [[text_of[0]], ["Is it late?", texts[1]]], "raw_scores": True})
    check([x[0]["score"] for x in r] == want[:2] and r[0][0]["label"] == "LABEL_0", "TEI: a batch")
    r = get("/rerank", {"query": "Is it late?", "texts": texts, "raw_scores": True, "return_text": True})
    check([(x["index"], x["score"], x["text"]) for x in r] == [(i, want[i], texts[i]) for i in order], "TEI: /rerank")

    chat = lambda body, **h: get("/v1/chat/completions", body) if not h else s.json("/v1/chat/completions", body, headers=h["headers"])[1]
    content = lambda r: r["choices"][0]["message"]["content"]
    body = {"model": "rm", "messages": say("Is it late?", "yes")}
    check(content(chat(body)).startswith("reward:") and float(content(chat(body))[7:]) == want[0], "chat")
    check(float(content(chat({**body, "reward_format": "number"}))) == want[0], "chat: reward_format field")
    check(float(content(chat(body, headers={"reward_format": "number"}))) == want[0], "chat: reward_format header")

    check(get("/v1/models", None)["data"][0]["id"] == "rm", "/v1/models")
    check(s.json("/v1/models/rm")[1]["id"] == "rm" and s.ask("/v1/models/other")[0] == 404, "/v1/models/NAME")
    for path in "/model_info", "/get_model_info", "/server_info", "/get_server_info":
        check(s.json(path)[1]["served_model_name"] == "rm", path)
    check(s.json("/load")[1] == {"server_load": 0} and s.json("/get_load")[1][0]["num_reqs"] == 0, "/load, /get_load")
    check(all(s.ask(p)[0] == 200 for p in ("/ready", "/ping", "/health_generate")) and s.ask("/ping", "")[0] == 200, "health by its other names")
    check(s.json("/info")[1]["model_type"]["classifier"]["id2label"] == {"0": "LABEL_0"}, "/info")
    check(s.ask("/health")[0] == 200 and s.json("/version")[1]["program"] == "reward.c", "/health, /version")
    check("reward_scored_items_total{model=\"rm\"}" in s.ask("/metrics")[1], "/metrics")
    status, page, headers = s.ask("/")
    check(status == 200 and "<!doctype html>" in page and "default-src 'none'" in headers["Content-Security-Policy"], "the page")


def evaluations(s):
    """`reward eval --endpoint` has the figures of `reward eval --model`, by each form that it speaks."""
    env = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}

    def figures(name, *options):
        out = work / f"{name}.json"
        command = [REWARD, "eval", "--suite", "rewardbench", "--data", ROOT / "tests/data/eval/rewardbench.jsonl", "-q", "-o", out, *options]
        r = subprocess.run(command, capture_output=True, text=True, env=env)
        found = json.loads(out.read_text()) if r.returncode == 0 else {}
        check(found, f"reward eval, {name}: {r.stderr}")
        return [found.get(k) for k in ("overall", "sections", "subsets", "interval", "items", "comparisons", "ties", "unscored")]

    want = figures("eval", "--model", work / "rm")
    for name, path, *options in [
        ("classify", "/classify"), ("sglang", "/classify", "--endpoint-format", "sglang", "--endpoint-tokenizer", work / "rm"), ("pooling", "/pooling"),
        ("score", "/v1/score"), ("nemotron", "/v1/chat/completions", "--endpoint-format", "nemotron"),
    ]:
        got = figures(name, "--endpoint", s.url + path, "--endpoint-kind", "reward", *options)
        check(got == want, f"eval --endpoint {path}, {name}: {got} {want}")


def errors(s):
    """Each is refused in its protocol's words, with its place named."""
    table = [
        ("/classify", "[1", 400, "not JSON"), ("/classify", "[1]", 400, "JSON object"), ("/classify", b"\xff{}", 400, "not JSON"),
        ("/classify", {}, 400, "expected one of them"), ("/classify", {"input": 3}, 400, "input: expected"),
        ("/classify", {"input": []}, 400, "input: expected"), ("/classify", {"input": ["a", 7]}, 400, "input: expected a list"),
        ("/classify", {"input": [[1], [999]]}, 400, "item 1: input_ids[0]: expected 0 to 260"),
        ("/classify", {"input": "a", "model": "nobody"}, 404, "nobody"),
        ("/classify", {"input": "x" * 3000}, 400, "more than max_length 2048"),
        ("/classify", {"input": "a", "use_activation": "yes"}, 400, "use_activation: expected true"),
        ("/classify", {"messages": say("a", "b")[:1]}, 400, "ends with an assistant message"),
        ("/score", {"queries": ["a", "b"], "documents": ["c"]}, 400, "queries: expected one text, or as many"),
        ("/rerank", {"query": "a", "documents": []}, 400, "documents: expected"),
        ("/get_reward", {"prompts": []}, 400, "query: expected"), ("/reward", {"prompt": "a"}, 400, "response: expected"),
        ("/predict", {"inputs": 1}, 422, "inputs: expected"), ("/v1/rewards", {"rows": 1}, 400, "rows: expected"),
        ("/v1/compare", {"prompt": "a", "responses": ["b"]}, 400, "two or more"),
        ("/v1/chat/completions", {"messages": say("a", "b"), "stream": True}, 400, "stream"),
        ("/classify", {"messages": say("a", "b"), "chat_template": "{{ 1 }}"}, 400, "chat_template: not supported"),
        ("/classify", {"messages": say("a", "b"), "continue_final_message": True}, 400, "continue_final_message: not"),
        ("/v1/chat/completions", {"messages": say("a", "b"), "chat_template_kwargs": {"x": 1}}, 400, "chat_template_kwargs: not"),
        ("/classify", {"input": "a", "truncation_side": "right"}, 400, "truncation_side: expected"),
        ("/encode", {"text": "a", "image_data": ["x"]}, 400, "image_data: not supported"),
        ("/score", {"query": "a", "items": ["b"], "label_token_ids": [1]}, 400, "label_token_ids: not supported"),
        ("/predict", {"inputs": "x" * 3000}, 422, "more than max_length"), ("/rerank", {"query": "a", "texts": []}, 422, "texts: expected"),
        ("/predict", {"inputs": "a", "truncate": True, "truncation_direction": "Right"}, 422, "truncation_direction: expected"),
        ("/rerank", {"query": "a", "documents": ["b"], "instruct": "Judge."}, 400, "instruct: not supported"),
        ("/v2/rerank", {"query": "a", "documents": ["b"], "max_tokens_per_doc": 9}, 400, "max_tokens_per_doc: not supported"),
        ("/rerank", {"query": "a", "documents": ["b"], "model": "unknown"}, 404, "unknown"),
        ("/v1/score", {"query": "a", "items": [3]}, 400, "query, items: expected"), ("/v1/score", {"query": "a", "items": []}, 400, "items: expected"),
        ("/v1/score", {"query": "a", "items": "b", "apply_softmax": True}, 400, "apply_softmax: not supported"),
        ("/pooling", {"input": "a", "task": "token_classify"}, 400, "task: expected"), ("/pooling", {"input": "a", "dimensions": 3}, 400, "dimensions: not"),
        ("/pooling", {"input": "a", "encoding_format": "bytes"}, 400, "encoding_format: expected"),
        ("/nowhere", {}, 404, "no such path"),
    ]
    for path, body, status, text in table:
        got, answer, _ = s.ask(path, body)
        check(got == status and text in answer, f"{path} {str(body)[:60]}: {got} {answer[:200]}")
        check(isinstance(json.loads(answer), dict) and "error" in json.loads(answer), f"{path}: the form of an error")
    check(s.json("/v1/rewards", {"prompt": 3})[1].get("error"), "/v1/rewards: a bad row is answered with its error")
    check(s.ask("/health", {})[0] == 405, "POST /health")
    for path, body in ("/predict", {"inputs": 1}), ("/rerank", {"query": "a", "texts": ["b", 1]}):
        check(set(s.json(path, body)[1]) == {"error", "error_type"}, "TEI's errors: " + path)


def limits():
    s = Server("--max-body", "2000", "--max-queue", "100", "--api-key-env", "SERVE_TEST_KEY", "--access-log", work / "log",
               env={"SERVE_TEST_KEY": "sesame"})
    key = {"Authorization": "Bearer sesame"}
    check(s.ask("/classify", {"input": "a"})[0] == 401 and s.ask("/v1/models")[0] == 401, "no key")
    check(s.ask("/classify", {"input": "a"}, headers={"Authorization": "Bearer sesam"})[0] == 401, "another key")
    check(s.ask("/health")[0] == 200 and s.ask("/")[0] == 200, "open without the key")
    check(s.ask("/classify", {"input": "a secret"}, headers=key)[0] == 200, "the key")
    check(s.ask("/classify", {"input": "a" * 3000}, headers=key)[0] == 413, "max_body")
    c = s.connect()
    c.putrequest("POST", "/classify")
    c.putheader("Transfer-Encoding", "chunked")
    c.putheader("Authorization", "Bearer sesame")
    c.endheaders()
    for _ in range(4):
        c.send(b"3e8\r\n" + b" " * 1000 + b"\r\n")
    c.send(b"0\r\n\r\n")
    check(c.getresponse().status == 413, "max_body, chunked")
    c.close()
    answers = []
    ask = lambda: answers.append(s.ask("/classify", {"input": ["b" * 90] * 8}, headers=key))
    threads = [threading.Thread(target=ask) for _ in range(24)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    states = {a[0] for a in answers}
    check(states <= {200, 429} and 429 in states, f"max_queue: {states}")
    check(all(int(a[2]["Retry-After"]) >= 1 for a in answers if a[0] == 429), "Retry-After")
    check(s.end() == 0, "SIGTERM: status 0")
    log = [json.loads(line) for line in open(work / "log")]
    check(len(log) > 24 and "secret" not in open(work / "log").read() and log[3]["path"] == "/health", "the access log")


def connections(s):
    """Idle and broken connections cost others nothing."""
    idle = [socket.create_connection(("127.0.0.1", s.port)) for _ in range(1024)]
    for c in idle[:64]:
        c.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
    for c in idle[64:96]:
        c.sendall(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
    for c in idle[96:128]:
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        c.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n" + b'{"input":"a"}')
        c.close()
    check(s.json("/classify", {"input": "abc"})[0] == 200, "beside 1,024 idle connections")
    body = b'{"input":"abc"}'
    one = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    c = socket.create_connection(("127.0.0.1", s.port))
    c.sendall(one * 3)  # pipelined
    c.settimeout(30)
    got = b""
    while got.count(b"HTTP/1.1 200") < 3 or not got.endswith(b"}"):
        got += c.recv(65536)
    c.shutdown(socket.SHUT_WR)
    c.close()
    c = socket.create_connection(("127.0.0.1", s.port))
    c.sendall(b"POST /classify HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
    c.settimeout(30)
    check(c.recv(100).startswith(b"HTTP/1.1 100"), "Expect: 100-continue")
    c.sendall(body)
    check(b"200 OK" in c.recv(65536), "after 100-continue")
    c.close()
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\n"
    for text, status, what in [
        (one, b"200", "half-closed behind its request"),
        (head + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(b"1;x=y\r\n%c\r\n" % b for b in body) + b"0\r\nAfter: all\r\n\r\n", b"200", "chunks of a byte"),
        (head + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n", b"413", "Expect: 100-continue of too long a body"),
        (head + b"Content-Length: -5\r\n\r\n" + body, b"400", "a length below 0"),
        (head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400", "a chunk without a size"),
    ]:
        c = socket.create_connection(("127.0.0.1", s.port))
        c.settimeout(30)
        c.sendall(text)
        c.shutdown(socket.SHUT_WR)
        got = b"".join(iter(lambda: c.recv(65536), b""))
        check(got[9:12] == status and (status != b"200" or b'"probs"' in got), f"{what}: {got[:200]}")
        c.close()
    [c.close() for c in idle]


def load(s):
    """Many clients at once, bad requests among them and idle connections beside them: each gets its own answer, to the
    last bit, and the server's memory does not grow."""
    draw = random.Random(3)
    word = lambda n: "".join(draw.choice("abcdefgh ") for _ in range(n))
    prompts = [word(60) for _ in range(8)]
    pairs = [(draw.choice(prompts), word(draw.randrange(1, 40))) for _ in range(200)]
    want = [r["score"] for r in score([{"prompt": p, "response": r} for p, r in pairs], "--share", "no")]
    end, wrong, done = time.time() + LOAD_SECONDS, [], [0]

    def client(number):
        mine, c = random.Random(number), s.connect()
        while time.time() < end:
            k = mine.randrange(len(pairs))
            p, r = pairs[k]
            kind = mine.randrange(6)
            if kind == 0:
                ok = s.json("/reward", {"prompt": p, "response": r}, connection=c) == (200, want[k])
            elif kind == 1:
                ok = s.json("/get_reward", {"query": [rendered(p, r)]}, connection=c)[1]["rewards"] == [want[k]]
            elif kind == 2:
                ok = s.json("/classify", {"input": ["x" * 4000, "y"]}, connection=c)[0] == 400
            elif kind == 3:
                ok = s.json("/v1/rewards", {"rows": [{"prompt": p, "response": r}, {"prompt": 1}]}, connection=c)[1]["rows"][0]["score"] == want[k]
            elif kind == 4:
                many = [mine.randrange(len(pairs)) for _ in range(5)]
                got = s.json("/score", {"queries": [pairs[i][0] for i in many], "documents": [pairs[i][1] for i in many]}, connection=c)[1]
                ok = [d["score"] for d in got["data"]] == [want[i] for i in many]
            else:
                ok = s.ask("/classify", "{", connection=c)[0] == 400
            if not ok:
                wrong.append((kind, k))
            done[0] += 1
        c.close()

    idle = [socket.create_connection(("127.0.0.1", s.port)) for _ in range(1024)]
    threads = [threading.Thread(target=client, args=(i,)) for i in range(64)]
    [t.start() for t in threads]
    held = []
    while time.time() < end:
        time.sleep(LOAD_SECONDS / 20)
        held.append(s.memory())
    [t.join() for t in threads]
    [c.close() for c in idle]
    check(not wrong and done[0] > 64, f"under load: {len(wrong)} of {done[0]} answers are wrong: {wrong[:5]}")
    early, late = max(held[5:10]), max(held[10:])
    # under a sanitizer freed memory is held on purpose
    check("asan" in str(REWARD) or late < early + 8, f"memory under load: {early:.1f} MiB early, {late:.1f} late")
    print(f"load: {done[0]} requests in {LOAD_SECONDS:g} s; {early:.1f} MiB early, {late:.1f} late")


def prefixes(s, roomy):
    """What was computed before is found again, to the same bits."""
    figure = lambda name: float(next(x for x in s.ask("/metrics")[1].splitlines() if x.startswith(name + "{")).split()[1])
    draw = random.Random(11)
    word = lambda n: "".join(draw.choice("abcdefgh ") for _ in range(n))
    turns, asked = [], []
    for i in range(8):  # a conversation that grows
        turns += say(word(100), word(50))
        asked.append({"messages": list(turns)})
    asked += [{"messages": turns[:-1] + [{"role": "assistant", "content": word(40)}]} for _ in range(8)]  # best of n
    if not roomy:
        asked += [{"prompt": word(200), "response": word(20)} for _ in range(40)]
    want = [r["score"] for r in score(asked, "--share", "no")]
    before = figure("reward_prefix_found_tokens_total")
    for twice in range(2):
        got = [s.json("/v1/rewards", row)[1]["score"] for row in asked]
        check(got == want, f"with a prefix cache: {got} {want}")
    found = figure("reward_prefix_found_tokens_total") - before
    check(found > 15000 if roomy else found > 0, f"tokens found in the prefix cache: {found}")
    limit = (64 if roomy else 1) * 2**20
    check(figure("reward_prefix_bytes") <= limit and (roomy or figure("reward_prefix_evicted_blocks_total") > 0), "the bound of the cache")


def endings():
    s = Server()
    answers = []
    slow = {"rows": [{"prompt": "a" * 400, "response": "b" * i} for i in range(1, 200)]}
    t = threading.Thread(target=lambda: answers.append(s.ask("/v1/rewards", slow)))
    t.start()
    time.sleep(0.1)
    status = s.end()
    t.join()
    check(status == 0 and answers[0][0] in (200, 503), f"SIGTERM: what has begun is answered: {status} {answers[0][0]}")
    s = Server()
    before = s.json("/reward", {"prompt": "a", "response": "b"})[1]
    tiny_model.make(work / "rm.new", 5)
    for name in os.listdir(work / "rm.new"):
        os.replace(work / "rm.new" / name, work / "rm" / name)
    asking, heard = [True], []

    def client():
        c = s.connect()
        while asking[0]:
            heard.append(s.json("/reward", {"prompt": "a", "response": "b"}, connection=c))
        c.close()

    clients = [threading.Thread(target=client) for _ in range(8)]
    [t.start() for t in clients]
    s.process.send_signal(signal.SIGHUP)
    until = time.time() + 30
    while time.time() < until and s.json("/reward", {"prompt": "a", "response": "b"})[1] == before:
        time.sleep(0.05)
    after = s.json("/reward", {"prompt": "a", "response": "b"})[1]
    check(after != before and after == score([{"prompt": "a", "response": "b"}])[0]["score"], "SIGHUP: the new model answers")
    switched = len(heard)
    os.replace(work / "rm" / "config.json", work / "config.json")
    (work / "rm" / "config.json").write_text("{")
    refused = open(work / "serve.err").read().count("the models stay as they were")
    s.process.send_signal(signal.SIGHUP)
    until = time.time() + 30
    while time.time() < until and open(work / "serve.err").read().count("the models stay as they were") == refused:
        time.sleep(0.05)
    check(s.json("/reward", {"prompt": "a", "response": "b"})[1] == after, "SIGHUP: a model that does not open changes nothing")
    check(time.time() < until, "SIGHUP: a model that does not open is said")
    asking[0] = False
    [t.join() for t in clients]
    check({h[0] for h in heard} == {200} and {h[1] for h in heard[:switched]} <= {before, after}, "SIGHUP: no request meets it")
    late = {h[1] for h in heard[switched + 8:]}
    check(len(heard) > switched + 8 and late == {after}, f"SIGHUP: after the switch: {late} {len(heard)}")
    check(s.end(signal.SIGINT) == 0, "Ctrl-C: status 0")
    tiny_model.make(work / "rm")


def slow():
    """Clients that send a byte now and then, flood with headers, or promise more than they send hold nobody up."""
    s = Server()
    promised = socket.create_connection(("127.0.0.1", s.port))
    promised.sendall(b"POST /reward HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    heads = [socket.create_connection(("127.0.0.1", s.port)) for _ in range(16)]
    for c in heads:
        c.sendall(b"POST /reward HT")
    flood = socket.create_connection(("127.0.0.1", s.port))
    flood.settimeout(30)
    try:
        for i in range(4000):
            flood.sendall(b"X-%d: " % i + b"y" * 100 + b"\r\n" if i else b"GET /health HTTP/1.1\r\nHost: x\r\n")
        flood.sendall(b"\r\n")
        got = flood.recv(100)
    except OSError:
        got = b""
    check(b" 200 " not in got, f"a flood of headers: {got}")
    for k in range(3):
        promised.sendall(b" ")
        [c.sendall(b"T") for c in heads[:8]]
        check(s.ask("/reward", {"prompt": "a", "response": "b"})[0] == 200, "beside slow clients")
    began = time.time()
    check(s.end() == 0 and time.time() - began < 30, f"SIGTERM beside slow clients: {time.time() - began:.1f} s")
    [c.close() for c in [promised, flood, *heads]]


def late():
    """Clients that drip lose their connections; a slow upload, an idle connection and a busy server's clients do not."""
    s = Server("--client-timeout", "2", "--api-key-env", "SERVE_TEST_KEY", env={"SERVE_TEST_KEY": "sesame"})
    head = b"POST /reward HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sesame\r\n"
    body = json.dumps({"prompt": "a", "response": "b"}).encode()
    whole = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    answered = s.ask("/reward", body, headers={"Authorization": "Bearer sesame"})[1].encode()
    begun = {"the request line": b"POST /rew", "headers": head, "a body": head + b"Content-Length: 1000\r\n\r\n{", "a chunked body":
             head + b"Transfer-Encoding: chunked\r\n\r\n1;", "headers of a second request": whole, "half-closed": head + b"Content-Length: 9\r\n\r\n{"}
    drips = {}
    for name, text in begun.items():
        drips[name] = c = socket.create_connection(("127.0.0.1", s.port))
        c.sendall(text)
        if text is whole:
            check(c.recv(4096).endswith(answered), "before the second request")
            c.sendall(b"GET /hea")
        if name == "half-closed":
            c.shutdown(socket.SHUT_WR)
    quiet = socket.create_connection(("127.0.0.1", s.port))
    slow = socket.create_connection(("127.0.0.1", s.port))
    spaces = 40 * 8192  # over 4 s, 82 KB each
    slow.sendall(head + b"Content-Length: %d\r\n\r\n" % (spaces + len(body)))
    ended, began = {}, time.time()
    while time.time() - began < 4 or (len(ended) < len(drips) and time.time() - began < 20):
        time.sleep(0.1)
        if spaces:
            slow.sendall(b" " * 8192)
            spaces -= 8192
        for name, c in drips.items():
            try:
                if name not in ended and name != "half-closed":
                    c.sendall(b"x")
                if name not in ended and (c.setblocking(False), c.recv(1) == b"")[1]:
                    ended[name] = time.time() - began
            except BlockingIOError:
                c.setblocking(True)
            except OSError:
                ended[name] = time.time() - began
    check(len(ended) == len(drips) and min(ended[k] for k in ended if k != "half-closed") > 1.5, f"clients that drip are let go: {ended}")
    for c, text, what in (slow, b" " * spaces + body, "a slow upload"), (quiet, whole, "an idle connection"):
        c.settimeout(30)
        c.sendall(text)
        got = c.recv(4096)
        check(got.startswith(b"HTTP/1.1 200") and got.endswith(answered), f"{what}: {got}")
        c.close()
    figures = s.ask("/metrics", headers={"Authorization": "Bearer sesame"})[1]
    found = re.search(r"reward_connections_late_total (\d+)", figures)[1]
    check(int(found) >= len(drips) - 1, f"connections that ended since their clients were late: {found}")
    big = " " * (8 << 20)  # an answer before the end of a body would be lost with the connection
    check(s.ask("/reward", big)[0] == 401 and s.ask("/nowhere", big)[0] == 404, "a refusal behind a large body")
    s.end()
    [c.close() for c in drips.values()]


def places():
    path = work / "socket"
    s = Server(listen=f"unix:{path}")
    c = http.client.HTTPConnection("localhost")
    c.sock = socket.socket(socket.AF_UNIX)
    c.sock.connect(str(path))
    c.request("POST", "/reward", json.dumps({"prompt": "a", "response": "b"}))
    check(isinstance(json.loads(c.getresponse().read()), float) and s.url == f"unix:{path}", "a Unix socket")
    check(path.stat().st_mode & 0o077 == 0, "the socket is this user's alone")
    c.close()
    s.end()
    check(not path.exists(), "the socket goes with the server")
    tiny_model.make(work / "other", 9)
    s = Server("--model", f"second={work / 'other'}", "--activation", "sigmoid")
    one = score([{"prompt": "a", "response": "b"}], model=work / "other")[0]["score"]
    got = s.json("/v1/rewards", {"prompt": "a", "response": "b", "model": "second"})[1]["score"]
    check(got == one, "a second model by its name")
    probs = s.json("/classify", {"model": "second", "messages": say("a", "b")})[1]["data"][0]["probs"]
    check(abs(probs[0] - 1 / (1 + math.exp(-one))) < 1e-7, "--activation sigmoid")
    s.end()
    if shutil.which("openssl"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", work / "key.pem", "-out", work / "cert.pem",
                        "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True)
        s = Server("--tls-cert", work / "cert.pem", "--tls-key", work / "key.pem")
        trust = ssl.create_default_context(cafile=work / "cert.pem")
        trust.check_hostname = False
        c = http.client.HTTPSConnection("127.0.0.1", s.port, context=trust)
        check(s.url.startswith("https://") and s.ask("/health", connection=c)[0] == 200, "TLS")
        c.close()
        s.end()


def usages():
    """What cannot be served is said before anything listens."""
    for options, text in [
        (["--listen", "127.0.0.1:99999"], "--listen: 127.0.0.1:99999: expected a port of 0 to 65535"), (["--listen", "127.0.0.1:http"], "expected a port"),
        (["--listen", "unix:"], "--listen: unix:: expected a path"), (["--listen", "8000"], "expected ADDR:PORT or unix:PATH"),
        (["--model", "="], "--model: expected DIR or NAME=DIR"), (["--model", f"={work / 'rm'}"], "--model: expected DIR or NAME=DIR"),
        (["--model", "a="], "--model: expected DIR or NAME=DIR"), (["--model", work / "rm"], "--model: two have the name 'rm'"),
        (["--tls-cert", "x.pem"], "--tls-cert and --tls-key belong together"), (["--api-key-env", "SERVE_NO_KEY"], "SERVE_NO_KEY, got none"),
    ]:
        r = subprocess.run([REWARD, "serve", "--model", work / "rm", *options], capture_output=True, text=True, timeout=60)
        check(r.returncode == 2 and text in r.stderr and not r.stdout, f"{options}: {r.returncode} {r.stderr} {r.stdout}")


def policies():
    """Texts in a policy's template are read back to messages and rendered by the model's own."""
    policy = work / "policy"
    shutil.copytree(work / "rm", policy)
    config = json.loads((policy / "tokenizer_config.json").read_text())
    config["chat_template"] = ("{{ bos_token }}{% if messages[0]['role'] != 'system' %}[S]Be kind.[/S]{% endif %}{% for m in messages %}"
                               "{% if m['role'] == 'system' %}[S]{{ m['content'] }}[/S]{% elif m['role'] == 'user' %}[U]{{ m['content'] | trim }}[/U]"
                               "{% else %}[A]{{ m['content'] }}[/A]\n{% endif %}{% endfor %}")
    (policy / "tokenizer_config.json").write_text(json.dumps(config))
    s = Server("--query-template", policy)
    ask = lambda text: s.json("/get_reward", {"query": [text]})
    of = lambda *turns: score([{"messages": [{"role": r, "content": c} for r, c in turns]}])[0]["score"]
    one = of(("user", "Hi"), ("assistant", "Hello"))
    for text in "<s>[S]Be kind.[/S][U]Hi[/U][A]Hello[/A]\n", "[S]Be kind.[/S][U]Hi[/U][A]Hello[/A]", "<s>[S]Be kind.[/S][U]Hi[/U][A]Hello":
        check(ask(text)[1].get("rewards") == [one], f"a policy's text: {text!r}: {ask(text)}")
    two = of(("user", "Hi"), ("assistant", "Hello"), ("user", "And?"), ("assistant", "No"))
    check(ask("<s>[S]Be kind.[/S][U]Hi[/U][A]Hello[/A]\n[U]And?[/U][A]No[/A]\n")[1].get("rewards") == [two], "two turns")
    system = of(("system", "Short."), ("user", "Hi"), ("assistant", "Hello"))
    check(ask("<s>[S]Short.[/S][U]Hi[/U][A]Hello[/A]\n")[1].get("rewards") == [system], "a system message")
    for text in "Hi", "<s>[S]Be kind.[/S][U]Hi", "<s>[S]Be kind.[/S][U] Hi[/U][A]Hello[/A]\n", "<s>[U]Hi[/U][A]Hello[/A]\n":
        status, answer = ask(text)
        check(status == 422 and "error" in answer, f"no policy's text: {text!r}: {status} {answer}")
    s.end()


tiny_model.make(work / "rm")
try:
    s = Server()
    protocols(s)
    evaluations(s)
    errors(s)
    connections(s)
    load(s)
    check(s.end() == 0, "the end of the first server")
    s = Server("--wait-ms", "0", "--batch-tokens", "64")
    load(s)
    s.end()
    for mib in "1", "64":  # so small that blocks make room for others, and large enough for all
        s = Server("--prefix-cache", mib)
        protocols(s)
        load(s)
        prefixes(s, mib == "64")
        s.end()
    limits()
    slow()
    late()
    places()
    usages()
    endings()
    policies()
finally:
    if bad:
        print((work / "serve.err").read_text()[-2000:])
    shutil.rmtree(work)
print(f"{len(bad)} failed" if bad else "every answer is right")
sys.exit(bool(bad))

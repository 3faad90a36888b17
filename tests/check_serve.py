#!/usr/bin/env python3
"""`reward serve` as its clients meet it: every protocol's answer beside `reward score`, errors, load, kept prompts.

usage: check_serve.py      (BUILD names the build folder; SERVE_SECONDS: how long the load lasts, 5)
"""
import json
import math
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import threading
import time

import tiny_model
from serving import REWARD, ROOT, Server, check, finish, rendered, say, score, work

LOAD_SECONDS = float(os.environ.get("SERVE_SECONDS", "5"))


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


def prefixes(s, mib):
    """What was computed before is found again, to the same bits."""
    roomy = mib > 1
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
    check(figure("reward_prefix_bytes") <= mib * 2**20 and (roomy or figure("reward_prefix_evicted_blocks_total") > 0), "the bound of the cache")


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


def faults():
    """What cannot be scored is an error, never a number."""
    s = Server("--deadline", "0.01", "--wait-ms", "200")  # who waits for company waits too long
    check(s.ask("/reward", {"prompt": "a", "response": "b"})[0] == 503, "--deadline")
    s.end()
    tiny_model.make(work / "large")
    path = work / "large" / "model.safetensors"
    data = bytearray(path.read_bytes())
    n = struct.unpack_from("<Q", data)[0]
    a, b = json.loads(data[8:8 + n])["score.weight"]["data_offsets"]
    for i in range(8 + n + a, 8 + n + b, 4):
        struct.pack_into("<f", data, i, math.copysign(3e38, struct.unpack_from("<f", data, i)[0]))
    path.write_bytes(data)
    s = Server(model=work / "large")
    row = {"prompt": "a", "response": "b"}
    status, text, _ = s.ask("/reward", row)
    check(status == 500 and "error" in json.loads(text), f"a score that is not finite: {status} {text}")
    status, answer = s.json("/v1/rewards", {"rows": [row, {"prompt": 1}]})
    check(all("error" in r and "score" not in r for r in answer["rows"]), f"rows whose scores are not finite: {status} {answer}")
    s.end()


def run():
    s = Server()
    protocols(s)
    evaluations(s)
    errors(s)
    load(s)
    prefixes(s, 256)  # the default
    check(s.end() == 0, "the end of the first server")
    s = Server("--wait-ms", "0", "--batch-tokens", "64", "--prefix-cache", "0")
    load(s)
    check(re.search(r"^reward_prefix_bytes\{.*\} 0$", s.ask("/metrics")[1], re.M), "nothing is kept")
    s.end()
    s = Server("--prefix-cache", "1")  # so small that blocks make room for others
    protocols(s)
    load(s)
    prefixes(s, 1)
    s.end()
    faults()
    policies()


finish(run)

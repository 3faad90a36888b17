#!/usr/bin/env python3
"""`reward eval --endpoint` against llama.cpp's own server with a real model: SmolLM2-135M-Instruct of `make deps-model`.

    python3 -m venv v && v/bin/pip install xllamacpp        # llama.cpp's server in a wheel
    LLAMA_PYTHON=v/bin/python tests/check_llama_server.py

Skipped (exit status 77) where that Python lacks xllamacpp, or the model is not there (REWARD_GGUF names another).
What this model thinks of the pairs means nothing; what is checked is that requests are understood, that the replies are
read as any client reads them, and that a grammar forces verdicts.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REWARD = ROOT / os.environ.get("BUILD", "build") / "reward"
GGUF = Path(os.environ.get("REWARD_GGUF", ROOT / ".deps/SmolLM2-135M-Instruct.Q4_1.gguf"))
PYTHON = os.environ.get("LLAMA_PYTHON", sys.executable)
KEY = "sk-llama-loopback-4711"
SERVER = """
import sys, time, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, key = sys.argv[1:]
p.n_ctx, p.n_parallel, p.api_keys, p.hostnames, p.port = 4096, 2, [key], ["127.0.0.1"], 0
s = xllamacpp.Server(p)
print(s.listening_address, flush=True)
sys.stdin.read()
"""

if subprocess.run([PYTHON, "-c", "import xllamacpp"], capture_output=True).returncode:
    print(f"{PYTHON} has no xllamacpp")
    sys.exit(77)
if not GGUF.exists():
    print(f"{GGUF} is not there; make deps-model fetches it")
    sys.exit(77)

work = Path(tempfile.mkdtemp())
data = work / "pairs.jsonl"
data.write_text('{"prompt": "What is 2+2?", "chosen": "4", "rejected": "5"}\n'
                '{"prompt": "Name a colour.", "chosen": "Blue.", "rejected": "I like \\"trains\\" \\u2014 \\ud83d\\ude82"}\n')
server = subprocess.Popen([PYTHON, "-c", SERVER, str(GGUF), KEY], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)
try:
    url = server.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:"), url
    env = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()} | {"OPENAI_API_KEY": KEY}

    def judge(name, params, key=KEY):
        out = work / f"{name}.json"
        p = subprocess.run([str(REWARD), "eval", "--suite", "pairs", "--data", str(data), "--endpoint", url + "/v1", "--endpoint-kind", "chat",
                            "--endpoint-params", json.dumps(params), "--cache", str(work / f"{name}.jsonl"), "-o", str(out), "--retries", "1"],
                           capture_output=True, text=True, env=env | {"OPENAI_API_KEY": key}, timeout=300)
        assert key not in p.stdout + p.stderr
        return p, json.loads(out.read_text()) if out.exists() else None

    p, r = judge("key", {}, key="sk-another")
    assert p.returncode == 1 and "HTTP status 401: Invalid API Key" in p.stderr, p.stderr

    # a grammar forces verdicts: each of the answers counts, and as this test reads them
    p, r = judge("forced", {"max_tokens": 8, "grammar": 'root ::= "[[" [ABC] "]]"'})
    assert p.returncode == 0, p.stderr
    bodies = [json.loads(json.loads(l)["body"]) for l in (work / "forced.jsonl").read_text().splitlines()]
    texts = [b["choices"][0]["message"]["content"] for b in bodies]
    assert len(texts) == 4 and all(re.fullmatch(r"\[\[[ABC]\]\]", t) for t in texts), texts
    a, j = r["judge"]["answers"], r["judge"]
    assert (a["first"], a["second"], a["tie"]) == tuple(texts.count(f"[[{c}]]") for c in "ABC"), (a, texts)
    assert j["won"] + j["lost"] + j["tied"] + j["swapped"] == j["comparisons"] == 2, j

    # free text, cut after a few tokens: whatever it says is counted, once each
    p, r = judge("free", {"max_tokens": 6})
    assert p.returncode == 0, p.stderr
    a = r["judge"]["answers"]
    assert sum(a.values()) == 4 and r["endpoint"]["requests"] == 4, a
    body = json.loads(json.loads((work / "free.jsonl").read_text().splitlines()[0])["body"])
    assert body["usage"]["completion_tokens"] <= 6, body["usage"]
    print(f"4 forced verdicts {texts}; free answers {a}")
finally:
    server.kill()

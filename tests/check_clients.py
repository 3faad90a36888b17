#!/usr/bin/env python3
"""`reward serve` met by clients that others wrote: openai, cohere, huggingface_hub, and the routers that stand before
servers of vLLM and SGLang; and by the functions of verl and OpenRLHF that ask for rewards, cut out of their files, since
the packages themselves need a GPU's. Skipped where they are missing.

usage: check_clients.py      (BUILD names the build folder; make deps-dev puts the clients into .deps/clients)
"""
import ast
import asyncio
import importlib.metadata
import importlib.util
import itertools
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import types
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
venv = ROOT / ".deps" / "clients" / "bin" / "python"
if venv.exists() and not os.environ.get("REWARD_CLIENTS"):
    os.environ["REWARD_CLIENTS"] = "1"
    os.execv(venv, [str(venv), *sys.argv])
PACKAGES = "openai", "cohere", "huggingface_hub", "vllm-router", "sglang-router", "verl", "openrlhf"
try:
    import aiohttp
    import cohere
    import huggingface_hub
    import openai
    import sglang_router
    import vllm_router
    for name in PACKAGES:
        importlib.metadata.version(name)
except ImportError as e:
    print(f"no client package: {e}; make deps-dev installs them")
    sys.exit(77)
sys.path.insert(0, str(Path(__file__).resolve().parent))
import tiny_model

REWARD = ROOT / os.environ.get("BUILD", "build") / "reward"
work = Path(tempfile.mkdtemp())
tiny_model.make(work / "rm")
rows = b'{"prompt": "2+2?", "responses": ["4", "5", "who knows"]}'
scored = subprocess.run([REWARD, "score", "--model", work / "rm", "-q"], input=rows, capture_output=True).stdout
want = json.loads(scored)["scores"]


def ask(url, body=None):
    data = body and json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=30) as r:
        return json.load(r)


def methods(package, path, owner, *names):
    """Methods of a class of a package that is not imported."""
    folder = Path(importlib.util.find_spec(package).submodule_search_locations[0])
    tree = ast.parse((folder / path).read_text())
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == owner)
    found = {"aiohttp": aiohttp, "asyncio": asyncio, "logger": logging.getLogger(package)}
    text = "\n".join(ast.unparse(n) for n in body if getattr(n, "name", None) in names)
    exec("from __future__ import annotations\n" + text, found)
    return [found[n] for n in names]


async def trainers(url, text, want):
    space = types.SimpleNamespace
    post, score = methods("verl", "experimental/reward_loop/reward_loop.py", "RewardLoopWorker", "_post_request", "compute_score_disrm")

    async def rendered(data):
        return text.removeprefix("<s>")

    for engine in "vllm", "sglang":
        model = space(rollout=space(name=engine), model_path=str(work / "rm"))
        worker = space(reward_router_address=url.removeprefix("http://"), config=space(reward=space(reward_model=model)), _preprocess_reward_inputs=rendered)
        worker._post_request = types.MethodType(post, worker)
        assert await score(worker, None) == {"reward_score": want[0]}, f"verl, {engine}"
    fetch, = methods("openrlhf", "utils/agent.py", "SingleTurnAgentExecutor", "_fetch_rewards_via_http")
    servers = [url + "/get_reward"] * 2  # more than samples
    agent = space(reward_endpoints=servers, _reward_endpoint_cycle=itertools.cycle(servers))
    got = await fetch(agent, [text], [text.removesuffix("4<|end|>")], ["4"])
    assert [r["rewards"] for r in got] == [want[:1]], got


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def router(kind, worker):
    """A router with one worker, once it says that the worker is well: its address and process."""
    port = free_port()
    p = subprocess.Popen([sys.executable, "-m", f"{kind}_router.launch_router", "--worker-urls", worker, "--host", "127.0.0.1", "--port",
                          port, "--prometheus-port", free_port()], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    at = f"http://127.0.0.1:{port}"
    for _ in range(300):
        assert p.poll() is None, f"{kind}'s router ended"
        try:
            if ask(at + "/readiness")["healthy_workers"] == 1:
                return at, p
        except (OSError, KeyError):
            pass
        time.sleep(0.1)
    p.kill()
    raise AssertionError(f"{kind}'s router found no healthy worker")


def through_routers(worker, text, want, order):
    for kind in "vllm", "sglang":
        at, p = router(kind, worker)
        try:
            assert ask(at + "/get_model_info")["served_model_name"] == "rm"
            assert [m["id"] for m in ask(at + "/v1/models")["data"]] == ["rm"]
            assert ask(at + "/v1/embeddings", {"model": "rm", "input": text})["data"][0]["embedding"] == want[:1]
            assert ask(at + "/v1/classify", {"model": "rm", "input": text})["data"][0]["probs"] == want[:1]
            for path in "/rerank", "/v1/rerank":  # the router's own f32 and its own digits
                r = ask(at + path, {"model": "rm", "query": "2+2?", "documents": ["4", "5", "who knows"]})["results"]
                assert [x["index"] for x in r] == order and all(abs(x["score"] - want[x["index"]]) < 1e-6 for x in r), r
            if kind == "vllm":
                assert ask(at + "/classify", {"model": "rm", "input": text, "use_activation": False})["data"][0]["probs"] == want[:1]
                assert ask(at + "/pooling", {"model": "rm", "input": text})["data"][0]["data"] == want[:1]
        finally:
            p.terminate()
            p.wait(30)


server = subprocess.Popen([REWARD, "serve", "--model", work / "rm", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
try:
    url = server.stdout.readline().decode().strip()
    talk = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
    text = "<s><|user|>2+2?<|end|><|assistant|>4<|end|>"

    c = openai.OpenAI(base_url=url + "/v1", api_key="none")
    assert [m.id for m in c.models.list()] == ["rm"] and c.models.retrieve("rm").id == "rm"
    r = c.chat.completions.create(model="rm", messages=talk)
    assert float(r.choices[0].message.content.removeprefix("reward:")) == want[0] and r.usage.prompt_tokens == 10
    r = c.chat.completions.create(model="rm", messages=talk, extra_headers={"reward_format": "number"})
    assert float(r.choices[0].message.content) == want[0]
    assert c.embeddings.create(model="rm", input=text).data[0].embedding == [want[0]]
    try:
        c.chat.completions.create(model="nobody", messages=talk)
        assert False, "an unknown model was answered"
    except openai.NotFoundError as e:
        assert "nobody" in str(e)

    order = sorted(range(3), key=lambda i: -want[i])
    for client in cohere.Client, cohere.ClientV2:
        r = client(api_key="none", base_url=url).rerank(model="rm", query="2+2?", documents=["4", "5", "who knows"], top_n=2)
        assert [(x.index, x.relevance_score) for x in r.results] == [(i, want[i]) for i in order[:2]]

    hf = huggingface_hub.InferenceClient(url)
    r = hf.text_classification(text, function_to_apply="none")
    assert (r.label, r.score) == ("LABEL_0", want[0])
    r = huggingface_hub.InferenceClient(base_url=url).chat_completion(talk, model="rm")
    assert float(r.choices[0].message.content.removeprefix("reward:")) == want[0]
    asyncio.run(trainers(url, text, want))
    through_routers(url, text, want, order)
finally:
    server.terminate()
    server.wait(30)
    shutil.rmtree(work)
print(", ".join(f"{n} {importlib.metadata.version(n)}" for n in PACKAGES) + ": every answer is right")

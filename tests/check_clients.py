#!/usr/bin/env python3
"""`reward serve` met by clients that others wrote: openai, cohere, huggingface_hub. Skipped where they are missing.

usage: check_clients.py      (BUILD names the build folder; make deps-dev puts the clients into .deps/clients)
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
venv = ROOT / ".deps" / "clients" / "bin" / "python"
if venv.exists() and not os.environ.get("REWARD_CLIENTS"):
    os.environ["REWARD_CLIENTS"] = "1"
    os.execv(venv, [str(venv), *sys.argv])
try:
    import cohere
    import huggingface_hub
    import openai
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
server = subprocess.Popen([REWARD, "serve", "--model", work / "rm", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
try:
    url = server.stdout.readline().decode().strip()
    talk = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
    text = "<s><|user|>2+2?<|end|><|assistant|>4<|end|>"

    c = openai.OpenAI(base_url=url + "/v1", api_key="none")
    assert [m.id for m in c.models.list()] == ["rm"]
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
finally:
    server.terminate()
    server.wait(30)
    shutil.rmtree(work)
print(f"openai {openai.__version__}, cohere {cohere.__version__}, huggingface_hub {huggingface_hub.__version__}: every answer is right")

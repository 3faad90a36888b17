"""A reward function for TRL's GRPOTrainer that asks `reward serve`. A step's completions are one request: the server
computes each prompt once.

    from trl_grpo import reward
    trainer = GRPOTrainer(model=..., reward_funcs=reward, ...)

REWARD_URL is the server's address (http://127.0.0.1:8000), REWARD_API_KEY its key, if it has one. Both of TRL's forms
of data are read: messages, and plain text.
"""
import json
import os
import time
import urllib.error
import urllib.request


def rows_of(prompts, completions):
    for prompt, completion in zip(prompts, completions, strict=True):
        if isinstance(completion, str):
            completion = [{"role": "assistant", "content": completion}]
        if isinstance(prompt, str):
            prompt = [{"role": "user", "content": prompt}]
        yield {"messages": [*prompt, *completion]}


def reward(prompts, completions, **_):
    url = os.environ.get("REWARD_URL", "http://127.0.0.1:8000") + "/v1/rewards"
    headers = {"Content-Type": "application/json"}
    if os.environ.get("REWARD_API_KEY"):
        headers["Authorization"] = "Bearer " + os.environ["REWARD_API_KEY"]
    body = json.dumps({"rows": list(rows_of(prompts, completions))}).encode()
    for k in range(8):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=300) as r:
                rows = json.load(r)["rows"]
            break
        except urllib.error.HTTPError as e:
            why = e.read().decode(errors="replace")
            if e.code not in (429, 503) or k == 7:  # busy: asked again when the server says so
                raise RuntimeError(f"{url}: {e.code}: {why}") from e
            time.sleep(float(e.headers.get("Retry-After") or 1))
    for i, row in enumerate(rows):
        if "error" in row:
            raise RuntimeError(f"completion {i}: {row['error']}")  # never a made-up reward
    return [row["score"] for row in rows]

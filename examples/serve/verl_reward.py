"""A reward function for verl that asks `reward serve`: its own reward models it starts by itself, from a folder that
vLLM or SGLang can open, so that a server of another kind is reached through a function.

    custom_reward_function.path=examples/serve/verl_reward.py
    custom_reward_function.name=compute_score
    +custom_reward_function.reward_kwargs.url=http://127.0.0.1:8000

verl hands over the response without its prompt. The prompt is taken from the row's extra_info: put it there when the
data set is made, as messages or as a text, under "prompt". REWARD_API_KEY holds the server's key, if it has one.
"""
import json
import os
import time
import urllib.error
import urllib.request


def ask(url, body, seconds=120, tries=8):
    """The server's answer. A busy server (429, 503) is asked again when it says so; no other error is."""
    headers = {"Content-Type": "application/json"}
    if os.environ.get("REWARD_API_KEY"):
        headers["Authorization"] = "Bearer " + os.environ["REWARD_API_KEY"]
    for k in range(tries):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=seconds) as r:
                return json.load(r)
        except urllib.error.HTTPError as e:
            why = e.read().decode(errors="replace")
            if e.code not in (429, 503) or k == tries - 1:
                raise RuntimeError(f"{url}: {e.code}: {why}") from e  # never a made-up reward
            time.sleep(float(e.headers.get("Retry-After") or 1))


def compute_score(data_source, solution_str, ground_truth, extra_info=None, url="http://127.0.0.1:8000", **_):
    prompt = (extra_info or {})["prompt"]
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    return ask(url + "/v1/rewards", {"messages": [*prompt, {"role": "assistant", "content": solution_str}]})["score"]

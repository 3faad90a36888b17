#!/usr/bin/env python3
"""examples/serve/ and docs/serving.md's curl lines, run against a server of a small random model: the reward that
arrives is the one that `reward score` gives. Trainers themselves are stood in for by their arguments and data forms.

usage: check_examples_serve.py      (BUILD names the build folder)
"""
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples" / "serve"
sys.path[:0] = [str(ROOT / "tests"), str(EXAMPLES)]
import tiny_model
import trl_grpo
import verl_reward

REWARD = ROOT / os.environ.get("BUILD", "build") / "reward"
work = Path(tempfile.mkdtemp())
tiny_model.make(work / "rm")


def scores(rows):
    text = "".join(json.dumps(r) + "\n" for r in rows)
    out = subprocess.run([REWARD, "score", "--model", work / "rm", "-q"], input=text.encode(), capture_output=True, check=True)
    return [json.loads(line).get("score") for line in out.stdout.decode().splitlines()]


def post(url, body):
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=60) as r:
        return json.load(r)


def command(name, text):
    """A program of that name that goes before all others."""
    path = work / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/usr/bin/env bash\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def trainers(url):
    user = lambda text: {"role": "user", "content": text}
    assistant = lambda text: {"role": "assistant", "content": text}
    want = scores([{"prompt": "2+2?", "response": r} for r in ("4", "five")])
    assert verl_reward.compute_score("math", "4", "4", {"prompt": "2+2?"}, url=url) == want[0]
    assert verl_reward.compute_score("math", "five", "4", {"prompt": [user("2+2?")], "index": 3}, url=url, more=1) == want[1]
    os.environ["REWARD_URL"] = url
    assert trl_grpo.reward(["2+2?", "2+2?"], ["4", "five"], completion_ids=[[1], [2]]) == want
    assert trl_grpo.reward(prompts=[[user("2+2?")]] * 2, completions=[[assistant("4")], [assistant("five")]]) == want
    for wrong in lambda: trl_grpo.reward(["a"], ["x" * 5000]), lambda: verl_reward.compute_score("", "x" * 5000, "", {"prompt": "a"}, url=url):
        try:
            wrong()
        except (RuntimeError, KeyError):
            continue
        raise AssertionError("a response that is too long got a reward")

    command("python3", 'printf "%s\\n" "$@"\n')
    env = {**os.environ, "PATH": f"{work / 'bin'}:{os.environ['PATH']}", "URL": url}
    says = lambda *line: subprocess.run(line, env=env, capture_output=True, check=True, text=True).stdout.splitlines()
    words = says("bash", EXAMPLES / "openrlhf.sh", "policy", "--train.batch_size", "8")
    remote = words[words.index("--reward.remote_url") + 1]
    text = "<s><|user|>2+2?<|end|><|assistant|>4<|end|>"
    assert words[-2:] == ["--train.batch_size", "8"]
    assert post(remote, {"query": [text], "prompts": ["<s><|user|>2+2?<|end|><|assistant|>"], "labels": [None]})["rewards"] == want[:1]
    words = says("bash", EXAMPLES / "slime.sh", "--lr", "1e-6")
    remote = words[words.index("--rm-url") + 1]
    assert post(remote, {"prompt": [user("2+2?")], "response": "4", "label": "4"}) == want[0]
    (work / "bin" / "python3").unlink()


def slurm():
    """Two tasks, each a server that writes its address down."""
    command("srun", 'while [ "${1:0:1}" = - ]; do shift; done\n"$@" &\n"$@" &\nwait\n')
    urls = work / "urls"
    env = {**os.environ, "PATH": f"{work / 'bin'}:{REWARD.parent}:{os.environ['PATH']}", "MODEL": str(work / "rm"), "URLS": str(urls),
           "SLURMD_NODENAME": "127.0.0.1"}
    job = subprocess.Popen(["bash", EXAMPLES / "slurm.sh", "--quiet"], env=env, start_new_session=True)
    try:
        until = time.time() + 60
        while time.time() < until and (not urls.exists() or len(urls.read_text().splitlines()) < 2):
            time.sleep(0.05)
        found = urls.read_text().splitlines()
        assert len(set(found)) == 2, found
        assert len({post(u + "/reward", {"prompt": "a", "response": "b"}) for u in found}) == 1
    finally:
        os.killpg(job.pid, signal.SIGTERM)
        job.wait(60)


def unit():
    subprocess.run(["bash", "-n", EXAMPLES / "slurm.sh"], check=True)
    text = (EXAMPLES / "reward.service").read_text()
    line = re.search(r"^ExecStart=(\S+) (.*)$", text, re.M)
    options = set(re.findall(r"--[a-z-]+", line[2]))
    known = subprocess.run([REWARD, "serve", "--help"], capture_output=True, check=True, text=True).stdout
    assert options and all(o in known for o in options), options
    if not shutil.which("systemd-analyze"):
        return print("no systemd-analyze: the unit was not verified")
    (work / "reward.service").write_text(text.replace(line[1], str(REWARD)))
    r = subprocess.run(["systemd-analyze", "verify", work / "reward.service"], capture_output=True, text=True)
    assert r.returncode == 0 and "reward.service" not in r.stderr, r.stderr


def curl_lines(url):
    lines = [line for line in (ROOT / "docs" / "serving.md").read_text().splitlines() if line.startswith("curl ")]
    assert len(lines) >= 4 and all("127.0.0.1:8000" in line for line in lines), lines
    if not shutil.which("curl"):
        return print("no curl: its lines were not run")
    for line in lines:
        out = subprocess.run(["bash", "-c", line.replace("127.0.0.1:8000", url.removeprefix("http://"))], capture_output=True, text=True)
        answer = json.loads(out.stdout)
        assert out.returncode == 0 and "error" not in str(answer), (line, out)
        if "/v1/rewards" in line and "responses" in line:
            assert answer["scores"] == scores([{"prompt": "2+2?", "response": r} for r in ("4", "5")]), answer
        if "/reward " in line:
            assert answer == scores([{"prompt": "2+2?", "response": "4"}])[0], answer


server = subprocess.Popen([REWARD, "serve", "--model", work / "rm", "--listen", "127.0.0.1:0", "-q"], stdout=subprocess.PIPE)
try:
    at = server.stdout.readline().decode().strip()
    trainers(at)
    curl_lines(at)
    slurm()
    unit()
finally:
    server.terminate()
    server.wait(30)
    shutil.rmtree(work)
print("the examples and the curl lines give what reward score gives")

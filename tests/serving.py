"""What check_serve.py and check_serve_front.py share: a running server, and what `reward score` says of the same."""
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import tiny_model

ROOT = Path(__file__).resolve().parent.parent
REWARD = ROOT / os.environ.get("BUILD", "build") / "reward"
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


def finish(run):
    """Runs the checks over a new model's folder; the exit status."""
    tiny_model.make(work / "rm")
    try:
        run()
    finally:
        if bad:
            print((work / "serve.err").read_text()[-2000:])
        shutil.rmtree(work)
    print(f"{len(bad)} failed" if bad else "every answer is right")
    sys.exit(bool(bad))

#!/usr/bin/env python3
"""`reward serve`'s connections: limits, slow and broken clients, TLS, sockets, signals, wrong usages.

usage: check_serve_front.py      (BUILD names the build folder)
"""
import http.client
import json
import math
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import tiny_model
from serving import REWARD, Server, check, finish, say, score, work


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


def drained():
    """64 connections, each with a request that waits when SIGTERM comes: all are answered, and nobody new is let in."""
    rows = [{"prompt": "a" * 40, "response": "b" * (i % 8 + 1)} for i in range(64)]  # fewer tokens than a pass takes
    want = score(rows)
    s = Server("--wait-ms", "5000")
    asked = [s.connect() for _ in rows]
    for c, r in zip(asked, rows):
        c.request("POST", "/reward", json.dumps(r))
    waiting = lambda: float(re.search(r"^reward_waiting_tokens\{.*\} (\S+)", s.ask("/metrics")[1], re.M)[1])
    until, whole = time.time() + 4, sum(r["tokens"] for r in want)
    while (held := waiting()) < whole and time.time() < until:
        time.sleep(0.01)
    s.process.send_signal(signal.SIGTERM)
    got = [json.loads(c.getresponse().read()) for c in asked]
    check(held == whole and got == [r["score"] for r in want], f"SIGTERM, 64 wait with {held} of {whole} tokens: {got}")
    check(s.process.wait(60) == 0, "SIGTERM: status 0 once they are answered")
    try:
        socket.create_connection(("127.0.0.1", s.port)).close()
        check(False, "a connection after the end")
    except OSError:
        pass


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
    drained()
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


def run():
    s = Server()
    connections(s)
    check(s.end() == 0, "the end of the first server")
    limits()
    slow()
    late()
    places()
    usages()
    endings()


finish(run)

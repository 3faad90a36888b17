#!/usr/bin/env python3
"""The library from outside: examples/embed compiled against an installation, and the Python module, score as the
program does. The model is tests/data/model/llama with rows of its embedding repeated, so that a tokenizer fits it."""
import json, os, shutil, struct, subprocess, sys, tempfile, threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / os.environ.get("BUILD", "build")
VOCAB = 448
if subprocess.run(["sh", "-c", "command -v pkg-config"], capture_output=True).returncode:
    print("pkg-config is not installed")
    sys.exit(77)


def run(*command, env=None, status=0):
    r = subprocess.run([str(c) for c in command], capture_output=True, text=True, env={**os.environ, **(env or {})})
    assert r.returncode == status, f"{command}: {r.returncode}\n{r.stdout}{r.stderr}"
    return r.stderr if status else r.stdout


def make_model(out):
    source = ROOT / "tests/data/model/llama"
    shutil.copytree(ROOT / "tests/data/tokenizer/llama3", out)
    config = json.loads((source / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "vocab_size": VOCAB}))
    (out / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    raw = (source / "model.safetensors").read_bytes()
    (n,) = struct.unpack("<Q", raw[:8])
    header, data, tensors, at = json.loads(raw[8 : 8 + n]), raw[8 + n :], b"", 0
    for name, t in header.items():
        if name == "__metadata__":
            continue
        part = data[slice(*t["data_offsets"])]
        if name.endswith("embed_tokens.weight"):
            row = len(part) // t["shape"][0]
            part = (part * (VOCAB // t["shape"][0] + 1))[: VOCAB * row]
            t["shape"][0] = VOCAB
        t["data_offsets"] = [at, at + len(part)]
        tensors, at = tensors + part, at + len(part)
    text = json.dumps(header).encode()
    (out / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + tensors)


def check_examples(tmp, model, want):
    installed = tmp / "installed"
    run("make", "-s", "-C", ROOT, "install", f"BUILD={BUILD}", f"PREFIX={installed}")
    env = {"PKG_CONFIG_PATH": str(installed / "lib/pkgconfig"), "LD_LIBRARY_PATH": str(installed / "lib")}
    flags = run("pkg-config", "--cflags", "--libs", "reward", env=env).split()
    warn = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    embed = ROOT / "examples/embed"
    run(os.environ.get("CC", "cc"), "-std=c11", *warn, embed / "score.c", "-o", tmp / "c", *flags)
    run(os.environ.get("CXX", "c++"), "-std=c++17", *warn, embed / "score.cpp", "-o", tmp / "cpp", *flags)
    said = [run(tmp / "c", model, "2+2?", answer, env=env).strip() for answer in ("4", "five")]
    assert said == want, (said, want)
    both = run(tmp / "cpp", model, "2+2?", "4", "five", env=env).split("\n")
    assert [line.split()[0] for line in both[:2]] == want and sum(line.endswith("*") for line in both) == 1, both
    for program in ("c", "cpp"):
        error = run(tmp / program, tmp / "nowhere", "a", "b", env=env, status=1)
        assert error.startswith("score: ") and "nowhere" in error, error


def check_module(model, rows, scored, want):
    os.environ.setdefault("REWARD_LIBRARY", str(BUILD / "libreward.so"))
    sys.path.insert(0, str(ROOT / "bindings/python"))
    import rewardc

    with rewardc.Model(model, threads=2) as m:
        chats = [[{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": a}] for a in ("4", "five")]
        assert ["%.9g" % m.score(c) for c in chats] == want
        got = m.score_rows(rows)
        assert got == scored, (got, scored)
        assert m.score_rows([]) == [] and m.dtype == "f32" and m.max_length > 0 and m.device
        results = [None] * 4  # from several threads at once

        def work(i):
            results[i] = m.score_rows(rows)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert all(r == scored for r in results)
        for bad in ([], [{"role": "user", "content": "who answers?"}]):
            try:
                m.score(bad)
                assert False, bad
            except rewardc.Error as e:
                assert e.status == "DATA" and str(e), e
    try:
        rewardc.Model("/nowhere/at/all")
        assert False
    except rewardc.Error as e:
        assert e.status == "IO" and "/nowhere/at/all" in str(e), e
    try:
        m.score(chats[0])
        assert False
    except ValueError:
        pass
    assert rewardc.version() in run(BUILD / "reward", "--version")


with tempfile.TemporaryDirectory() as folder:
    tmp = Path(folder)
    model = tmp / "model"
    make_model(model)
    rows = [{"prompt": "2+2?", "responses": ["4", "five"], "id": 7}, {"prompt": "x", "chosen": "é", "rejected": "no"},
            {"prompt": 3}, {"text": "as it is"}, {"input_ids": [1, 2, 3]}]
    (tmp / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    scored = run(BUILD / "reward", "score", "--quiet", "--model", model, tmp / "rows.jsonl", "-o", tmp / "out.jsonl",
                 status=1)  # one row has an error
    scored = [json.loads(line) for line in open(tmp / "out.jsonl")]
    assert "scores" in scored[0], scored
    want = ["%.9g" % s for s in scored[0]["scores"]]
    check_examples(tmp, model, want)
    check_module(model, rows, scored, want)
print("embedded, and from Python: the program's bits")

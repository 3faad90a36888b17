#!/usr/bin/env python3
"""POLAR, which compares an answer with a reference: its published text and ids (https://github.com/InternLM/POLAR) beside ours, in
every command, and its own client's requests to the server. Where torch and transformers are installed (REWARD_PYTHON), ids and
scores by them too; else plain Python over tests/data/model/internlm2.
"""
import http.client, json, os, random, shutil, subprocess, sys, tempfile
from pathlib import Path
from types import SimpleNamespace

if os.environ.get("REWARD_PYTHON") and not os.environ.get("REWARD_PYTHON_RUNS"):
    os.execve(os.environ["REWARD_PYTHON"], [os.environ["REWARD_PYTHON"], __file__], {**os.environ, "REWARD_PYTHON_RUNS": "1"})
try:
    import torch
    from safetensors.torch import load_file
    from transformers import PreTrainedTokenizerFast
except ImportError:
    torch = None

ROOT = Path(__file__).resolve().parent.parent
REWARD = str(ROOT / os.environ.get("BUILD", "build") / "reward")
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "reference")]
from tiny_model import byte_letters

work = Path(tempfile.mkdtemp())
bad = 0


def check(ok, what):
    global bad
    if not ok:
        bad = 1
        print("FAIL:", what)


def run(*words, rows=None, status=0, quiet=True):
    text = "".join(json.dumps(r) + "\n" for r in rows) if rows is not None else None
    p = subprocess.run([REWARD, *map(str, words), *(["-q"] if quiet else [])], input=text, capture_output=True, text=True)
    check(p.returncode == status, f"{words}: exit status {p.returncode}: {p.stderr[-300:]}")
    return [json.loads(line) for line in p.stdout.splitlines()] if rows is not None else p.stderr


CONTROL = {190: "<s>", 191: "<|reward|>", 192: "<|user|>", 199: "[UNUSED_TOKEN_130]"}


def model(folder, control=CONTROL):
    """internlm2 of the test data with a tokenizer of bytes, some of them joined."""
    shutil.copytree(ROOT / "tests" / "data" / "model" / "internlm2", folder)
    letters = [byte_letters()[b] for b in [*range(9, 11), *range(32, 127), *range(128, 192), *range(195, 200), *range(224, 230), *range(240, 241)]]
    vocab = {c: i + 3 for i, c in enumerate(letters)}
    merges = [["h", "e"], ["i", "n"], ["Ġ", "t"], ["Ċ", "Ċ"], ["Ċ", "T"], [".", "Ċ"]]
    for a, b in merges:
        vocab[a + b] = len(vocab) + 3
    vocab |= {f"<unused {i}>": i for i in range(190) if i not in vocab.values()}
    control = {i: control.get(i, f"<unused {i}>") for i in range(190, 200)}
    added = [dict(id=i, content=c, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True) for i, c in control.items()]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    bos = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
           "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [190], "tokens": ["<s>"]}}}
    (folder / "tokenizer.json").write_text(json.dumps(dict(
        version="1.0", added_tokens=added, normalizer=None, pre_tokenizer=level, post_processor=bos, decoder=level,
        model=dict(type="BPE", unk_token=None, fuse_unk=False, byte_fallback=False, vocab=vocab, merges=merges))))
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(
        tokenizer_class="PreTrainedTokenizerFast", bos_token="<s>", chat_template="{% for m in messages %}<|user|>{{ m.content }}{% endfor %}")))
    return folder


def lines(part):
    return part if isinstance(part, str) else "\n".join(m["content"] for m in part)


def published(prompt, reference, output):
    """The text that POLAR's client sends."""
    p = lines(prompt)
    return p + "\n" + lines(reference) + "<|reward|>" + p + "\n" + lines(output) + "[UNUSED_TOKEN_130]"


polar = model(work / "polar")
user, said = lambda t: {"role": "user", "content": t}, lambda t: {"role": "assistant", "content": t}
QUESTION = "How many 'r's are there in the word 'strawberry'?"
CASES = [(QUESTION, "There are 3.", "There are two 'r's."), (QUESTION, "There are 3.", "There are 3."),
         ([user("What is the capital of China?")], [said("Beijing.")], [said("Shanghai.")]),
         ([{"role": "system", "content": "Be brief."}, user("Hi"), said("Hello."), user("And\n\nnow?\n")], [said("Then this."), user("Why?"), said("So.")],
          [said("\nThe end.\n"), user("Sure?"), said(" Yes é 中 ")]),
         ("", "r", "o"), ("p", "", "o"), ("the\n", "\n\nin the\n", "the in\n\n")]

try:
    def whole(p, r, o):
        return {"prompt": p, "reference": r, "output": o}

    # ids: the text as a text, with BOS before it, is what the published code tokenizes
    texts = [published(*c) for c in CASES]
    ids = [[190, *r["input_ids"]] for r in run("tokenize", "--model", polar, rows=[{"text": t} for t in texts])]
    if torch:
        theirs = PreTrainedTokenizerFast.from_pretrained(polar)
        check(ids == theirs(texts)["input_ids"], "ids of the published text by transformers")
    want = run("score", "--model", polar, rows=[{"input_ids": i} for i in ids])
    got = run("score", "--model", polar, rows=[whole(*c) for c in CASES])
    check([r["score"] for r in got] == [r["score"] for r in want], "scores of rows and of the published ids")
    check([r["tokens"] for r in got] == [len(i) for i in ids], "tokens of rows and of the published ids")
    if torch:
        from families import InternLM2ForRewardModel
        m = InternLM2ForRewardModel(SimpleNamespace(**json.loads((polar / "config.json").read_text())))
        m.load_state_dict({k: v.float() for k, v in load_file(polar / "model.safetensors").items()})
        with torch.no_grad():
            off = max(abs(m(torch.tensor([i])).logits.item() - r["score"]) for i, r in zip(ids, got))
        check(off <= 1e-4, f"scores beside PyTorch's: off by {off}")

    # the same in other forms: a pair, several responses, messages, a reference of another name or a single message
    p, r, o = QUESTION, "There are 3.", ["There are two 'r's.", "There are 3."]
    by = [x["score"] for x in got[:2]]
    pair, many, talk, deep, one = run(
        "score", "--model", polar, "--map", "reference=reference", rows=[
            {"prompt": p, "reference": r, "chosen": o[0], "rejected": [said(o[1])]}, {"prompt": [user(p)], "reference": r, "responses": o},
            {"messages": [user(p), said(o[0])], "reference": [said(r)]}, {"chosen": [user(p), said(o[0])], "rejected": [user(p), said(o[1])], "reference": r},
            {"prompt": p, "response": o[1], "reference": r}])
    check([pair["chosen_score"], pair["rejected_score"]] == by == many["scores"], "a pair, and several responses")
    check([talk["score"], one["score"]] == by and [deep["chosen_score"], deep["rejected_score"]] == by, "whole conversations")
    named = run("score", "--model", polar, "--map", "reference=reward_model.ground_truth", rows=[
        {"prompt": [user(p)], "response": o[0], "reward_model": {"style": "polar", "ground_truth": [said(r)]}}])
    check(named[0]["score"] == by[0], "a reference by another name")

    # control tokens in contents are text; without a reference there is no score; another model's rows may mean something else by it
    hidden, plain = run("score", "--model", polar, rows=[{"prompt": "<|reward|>", "reference": "a", "output": "b"}, {"prompt": "[reward]..", "reference": "a", "output": "b"}])
    check(hidden["tokens"] == plain["tokens"], "a control token in a content is text")
    none = run("score", "--model", polar, rows=[{"prompt": p, "response": o[0]}, {"prompt": p, "response": o[0], "reference": 3}, {"text": "as it stands"}], status=1)
    check("reference" in none[0]["error"] and "reference" in none[1]["error"] and "score" in none[2], none)
    reads = {**{k: v for k, v in CONTROL.items() if k not in (191, 199)}, 199: "<|reward|>"}  # as InternLM2-Reward, which has no other
    usual = run("score", "--model", model(work / "usual", reads), rows=[{"prompt": p, "response": o[0], **more} for more in ({}, {"reference": r}, {"reference": 3})])
    check(usual[0]["score"] == usual[1]["score"] == usual[2]["score"], "a model that compares with no reference")

    # eval, and training towards one of two answers
    pairs = work / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"prompt": q, "reference": "yes", "chosen": "yes", "rejected": "no"}) + "\n" for q in ("Is it?", "Are they?", "Was it?")))
    run("eval", "--suite", "pairs", "--data", pairs, "--model", polar, "-o", work / "results.json")
    scored = run("score", "--model", polar, rows=[json.loads(x) for x in pairs.read_text().splitlines()])
    check(json.loads((work / "results.json").read_text())["overall"] == sum(x["chosen_score"] > x["rejected_score"] for x in scored) / 3 * 100, "eval")
    run("score", "--model", polar, pairs, "-o", work / "scored.jsonl")
    run("eval", "--suite", "pairs", "--data", pairs, "--scores", work / "scored.jsonl", "-o", work / "kept.json")
    (work / "other.jsonl").write_text((work / "scored.jsonl").read_text().replace('"reference": "yes"', '"reference": "no"').replace('"reference":"yes"', '"reference":"no"'))
    refusal = run("eval", "--suite", "pairs", "--data", pairs, "--scores", work / "other.jsonl", "-o", work / "no.json", status=1)
    check("was scored with other" in refusal, "scores with another reference")
    run("train", "--model", polar, "--data", pairs, "--out", work / "out", "--steps", 4, "--lr", "1e-3")
    after = run("score", "--model", work / "out", rows=[json.loads(x) for x in pairs.read_text().splitlines()])
    check(all(a["chosen_score"] - a["rejected_score"] > b["chosen_score"] - b["rejected_score"] for a, b in zip(after, scored)), "four steps on pairs")

    # serve: rows, what POLAR's client asks of SGLang, and a reference beside whatever has messages or a prompt and an answer
    policy = model(work / "policy")
    config = json.loads((policy / "tokenizer_config.json").read_text())
    (policy / "tokenizer_config.json").write_text(json.dumps(
        {**config, "chat_template": "{% for m in messages %}[{{ m.role }}]{{ m.content }}[end]{% endfor %}"}))
    server = subprocess.Popen([REWARD, "serve", "--model", polar, "--listen", "127.0.0.1:0", "-q"], stdout=subprocess.PIPE, text=True)
    other = subprocess.Popen([REWARD, "serve", "--model", polar, "--query-template", policy, "--listen", "127.0.0.1:0", "-q"], stdout=subprocess.PIPE, text=True)
    try:
        ports = [int(s.stdout.readline().strip().rsplit(":", 1)[1]) for s in (server, other)]

        def ask(path, body, status=200, port=ports[0]):
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            c.request("POST", path, json.dumps(body))
            answer = c.getresponse()
            check(answer.status == status, f"{path} {body}: {answer.status}")
            return json.loads(answer.read())

        rows = ask("/v1/rewards", {"rows": [whole(*c) for c in CASES]})["rows"]
        check([x["score"] for x in rows] == [x["score"] for x in got], "rows over HTTP")
        check([x["embedding"][0] for x in ask("/classify", {"model": "polar", "text": texts})] == [x["score"] for x in got], "the client with SGLang")
        chat = [user(p), said(o[0])]
        beside = [("/reward", {"prompt": p, "response": o[0]}, lambda x: [x]), ("/reward", {"prompt": [user(p)], "response": o[0]}, lambda x: [x]),
                  ("/classify", {"messages": chat}, lambda x: x["data"][0]["probs"]), ("/pooling", {"messages": chat}, lambda x: x["data"][0]["data"]),
                  ("/v1/chat/completions", {"messages": chat, "reward_format": "number"}, lambda x: [json.loads(x["choices"][0]["message"]["content"])]),
                  ("/score", {"text_1": p, "text_2": o}, lambda x: [y["score"] for y in x["data"]]),
                  ("/rerank", {"query": p, "documents": o}, lambda x: [y["relevance_score"] for y in sorted(x["results"], key=lambda y: y["index"])]),
                  ("/rerank", {"query": p, "texts": o, "raw_scores": True}, lambda x: [y["score"] for y in sorted(x, key=lambda y: y["index"])]),
                  ("/predict", {"inputs": [[p, o[0]], [p, o[1]]], "raw_scores": True}, lambda x: [y[0]["score"] for y in x]),
                  ("/v1/compare", {"prompt": p, "responses": o}, lambda x: x["scores"])]
        for path, body, scores in beside:
            for given in (r, [said(r)]):
                answer = scores(ask(path, {**body, "reference": given}))
                check(answer == by[:len(answer)], f"{path} with a reference: {answer} for {by}")
            check("reference" in json.dumps(ask(path, body, status=422 if "raw_scores" in body else 400)), f"{path} without a reference")
        check(ask("/reward", {"prompt": p, "response": o[0], "label": r}) == by[0], "slime's label")
        # a text has no place for it
        for path, body in (("/classify", {"input": texts[0]}), ("/classify", {"text": texts[0]}), ("/v1/embeddings", {"input": texts[0]}), ("/get_reward", {"query": texts[:1], "labels": [r]})):
            check("reference" in json.dumps(ask(path, {**body, **({} if "labels" in body else {"reference": r})}, status=400)), f"{path}: a reference beside a text")
        query = [f"[user]{p}[end][assistant]{a}[end]" for a in o]
        check(ask("/get_reward", {"query": query, "prompts": [p, p], "labels": [r, r]}, port=ports[1])["rewards"] == by, "OpenRLHF's labels")
        check(ask("/classify", {"input": query[0], "reference": r}, port=ports[1])["data"][0]["probs"] == by[:1], "a text that is read back")
        check("reference" in json.dumps(ask("/get_reward", {"query": query}, status=400, port=ports[1])), "OpenRLHF without labels")
    finally:
        for s in (server, other):
            s.terminate()
            s.wait()
finally:
    shutil.rmtree(work)
sys.exit(bad)

#!/usr/bin/env python3
"""Recipes for data of one's own: the one that docs/recipes.md begins with, every form of rows, columns that stay, filters by texts,
a split by prompt. What a stage does is said once more here, in Python."""
import json, os, random, re, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REWARD = str(ROOT / os.environ.get("BUILD", "build") / "reward")


def run(*args, status=0, both=False):
    p = subprocess.run([REWARD, *map(str, args)], capture_output=True, text=True)
    assert p.returncode == status, (args, p.returncode, p.stderr)
    return p.stdout + p.stderr if both else p.stdout if status == 0 else p.stderr


def write(path, rows):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
    return path


def read(path):
    return [json.loads(l) for l in open(path)]


def recipe(tmp, *stages):
    (tmp / "r.yaml").write_text("stages:\n" + "".join(f"  - {s}\n" for s in stages))
    return tmp / "r.yaml"


def curate(tmp, stages, *args, status=0, out="set"):
    """The rows kept, and the removed ones by id; of a run that fails its message."""
    say = run("curate", recipe(tmp, *stages), *args, "--quiet", "--force", "-o", tmp / out, status=status)
    return say if status else (read(tmp / out / "train.jsonl"), {r["id"]: r for r in read(tmp / out / "removed.jsonl")})


def documented(tmp):
    """docs/recipes.md's first recipe, rows and commands, as they stand."""
    page = (ROOT / "docs/recipes.md").read_text()
    yaml = page.split("```yaml\n")[1].split("```")[0]
    shown = [json.loads(l) for l in page.split("```json\n")[1].split("```")[0].splitlines()]
    command = next(l for l in page.split("```sh\n")[1].splitlines() if l.startswith("reward curate"))
    (tmp / "mine.yaml").write_text(yaml)
    topics = ["tea", "rain", "chess", "bread", "stars", "boats", "music", "bees", "glass", "wool", "maps", "salt"]
    tickets = [shown[0]] + [dict(request=dict(text=f"What is there to know of {t} and of what stands on page {i}?"), answers=dict(good=f"Of {t} there is much to say.", bad="Nothing."),
                                 metadata=dict(score=0.25 if i == 3 else 0.75), secret=1) for i, t in enumerate(topics)]
    tickets[5]["answers"]["good"] = "As an AI language model I know nothing of it."
    tickets[6]["request"]["text"] = "Расскажи мне, пожалуйста, о пчёлах"
    write(tmp / "tickets.jsonl", tickets)
    (tmp / "reviews.json").write_text(json.dumps([shown[1]] + [dict(prompt=f"Is {t} good?", responses=["Yes.", "No."], scores=[1, 2]) for t in topics]))
    write(tmp / "benchmark.jsonl", [dict(id=1, prompt=f"What is there to know of {topics[8]} and of what stands on page 8?")])
    p = subprocess.run([REWARD] + command.split()[1:], cwd=tmp, capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    train, test = (read(tmp / "set" / f"{s}.jsonl") for s in ("train", "test"))
    gone = {r["id"]: r["stage"] for r in read(tmp / "set/removed.jsonl") if r["stage"] != "split"}
    assert gone == {"tickets:5": "filter", "tickets:6": "filter", "tickets:7": "filter", "tickets:10": "decontaminate"}, gone
    assert len(train) + len(test) == 22 and test and len(test) < 11
    one = next(r for r in train + test if r["id"] == "tickets:1")
    assert list(one) == ["chosen", "rejected", "source", "id", "metadata"] and one["metadata"] == dict(score=0.9) and one["chosen"][1]["content"] == shown[0]["answers"]["good"]
    two = next(r for r in train + test if r["id"] == "reviews:1")
    assert two["responses"] == shown[1]["responses"] and two["scores"] == [3, 2, 1] and two["by"] == "Ann"
    say = subprocess.run([REWARD] + command.split()[1:-2] + ["--dry-run"], cwd=tmp, capture_output=True, text=True).stdout
    assert f"mine.yaml:15: split: holds out 0.2 of the prompts, seed 1, in test.jsonl | writes {len(test)} pairs" in say, say
    return len(train), len(test)


def forms(tmp):
    """Every form of docs/data.md that trains is read as it is there, and what is written reads the same once more."""
    source = ["{source: rows, name: own}"]
    page = (ROOT / "docs/data.md").read_text()
    rows = [json.loads(m) for m in re.findall(r"^\| [^|`]+ \| `(\{.*?\})` \| ", page, re.M)]
    assert len(rows) > 20
    seen, refused = set(), 0
    rows += [dict(prompt="Hi", responses=["Hello", "Go", "Hm"], scores=[2, 1, 0]), dict(context=[dict(role="user", content="Hi")], completions=[dict(completion=[dict(role="assistant", content=c)], rank=k) for k, c in enumerate("abc")]),
             dict(responses=[[dict(role="user", content=q), dict(role="assistant", content="A")] for q in "xyz"], scores=[3, 1, 1])]
    rows += [dict(r, score=0.5) for r in rows if not {"chosen", "scores", "responses", "completions", "chosen_ids", "response_1", "response_A", "bon_best"} & set(r)]
    for row in rows:
        own = dict(row, note={"a": [1, None]}, id="x", margin=1.5) if "chosen" in row else dict(row, note={"a": [1, None]}, id="x")
        write(tmp / "f.jsonl", [own])
        trains = "chosen" in row or "scores" in row or "score" in row or ("context" in row and "completions" in row)
        if not trains or {"chosen_ids", "text", "input_ids"} & set(row):
            assert "f.jsonl:1: read as own: " in curate(tmp, source, "--input", f"own={tmp}/f.jsonl", status=1), row
            refused += 1
            continue
        kept, gone = curate(tmp, source, "--input", f"own={tmp}/f.jsonl")
        [r] = kept
        assert r["note"] == {"a": [1, None]} and r["source_id"] == "x" and r["id"] == "own:1" and r["source"] == "own", r
        assert r.get("margin") == own.get("margin"), r
        again, _ = curate(tmp, source, "--input", f"own={tmp}/set/train.jsonl", out="again")
        same = lambda x: {k: v for k, v in x.items() if k != "source_id"}
        assert same(again[0]) == same(r), (again, r)
        seen.add("pair" if "chosen" in r else "ranking" if "scores" in r else "single")
    assert seen == {"pair", "ranking", "single"} and refused == 17, (seen, refused)
    # a ranking as pairs; a scored conversation; columns by name; what may not be kept
    write(tmp / "f.jsonl", [dict(ask="q", prompt="other", responses=["a", "b", "c"], scores=[1, 3, 2], by=dict(n=1), why="w"), dict(ask="q2", chosen="x", rejected="y")])
    pairs, _ = curate(tmp, ["{source: rows, map: {prompt: ask}, pairs: all, keep: [by]}"], "--input", f"rows={tmp}/f.jsonl")
    assert [(r["id"], r["chosen"][-1]["content"], r["rejected"][-1]["content"], r.get("by")) for r in pairs] == [
        ("rows:1/2-3", "b", "c", dict(n=1)), ("rows:1/2-1", "b", "a", dict(n=1)), ("rows:1/3-1", "c", "a", dict(n=1)), ("rows:2/1-2", "x", "y", None)], pairs
    assert all(set(r) <= {"chosen", "rejected", "source", "id", "by"} for r in pairs) and pairs[0]["chosen"][0]["content"] == "q"
    none, _ = curate(tmp, ["{source: rows, map: {prompt: ask}, keep: none, pairs: best-worst}"], "--input", f"rows={tmp}/f.jsonl")
    assert [set(r) for r in none] == [{"chosen", "rejected", "source", "id"}] * 2
    write(tmp / "f.jsonl", [dict(messages=[dict(role="user", content="q"), dict(role="assistant", content="a")], score=0.25, tag=["t"])])
    [r], _ = curate(tmp, ["source: rows"], "--input", f"rows={tmp}/f.jsonl")
    assert r["score"] == 0.25 and r["tag"] == ["t"] and r["messages"][1]["content"] == "a"


def texts():
    rng = random.Random(5)
    words = ["light", "rain", "Über", "мир", "дом", "言葉", "ありがとう", "x1", "don't", "🙂", "12", "é"]
    return [dict(prompt=" ".join(rng.choices(words, k=rng.randint(1, 9))) + f" {i}", chosen=" ".join(rng.choices(words, k=rng.randint(1, 12))),
                 rejected="no " + " ".join(rng.choices(words, k=3)), meta=dict(score=i / 100, tags=[rng.choice("abc"), "z"], title=rng.choice(["one two", "one", "Three 3"]))) for i in range(100)]


def letters(text, *ranges):
    import unicodedata
    all_of = [c for c in text if unicodedata.category(c)[0] == "L"]
    return sum(any(a <= ord(c) <= b for a, b in ranges) for c in all_of) / len(all_of) if all_of else 1


def filters(tmp):
    rows = texts()
    write(tmp / "f.jsonl", rows)
    latin, cyrillic = [(0x41, 0x24F)], [(0x400, 0x52F)]
    cases = [("characters: {max: 20}, of: prompt", lambda r: len(r["prompt"]) <= 20), ("characters: {min: 5, max: 30}, of: responses", lambda r: all(5 <= len(r[k]) <= 30 for k in ("chosen", "rejected"))),
             ("characters: {min: 8}", lambda r: all(len(r[k]) >= 8 for k in ("prompt", "chosen", "rejected"))), ("script: Latin, share: 0.7, of: chosen", lambda r: letters(r["chosen"], *latin) >= 0.7),
             ("script: [Latin, Cyrillic], of: prompt", lambda r: letters(r["prompt"], *latin, *cyrillic) >= 0.5), ("matches: '^\\w+ \\d', of: chosen", lambda r: re.search(r"^\w+ \d", r["chosen"])),
             ("without: 'МИР|(?i)über'", lambda r: not any(re.search("МИР|über", r[k], re.I if k else 0) for k in ("prompt", "chosen", "rejected") if "ber" in r[k])),
             ("field: meta.score, min: 0.5", lambda r: r["meta"]["score"] >= 0.5), ("field: meta.tags, equals: b", lambda r: "b" in r["meta"]["tags"]), ("field: meta.tags.0, in: [a, c]", lambda r: r["meta"]["tags"][0] in "ac"),
             ("field: meta.title, matches: '^one$'", lambda r: r["meta"]["title"] == "one"), ("field: meta.title, words: {min: 2}", lambda r: " " in r["meta"]["title"]), ("field: meta.tags, matches: '[ab]'", lambda r: r["meta"]["tags"][0] in "ab")]
    for text, passes in cases:
        want = [f"own:{i + 1}" for i, r in enumerate(rows) if passes(r)]
        kept, gone = curate(tmp, ["{source: rows, name: own}", f"filter: {{{text}}}"], "--input", f"own={tmp}/f.jsonl")
        assert [r["id"] for r in kept] == want and 0 < len(want) < len(rows), (text, len(want), [r["id"] for r in kept])
        assert len(gone) + len(kept) == len(rows) and all(r["stage"] == "filter" for r in gone.values())
    # words are those of decontamination: each Han or Hiragana character by itself
    write(tmp / "w.jsonl", [dict(prompt=p, chosen="a", rejected="b") for p in ("one two", "don't", "言葉", "x 🙂", "ありがとう")])
    kept, _ = curate(tmp, ["source: rows", "filter: {words: {min: 2, max: 2}, of: prompt}"], "--input", f"rows={tmp}/w.jsonl")
    assert [r["id"] for r in kept] == ["rows:1", "rows:2", "rows:3"], kept
    say = run("curate", recipe(tmp, "source: rows", "filter: {words: {max: 2}, of: prompt}"), "--input", f"rows={tmp}/w.jsonl", "--explain", "rows:5")
    assert "prompt has 5; removed: the number of words in its prompt is not 2 or less" in say, say
    # tokens are the tokenizer's, none added
    bare = [dict(text=r["chosen"]) for r in rows]
    write(tmp / "t.jsonl", bare)
    counts = [len(json.loads(l)["input_ids"]) for l in run("tokenize", "--model", TOKENIZER, tmp / "t.jsonl", "--quiet").splitlines()]
    middle = sorted(counts)[50]
    kept, _ = curate(tmp, ["{source: rows, name: own}", f"filter: {{tokens: {{max: {middle}}}, of: chosen}}"], "--input", f"own={tmp}/f.jsonl", "--tokenizer", TOKENIZER)
    assert [r["id"] for r in kept] == [f"own:{i + 1}" for i, n in enumerate(counts) if n <= middle] and len(kept) < 100
    assert [f["file"] for f in json.loads((tmp / "set/manifest.json").read_text())["also_read"]] == ["tokenizer.json"]
    # any number of threads gives the same bytes, here with every kind of test and a split
    stages = ["{source: rows, name: own}", "filter: {words: {min: 2}}", "filter: {script: [Latin, Cyrillic, Han, Hiragana], share: 0.9}", "filter: {without: 'x1 x1'}", "split: {held_out: 0.4, seed: 2}"]
    curate(tmp, stages, "--input", f"own={tmp}/f.jsonl", "--threads", 1, out="one")
    curate(tmp, stages, "--input", f"own={tmp}/f.jsonl", "--threads", 5, out="five")
    assert {p.name: p.read_bytes() for p in (tmp / "one").iterdir()} == {p.name: p.read_bytes() for p in (tmp / "five").iterdir()}


def split(tmp):
    rng = random.Random(9)
    rows = [dict(prompt=f"Question {i % 150}", chosen=f"good {i}", rejected="bad") for i in range(400)]
    systems = [dict(chosen=[dict(role="system", content=f"s{i}"), dict(role="user", content=f"Question {i}"), dict(role="assistant", content="a")],
                    rejected=[dict(role="system", content=f"s{i}"), dict(role="user", content=f"Question {i}"), dict(role="assistant", content="b")]) for i in range(150)]
    write(tmp / "a.jsonl", rows)
    write(tmp / "b.jsonl", systems)
    stages = ["{source: rows, name: a}", "source: pairs", "split: {held_out: 0.2, seed: 7, file: held.jsonl.gz}"]
    files = ["--input", f"a={tmp}/a.jsonl", "--input", f"pairs={tmp}/b.jsonl"]
    train, gone = curate(tmp, stages, *files)
    import gzip
    held = [json.loads(l) for l in gzip.open(tmp / "set/held.jsonl.gz", "rt")]
    user = lambda r: next(m["content"] for m in r["chosen"] if m["role"] == "user")
    sides = [{user(r) for r in side} for side in (train, held)]
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 150 and len(train) + len(held) == 550
    assert 15 <= len(sides[1]) <= 45, len(sides[1])
    assert sorted(gone) == sorted(r["id"] for r in held) and {r["reason"] for r in gone.values()} == {"held out"}
    assert {r["source"] for r in held} == {"a", "pairs"}, "the same prompt of two sources is on one side"
    # another order, more rows: each prompt stays on its side; another seed: others
    rng.shuffle(rows)
    write(tmp / "a.jsonl", rows + [dict(prompt=f"More {i}", chosen="c", rejected="d") for i in range(50)])
    again, _ = curate(tmp, stages[:1] + stages[2:], *files[:2])
    more = {user(r) for r in again}
    assert {p for p in more if p.startswith("Q")} == sides[0]
    other, _ = curate(tmp, stages[:1] + stages[2:], *files[:2], "--seed", 8)
    assert {user(r) for r in other} != more and json.loads((tmp / "set/manifest.json").read_text())["samples"] == [dict(line=3, held_out=0.2, seed=8, file="held.jsonl.gz")]
    report = json.loads((tmp / "set/report.json").read_text())
    assert report["sources"]["a"]["removed"]["split: held out"] == 450 - len(other) and report["stages"][-1]["removed"] == 450 - len(other)
    card = (tmp / "set/README.md").read_text()
    assert "  - split: held\n    path:\n    - held.jsonl.gz\n" in card and f"  - name: held\n    num_bytes: " in card
    # what is held out, as other commands find it
    train, gone = curate(tmp, ["{source: rows, name: a}", "split: {held_out: 0.2}"], *files[:2])
    for name, n in (("set", len(train)), ("set:test", len(gone))):
        assert json.loads(run("stats", tmp / name, "--model", TOKENIZER, "--json", "--quiet"))["all"]["pairs"] == n, name


def wrong(tmp):
    rows = [dict(prompt="p", chosen="c" * 30 + "!", rejected="r", meta=dict(score="high"))]
    write(tmp / "f.jsonl", rows)
    use = ["--input", f"own={tmp}/f.jsonl"]
    own = "{source: rows, name: own}"
    for stages, say in (([own, "filter: {words: {min: 1}, script: Latin}"], "r.yaml:3: filter: expected one test a stage"), ([own, "filter: {words: {least: 1}}"], "r.yaml:3: words: expected min or max, got least"),
                        ([own, "filter: {words: 3}"], "r.yaml:3: words: expected {min: N, max: N}"), ([own, "filter: {script: Elvish}"], "r.yaml:3: script: expected names of Unicode scripts"),
                        ([own, "filter: {script: Lu}"], "r.yaml:3: script: expected the name of a Unicode script"), ([own, "filter: {matches: '('}"], "r.yaml:3: matches: expected a regular expression as PCRE2 reads it (missing"),
                        ([own, "filter: {field: meta, words: {min: 1}, of: prompt}"], "r.yaml:3: of: expected no field beside it"), ([own, "filter: {words: {min: 1}, share: 0.5}"], "r.yaml:3: share: expected script beside it"),
                        ([own, "filter: {words: {min: 1}, of: answer}"], "r.yaml:3: of: expected prompt, chosen, rejected, responses or all, got answer"), ([own, "filter: {of: prompt}"], "r.yaml:3: filter: expected field, and one of"),
                        ([own, "filter: {tokens: {max: 3}}"], "r.yaml:3: filter: counting tokens needs a tokenizer: --tokenizer DIR"), ([own, "filter: {field: meta.nope, min: 1}"], "r.yaml:3: filter: no row of"),
                        ([own, "filter: {matches: '(c+)+$', of: chosen}"], "f.jsonl:1: ", ), ([own, "filter: {field: chosen, matches: '(c+)+$'}"], "f.jsonl:1: read as own: "),
                        ([own, "split: {}"], "r.yaml:3: split: expected held_out"), ([own, "split: {held_out: 1.0}"], "r.yaml:3: held_out: expected a share of the prompts between 0 and 1"), ([own, "split: {held_out: 0}"], "r.yaml:3: held_out: "),
                        ([own, "split: {held_out: 0.1, file: train.jsonl}"], "r.yaml:3: file: expected another name"), ([own, "write: test.jsonl", "split: {held_out: 0.1}"], "r.yaml:4: split: test.jsonl is written by line 3 already"),
                        (["{source: rows, name: own, map: {answer: x}}"], "r.yaml:2: map: expected a name of docs/data.md"), (["{source: rows, name: own, map: [x]}"], "r.yaml:2: map: expected NAME: FIELD"),
                        (["{source: rows, name: own, map: {prompt: nope}}"], "f.jsonl:1: read as own: "), (["{source: rows, name: 'a b'}"], "r.yaml:2: name: expected a name of letters"),
                        (["{source: rows, name: nectar}"], "r.yaml:2: name: expected another name than those of the sources that are known, got nectar"), ([own, own], "r.yaml:3: source: own stands in line 2 already; give it a name"),
                        (["{source: nectar, name: own}"], "name, map and keep are for `source: rows`, got nectar"), ([own, "filter: {source: other, words: {min: 1}}"], "r.yaml:3: source: expected the name of a source"),
                        (["{source: rows, name: own, keep: some}"], "r.yaml:2: keep: expected all, none or a list of columns, got some"), ([own, "{agree: own}"], "agree: this stage needs a reward model")):
        status = 2 if "needs a " in say else 1
        got = curate(tmp, stages, *use, status=status)
        assert say in got, (say, got)
        assert "gave up" in got or "(c+)+$" not in stages[-1], got
    for args, say in ((["--input", f"owm={tmp}/f.jsonl"], "did you mean own?"), (["--only", "onw", *use], "did you mean own?")):
        got = run("curate", recipe(tmp, own), *args, "-o", tmp / "no", status=2)
        assert say in got, got
    assert "did you mean own?" in curate(tmp, [own, "filter: {source: owns, words: {min: 1}}"], *use, status=1)
    for key in ("map: {margin: nope}", "keep: [meta, nope]"):
        got = run("curate", recipe(tmp, own[:-1] + f", {key}}}"), *use, "--force", "-o", tmp / "no", status=0, both=True)
        assert f"source own: {key[:key.index(':')]}: no row has the field nope" in got and "field meta" not in got, got
    assert "the recipe" in run("curate", recipe(tmp, own), "--input", f"rows={tmp}/f.jsonl", "-o", tmp / "no", status=2)
    assert "has no source rows" in run("curate", recipe(tmp, own), "--input", f"rows={tmp}/f.jsonl", "-o", tmp / "no", status=2)
    write(tmp / "s.jsonl", [dict(prompt="p", responses=["a", "b", "c"], scores=[1, 2, 3])])
    assert "agree: expected pairs, got a ranking in own:1" in curate(tmp, [own, "agree: own"], "--input", f"own={tmp}/s.jsonl", "--scores", tmp / "f.jsonl", status=1)


TOKENIZER = ROOT / "tests/data/tokenizer/llama3"
with tempfile.TemporaryDirectory() as tmp:
    print("docs/recipes.md: %d rows to train on, %d held out" % documented(Path(tmp)))
    for check in (forms, filters, split, wrong):
        check(Path(tmp))
print("recipes for data of one's own do what they say")

#!/usr/bin/env python3
"""An independent statement of the 80K recipe's rules, compared with `reward curate` on made-up sources.

Ties, equal scores, missing scores, one response, equal texts, odd-case categories, duplicate prompts, several turns,
missing labels. Plain Python 3; the program is $BUILD/reward.
"""
import gzip, json, os, random, shutil, subprocess, sys, tempfile
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REWARD = str(ROOT / os.environ.get("BUILD", "build") / "reward")
random.seed(11)
CATEGORIES = ["Math", "math", "MATH", "Coding & Debugging", "Coding & debugging", "Reasoning", "Planning", "Data analysis", None]
GRID = [0.1, 0.125, 0.15, 0.1, 0.11279296875, 0.2]


def magpie(n):
    rows = []
    for i in range(n):
        k = random.choice([5, 5, 5, 5, 1, 0, 3])
        responses = [random.choice(["alpha", f"text {i} {j}", f"text {i} {j}"]) for j in range(k)]
        scores = [{"score": random.choice(GRID + [None] * (random.random() < 0.02))} for _ in range(k)]
        rows.append(dict(uuid=str(i), instruction=f"Question {random.randrange(n)}", responses=responses, rewards_armorm=scores,
                         task_category=random.choice(CATEGORIES)))
    return rows


def ultra(n):
    return [dict(instruction=f"Ultra {i}", response=random.choice(["same", f"r{i}"]), response_base=random.choice(["same", f"b{i}", None]) if i % 7 == 0 else f"b{i}",
                 score=random.choice(GRID), score_base=random.choice(GRID), primary_tag=random.choice(CATEGORIES)) for i in range(n)]


def wildguard(n):
    return [dict(prompt=f"Ask {random.randrange(n // 3)}", adversarial=None, response=random.choice([f"resp {i}", f"resp {i}", None]),
                 prompt_harm_label=None, response_refusal_label=random.choice(["refusal", "compliance", "refusal", "compliance", None]))
            for i in range(n)]


def helpsteer(n):
    rows = []
    for i in range(n):
        prompt = f"Help {i}" if i % 3 else f"Hi {i}\n<extra_id_1>Assistant\nHello\n<extra_id_1>User\nMore {i}"
        for j in range(2):
            rows.append(dict(prompt=prompt, response=f"answer {i} {j}", helpfulness=random.randrange(5), correctness=1, coherence=1, complexity=1, verbosity=1))
    return rows


def offset(n):
    return [dict(instruction=f"Do {i}", output_1=f"one {i}", output_2=f"two {i}" if i % 9 else f"one {i}", label=random.choice([1, 2])) for i in range(n)]


def scored_pair(name, line, prompt, texts, scores, category, offset_text):
    """(mean, id, chosen, rejected, category) or None."""
    if len(texts) < 2 or any(s is None for s in scores):
        return None
    hi, lo = scores.index(max(scores)), scores.index(min(scores))
    if scores[hi] == scores[lo] or texts[hi] == texts[lo]:
        return None
    mean = sum(scores) / len(scores) + offset_text
    return (mean, f"{name}:{line}", (prompt, texts[hi]), (prompt, texts[lo]), (category or "").lower())


OFFSETS = {"magpie-ultra": 0.0, "magpie-pro-llama3.1": 0.0, "magpie-pro-llama3": -0.05, "magpie-air": -0.1}
data = {"helpsteer2": helpsteer(80), "offsetbias": offset(60), "wildguardmix": wildguard(300), "magpie-ultra": ultra(400),
        "magpie-pro-llama3.1": magpie(400), "magpie-pro-llama3": magpie(300), "magpie-air": magpie(300)}
labels = {}
for r in data["wildguardmix"]:
    harm, adv = labels.setdefault(r["prompt"], (random.choice(["harmful", "unharmful"]), random.random() < 0.6))
    r["prompt_harm_label"], r["adversarial"] = harm, adv

# ---- the rules, said once more ----
kept, agree_ids = {}, []
rows = data["helpsteer2"]
for i in range(0, len(rows), 2):
    a, b = rows[i], rows[i + 1]
    if a["helpfulness"] != b["helpfulness"]:
        c, r = (a, b) if a["helpfulness"] > b["helpfulness"] else (b, a)
        kept[f"helpsteer2:{i + 1}+{i + 2}"] = (c["response"], r["response"])
for i, r in enumerate(data["offsetbias"]):
    if r["output_1"] != r["output_2"]:
        kept[f"offsetbias:{i + 1}"] = (r["output_1"], r["output_2"]) if r["label"] == 1 else (r["output_2"], r["output_1"])
first = {}
for i, r in enumerate(data["wildguardmix"], 1):
    if r["response"] is not None and r["response_refusal_label"]:
        first.setdefault(r["prompt"], {}).setdefault(r["response_refusal_label"], (i, r))
scores = {}
for prompt, kinds in first.items():
    if len(kinds) == 2 and kinds["refusal"][1]["adversarial"]:
        c, r = ("refusal", "compliance") if kinds["refusal"][1]["prompt_harm_label"] == "harmful" else ("compliance", "refusal")
        lines = sorted((kinds["refusal"][0], kinds["compliance"][0]))
        name = f"wildguardmix:{lines[0]}+{lines[1]}"
        scores[name] = (random.choice([0.5, 1.0, 1.5]), 1.0)
        if scores[name][0] > scores[name][1]:
            kept[name] = (kinds[c][1]["response"], kinds[r][1]["response"])
groups = {"math": [], "coding & debugging": [], "": []}
order = 0
for name in OFFSETS:
    for i, r in enumerate(data[name], 1):
        if name == "magpie-ultra":
            texts = [r["response"], r["response_base"]]
            p = None if None in texts else scored_pair(name, i, r["instruction"], texts, [r["score"], r["score_base"]], r["primary_tag"], OFFSETS[name])
        else:
            p = scored_pair(name, i, r["instruction"], r["responses"], [s["score"] for s in r["rewards_armorm"]], r["task_category"], OFFSETS[name])
        if p:
            groups[p[4] if p[4] in groups else ""].append((-p[0], order, p))
            order += 1
for key, share in (("math", Fraction("0.3")), ("coding & debugging", Fraction("0.3")), ("", Fraction("0.1"))):
    members = sorted(groups[key], key=lambda t: t[:2])
    for _, _, p in members[: int(share * len(members))]:
        kept[p[1]] = (p[2][1], p[3][1])

with tempfile.TemporaryDirectory() as tmp:
    tmp = Path(tmp)
    args = [REWARD, "curate", str(ROOT / "recipes/skywork-80k-v0.1.yaml"), "--quiet"]
    for name, rows in data.items():
        (tmp / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        args += ["--input", f"{name}={tmp}/{name}.jsonl"]
    run = lambda extra: subprocess.run(args + extra, check=True, capture_output=True, text=True)
    run(["--agree-pairs", f"{tmp}/ask.jsonl"])
    asked = [json.loads(l)["id"] for l in open(tmp / "ask.jsonl")]
    assert sorted(asked) == sorted(scores), "stage 2 asks about other pairs"
    (tmp / "scores.jsonl").write_text("".join(json.dumps(dict(id=i, chosen_score=scores[i][0], rejected_score=scores[i][1])) + "\n" for i in reversed(asked)))
    for threads in ("1", "3"):
        run(["--scores", f"{tmp}/scores.jsonl", "-o", f"{tmp}/out{threads}", "--threads", threads])
    for name in ("train.jsonl", "removed.jsonl", "report.json", "manifest.json"):
        assert (tmp / "out1" / name).read_bytes() == (tmp / "out3" / name).read_bytes(), f"{name} depends on --threads"
    got = [json.loads(l) for l in open(tmp / "out1/train.jsonl")]
    assert {r["id"]: (r["chosen"][-1]["content"], r["rejected"][-1]["content"]) for r in got} == kept, \
        sorted(set(kept) ^ {r["id"] for r in got})[:10]
    counted = {}  # task categories without case: all pairs, and those kept
    for members in groups.values():
        for _, _, p in members:
            if p[4]:
                c = counted.setdefault(p[4], dict(pairs=0, kept=0))
                c["pairs"] += 1
                c["kept"] += p[1] in kept
    said = json.loads((tmp / "out1/report.json").read_text())["task_categories"]
    assert {k.lower(): v for k, v in said.items()} == counted and len(said) == len(counted), (said, counted)
    turns = next(r for r in got if r["source"] == "helpsteer2" and len(r["chosen"]) == 4)
    assert [m["role"] for m in turns["chosen"]] == ["user", "assistant", "user", "assistant"] and "extra_id" not in json.dumps(turns)
    removed = [json.loads(l)["id"] for l in open(tmp / "out1/removed.jsonl")]
    for name, rows in data.items():  # kept + removed = read
        lines = []
        for i in removed + [r["id"] for r in got]:
            if i.startswith(name + ":"):
                lines += i.split(":")[1].split("+")
        assert sorted(map(int, lines)) == list(range(1, len(rows) + 1)), f"{name}: rows are not accounted for"
    # kept + removed = read, per source and stage
    report = json.loads((tmp / "out1/report.json").read_text())
    gone = [json.loads(l) for l in open(tmp / "out1/removed.jsonl")]
    for name, n in report["sources"].items():
        of = lambda rs: sum(r["id"].count("+") + 1 for r in rs if r["source"] == name)
        loose = [r for r in gone if r["stage"] == "source"]
        assert n["rows"] == len(data[name]) == n["rows_in_pairs"] + n["rows_in_no_pair"] and n["rows_in_no_pair"] == of(loose), (name, n)
        assert n["rows_in_pairs"] == of(got) + of([r for r in gone if r["stage"] != "source"]), (name, n)
    for s in report["stages"]:
        for name, n in [*s["sources"].items(), (None, s)]:
            assert n["kept"] + n["removed"] == n["read"] and n["removed"] == sum(r["stage"] == s["stage"] and name in (None, r["source"]) for r in gone), (s, name)
    assert [set(s["sources"]) for s in report["stages"]] == [set(OFFSETS), {"wildguardmix"}, {"wildguardmix"}]
    # --explain knows every row and pair, and says what removed.jsonl says; --dry-run says what it did not do
    before = sorted(p for p in tmp.rglob("*"))
    explain = lambda i, *extra: subprocess.run(args + ["--explain", i, *extra], capture_output=True, text=True)
    for r in random.sample(got, 6) + random.sample(gone, 12):
        source, place = r["id"].split(":")
        rows_of = [f"{source}:{x}" for x in place.split("+")]
        for i in {r["id"], *rows_of}:
            p = explain(i, "--scores", f"{tmp}/scores.jsonl")
            assert p.returncode == 0 and p.stdout.startswith(r["id"] + "\n"), (i, p.stdout, p.stderr)
            last = p.stdout.splitlines()[-1]
            assert last == "  kept" if "stage" not in r else last.startswith(f"  removed by {r['stage']}") and r["reason"] in p.stdout, (r, p.stdout)
            if len(rows_of) > 1:
                assert "paired with" in p.stdout and all(x in p.stdout for x in rows_of), p.stdout
    for key, share in (("math", Fraction("0.3")), ("", Fraction("0.1"))):
        members = sorted(groups[key], key=lambda t: t[:2])
        for k in (0, len(members) // 5, len(members) - 1):
            say = f"rank {k + 1} of {len(members)}, of which the best {int(share * len(members))} are kept"
            assert say in explain(members[k][2][1]).stdout, say
    asked_one = explain(asked[0])
    assert asked_one.returncode == 0 and "agree of wildguardmix | not run: needs --model or --scores" in asked_one.stdout, asked_one.stdout
    assert f"scored {scores[asked[0]][0]:.9g} chosen, 1 rejected" in explain(asked[0], "--scores", f"{tmp}/scores.jsonl").stdout
    nobody = explain("helpsteer2:9999")
    assert nobody.returncode == 1 and not nobody.stdout and "no such id" in nobody.stderr
    plan = run(["--dry-run"]).stdout
    for say in ("source magpie-air, offset -0.1 | 300 rows", "Math 0.3; Coding & debugging 0.3; all others 0.1 | keeps ", "agree of wildguardmix | not run: needs --model or --scores"):
        assert say in plan, plan
    assert before == sorted(p for p in tmp.rglob("*")), "--explain or --dry-run has written"
    bad = subprocess.run(args + ["-o", f"{tmp}/x"], capture_output=True, text=True)
    assert bad.returncode == 2 and "agree" in bad.stderr, bad.stderr
    (tmp / "offsetbias.jsonl").write_text('{"instruction": "x", "output_1": "a", "output_2": "b", "label": 3}\n')
    bad = subprocess.run(args + ["--scores", f"{tmp}/scores.jsonl", "-o", f"{tmp}/y"], capture_output=True, text=True)
    assert bad.returncode == 1 and "offsetbias.jsonl:1: read as offsetbias: label" in bad.stderr and not (tmp / "y/train.jsonl").exists(), bad.stderr
print(f"{len(kept)} pairs kept of {sum(map(len, data.values()))} rows, as the rules say")


# ---- Nectar: pairs of ranked answers by the recipe's option, or rankings; prompts turn by turn ----
def nectar(n):
    rows = []
    for i in range(n):
        k = random.choice([7, 7, 4, 2, 1, 0])
        ranks = [random.choice(range(1, k + 1)) if random.random() < 0.3 else j + 1 for j in range(k)]
        random.shuffle(ranks)
        prompt = f"\n\nHuman: Say {i}\n\nAssistant: Said\n\nHuman: Again {i} \n\nAssistant: " if i % 3 else f"\n\nHuman: Only {i}\n\nAssistant: "
        rows.append(dict(prompt=prompt, answers=[dict(answer=random.choice(["same", f"a{i} {j}", f"a{i} {j}"]), model="m", rank=float(r)) for j, r in enumerate(ranks)],
                         turns=1, num_responses=k, source=random.choice([["lmsys", "x"], ["sharegpt"]]), good_natured=random.random() < 0.5))
    return rows


def turns(i):
    return [("user", f"Say {i}"), ("assistant", "Said"), ("user", f"Again {i}")] if i % 3 else [("user", f"Only {i}")]


def pairs_of(answers, form):
    """(chosen, rejected) places by rank; of equal ranks the first in the row."""
    order = sorted(range(len(answers)), key=lambda j: answers[j]["rank"])
    fits = lambda c, r: answers[c]["rank"] < answers[r]["rank"] and answers[c]["answer"] != answers[r]["answer"]
    if form == "best-worst":
        ranks = [x["rank"] for x in answers]
        tries = [(ranks.index(min(ranks)), ranks.index(max(ranks)))] if ranks else []
    else:
        tries = [(order[x], order[y]) for x in range(len(order)) for y in range(x + 1, len(order)) if form == "all" or y == x + 1]
    return [t for t in tries if fits(*t)]


def curate(tmp, name, stages, files, fails=False):
    (tmp / f"{name}.yaml").write_text(f"name: {name}\nstages:\n" + "".join(f"  - {s}\n" for s in stages))
    p = subprocess.run([REWARD, "curate", f"{tmp}/{name}.yaml", "--quiet", "-o", f"{tmp}/{name}"] + sum((["--input", f"{s}={f}"] for s, f in files), []),
                       capture_output=True, text=True)
    assert (p.returncode != 0) == fails, p.stderr
    return p.stderr if fails else [[json.loads(l) for l in open(tmp / name / f"{x}.jsonl")] for x in ("train", "removed")]


with tempfile.TemporaryDirectory() as tmp:
    tmp = Path(tmp)
    rows = nectar(200)
    (tmp / "n.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    files = [("nectar", tmp / "n.jsonl")]
    messages = lambda i, *last: [dict(role=r, content=c) for r, c in turns(i) + list(last)]
    for form in ("best-worst", "adjacent", "all"):
        train, removed = curate(tmp, form, [f"{{source: nectar, pairs: {form}}}"], files)
        want = {}
        for i, r in enumerate(rows):
            for c, w in pairs_of(r["answers"], form):
                want[f"nectar:{i + 1}" + ("" if form == "best-worst" else f"/{c + 1}-{w + 1}")] = [messages(i, ("assistant", r["answers"][k]["answer"])) for k in (c, w)]
        assert {r["id"]: [r["chosen"], r["rejected"]] for r in train} == want, form
        assert {r["id"] for r in removed} == {f"nectar:{i + 1}" for i, r in enumerate(rows) if not pairs_of(r["answers"], form)}, form
        print(f"nectar, {form}: {len(want)} pairs of {len(rows)} rows")
    assert train and curate(tmp, "default", ["source: nectar"], files)[0] == curate(tmp, "bw", ["{source: nectar, pairs: best-worst}"], files)[0]
    train, removed = curate(tmp, "ranking", ["{source: nectar, pairs: ranking}"], files)
    want = {f"nectar:{i + 1}": dict(prompt=messages(i), responses=[x["answer"] for x in r["answers"]], scores=[-x["rank"] for x in r["answers"]], source="nectar", id=f"nectar:{i + 1}")
            for i, r in enumerate(rows) if len({x["rank"] for x in r["answers"]}) > 1}
    assert {r["id"]: r for r in train} == want and len(train) + len(removed) == len(rows)
    # contamination looks at each user turn by itself
    (tmp / "b.jsonl").write_text(json.dumps(dict(id=5, prompt="Again 10")) + "\n" + json.dumps(dict(id=6, prompt="Say 11 Said Again 11")) + "\n")
    p = subprocess.run([REWARD, "curate", f"{tmp}/decon.yaml", "--quiet", "-o", f"{tmp}/decon", "--input", f"nectar={tmp}/n.jsonl", "--bench", f"{tmp}/b.jsonl"]
                       if (tmp / "decon.yaml").write_text("stages:\n  - {source: nectar, pairs: ranking}\n  - decontaminate: {ngram: 8}\n") else [], capture_output=True, text=True)
    gone = [json.loads(l)["id"] for l in open(tmp / "decon/removed.jsonl") if '"decontaminate"' in l]
    assert p.returncode == 0 and gone == [k for k in ["nectar:11"] if k in want], (p.stderr, gone)
    # ---- filters: any field, of any source ----
    is_of = lambda r, v: v in (r["source"] if isinstance(r["source"], list) else [r["source"]])
    for k, (text, test) in enumerate((("field: good_natured, equals: true", lambda r: r["good_natured"] is True), ("field: good_natured, equals: false", lambda r: r["good_natured"] is False),
                                      ("field: num_responses, in: [2, 4.0]", lambda r: r["num_responses"] in (2, 4)), ("field: num_responses, min: 4", lambda r: r["num_responses"] >= 4),
                                      ("field: num_responses, min: 2, max: 4.5", lambda r: 2 <= r["num_responses"] <= 4), ("field: source, equals: lmsys", lambda r: is_of(r, "lmsys")))):
        train, removed = curate(tmp, f"f{k}", ["source: nectar", f"filter: {{source: nectar, {text}}}"], files)
        assert {r["id"] for r in train} == {f"nectar:{i + 1}" for i, r in enumerate(rows) if pairs_of(r["answers"], "best-worst") and test(r)}, text
        assert all(r["reason"].startswith(text.split()[1][:-1] + " is not ") for r in removed if r["stage"] == "filter") and any(r["stage"] == "filter" for r in removed)
    two = [dict(prompt=f"p{i}", response=f"r{i} {j}", helpfulness=j, correctness=3, coherence=3, complexity=i % 5 if j else 4, verbosity=1) for i in range(20) for j in range(2)]
    two[7]["complexity"] = None
    (tmp / "h.jsonl").write_text("".join(json.dumps(r) + "\n" for r in two))
    train, _ = curate(tmp, "both", ["source: helpsteer2", "filter: {field: complexity, min: 3}"], [("helpsteer2", tmp / "h.jsonl")])
    assert [r["id"] for r in train] == [f"helpsteer2:{2 * i + 1}+{2 * i + 2}" for i in range(20) if i % 5 >= 3 and i != 3], "each row of a pair must pass"
    for stages, say in ((["source: nectar", "filter: {field: nope, equals: 1}"], "no row of"), (["source: nectar", "filter: {field: turns}"], "filter: expected field, and one of"),
                        (["source: nectar", "filter: {field: turns, equals: 1, min: 2}"], "filter: expected field, and one of"), (["{source: helpsteer2, pairs: all}"], "has no ranked answers"),
                        (["{source: nectar, pairs: some}"], "best-worst, adjacent, all or ranking"), (["{source: nectar, pairs: ranking}", "agree: nectar"], "kept as rankings")):
        got = curate(tmp, "bad", stages, [(stages[0].strip("{").split()[1].strip(","), tmp / "n.jsonl")], fails=True)
        assert say in got, (say, got)


# ---- categories whole; shapes; a source in several files; pairs that could not be scored ----
def reward(*args):
    return subprocess.run([REWARD, "curate", *map(str, args), "--quiet"], capture_output=True, text=True)


def write(path, rows):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
    return path


with tempfile.TemporaryDirectory() as tmp:
    tmp = Path(tmp)
    air = lambda i, category, rewards: dict(instruction=f"q{i}", responses=["a", "b"], rewards_armorm=rewards, task_category=category)
    two = [dict(score=0.1), dict(score=0.2)]
    long = ["x" * 62 + "\u00e9 and more", "\u6570" * 40, "cut\0here", "cut"]
    write(tmp / "a.jsonl", [air(i, c, two) for i, c in enumerate(long)])
    train, _ = curate(tmp, "long", ["source: magpie-air"], [("magpie-air", tmp / "a.jsonl")])
    assert [r["task_category"] for r in train] == long
    assert list(json.loads((tmp / "long/report.json").read_text())["task_categories"]) == long
    for rewards, got in (([0.1, 0.2], "number"), ([two[0], None], "null"), ([two[0], "0.2"], "string")):
        write(tmp / "w.jsonl", [air(0, "Math", two), air(1, "Math", rewards)])
        say = curate(tmp, "shape", ["source: magpie-air"], [("magpie-air", tmp / "w.jsonl")], fails=True)
        assert f"w.jsonl:2: read as magpie-air: rewards_armorm: expected objects with a score, got {got}" in say, say
    # shards: the same pairs as of the one file, wherever it is cut
    ids = lambda name, rows, cuts: {f"{name}:{i + 1}": f"{name}:" + (f"{f}:" if f > 1 else "") + str(i + 1 - c)
                                    for i in range(len(rows)) for f, c in [max((f, c) for f, c in enumerate([0, *cuts], 1) if c <= i)]}
    for name in ("wildguardmix", "helpsteer2"):
        rows = data[name]
        write(tmp / "one.jsonl", rows)
        train, removed = curate(tmp, f"one-{name}", [f"source: {name}"], [(name, tmp / "one.jsonl")])
        cuts = [51, 52, 87, 101, 117, 131]
        files = [(name, write(tmp / f"s{k}.jsonl", rows[a:b])) for k, (a, b) in enumerate(zip([0, *cuts], [*cuts, len(rows)]))]
        parts, gone = curate(tmp, f"parts-{name}", [f"source: {name}"], files)
        strip = lambda rs: [{k: v for k, v in r.items() if k != "id"} for r in rs]
        assert strip(parts) == strip(train) and strip(gone) == strip(removed), f"{name}: other pairs over several files"
        place = ids(name, rows, cuts)

        def id_of(old):
            a, *b = old.split(":")[1].split("+")
            first = place[f"{name}:{a}"]
            second = [place[f"{name}:{x}"].split(":")[1:] for x in b]
            here = first.split(":")[1:-1]
            return "+".join([first] + [x[-1] if x[:-1] == here else ":".join(x) for x in second])
        assert [r["id"] for r in parts + gone] == [id_of(r["id"]) for r in train + removed] and len({r["id"] for r in parts + gone}) == len(parts + gone)
        assert any(":" in r["id"].split("+")[-1] for r in parts if "+" in r["id"]), "no pair over two files"
    for i, say in (("nectar:2", "nectar:2/1-2\n"), ("nectar:2/1-3", "nectar:2/1-3\n"), ("nectar:1", "nectar:1/1-2\n")):
        write(tmp / "n.jsonl", [dict(prompt="\n\nHuman: x\n\nAssistant: ", answers=[dict(answer=f"{k}{j}", rank=j) for j in range(3)]) for k in range(2)])
        (tmp / "all.yaml").write_text("stages:\n  - {source: nectar, pairs: all}\n  - dedup: {by: exact, of: prompt}\n  - decontaminate: {ngram: 8}\n")
        write(tmp / "b.jsonl", [dict(id="bench 1", prompt="X!")])
        p = reward(tmp / "all.yaml", "--input", f"nectar={tmp}/n.jsonl", "--bench", tmp / "b.jsonl", "--explain", i)
        assert p.stdout.startswith(say) and p.stdout.count("\nnectar:") + 1 == (1 if "/" in i else 3), p.stdout
        if i == "nectar:1":
            assert 'user message 1 shares 1 words with benchmark row "bench 1": "x"; removed' in p.stdout and "stands earlier: nectar:1/1-2\n" in p.stdout, p.stdout
    # a row that could not be scored removes its pair, by a score file as by a model
    write(tmp / "p.jsonl", [dict(prompt=f"p{i}", chosen=f"c{i}", rejected=f"r{i}") for i in range(4)])
    write(tmp / "s.jsonl", [dict(id="pairs:1", chosen_score=2, rejected_score=1), dict(id="pairs:2", error="9 tokens"),
                            dict(id="pairs:3", chosen_score=1, rejected_score=1), dict(id="pairs:4", error="\u00e9" * 150)])
    (tmp / "agree.yaml").write_text("stages:\n  - source: pairs\n  - agree: pairs\n")
    p = reward(tmp / "agree.yaml", "--input", f"pairs={tmp}/p.jsonl", "--scores", tmp / "s.jsonl", "-o", tmp / "agreed")
    gone = [json.loads(l) for l in open(tmp / "agreed/removed.jsonl")] if p.returncode == 0 else p.stderr
    assert [(r["id"], r["stage"]) for r in gone] == [(f"pairs:{k}", "agree") for k in (2, 3, 4)], gone
    assert gone[0]["reason"] == "the reward model cannot score it: 9 tokens" and gone[2]["reason"].endswith(": " + "\u00e9" * 100)
    assert json.loads((tmp / "agreed/report.json").read_text())["sources"]["pairs"]["removed"]["agree: the reward model cannot score it"] == 2
    # generic pairs: margin and source stay the row's own, its id stays beside the one that leads back
    own = [dict(margin=0.5, source="mine", id="a\u00e9"), dict(margin=2), dict(source="magpie-air", id=17), dict(), dict(source=None, id=None, margin=None), dict(margin=-1e-7, source="")]
    write(tmp / "own.jsonl", [dict(prompt=f"p{i}", chosen=f"c{i}", rejected=f"r{i}", **o) for i, o in enumerate(own[:4])])
    write(tmp / "own2.jsonl", [dict(prompt=f"p{i}", chosen=f"c{i}", rejected=f"r{i}", **o) for i, o in enumerate(own[4:], 4)])
    train, _ = curate(tmp, "own", ["source: pairs", "dedup: near"], [("pairs", tmp / "own.jsonl"), ("pairs", tmp / "own2.jsonl")])
    bare = lambda r: {k: v for k, v in r.items() if k not in ("chosen", "rejected")}
    assert list(map(bare, train)) == [dict(source="mine", margin=0.5, source_id="a\u00e9", id="pairs:1"), dict(source="pairs", margin=2, id="pairs:2"),
                                      dict(source="magpie-air", source_id="17", id="pairs:3"), dict(source="pairs", id="pairs:4"),
                                      dict(source="pairs", id="pairs:2:1"), dict(source="", margin=-1e-7, id="pairs:2:2")], list(map(bare, train))
    assert [r["chosen"][-1]["content"] for r in train] == [f"c{i}" for i in range(6)]
    counts = json.loads((tmp / "own/report.json").read_text())
    assert list(counts["sources"]) == ["pairs"] and counts["sources"]["pairs"]["kept"] == 6 and "name: margin" in (tmp / "own/README.md").read_text()
    (tmp / "own.yaml").write_text("stages:\n  - source: pairs\n  - agree: pairs\n")
    assert reward(tmp / "own.yaml", "--input", f"pairs={tmp}/own.jsonl", "--agree-pairs", tmp / "own.ask.jsonl").returncode == 0
    assert [json.loads(l) for l in open(tmp / "own.ask.jsonl")] == train[:4]
    write(tmp / "one.jsonl", [dict(prompt="p", chosen="c", rejected="r")])
    curate(tmp, "bare", ["source: pairs"], [("pairs", tmp / "one.jsonl")])
    assert "margin" not in (tmp / "bare/README.md").read_text() and "source_id" not in (tmp / "bare/README.md").read_text()
    # HelpSteer3: a conversation, two responses, and which one by how much; none is no pair
    context = [dict(role="user", content="q"), dict(role="assistant", content="a"), dict(role="user", content="again")]
    write(tmp / "h3.jsonl", [dict(domain="code", context=context, response1=f"x{p}", response2=f"y{p}", overall_preference=p) for p in (-3, 0, 1, 2)] +
          [dict(domain="stem", context=context[:1], response1="same", response2="same", overall_preference=1)])
    curate(tmp, "h3", ["source: helpsteer3"], [("helpsteer3", tmp / "h3.jsonl")])
    rows = [json.loads(l) for l in open(tmp / "h3/train.jsonl")]
    assert [(r["id"], r["chosen"][-1]["content"], r["rejected"][-1]["content"], r["task_category"]) for r in rows] == [
        ("helpsteer3:1", "x-3", "y-3", "code"), ("helpsteer3:3", "y1", "x1", "code"), ("helpsteer3:4", "y2", "x2", "code")]
    assert all(r["chosen"][:-1] == r["rejected"][:-1] == context for r in rows)
    assert [(r["id"], r["reason"]) for r in map(json.loads, open(tmp / "h3/removed.jsonl"))] == [("helpsteer3:2", "no preference"), ("helpsteer3:5", "equal texts")]
    write(tmp / "h3.jsonl", [dict(context=context, response1="a", response2="b", overall_preference=4)])
    (tmp / "h3.yaml").write_text("stages:\n  - source: helpsteer3\n")
    assert "overall_preference: expected a whole number from -3 to 3" in reward(tmp / "h3.yaml", "--input", f"helpsteer3={tmp}/h3.jsonl", "-o", tmp / "h3bad").stderr
    # Tulu 3: whole conversations, and a prompt that is one turn of them
    talk = lambda *texts: [dict(role=("user", "assistant")[i % 2], content=t) for i, t in enumerate(texts)]
    write(tmp / "tulu.jsonl", [dict(id="a", source="part", prompt="again", chosen=talk("q", "a", "again", "c"), rejected=talk("q", "a", "again", "r")),
                               dict(id="b", source="part", prompt="q", chosen=talk("q", "c"), rejected=talk("q", "c"))])
    rows, _ = curate(tmp, "tulu", ["source: tulu3"], [("tulu3", tmp / "tulu.jsonl")])
    assert [(r["id"], r["source"], r["chosen"], r["rejected"]) for r in rows] == [("tulu3:1", "tulu3", talk("q", "a", "again", "c"), talk("q", "a", "again", "r"))], rows
    # Arena: conversations with the winner's name (100k, 140k), or lists of texts in strings (55k); ties by their kind
    parts = lambda ms: [dict(role=m["role"], content=[dict(type="text", text=m["content"], image=None, mimeType=None)]) for m in ms]
    counted = lambda ms: [dict(m, num_tokens=3) for m in ms]
    battle = lambda winner, form, a=talk("q", "x"), b=talk("q", "y"): dict(winner=winner, conversation_a=form(a), conversation_b=form(b), language="en")
    texts = lambda a, b, tie, prompt='["q", "why?"]', x='["x", "so"]', y='["y", "thus \\u00e9"]': dict(
        id=1, prompt=prompt, response_a=x, response_b=y, winner_model_a=a, winner_model_b=b, winner_tie=tie)
    image = battle("model_a", parts)
    image["conversation_b"][0]["content"].append(dict(type="image", text=None, image="x", mimeType="image/png"))
    write(tmp / "arena.jsonl", [battle("model_a", parts), battle("model_b", counted), battle("tie", parts), battle("both_bad", parts), battle("tie (bothbad)", counted),
                                battle("model_a", parts, b=talk("q", "x")), image, battle("model_a", parts, b=talk("q")), texts(1, 0, 0), texts(0, 1, 0), texts(0, 0, 1),
                                texts(1, 0, 0, y='["y", null]'), texts(1, 0, 0, y='["y"]'), texts(1, 0, 0, y='["\\ud83d", "y"]'), texts(1, 0, 0, prompt="[]", x="[]", y="[]")])
    rows, _ = curate(tmp, "arena", ["source: arena"], [("arena", tmp / "arena.jsonl")])
    assert [(r["id"], r["chosen"], r["rejected"]) for r in rows] == [
        ("arena:1", talk("q", "x"), talk("q", "y")), ("arena:2", talk("q", "y"), talk("q", "x")),
        ("arena:9", talk("q", "x", "why?", "so"), talk("q", "y", "why?", "thus \u00e9")), ("arena:10", talk("q", "y", "why?", "thus \u00e9"), talk("q", "x", "why?", "so"))], rows
    assert [(r["id"], r["reason"]) for r in map(json.loads, open(tmp / "arena/removed.jsonl"))] == [
        ("arena:3", "tie"), ("arena:4", "both bad"), ("arena:5", "both bad"), ("arena:6", "equal texts"), ("arena:7", "a part that is no text"),
        ("arena:8", "no answer at the end"), ("arena:11", "tie"), ("arena:12", "a turn without a text"), ("arena:13", "turns without answers"),
        ("arena:14", "texts that are no JSON list"), ("arena:15", "no turn")]
    (tmp / "arena.yaml").write_text("stages:\n  - source: arena\n")
    for row, said in (battle("nobody", parts), "winner: expected model_a"), (texts(1, 1, 0), "winner_model_a, winner_model_b, winner_tie: expected one"):
        write(tmp / "arena.jsonl", [row])
        assert said in reward(tmp / "arena.yaml", "--input", f"arena={tmp}/arena.jsonl", "-o", tmp / "arenabad").stderr
    # --lenient: a row of another shape between two responses to a prompt keeps them from being a pair
    answer = lambda p, k: dict(prompt=p, response=f"{p}{k}", helpfulness=k)
    write(tmp / "odd.jsonl", [answer("a", 0), dict(prompt="a"), answer("a", 1), answer("b", 0), answer("b", 1), dict(prompt="c"), answer("c", 1), answer("d", 0), answer("d", 1), answer("e", 1), dict()])
    (tmp / "odd.yaml").write_text("stages:\n  - source: helpsteer2\n")
    assert reward(tmp / "odd.yaml", "--input", f"helpsteer2={tmp}/odd.jsonl", "--lenient", "-o", tmp / "odd").returncode == 0
    assert [json.loads(l)["id"] for l in open(tmp / "odd/train.jsonl")] == ["helpsteer2:4+5", "helpsteer2:8+9"]
    assert {r["id"]: r.get("detail") for r in map(json.loads, open(tmp / "odd/removed.jsonl")) if r["reason"] == "another shape"} == {
        "helpsteer2:2": "response: expected a string, got nothing", "helpsteer2:6": "response: expected a string, got nothing", "helpsteer2:11": "prompt: expected a string, got nothing"}
    assert "part of no pair: another shape: response: expected a string" in reward(tmp / "odd.yaml", "--input", f"helpsteer2={tmp}/odd.jsonl", "--lenient", "--explain", "helpsteer2:2").stdout
    # two sources whose rows have scores: equal ones, and those that say the opposite, give no pair
    whole = lambda t: [dict(role="user", content="q"), dict(role="assistant", content=t)]
    for name, fields in (("ultrafeedback", ("score_chosen", "score_rejected")), ("preference-700k", ("chosen_score", "rejected_score"))):
        write(tmp / "scored.jsonl", [dict(chosen=whole(f"a{i}"), rejected=whole(f"b{i}"), **dict(zip(fields, s))) for i, s in enumerate([(8.5, 8.5), (7, 9), (9, 4), (None, None)])])
        curate(tmp, f"scored-{name}", [f"source: {name}"], [(name, tmp / "scored.jsonl")])
        assert [json.loads(l)["id"] for l in open(tmp / f"scored-{name}/train.jsonl")] == [f"{name}:3", f"{name}:4"]
        assert [r["reason"] for r in map(json.loads, open(tmp / f"scored-{name}/removed.jsonl"))] == ["equal scores", "the rejected one has the higher score"]
    assert [(r["id"], r["reason"]) for r in map(json.loads, open(tmp / "odd/removed.jsonl"))] == [
        (f"helpsteer2:{i}", "another shape" if i in (2, 6, 11) else "no second response") for i in (1, 2, 3, 6, 7, 10, 11)]
    # the seed of a sample: the recipe's, but that of the command line wins; manifest.json has the one that counted
    write(tmp / "many.jsonl", [dict(prompt=f"p{i}", chosen="c", rejected="r") for i in range(60)])
    drawn = {}
    for say, args, seed in (("", [], 0), (", seed: 5", [], 5), (", seed: 5", ["--seed", "0"], 0), ("", ["--seed", "5"], 5), (", seed: 5", ["--seed", "9"], 9)):
        (tmp / "seed.yaml").write_text(f"stages:\n  - source: pairs\n  - sample: {{pairs: 20{say}}}\n")
        run = [tmp / "seed.yaml", "--input", f"pairs={tmp}/many.jsonl", *args]
        assert reward(*run, "-o", tmp / "seeded", "--force").returncode == 0
        assert json.loads((tmp / "seeded/manifest.json").read_text())["samples"] == [dict(line=3, pairs=20, seed=seed)], (say, args)
        assert f"sample: 20 pairs, seed {seed} |" in reward(*run, "--dry-run").stdout and ("--seed" in (tmp / "seeded/README.md").read_text()) == bool(args)
        ids = [json.loads(l)["id"] for l in open(tmp / "seeded/train.jsonl")]
        assert drawn.setdefault(seed, ids) == ids and len(ids) == 20
    assert len(set(map(tuple, drawn.values()))) == 3
    # write: the rows that the set would have, had the recipe ended there
    stages = ["source: pairs", "write: {file: first.jsonl.gz}", "source: offsetbias", "dedup: {by: exact, of: prompt}", "write: {file: all.jsonl, sources: [offsetbias, pairs]}", "write: {file: some.jsonl.zst, source: offsetbias}",
              "sample: {pairs: 3, seed: 4}", "write: last.jsonl", "filter: {source: offsetbias, field: label, equals: 7}", "write: {file: none.jsonl, source: offsetbias}"]
    write(tmp / "ob.jsonl", [dict(instruction=f"p{i}", output_1="a", output_2=f"b{i}", label=1 + i % 2) for i in range(3, 9)])
    files = [("pairs", tmp / "p.jsonl"), ("offsetbias", tmp / "ob.jsonl")]
    train, removed = curate(tmp, "writes", stages, files)
    lines = lambda name: (gzip.decompress if name.endswith(".gz") else bytes)((tmp / "writes" / name).read_bytes())
    no_write = lambda k: [s for s in stages[:k] if not s.startswith("write")]
    for name, k, use in (("first.jsonl.gz", 1, files[:1]), ("all.jsonl", 4, files), ("last.jsonl", 7, files)):
        curate(tmp, "upto", no_write(k), use)
        assert lines(name) == (tmp / "upto/train.jsonl").read_bytes() and lines(name), name
        shutil.rmtree(tmp / "upto")
    some = curate(tmp, "some", ["source: pairs"], [("pairs", tmp / "writes/some.jsonl.zst")])[0]
    assert [r["source_id"] for r in some] == [r["id"] for r in map(json.loads, lines("all.jsonl").splitlines()) if r["source"] == "offsetbias"] != [] and lines("none.jsonl") == b""
    report, manifest = (json.loads((tmp / f"writes/{x}.json").read_text()) for x in ("report", "manifest"))
    for name in ("first.jsonl.gz", "all.jsonl", "some.jsonl.zst", "last.jsonl", "none.jsonl"):
        [s] = [s for s in report["stages"] if s.get("file") == name]
        assert s["stage"] == "write" and s["kept"] == s["read"] == (len(some) if name == "some.jsonl.zst" else lines(name).count(b"\n")) and s["removed"] == 0, s
        [o] = [o for o in manifest["outputs"] if o["path"] == name]
        assert o["sha256"] in (tmp / "writes/README.md").read_text() and len(o["sha256"]) == 64
    assert sorted(os.listdir(tmp / "writes")) == sorted([o["path"] for o in manifest["outputs"]] + ["manifest.json"])
    args = [tmp / "writes.yaml"] + [x for s, f in files for x in ("--input", f"{s}={f}")]
    assert f"{tmp}/writes.yaml:4: write of pairs: first.jsonl.gz | writes 4 pairs" in reward(*args, "--dry-run").stdout
    say = reward(*args, "--explain", "pairs:1").stdout
    assert "write of offsetbias, pairs: all.jsonl | written to all.jsonl; kept\n" in say and "write of offsetbias: some.jsonl.zst | not for pairs\n" in say, say
    # the source and the stage that docs/recipes.md writes out compile
    examples = [part.split("```")[0] for part in (ROOT / "docs/recipes.md").read_text().split("```c\n")[1:]]
    assert len(examples) == 2
    for example in examples:
        (tmp / "example.c").write_text(example)
        subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE=", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-fsyntax-only", f"-I{ROOT}/include", f"-I{ROOT}/src", tmp / "example.c"], check=True)
print("categories, shapes, shards and unscored pairs as they should be")

#!/usr/bin/env python3
"""An independent statement of word n-gram contamination, compared with `reward decontaminate`.

Planted matches (case, punctuation, NFC against NFD, Chinese, several turns, short prompts, one word too few, across
messages) and random rows over a small vocabulary. Plain Python 3; the program is $BUILD/reward.
"""
import functools, json, os, random, re, subprocess, sys, tempfile, unicodedata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REWARD = str(ROOT / os.environ.get("BUILD", "build") / "reward")
random.seed(5)
ALONE = [(0x4E00, 0x9FFF), (0x3040, 0x309F), (0x30A0, 0x30FF), (0x0E01, 0x0E3A), (0x0E80, 0x0EFF), (0x1780, 0x17B3)]


@functools.cache
def words(text, gist=False):
    if gist:
        return re.findall(r"\b\w\w+\b", text.lower())
    out, run = [], ""
    for c in unicodedata.normalize("NFKC", text).lower():
        part = unicodedata.category(c)[0] in "LMN"
        alone = part and any(a <= ord(c) <= b for a, b in ALONE)
        if part and not alone:
            run += c
            continue
        if run:
            out.append(run)
        run = ""
        if alone:
            out.append(c)
    return out + [run] if run else out


def match(a, b, n, gist):
    a, b = words(a, gist), words(b, gist)
    if len(a) < n or len(b) < n:
        return not gist and len(a) > 0 and a == b
    grams = {tuple(a[i:i + n]) for i in range(len(a) - n + 1)}
    return any(tuple(b[i:i + n]) in grams for i in range(len(b) - n + 1))


def longest(a, b):
    """Words of the longest run that two word lists share."""
    best, row = 0, [0] * (len(b) + 1)
    for x in a:
        row = [0] + [row[j] + 1 if x == y else 0 for j, y in enumerate(b)]
        best = max(best, *row)
    return best


def pair(users, source="s"):
    m = []
    for u in users:
        m += [dict(role="user", content=u), dict(role="assistant", content="an answer")]
    return dict(chosen=m, rejected=m[:-1] + [dict(role="assistant", content="another")], source=source)


A = "How many golf balls fit into an ordinary yellow school bus today"  # 12 words
bench = [A, "Please name the capital of Peru", "请问北京到上海的高铁需要几个小时", "Café crème brûlée déjà vu naïve façade résumé jalapeño",
         "one two three four five six seven eight", "ภาษาไทยง่ายมาก", "ο ΟΔΟΣ, ΛΌΓΟΣ", "Straße ﬁne ① ２０２４ Ⅷ end of the line now"]
train = [pair([A.upper()]), pair(["Well: " + A.replace(" ", ", ") + "?!"]), pair(["how many golf balls fit into an unusual yellow school bus today"]),
         pair(["please NAME the capital of peru!"]), pair(["please name the capital of Peru now"]), pair(["请问，北京到上海的高铁，需要几个小时？"]),
         pair([unicodedata.normalize("NFD", bench[3])]), pair(["one two three four", "five six seven eight"]), pair(["hello there", "x one two three four five six seven eight y"]),
         pair(["one two three four five six seven"]), pair(["ภาษาไทยง่ายมาก"]), pair(["strasse fine 1 2024 viii end of the line now"]), pair(["STRASSE ﬁne 1 2024 VIII END of the line now maybe"])]
bench += ["ha " * 30 + "ho", "la la land " * 12, "tick tock " * 9]  # prompts that repeat themselves
train += [pair(["ha " * 50]), pair(["la la land la la " + "la la land " * 7, "tock " + "tick tock " * 5]), pair(["ho " + "ha " * 12 + "ho"])]
train += [pair(["“Well” – " + A.replace("many", "m\u0308any")]), pair(["naïve “" + A + "” naïve"])]
train += [pair(["Ο οδος λόγος"]), pair(["ο οδοσ λόγοσ"])]  # a word ends in the final sigma
vocabulary = ["red", "blue", "The", "a", "of", "x", "Été", "中", "7"]
bench += [" ".join(random.choice(vocabulary) for _ in range(random.randrange(1, 40))) for _ in range(60)]
train += [pair([" ".join(random.choice(vocabulary) for _ in range(random.randrange(0, 60))) for _ in range(random.randrange(1, 4))], f"s{i % 3}") for i in range(600)]

with tempfile.TemporaryDirectory() as tmp:
    tmp = Path(tmp)
    lines = [json.dumps(dict(id=f"b{i}", prompt=p, subset=f"sub{i % 2}", chosen="c", rejected="r"), ensure_ascii=i % 2 == 0) + "\n" for i, p in enumerate(bench)]
    (tmp / "bench.jsonl").write_text("".join(lines[:40]))
    (tmp / "bench2.jsonl").write_text("".join(lines[40:]))
    (tmp / "train.jsonl").write_text("".join(json.dumps(dict(r, id=i), ensure_ascii=i % 2 == 0) + "\n" for i, r in enumerate(train)))
    for name, args, n, gist in (("default", [], 8, False), ("5", ["--ngram", "5"], 5, False), ("13", ["--ngram", "13"], 13, False), ("gist", ["--preset", "gist"], 7, True)):
        out = tmp / name
        subprocess.run([REWARD, "decontaminate", "--quiet", "--train", f"{tmp}/train.jsonl", "--bench", f"{tmp}/bench.jsonl", f"{tmp}/bench2.jsonl", "-o", str(out), *args], check=True, stdout=subprocess.DEVNULL)
        want = {}
        for i, r in enumerate(train):
            users = [m["content"] for m in r["chosen"] if m["role"] == "user"]
            hits = {f"b{k}" for k, b in enumerate(bench) if any(match(u, b, n, gist) for u in users)}
            if hits:
                want[i] = hits
        removed = [json.loads(l) for l in open(out / "removed.jsonl")]
        got = {r["id"]: {c["bench_id"] for c in r["contamination"]} for r in removed}
        assert got == want, (name, [(i, got.get(i), want.get(i)) for i in sorted(set(got) | set(want)) if got.get(i) != want.get(i)][:5])
        for r in removed:
            users = [words(m["content"], gist) for m in r["chosen"] if m["role"] == "user"]
            for c in r["contamination"]:
                assert len(words(c["span"], gist)) == c["words"], c
                b = words(bench[int(c["bench_id"][1:])], gist)
                for text, (x, y) in (([m["content"] for m in r["chosen"] if m["role"] == "user"][c["message"]], c["train_chars"]), (bench[int(c["bench_id"][1:])], c["bench_chars"])):
                    inside = words(text[x:y], gist)  # the place of the span; wider where normalizing changed a stretch's length
                    assert words(c["span"], gist) in ([inside] if text.isascii() else [inside[i:i + c["words"]] for i in range(len(inside))]), (c, text[x:y])
                assert c["words"] == max(longest(u, b) for u in users if len(u) >= min(n, len(b))), c
        clean = [json.loads(l) for l in open(out / "clean.jsonl")]
        assert [r["id"] for r in clean] == [i for i in range(len(train)) if i not in want]
        report = json.load(open(out / "report.json"))
        matched = set().union(*want.values())
        assert report["ngram"] == n and report["train_rows"] == len(train) and report["bench_rows"] == len(bench)
        assert report["train_prompts_contaminated"] == len(want) and report["bench_prompts_matched"] == len(matched)
        for source, got in report["sources"].items():
            rows = [i for i, r in enumerate(train) if r["source"] == source]
            hit = [want[i] for i in rows if i in want]
            assert got == dict(train_rows=len(rows), contaminated=len(hit), train_prompts_contaminated=len(hit), bench_prompts_matched=len(set().union(*hit))), (source, got)
        subset_of = lambda b: f"sub{int(b[1:]) % 2}"
        file_of = lambda b: f"{tmp}/bench{'2' if int(b[1:]) >= 40 else ''}.jsonl"
        for key, of in (("subsets", subset_of), ("benchmarks", file_of)):
            assert len(report[key]) == 2
            for group, got in report[key].items():
                ours = {f"b{k}" for k in range(len(bench)) if of(f"b{k}") == group}
                n_matched = len(ours & matched)
                assert got == dict(bench_rows=len(ours), matched=n_matched, bench_prompts_matched=n_matched, train_prompts_contaminated=sum(bool(h & ours) for h in want.values())), (group, got)
        assert set(report["sources"]) == {"s", "s0", "s1", "s2"}
        print(f"{name}: {len(want)} of {len(train)} rows match {len(matched)} of {len(bench)} prompts, as the rule says")
    # a prompt of one repeated word: as many equal places as the product of the lengths
    (tmp / "long_bench.jsonl").write_text(json.dumps(dict(id="long", prompt="spam " * 40000)) + "\n")
    (tmp / "long.jsonl").write_text(json.dumps(pair(["spam " * 39000 + "end"])) + "\n")
    subprocess.run([REWARD, "decontaminate", "--quiet", "--train", f"{tmp}/long.jsonl", "--bench", f"{tmp}/long_bench.jsonl", "-o", f"{tmp}/long"], check=True, timeout=10, stdout=subprocess.DEVNULL)
    assert json.loads((tmp / "long/removed.jsonl").read_text())["contamination"][0]["words"] == 39000
    # a benchmark id keeps its type; rows without a response count by their user messages; one contamination field
    ids = [17, "17", 2.5, None, True]
    topic = lambda i: f"question {i} " + " ".join(f"t{i}w{j}" for j in range(12))
    (tmp / "types.jsonl").write_text("".join(json.dumps(dict({} if i is None else dict(id=i), prompt=topic(k))) + "\n" for k, i in enumerate(ids)))
    user, bot = lambda t: dict(role="user", content=t), lambda t: dict(role="assistant", content=t)
    rows = [dict(prompt=[user(topic(0))]), dict(messages=[user(topic(1))]), dict(messages=[user("x"), user(topic(2)), bot("y"), user("z")]),
            dict(prompt="\n\nHuman: " + topic(3) + "\n\nAssistant: hm\n\nHuman: more " + topic(4) + "\n\nAssistant: ", answers=[]),
            dict(prompt=f"\n\nHuman: hello\n\nAssistant: {topic(0)}\n\nHuman: {topic(1)[:30]}\n\nAssistant: ", answers=[]),
            dict(contamination="old", prompt=topic(3), note="né"), dict(instruction=topic(4), responses=["a"], rewards_armorm=[]),
            dict(messages=[user("x"), bot("y"), user(topic(0))])]  # what follows the last answer does not count
    (tmp / "odd.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
    subprocess.run([REWARD, "decontaminate", "--quiet", "--train", f"{tmp}/odd.jsonl", "--bench", f"{tmp}/types.jsonl", "-o", f"{tmp}/odd"], check=True, stdout=subprocess.DEVNULL)
    lines = (tmp / "odd/removed.jsonl").read_text().splitlines()
    got = [[c["bench_id"] for c in json.loads(l)["contamination"]] for l in lines]
    assert got == [[17], ["17"], [2.5], [4, True], [4], [True]] and [type(x) for g in got for x in g] == [int, str, float, int, bool, int, bool], got
    assert all(l.count('"contamination"') == 1 for l in lines) and {k: v for k, v in json.loads(lines[4]).items() if k != "contamination"} == dict(prompt=topic(3), note="né")
    assert [json.loads(l) for l in open(tmp / "odd/clean.jsonl")] == [rows[4], rows[7]]
    html = (tmp / "odd/report.html").read_text()
    assert html.count("<mark>") == 12 and "2 matches of these two texts" in html and f"more <mark>{topic(4)}</mark>" in html and f"<p><mark>{topic(0)}</mark></p>" in html
    # rows that hold no words to compare are refused, never counted as clean
    (tmp / "ids.jsonl").write_text('{"chosen_ids": [1, 2], "rejected_ids": [3]}\n')
    p = subprocess.run([REWARD, "decontaminate", "--quiet", "--train", f"{tmp}/ids.jsonl", "--bench", f"{tmp}/bench.jsonl", "-o", f"{tmp}/ids"], capture_output=True, text=True)
    assert p.returncode == 1 and "ids.jsonl:1: row: expected text or messages, got token ids" in p.stderr, p
    assert not (tmp / "ids").exists()
    # what stands for a subset; a source that is named as those without one are
    run = lambda name, train, *bench: (subprocess.run([REWARD, "decontaminate", "--quiet", "--train", f"{tmp}/{train}", "--bench", *[f"{tmp}/{b}" for b in bench], "-o", f"{tmp}/{name}"], check=True, stdout=subprocess.DEVNULL), json.loads((tmp / name / "report.json").read_text(), object_pairs_hook=unique))[1]
    put = lambda name, rows: (tmp / name).write_text("".join(json.dumps(r) + "\n" for r in rows))


    def unique(pairs):
        assert len(dict(pairs)) == len(pairs), pairs
        return dict(pairs)


    put("named.jsonl", [dict(prompt=topic(0), subset="a", domain="b"), dict(prompt=topic(1), domain="chat", source="x"), dict(pair_id="j", question=topic(2), source="livebench"), dict(prompt=topic(3)), dict(prompt=topic(4), subset="(none)")])
    put("sources.jsonl", [dict(pair([topic(0)]), source="(none)"), dict(pair([topic(1), topic(0)]), source=None), dict(pair(["x"]), source="(none)")])
    report = run("named", "sources.jsonl", "named.jsonl")
    assert list(report["subsets"]) == ["a", "chat", "livebench", "(none)"] and report["subsets"]["(none)"]["bench_rows"] == 2, report
    assert report["subsets"]["a"]["train_prompts_contaminated"] == 2 and report["subsets"]["chat"]["train_prompts_contaminated"] == 1
    assert report["sources"] == {"(none)": dict(train_rows=3, contaminated=2, train_prompts_contaminated=2, bench_prompts_matched=2)}
    # preference over all matched items and all of an item's responses; a row once in each kind
    q = topic(0)
    put("lists.jsonl", [dict(prompt=q, chosen="c1", rejected="r1"), dict(prompt=q, chosen=["c2", "c3"], rejected=["r2", "r3"]), dict(question=q, response_A="ra", response_B="cb", label="B>A", source="x"),
                        dict(prompt=q, chosen=[user(q), bot("c4")], rejected=[user(q), bot("r4")]), dict(question=q, response_A="ta", response_B="tb", label="A=B")])
    told = [("c1", "r1"), ("c3", "no"), ("no", "r3"), ("cb", "ra"), ("ra", "cb"), ("c2", "c1"), ("c1", "r4"), ("r2", "no"), ("ta", "tb"), ("no", "no")]
    put("told.jsonl", [dict(prompt=q, chosen=c, rejected=r) for c, r in told])
    report = run("told", "told.jsonl", "lists.jsonl")
    kinds = [{k for c in json.loads(l)["contamination"] for k in c.get("preference", "").split(", ")} - {""} for l in open(tmp / "told/removed.jsonl")]
    both = {"same chosen", "same rejected"}
    assert kinds == [both, {"same chosen"}, {"same rejected"}, both, {"flipped"}, {"same chosen", "flipped"}, both, {"flipped"}, set(), set()], kinds
    assert report["preference"] == dict(same_chosen=5, same_rejected=4, flipped=3), report
    # a recipe's stage keeps and counts what the command does of the same rows; the benchmark's files by name alone
    os.mkdir(tmp / "other")
    (tmp / "other/bench.jsonl").write_text("".join((tmp / "bench.jsonl").read_text().splitlines(True)[:9]))
    (tmp / "plain.yaml").write_text("name: plain\nstages:\n  - source: pairs\n")
    for name, args, benches in (("r8", "ngram: 8", ["bench.jsonl", "bench2.jsonl", "other/bench.jsonl"]), ("rgist", "preset: gist", ["bench.jsonl"]), ("rtold", "ngram: 8", ["lists.jsonl"])):
        (tmp / "staged.yaml").write_text(f"name: staged\nstages:\n  - source: pairs\n  - decontaminate: {{{args}}}\n")
        put("to_stage.jsonl", [dict(prompt=q, chosen=c, rejected=r, source=c) for c, r in told] + [dict(r, id=i) for i, r in enumerate(train)])
        curate = lambda recipe, out, *more: subprocess.run([REWARD, "curate", "--quiet", f"{tmp}/{recipe}.yaml", "--input", f"pairs={tmp}/to_stage.jsonl", "-o", f"{tmp}/{name}.{out}", *more], check=True, stdout=subprocess.DEVNULL)
        files = [f"{tmp}/{b}" for b in benches]
        curate("plain", "plain")
        curate("staged", "staged", "--bench", *files)
        subprocess.run([REWARD, "decontaminate", "--quiet", "--train", f"{tmp}/{name}.plain/train.jsonl", "--bench", *files, "-o", f"{tmp}/{name}.command", *(["--preset", "gist"] if "gist" in args else [])], check=True, stdout=subprocess.DEVNULL)
        stage = json.loads((tmp / f"{name}.staged/report.json").read_text(), object_pairs_hook=unique)["stages"][0]
        want = json.loads((tmp / f"{name}.command/report.json").read_text())
        want["benchmarks"] = {f"{os.path.basename(f)}{' (2)' if k == 2 else ''}": want["benchmarks"][f] for k, f in enumerate(files)}
        assert stage["contamination"] == want and want["train_prompts_contaminated"] == stage["removed"] > 0, (stage, want)
        assert sum(want["preference"].values()) > 0 or name != "rtold"
        gone = [json.loads(l) for l in open(tmp / f"{name}.staged/removed.jsonl")]
        assert {g["id"]: g["contamination"] for g in gone if g["stage"] == "decontaminate"} == {r["id"]: r["contamination"] for r in map(json.loads, open(tmp / f"{name}.command/removed.jsonl"))}
        assert (tmp / f"{name}.staged/train.jsonl").read_bytes() == (tmp / f"{name}.command/clean.jsonl").read_bytes()
        html = (tmp / f"{name}.staged/report.html").read_text()
        assert "Contamination, by line 4 of the recipe" in html and "<mark>" in html and "training row pairs:" in html
    # HelpSteer2's turns in one text: each user turn by itself, the assistant's never
    turns = lambda *t: "".join(("" if i == 0 else "\n<extra_id_1>" + ("Assistant" if i % 2 else "User") + "\n") + x for i, x in enumerate(t))
    put("helpsteer.jsonl", [dict(prompt=turns(*t), response=topic(1), helpfulness=3) for t in (("hello", topic(2), "and now"), ("hello", "yes", topic(3)), (topic(0), "yes", "more \"quotes\""), (topic(4)[:25], "hm", topic(4)[25:50]))])
    run("helpsteer", "helpsteer.jsonl", "types.jsonl")
    got = [[(c["bench_id"], c["message"]) for c in json.loads(l)["contamination"]] for l in open(tmp / "helpsteer/removed.jsonl")]
    assert got == [[(4, 1)], [(17, 0)]], got
    # the same beside two responses of HelpSteer2's preference file, alone, or as a pair
    split = [turns("hello", topic(2), "and now"), turns("hello", "yes", topic(3)), turns(topic(0), "yes", "more"), turns(topic(4)[:25], "hm", topic(4)[25:50]), topic(1), turns("a", "b", topic(0), "c", "<extra_id_1>User\n" + topic(1))]
    hits = {1: [(4, 1)], 2: [(17, 0)], 4: [("17", 0)], 5: [(17, 1), ("17", 2)]}
    for name, more in (("preference", dict(response_1=topic(4), response_2=topic(3), preference_strength=2, preference_statement=None, preference_elaboration=None, split="train")),
                       ("alone", {}), ("pair", dict(chosen=topic(4), rejected="no")), ("several", dict(responses=[topic(4), "no"]))):
        put(f"{name}.jsonl", [dict(prompt=p, **more) for p in split])
        run(f"turns_{name}", f"{name}.jsonl", "types.jsonl")
        rows = [json.loads(l) for l in open(tmp / f"turns_{name}/removed.jsonl")]
        assert {split.index(r["prompt"]): [(c["bench_id"], c["message"]) for c in r["contamination"]] for r in rows} == hits, (name, rows)
    # the report's own numbers: beside its sources and sets, against RewardBench, and nowhere else
    put("rb.jsonl", [dict(prompt=f"p {i}", subset="math-prm" if i < 447 else "hep-cpp" if i < 611 else f"other{i % 21}") for i in range(2985)])
    put("few.jsonl", [dict(pair(["p 5"]), source="nectar"), dict(pair(["p 6"]), source="mine")])
    report = run("few", "few.jsonl", "rb.jsonl")
    assert report["report"] == dict(sources=dict(nectar=dict(bench_prompts_matched=381, train_prompts_contaminated=2394))), report
    assert "15,349" not in (tmp / "few/report.html").read_text() and "2,394" in (tmp / "few/report.html").read_text()
    put("v2.jsonl", [dict(prompt="p 7", chosen="a", rejected="b", source=("magpie-air", "offsetbias")[i % 2]) for i in range(77016)])
    assert run("v2", "v2.jsonl", "rb.jsonl")["report"] == dict(sources={}, set="80K v0.2", bench_prompts_matched=460, train_prompts_contaminated=445)
    assert "report" not in run("few_named", "few.jsonl", "named.jsonl")

#!/usr/bin/env python3
"""OUT/tensorboard of a training run: frames and checksums by a decoder written here, the scalars by the tensorboard
package's own reader where it is installed (else exit 77 after the rest), also over a stop and --resume."""
import glob, json, math, os, random, struct, subprocess, sys, tempfile
from pathlib import Path

os.chdir(Path(__file__).resolve().parent.parent)
REWARD = os.environ.get("BUILD", "build") + "/reward"

TABLE = []
for n in range(256):
    c = n
    for _ in range(8):
        c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    TABLE.append(c)


def crc32c(data):
    c = 0xFFFFFFFF
    for b in data:
        c = TABLE[(c ^ b) & 255] ^ c >> 8
    return c ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283 and crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


def masked(data):
    c = crc32c(data)
    return ((c >> 15 | c << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(data):
    while data:
        size, check = struct.unpack("<QI", data[:12])
        assert check == masked(data[:8]), "checksum of the length"
        body = data[12:12 + size]
        assert len(body) == size and struct.unpack("<I", data[12 + size:16 + size])[0] == masked(body), "checksum"
        yield body
        data = data[16 + size:]


def fields(data):
    def varint():
        nonlocal at
        v = shift = 0
        while True:
            b = data[at]
            at += 1
            v |= (b & 127) << shift
            shift += 7
            if b < 128:
                return v
    at = 0
    while at < len(data):
        k = varint()
        if k & 7 == 0:
            v = varint()
        elif k & 7 == 2:
            size = varint()
            v, at = data[at:at + size], at + size
        else:
            size = {1: 8, 5: 4}[k & 7]
            v, at = struct.unpack("<d" if size == 8 else "<f", data[at:at + size])[0], at + size
        yield k >> 3, v


def scalars(folder):
    """{tag: {step: value}}; later files replace what earlier ones say of steps from their session start on."""
    out = {}
    for path in sorted(glob.glob(folder + "/tensorboard/events.out.tfevents.*")):
        for i, body in enumerate(records(Path(path).read_bytes())):
            event = dict(fields(body))
            assert event[1] > 1.6e9  # wall_time
            if i == 0:
                assert event[3] == b"brain.Event:2"
            if 7 in event:
                assert dict(fields(event[7])) == {1: 1}
                for tag in out:
                    out[tag] = {s: v for s, v in out[tag].items() if s < event[2]}
            for number, value in fields(event.get(5, b"")):
                v = dict(fields(value))
                assert number == 1
                out.setdefault(v[1].decode(), {})[event.get(2, 0)] = v[2]
    return out


def same(a, b):
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-30)


with tempfile.TemporaryDirectory() as tmp:
    random.seed(7)
    draw = lambda n: [random.randrange(3, 200) for _ in range(n)]
    with open(tmp + "/rows.jsonl", "w") as f:
        for i in range(40):
            f.write(json.dumps({"chosen_ids": draw(9), "rejected_ids": draw(7), "source": "äb"[i % 2]}) + "\n")

    def train(out, *more, status=0):
        p = subprocess.run([REWARD, "train", "--quiet", "--model", "tests/data/model/llama", "--data", tmp + "/rows.jsonl", "--batch-size",
                            "8", "--epochs", "2", "--lr", "1e-3", "--threads", "1", "--eval", tmp + "/rows.jsonl", "--eval-every", "5",
                            "--save-every", "3", "--out", tmp + "/" + out, *more])
        assert p.returncode == status

    def check(out, got):
        lines = [json.loads(l) for l in open(f"{tmp}/{out}/metrics.jsonl")]
        assert len(lines) == 10
        for m in lines:
            for field in ("loss", "accuracy", "margin", "mean_reward", "reward_sd", "grad_norm", "learning_rate", "num_tokens"):
                assert same(got["train/" + field][m["step"]], m[field]), (field, m["step"])
            for name, s in m["sources"].items():
                for field in ("accuracy", "margin", "mean_reward", "reward_sd"):
                    assert same(got[f"sources/{name}/{field}"][m["step"]], s[field])
        for e in map(json.loads, open(f"{tmp}/{out}/evals.jsonl")):
            assert same(got[f"eval/{tmp}/rows.jsonl/overall"][e["step"]], e["overall"])
            for name, s in e["subsets"].items():
                assert same(got[f"eval/{tmp}/rows.jsonl/subset/{name}"][e["step"]], s["accuracy"])
        assert {len(v) for t, v in got.items() if t.startswith("train/")} == {10}

    train("a")
    check("a", scalars(tmp + "/a"))
    train("a", "--force")  # a new run replaces the files
    assert len(glob.glob(tmp + "/a/tensorboard/*")) == 1
    train("off", "--tensorboard", "no")
    assert not os.path.exists(tmp + "/off/tensorboard")

    # stopped after a later step than the last checkpoint: the second sitting writes those steps again
    train("b", "--keep", "3")
    for name in ("run.json", "checkpoint-00000009"):
        subprocess.run(["rm", "-r", f"{tmp}/b/{name}"], check=True)
    train("b", "--keep", "3", "--resume")
    assert len(glob.glob(tmp + "/b/tensorboard/*")) == 2
    check("b", scalars(tmp + "/b"))

    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.backend.event_processing import tag_types
    except ImportError:
        print("frames and scalars are right by our own decoder; the tensorboard package is not installed")
        sys.exit(77)
    for out in "ab":
        reader = EventAccumulator(f"{tmp}/{out}/tensorboard", size_guidance={tag_types.SCALARS: 0, tag_types.TENSORS: 0})
        reader.Reload()
        check(out, {tag: {e.step: e.value for e in reader.Scalars(tag)} for tag in reader.Tags()["scalars"]})
        assert all(len({e.step for e in reader.Scalars(t)}) == len(reader.Scalars(t)) for t in reader.Tags()["scalars"])
print("event files read back")

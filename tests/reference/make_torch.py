#!/usr/bin/env python3
"""make_torch.py - the files of tests/data/torch: what torch.save writes, and what must be refused.

usage: tests/reference/make_torch.py     (needs: pip install torch safetensors numpy)

values.safetensors has the tensors of values.bin, zip64.bin and the two shards.
"""
import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy
import torch
from safetensors.torch import save_file

OUT = os.path.join(os.path.dirname(__file__), "..", "data", "torch")


class Runs:
    def __reduce__(self):
        return os.system, ("touch /tmp/reward-was-run",)


def zip64(data):
    """The same archive with every size and place in zip64 fields."""
    end = data.rindex(b"PK\5\6")
    n, length, at = struct.unpack("<HII", data[end + 10:end + 20])
    old, new, p = data[at:at + length], b"", 0
    for _ in range(n):
        head = list(struct.unpack("<IHHHHHHIIIHHHHHII", old[p:p + 46]))
        name, extra, comment = (old[p + 46 + a:p + 46 + b] for a, b in ((0, head[10]), (head[10], head[10] + head[11]), (head[10] + head[11], sum(head[10:13]))))
        p += 46 + sum(head[10:13])
        more = struct.pack("<HHQQQ", 1, 24, head[9], head[8], head[16])
        head[8] = head[9] = head[16] = 0xFFFFFFFF
        head[11] = len(extra) + len(more)
        new += struct.pack("<IHHHHHHIIIHHHHHII", *head) + name + extra + more + comment
    end64 = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, n, n, len(new), at)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, at + len(new), 1)
    return data[:at] + new + end64 + locator + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def archive(members, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in members.items():
            z.writestr("x/" + name, data)
    return out.getvalue()


def save(name, value, **more):
    out = io.BytesIO()
    torch.save(value, out, **more)
    put(name, out.getvalue())
    return out.getvalue()


def put(name, data):
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(data)


def main():
    os.makedirs(OUT, exist_ok=True)
    torch.manual_seed(0)
    kinds = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16, torch.bfloat16, torch.int32, torch.float32, torch.float64, torch.int64]
    values = OrderedDict((str(k)[6:], (torch.arange(6).reshape(2, 3) - 2).to(k)) for k in kinds)
    rows = torch.randn(5, 4)
    values.update(scalar=torch.tensor(1.5), empty=torch.zeros(0, 3), one=rows[1:2], middle=rows[2:4], tied=rows, **{"tied.again": rows, "größe": torch.nn.Parameter(torch.ones(2)).data})
    state = torch.nn.Linear(3, 2).state_dict()  # has attributes
    values.update(state)
    data = save("values.bin", values)
    put("zip64.bin", zip64(data))
    save("protocol4.bin", values, pickle_protocol=4)
    save_file({k: v.clone().contiguous() for k, v in values.items()}, os.path.join(OUT, "values.safetensors"))
    names = list(values)
    parts = {"pytorch_model-00001-of-00002.bin": names[:8], "pytorch_model-00002-of-00002.bin": names[8:]}
    for file, keys in parts.items():
        save(file, {k: values[k] for k in keys})
    with open(os.path.join(OUT, "pytorch_model.bin.index.json"), "w") as f:
        json.dump({"metadata": {}, "weight_map": {k: file for file, keys in parts.items() for k in keys}}, f)
    save("parameter.bin", {"w": torch.nn.Parameter(torch.ones(3))})
    save("old.bin", values, _use_new_zipfile_serialization=False)
    save("columns.bin", {"w": rows.T})
    save("nested.bin", {"model": {"w": rows}})
    save("array.bin", {"w": numpy.ones(3)})
    put("runs.bin", archive({"data.pkl": pickle.dumps({"w": Runs()}, protocol=2), "version": "3\n"}))
    plain = {n.split("/", 1)[1]: zipfile.ZipFile(io.BytesIO(data)).read(n) for n in zipfile.ZipFile(io.BytesIO(data)).namelist()}
    put("packed.bin", archive(plain, zipfile.ZIP_DEFLATED))
    put("big_endian.bin", archive({**plain, "byteorder": b"big"}))
    put("missing.bin", archive({k: v for k, v in plain.items() if k != "data/3"}))
    put("short.bin", archive({**plain, "data/3": b"abc"}))


main()

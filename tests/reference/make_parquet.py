#!/usr/bin/env python3
"""Writes tests/data/parquet/: the same rows as JSONL and as Parquet in the ways that public data sets come in.

    python3 tests/reference/make_parquet.py        needs pyarrow; recorded with pyarrow 26.0.1
"""
import datetime, decimal, json
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq

out = Path(__file__).parent.parent / "data/parquet"
message = pa.struct([("content", pa.large_string()), ("role", pa.string())])
fields = [("chosen", pa.list_(message)), ("responses", pa.large_list(pa.string())), ("source", pa.string()), ("n", pa.int32()),
          ("big", pa.uint64()), ("score", pa.float32()), ("margin", pa.float64()), ("half", pa.float16()), ("ok", pa.bool_()),
          ("none", pa.null()), ("pair", pa.list_(pa.int8(), 2)), ("meta", pa.struct([("tag", pa.string()), ("at", pa.struct([("x", pa.int64())]))]))]
rows = []
for i in range(40):
    rows.append({
        "chosen": None if i == 7 else [{"content": f"q{i} \u00e9\u4e2d \"\\\n\t\x01", "role": "user"}, {"content": "a" * (i % 5), "role": "assistant"}][:i % 3 + 1],
        "responses": [] if i % 4 == 0 else [None if k == 1 and i % 6 == 1 else f"r{k}" for k in range(i % 4)],
        "source": None if i % 5 == 0 else ["helpsteer2", "magpie", ""][i % 3], "n": None if i % 9 == 0 else i - 20, "big": 2**64 - 1 - i,
        "score": i / 8, "margin": None if i % 2 else i / 7, "half": i / 4, "ok": [True, False, None][i % 3], "none": None,
        "pair": None if i == 3 else [i, -i], "meta": None if i % 7 == 0 else {"tag": f"t{i}", "at": None if i % 2 else {"x": -2**63 + i}}})
table = pa.Table.from_pylist(rows, schema=pa.schema(fields))
# the row texts: a whole fraction is written without its .0
text = lambda v: int(v) if isinstance(v, float) and v == int(v) else v
(out / "rows.jsonl").write_text("".join(json.dumps({k: text(v) for k, v in r.items()}, ensure_ascii=False) + "\n" for r in rows))

coded = table.set_column(2, "source", table["source"].dictionary_encode()).set_column(6, "margin", table["margin"])
for name, t, how in [("plain", table, dict(compression="none", use_dictionary=False)), ("snappy", table, dict(compression="snappy")),
                     ("zstd", coded, dict(compression="zstd", row_group_size=7)), ("gzip", coded, dict(compression="gzip", data_page_version="2.0")),
                     ("lz4", table, dict(compression="lz4", data_page_size=64, write_page_index=True)),
                     ("brotli", table, dict(compression="brotli", store_schema=False, row_group_size=39)),
                     ("delta", table.select(["n", "source"]), dict(use_dictionary=False, column_encoding={"n": "DELTA_BINARY_PACKED", "source": "DELTA_BYTE_ARRAY"}))]:
    pq.write_table(t, out / f"{name}.parquet", **how)
pq.write_table(table.slice(0, 0), out / "empty.parquet")
# what polars and newer Arrow write: views of texts (short and long ones), lists with offsets and sizes; margins that are no numbers
views = [{"text": t, "parts": p, "margin": m} for t, p, m in
         [("short", ["a", "a part of more than twelve bytes"], 1.5), (None, None, float("nan")), ("exactly 12 b", [], float("inf")), ("thirteen byte", ["é中", None], None)]]
pq.write_table(pa.Table.from_pylist(views, schema=pa.schema([("text", pa.string_view()), ("parts", pa.list_(pa.string_view())), ("margin", pa.float64())])), out / "views.parquet")
one = {"time": pa.array([datetime.datetime(2024, 7, 26)]), "day": pa.array([datetime.date(2024, 7, 26)]), "price": pa.array([decimal.Decimal("1.50")]),
       "bytes": pa.array([b"\xff"]), "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))}
for name, column in one.items():
    pq.write_table(pa.table({"id": ["a"], "deep": pa.array([{"in": v} for v in column], pa.struct([("in", column.type)]))}), out / f"{name}.parquet")

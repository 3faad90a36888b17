#!/usr/bin/env python3
"""What the tests of several processes train on: make.py DIR writes pairs, evaluations and few rows, as ids that
every tiny model has, rankings as text, and DIR/wide, a model of 7 million values with one layer."""
import json, random, struct, sys
from pathlib import Path

out = Path(sys.argv[1])
random.seed(5)
draw = lambda n: [random.randrange(3, 90) for _ in range(n)]


def rows(name, n, make):
    with open(out / name, "w") as f:
        for i in range(n): f.write(json.dumps(make(i)) + "\n")


def pair(i):
    p = draw(random.randrange(0, 20))
    return {"chosen_ids": p + draw(random.randrange(1, 30)), "rejected_ids": p + draw(random.randrange(1, 30)), "source": "ab"[i % 2]}


rows("pairs.jsonl", 51, pair) # the last batch of an epoch is short
rows("few.jsonl", 3, pair)
rows("eval.jsonl", 23, pair)
word = lambda: "".join(random.choice("abcdefgh ") for _ in range(random.randrange(1, 20)))
rows("rankings.jsonl", 20, lambda i: {"prompt": word(), "responses": [word() + str(k) for k in range(2 + i % 3)], "scores": [3, 1, 2, 0][:2 + i % 3]})

HIDDEN, FF, HEADS, VOCAB = 64, 96, 4, 110000
shapes = {"model.embed_tokens.weight": [VOCAB, HIDDEN], "model.norm.weight": [HIDDEN], "score.weight": [1, HIDDEN]}
layer = {"input_layernorm": [HIDDEN], "post_attention_layernorm": [HIDDEN], "mlp.gate_proj": [FF, HIDDEN], "mlp.up_proj": [FF, HIDDEN],
         "mlp.down_proj": [HIDDEN, FF], **{f"self_attn.{k}_proj": [HIDDEN, HIDDEN] for k in "qkvo"}}
shapes.update({f"model.layers.0.{k}.weight": v for k, v in layer.items()})
header, blob, at = {}, [], 0
for name, shape in sorted(shapes.items()):
    n = shape[0] * (shape[1] if len(shape) > 1 else 1)
    row = [random.gauss(0, 0.1) for _ in range(min(n, 4096))]
    blob.append((struct.pack(f"<{len(row)}f", *row) * (n // len(row) + 1))[:4 * n])
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at := at + 4 * n]}
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
(out / "wide").mkdir()
(out / "wide/model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blob))
(out / "wide/config.json").write_text(json.dumps({
    "architectures": ["LlamaForSequenceClassification"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": HIDDEN,
    "intermediate_size": FF, "num_hidden_layers": 1, "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "num_labels": 1, "id2label": {"0": "LABEL_0"}, "pad_token_id": 0}))

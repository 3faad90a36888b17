#!/usr/bin/env python3
"""What a mixture of experts costs beside an MLP as wide as the experts that a token has: CPU seconds of `reward score`.

    python3 tests/reference/mixture_rate.py        needs torch, transformers; `reward` in build/

Random models of four layers, hidden size 512; 48 conversations of 256 ids on one thread, the best of three runs.
"""
import json, random, resource, subprocess, tempfile
from transformers import AutoConfig, AutoModelForSequenceClassification

BASE = dict(hidden_size=512, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=8, vocab_size=1000,
            max_position_embeddings=1024, num_labels=1, pad_token_id=0)
MODELS = {"2 of 8 experts of 1024": dict(model_type="mixtral", intermediate_size=1024, num_local_experts=8, num_experts_per_tok=2),
          "8 of 64 experts of 256": dict(model_type="qwen3_moe", num_experts=64, num_experts_per_tok=8, moe_intermediate_size=256,
                                         intermediate_size=2048, head_dim=64),
          "an MLP of 2048": dict(model_type="llama", intermediate_size=2048)}
random.seed(1)
rows = "".join(json.dumps({"input_ids": [random.randrange(3, 1000) for _ in range(256)]}) + "\n" for _ in range(48))
used = lambda: resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
for name, fields in MODELS.items():
    with tempfile.TemporaryDirectory() as folder:
        config = AutoConfig.for_model(fields["model_type"], **BASE, **{k: v for k, v in fields.items() if k != "model_type"})
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
        times = []
        for _ in range(3):
            before = used()
            subprocess.run(["build/reward", "score", "--model", folder, "--quiet", "--threads", "1"], input=rows, text=True,
                           capture_output=True, check=True)
            times.append(used() - before)
    print(f"{name}: {min(times):.2f} s, {48 * 256 / min(times):.0f} tokens a second", flush=True)

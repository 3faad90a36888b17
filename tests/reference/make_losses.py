#!/usr/bin/env python3
"""tests/data/losses.txt: the losses and their derivatives by PyTorch's autograd, in float64 (needs torch).

    tests/reference/make_losses.py >tests/data/losses.txt

A line a pair: LOSS PARAMETER MARGIN CHOSEN REJECTED VALUE D/DCHOSEN D/DREJECTED. PARAMETER: gamma, margin, t or temperature
(0 where the loss has none), MARGIN the row's (nan: none). Up to |D| = 8 the formulas stand as they are printed; beyond, and for
t near 1, where 1 - s(D) and s(D)^(1-t) - 1 would have lost their digits, by logarithms. A line a ranking: "ranking" N, N rewards, N scores, VALUE, N derivatives,
of the Plackett-Luce model: in every order of the responses that agrees with the scores, one draw after another. "mse" and "bce"
lines the same, of responses with scores of their own, by torch.nn.functional's losses.
"""
import random

import torch
from torch.nn.functional import logsigmoid

torch.set_default_dtype(torch.float64)


def loss(name, p, margin, c, r):
    x, far = c - r, abs(c.item() - r.item()) > 8 or (name == "tempered-log" and p > 0.99)
    below = torch.exp(logsigmoid(-x)) if far else 1 - torch.sigmoid(x)
    if name == "bt": return -logsigmoid(x - (margin or 0))
    if name == "focal": return -below**p * logsigmoid(x)
    if name == "focal-penalty":
        if far: return -(2 * below if x > 0 else torch.ones(()))**p * logsigmoid(x)
        return -(1 - 2 * torch.clamp(torch.sigmoid(x) - 0.5, min=0))**p * logsigmoid(x)
    if name == "hinge": return torch.relu((p if margin is None else margin) - x)
    if name == "margin-mse": return (x - (p if margin is None else margin))**2
    if name == "ce": return -logsigmoid(c) - logsigmoid(-r)
    if name == "tempered-log":
        if far and x > 0: return -torch.expm1((1 - p) * logsigmoid(x)) / (1 - p)
        if far: return -(torch.exp((1 - p) * logsigmoid(x)) - 1) / (1 - p)
        return -(torch.sigmoid(x)**(1 - p) - 1) / (1 - p)
    if name == "temperature-bt": return -logsigmoid(x / p)


def line(words, numbers):
    print(*words, *(repr(float(v.detach()) if torch.is_tensor(v) else float(v)) for v in numbers))


parameters = {"bt": [0], "focal": [0.5, 2, 3], "focal-penalty": [0.5, 2, 3], "hinge": [0, 1, 2.5], "margin-mse": [0, 1, 2.5], "ce": [0],
              "tempered-log": [0, 0.5, 0.9, 0.999], "temperature-bt": [0.5, 2, 10]}
for name, values in parameters.items():
    for p in values:
        for margin in (None, 0.75) if name in ("bt", "hinge", "margin-mse") else (None,):
            for x in (-80, -20, -7.5, -2.25, -0.5, -0.0625, 0.0625, 0.5, 2.25, 7.5, 20, 80):
                for middle in (0, 3.5):
                    c, r = (torch.tensor(v, requires_grad=True) for v in (middle + x / 2, middle - x / 2))
                    v = loss(name, p, margin, c, r)
                    v.backward()
                    line([name], [p, float("nan") if margin is None else margin, c, r, v, c.grad, r.grad])
rng = random.Random(1)
for n in (2, 3, 4, 5, 8):
    for scale in (1, 20):
        rewards = torch.tensor([rng.randrange(-64, 65) / 32 * scale for _ in range(n)], requires_grad=True)
        scores = rng.sample(range(100), n)
        order = sorted(range(n), key=lambda i: -scores[i])
        v = sum(torch.logsumexp(rewards[order[i:]], 0) - rewards[order[i]] for i in range(n - 1))
        v.backward()
        line(["ranking", n], [*rewards, *scores, v, *rewards.grad])
for name, f in ("mse", torch.nn.functional.mse_loss), ("bce", torch.nn.functional.binary_cross_entropy_with_logits):
    for n in (1, 2, 5):
        for scale in (1, 20):
            rewards = torch.tensor([rng.randrange(-64, 65) / 32 * scale for _ in range(n)], requires_grad=True)
            scores = torch.tensor([rng.randrange(0, 17) / 16 for _ in range(n)])
            v = f(rewards, scores)
            v.backward()
            line([name, n], [*rewards, *scores, v, *rewards.grad])

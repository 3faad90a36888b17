"""PyTorch definitions of the reward models that transformers does not hold itself, written from their public
descriptions; make.py records their answers. Each takes a config (any object with the fields of config.json) and
answers like a transformers classifier: .logits, .hidden_states."""
from types import SimpleNamespace
import torch
from torch import nn


class RMSNorm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(n)), eps

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


def rotate(x, theta):  # [heads, tokens, D]
    n, d = x.shape[1:]
    angle = torch.arange(n)[:, None].float() / theta ** (torch.arange(0, d, 2).float() / d)
    cos, sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)
    return x * cos + torch.cat([-x[..., d // 2:], x[..., :d // 2]], -1) * sin


class LlamaForRewardModelWithGating(nn.Module):
    """ArmoRM over transformers' Llama: .logits, and .rewards of the attributes."""

    def __init__(self, c, backbone):
        super().__init__()
        self.config, self.model = c, backbone
        n, widths = c.num_objectives, [c.hidden_size] + [c.gating_hidden_dim] * c.gating_n_hidden + [c.num_objectives]
        self.regression_layer = nn.Linear(c.hidden_size, n, bias=False)
        self.reward_transform_matrix = nn.Parameter(torch.eye(n))
        self.gating = nn.Module()
        self.gating.logit_scale = nn.Parameter(torch.ones(1))
        self.gating.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, input_ids, attention_mask=None):
        ids, pattern = input_ids[0].tolist(), self.config.gating_token_pattern
        at = max(i for i in range(len(ids)) if ids[i:i + len(pattern)] == pattern)
        states = self.model(input_ids=input_ids).last_hidden_state[0]
        g = states[at]
        for i, layer in enumerate(self.gating.layers):
            g = layer(g) if i == 0 else layer(g.relu())
        gate = (g / self.config.gating_temperature).softmax(-1) * self.gating.logit_scale[0]
        rewards = self.regression_layer(states[-1])
        return SimpleNamespace(logits=(gate @ (rewards @ self.reward_transform_matrix)).view(1, 1), rewards=rewards)


class HeadOnDecoder(nn.Module):
    """Any decoder of transformers with a head as the published reward models have it: the decoder's name in the
    checkpoint, the head's name, and its module; read at the last token."""

    def __init__(self, config, decoder, inside, name, head):
        super().__init__()
        self.config, self.inside, self.name = config, inside, name
        setattr(self, inside, decoder)
        *outer, last = name.split(".")
        at = self
        for part in outer:
            setattr(at, part, nn.Module())
            at = getattr(at, part)
        setattr(at, last, head)

    def forward(self, input_ids, attention_mask=None, output_hidden_states=False):
        answer = getattr(self, self.inside)(input_ids=input_ids, output_hidden_states=True)
        head = self.get_submodule(self.name)
        return SimpleNamespace(logits=head(answer.last_hidden_state[:, -1]), hidden_states=answer.hidden_states)


def layers(*widths, bias=True):
    """Linear layers with ReLU between."""
    steps = [nn.Linear(a, b, bias=bias) for a, b in zip(widths, widths[1:])]
    return nn.Sequential(*[m for s in steps for m in (s, nn.ReLU())][:-1])


class InternLM2Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c, h, self.d = c, c.hidden_size, c.hidden_size // c.num_attention_heads
        self.attention = nn.Module()
        self.attention.wqkv = nn.Linear(h, (c.num_attention_heads + 2 * c.num_key_value_heads) * self.d, bias=c.bias)
        self.attention.wo = nn.Linear(c.num_attention_heads * self.d, h, bias=c.bias)
        self.feed_forward = nn.Module()
        self.feed_forward.w1 = nn.Linear(h, c.intermediate_size, bias=False)
        self.feed_forward.w3 = nn.Linear(h, c.intermediate_size, bias=False)
        self.feed_forward.w2 = nn.Linear(c.intermediate_size, h, bias=False)
        self.attention_norm, self.ffn_norm = RMSNorm(h, c.rms_norm_eps), RMSNorm(h, c.rms_norm_eps)

    def attend(self, x):  # [tokens, H]
        c, d, groups = self.c, self.d, self.c.num_key_value_heads
        per = c.num_attention_heads // groups
        qkv = self.attention.wqkv(x).view(len(x), groups, per + 2, d)  # of each group: queries, key, value
        q = qkv[:, :, :per].reshape(len(x), -1, d).transpose(0, 1)
        k = qkv[:, :, per].transpose(0, 1).repeat_interleave(per, 0)
        v = qkv[:, :, per + 1].transpose(0, 1).repeat_interleave(per, 0)
        s = rotate(q, c.rope_theta) @ rotate(k, c.rope_theta).transpose(1, 2) / d ** 0.5
        s = s.masked_fill(torch.ones(len(x), len(x)).triu(1).bool(), float("-inf"))
        return self.attention.wo((s.softmax(-1) @ v).transpose(0, 1).reshape(len(x), -1))

    def forward(self, x):
        x = x + self.attend(self.attention_norm(x))
        f, y = self.feed_forward, self.ffn_norm(x)
        return x + f.w2(nn.functional.silu(f.w1(y)) * f.w3(y))


class InternLM2ForRewardModel(nn.Module):
    """The score is read at the last token, which callers make config.reward_token_id."""

    def __init__(self, c):
        super().__init__()
        self.config, self.model = c, nn.Module()
        self.model.tok_embeddings = nn.Embedding(c.vocab_size, c.hidden_size)
        self.model.layers = nn.ModuleList(InternLM2Layer(c) for _ in range(c.num_hidden_layers))
        self.model.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.v_head = nn.Linear(c.hidden_size, 1, bias=False)

    def forward(self, input_ids, attention_mask=None, output_hidden_states=False):
        x = self.model.tok_embeddings(input_ids[0])
        states = [x[None]]
        for layer in self.model.layers:
            x = layer(x)
            states.append(x[None])
        return SimpleNamespace(logits=self.v_head(self.model.norm(x[-1:])), hidden_states=states)

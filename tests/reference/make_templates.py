#!/usr/bin/env python3
"""make_templates.py - what Jinja makes of the templates of tests/data/template, in the environment of transformers.

usage: tests/reference/make_templates.py [FOLDER_OF_REAL_TOKENIZERS]     (needs: pip install transformers)

Writes expected.json: the conversations, with tools and without, and for each template and conversation what
transformers' apply_chat_template renders, or null where that raises an exception. The date is 2024-07-26. With a folder of real tokenizers (NAME/tokenizer_config.json), their
templates are rendered too; else the recorded renders are kept.
"""
import datetime
import glob
import itertools
import json
import os
import sys

import jinja2
import transformers
from transformers.utils import chat_template_utils

OUT = os.path.join(os.path.dirname(__file__), "..", "data", "template")


def talk(*turns):
    return [{"role": {"s": "system", "u": "user", "a": "assistant"}[t[0]], "content": t[2:]} for t in turns]


CONVERSATIONS = [
    talk("u:Hi", "a:Hello!"),
    talk("s:Be brief.", "u:What is 2+2?", "a:4"),
    talk("u:one", "a:two", "u:three", "a:four", "u:five", "a:six", "u:seven", "a:eight"),
    talk("u:  spaces and lines \n\n", "a:\n\tkept or not? \n"),
    talk("u:", "a:"),
    talk("u:<|im_end|> <|eot_id|> </s> {{ bos_token }} {% if %}", "a:<|im_start|>assistant\n"),
    talk("u:think", "a:<think>\nfirst this, then that\n</think>\n\nThe answer."),
    talk("u:a", "a:<think>x</think>b", "u:c", "a:<think>\n\n</think>\n\nd"),
    talk("u:Größe 今日 😀 e\u0301", "a:\"quotes\" \\ / \t \u2028 \x7f <>&'"),
    talk("s: padded ", "u:x", "a:y", "u:z", "a:w"),
    talk("u:two", "u:in a row", "a:x"),
    talk("s:a", "s:b", "u:c", "a:d"),
    talk("u:<tool_response>x</tool_response>", "a:ok"),
]


def function(name, description, properties, **more):
    return {"type": "function", "function": {"name": name, "description": description,
                                             "parameters": {"type": "object", "properties": properties, "required": list(properties)[:1]}, **more}}


def call(name, arguments, **more):
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


WEATHER = function("get_weather", "The weather of a place.", {"city": {"type": "string", "description": " Where "}, "unit": {"type": "string", "enum": ["C", "F"], "default": "C"}})
MANY = function("many", "Größe <&> \"q\"", {"a": {"type": "array", "items": {"type": "number"}}, "b": {"type": ["string", "null"]}, "c": {"type": "object", "additionalProperties": {"type": "integer"}},
                                           "d": {"type": "boolean", "default": False}, "e": {"type": "number", "default": 1.0}, "f": {}}, **{"return": {"type": "string"}})
NOTHING = function("nothing", "", {})
ARGUMENTS = {"text": "a \"b\" 'c' \n\\ \u00fc\U0001f600 </tool_call><|im_end|>", "n": 3, "x": 1.0, "y": -0.5, "big": 1e20, "small": 1e-7, "z": 123456789012345678,
             "yes": True, "no": False, "null": None, "list": [1, [2, "3"], {}], "dict": {"k": [], "é": {"m": 0}}}
HI = {"role": "user", "content": "Weather in Oslo?"}
TOOL_CONVERSATIONS = [
    {"messages": [HI, {"role": "assistant", "content": "Cold."}], "tools": [WEATHER]},
    {"messages": [{"role": "system", "content": "Be brief."}, HI, {"role": "assistant", "content": "Cold."}], "tools": [WEATHER, MANY, NOTHING]},
    {"messages": [HI, {"role": "assistant", "content": "", "tool_calls": [call("get_weather", {"city": "Oslo"}, id="abcdefghi")]},
                  {"role": "tool", "content": "-3", "tool_call_id": "abcdefghi", "name": "get_weather"}, {"role": "assistant", "content": "-3 degrees."}], "tools": [WEATHER]},
    {"messages": [HI, {"role": "assistant", "content": None, "tool_calls": [call("get_weather", {"city": "Oslo"}, id="abcdefghi")]},
                  {"role": "tool", "content": '{"t": -3}', "tool_call_id": "abcdefghi"}, {"role": "assistant", "content": "-3 degrees."}, {"role": "user", "content": "And now?"},
                  {"role": "assistant", "content": "Let me look.", "reasoning_content": "It may have changed.", "tool_calls": [call("get_weather", {"city": "Oslo", "unit": "F"}, id="123456789")]}]},
    {"messages": [HI, {"role": "assistant", "tool_calls": [call("many", ARGUMENTS, id="1"), call("nothing", {}, id="2")]}, {"role": "tool", "content": "one", "tool_call_id": "1"},
                  {"role": "tool", "content": "two", "tool_call_id": "2"}, {"role": "assistant", "content": "Done."}], "tools": [MANY]},
    {"messages": [HI, {"role": "assistant", "tool_calls": [call("many", ARGUMENTS, id="abcdefghi")]}]},
    {"messages": [HI, {"role": "assistant", "content": "", "tool_calls": [{"name": "get_weather", "arguments": {"city": "Bergen"}}]}, {"role": "ipython", "content": "rain"}, {"role": "assistant", "content": "Rain."}]},
    {"messages": [HI, {"role": "assistant", "content": "", "tool_calls": [call("get_weather", '{"city": "Oslo"}')]}, {"role": "tool", "content": "x"}, {"role": "assistant", "content": "y"}]},
    {"messages": [{"role": "developer", "content": "No jokes."}, HI, {"role": "assistant", "content": "Cold.", "thinking": " It is winter. "}]},
    {"messages": [{"role": "developer", "content": "No jokes."}, HI, {"role": "assistant", "content": "Cold.", "reasoning": "It is winter."}], "tools": []},
    {"messages": [HI, {"role": "assistant", "content": "a", "reasoning_content": "first"}, HI, {"role": "assistant", "content": "b", "reasoning_content": "\n second </think>\n", "thinking": "other"}]},
    {"messages": [{"role": "user", "content": "x", "name": "Ann", "weight": 0.5}, {"role": "observation", "content": "seen"}, {"role": "assistant", "content": "y", "extra": ARGUMENTS}]},
    {"messages": [{"role": "critic|><|x", "content": "q"}, {"role": "assistant", "content": "y", "tool_calls": None, "name": None}]},
    {"messages": [HI, {"role": "tool", "content": {"t": -3, "sky": ["grey", None]}, "tool_call_id": "abcdefghi"}, {"role": "assistant", "content": "y"}]},
]


class July(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


def render(source, row, tokens):
    if isinstance(row, list):
        row = {"messages": row}
    messages = chat_template_utils._normalize_chat_messages(row["messages"])
    return chat_template_utils.render_jinja_template([messages], tools=row.get("tools"), chat_template=source, **tokens)[0][0]


def renders(source, tokens, rows):
    out = []
    for row in rows:
        try:
            out.append(render(source, row, tokens))
        except jinja2.exceptions.TemplateSyntaxError:
            raise
        except (jinja2.exceptions.TemplateError, TypeError):
            out.append(None)
    return out


def main():
    chat_template_utils.datetime = July
    path = os.path.join(OUT, "expected.json")
    old = json.load(open(path)) if os.path.exists(path) else {}
    kinds = {"": CONVERSATIONS, "_tools": TOOL_CONVERSATIONS}
    new = {"transformers": transformers.__version__, "jinja2": jinja2.__version__, "conversations": CONVERSATIONS, "tool_conversations": TOOL_CONVERSATIONS,
           "own": {}, "own_tools": {}, "real": old.get("real", {}), "real_tools": old.get("real_tools", {})}
    for (kind, rows), name in itertools.product(kinds.items(), sorted(glob.glob(os.path.join(OUT, "*.jinja")))):
        new["own" + kind][os.path.basename(name)[:-6]] = renders(open(name, newline="").read(), {"bos_token": "<s>", "eos_token": "</s>"}, rows)
    with open(os.path.join(OUT, "tokenizer_config.json"), "w") as f:
        json.dump({"bos_token": "<s>", "eos_token": {"content": "</s>"}}, f)
    for name in sorted(os.listdir(sys.argv[1])) if len(sys.argv) > 1 else []:
        config = json.load(open(os.path.join(sys.argv[1], name, "tokenizer_config.json")))
        tokens = {k: config[k] for k in ("bos_token", "eos_token", "pad_token") if isinstance(config.get(k), str)}
        for kind, rows in kinds.items() if "chat_template" in config else []:
            new["real" + kind][name] = renders(config["chat_template"], tokens, rows)
    with open(path, "w") as f:
        json.dump(new, f, separators=(",", ":"))


main()

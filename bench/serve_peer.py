"""The peer of bench_serve.py: a reward model of transformers behind a small ASGI server of the kind that OpenRLHF ships:
a request is a batch, requests are computed one after another. usage: serve_peer.py MODEL (torch, transformers, uvicorn)"""
import asyncio, json, sys

import torch
import uvicorn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], num_labels=1, torch_dtype=torch.float32).eval()
turn = asyncio.Lock()


def rewards(body):
    talk = [{"role": "user", "content": body["prompt"]}, {"role": "assistant", "content": body["response"]}]
    text = tokenizer.apply_chat_template(talk, tokenize=False)
    with torch.no_grad():
        return model(**tokenizer([text], add_special_tokens=False, return_tensors="pt")).logits[:, 0].tolist()


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        return await send({"type": "lifespan.shutdown.complete"})
    body, more = b"", True
    while more:
        part = await receive()
        body, more = body + part.get("body", b""), part.get("more_body", False)
    async with turn:
        answer = await asyncio.to_thread(rewards, json.loads(body))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(answer[0]).encode()})


class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}", flush=True)


Server(uvicorn.Config(app, port=0, log_level="error")).run()

"""A completions server on loopback that answers as vLLM or as a plain OpenAI-compatible one, from a tiny network."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

Twist = Callable[[dict[str, Any], dict[str, Any], int], None]


class FakeServer:
    """Serves one network under one name; its faults are set as attributes while it runs."""

    def __init__(self, network: Any, tokenizer: Any, name: str = "tiny", vllm: bool = True, limit: int = 512) -> None:
        self.network, self.tokenizer, self.vllm = network, tokenizer, vllm
        self.card: dict[str, Any] = {"id": name, "object": "model", "owned_by": "test", "root": f"org/{name}"}
        self.card |= {"max_model_len": limit} if vllm else {}
        self.model, self.fingerprint, self.key = name, None, ""
        self.failures: list[tuple[int, dict[str, str]]] = []
        """Status and headers of the answers to come instead of numbers."""
        self.delays: list[float] = []
        """Seconds the answers to come take."""
        self.twist: Twist = lambda body, answer, call: None
        """Changes an answer before it is sent; it gets the request, the answer, and how many were answered before."""
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.cards = self.at_once = self.most_at_once = 0
        self.lock, self.computing = threading.Lock(), threading.Lock()

    def __enter__(self) -> FakeServer:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet an answer: else the client waits 40 ms for the second

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                fake.cards += 1
                card = {**fake.card, "created": fake.cards}
                self.send(200, {"object": "list", "data": [{"id": "another"}, card]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with fake.lock:
                    fake.headers.append(dict(self.headers))
                    failure = fake.failures.pop(0) if fake.failures else None
                    delay = fake.delays.pop(0) if fake.delays else 0.0
                    fake.at_once += 1
                    fake.most_at_once = max(fake.most_at_once, fake.at_once)
                time.sleep(delay)
                try:
                    if fake.key and self.headers.get("Authorization") != f"Bearer {fake.key}":
                        self.send(401, {"error": {"message": f"wrong key {self.headers.get('Authorization')}"}})
                    elif failure:
                        self.send(failure[0], {"error": {"message": "not now"}}, failure[1])
                    else:
                        self.send(*fake.answer(body))
                finally:
                    with fake.lock:
                        fake.at_once -= 1

            def send(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
                data = json.dumps(content).encode()
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.http.server_port}"

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and JSON of a completion or a chat completion."""
        if "messages" in body:
            ids = self.tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True, return_dict=False)
            body = body | {"prompt": ids}
        if isinstance(body["prompt"], str):
            body = body | {"prompt": self.tokenizer(body["prompt"])["input_ids"]}
        wanted = body.get("logprob_token_ids") if self.vllm else None
        if wanted and body.get("logprobs") is None:
            return 400, {"error": {"message": "when using `logprob_token_ids`, `logprobs` must be set."}}
        if len(body["prompt"]) + body["max_tokens"] > self.network.config.max_position_embeddings:
            return 400, {"error": {"message": "the prompt is too long"}}
        with self.computing:
            number = len(self.bodies)
            self.bodies.append(body)
            emitted, rows = self.written(body)
        choice: dict[str, Any] = {"index": 0, "text": self.tokenizer.decode(emitted), "finish_reason": "length"}
        if emitted[-1] == self.tokenizer.eos_token_id:
            choice["finish_reason"] = "stop"
        if "messages" in body:
            listed = rows[0].topk(body["top_logprobs"]).indices.tolist()
            token, *others = [self.token(rows[0], i) for i in (emitted[0], *listed)]
            choice["message"] = {"role": "assistant", "content": choice.pop("text")}
            choice["logprobs"] = {"content": [token | {"top_logprobs": others}]}
        elif body.get("logprobs") is not None:
            choice["logprobs"] = self.shown(rows[0], emitted[0], body, wanted)
        if self.vllm and body.get("return_token_ids"):
            choice |= {"prompt_token_ids": body["prompt"], "token_ids": emitted}
        if self.vllm and body.get("prompt_logprobs") is not None:
            with self.computing:
                choice["prompt_logprobs"] = self.prompt_rows(body["prompt"])
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": len(emitted)}
        answer = {"model": self.model, "system_fingerprint": self.fingerprint, "choices": [choice], "usage": usage}
        self.twist(body, answer, number)
        return 200, answer

    def written(self, body: dict[str, Any]) -> tuple[list[int], list[torch.Tensor]]:
        """Ids drawn after the prompt, and the distribution each was drawn from."""
        draw = torch.Generator().manual_seed(body.get("seed") or 0)
        ids, rows = list(body["prompt"]), []
        for _ in range(body["max_tokens"]):
            rows.append(self.logprobs(ids)[-1])
            probability = rows[-1].exp()
            greedy = not body.get("temperature", 1.0)
            ids.append(int(probability.argmax() if greedy else torch.multinomial(probability, 1, generator=draw)))
            if ids[-1] == self.tokenizer.eos_token_id:
                break
        return ids[len(body["prompt"]) :], rows

    @torch.inference_mode()
    def logprobs(self, ids: list[int]) -> torch.Tensor:
        return self.network(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)

    def shown(self, row: torch.Tensor, sampled: int, body: dict[str, Any], wanted: list[int] | None) -> dict[str, Any]:
        """The sampled token, and the ids wanted or the most probable ones."""
        ids = dict.fromkeys([sampled, *(wanted or row.topk(body["logprobs"]).indices.tolist())])
        named = self.vllm and body.get("return_tokens_as_token_ids")
        names = {i: f"token_id:{i}" if named else self.tokenizer.decode([i]) for i in ids}
        return {
            "tokens": [names[sampled]],
            "token_logprobs": [float(row[sampled])],
            "top_logprobs": [{names[i]: max(float(row[i]), -9999.0) for i in ids}],
        }

    def token(self, row: torch.Tensor, i: int) -> dict[str, Any]:
        """A token as chat completions name it."""
        text = self.tokenizer.decode([i])
        return {"token": text, "bytes": list(text.encode()), "logprob": float(row[i])}

    def prompt_rows(self, ids: list[int]) -> list[Any]:
        """For every token of the prompt but the first, it and the most probable one."""
        rows: list[Any] = [None]
        for token, row in zip(ids[1:], self.logprobs(ids)):
            pair = dict.fromkeys([token, int(row.argmax())])
            rows.append(
                {
                    str(i): {"logprob": float(row[i]), "rank": 1, "decoded_token": self.tokenizer.decode([i])}
                    for i in pair
                }
            )
            assert all(math.isfinite(entry["logprob"]) for entry in rows[-1].values())
        return rows

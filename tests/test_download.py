"""The downloader against a real HTTP server: resuming, several addresses, checksums, failures."""

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from scripts.preparation.download import download, part_file, sha256_of

CONTENT = np.random.default_rng(0).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `CONTENT`; the first part of the path says how. `requests` are (path, Range)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, str | None]] = []

    def url(self, how: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{how}/nyu.mat"

    def ranges(self, how: str) -> list[str | None]:
        return [wanted for path, wanted in self.requests if path == f"/{how}/nyu.mat"]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        how, wanted = self.path.split("/")[1], self.headers["Range"]
        self.server.requests.append((self.path, wanted))
        if how == "missing":
            return self.send_error(404)
        if how == "circle":
            self.send_response(302)
            self.send_header("Location", self.path)
            return self.end_headers()
        start = int(re.findall(r"\d+", wanted)[0]) if wanted and how != "plain" else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            return self.end_headers()
        body = CONTENT[start:][::-1] if how == "other" else CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "text/html" if how == "page" else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        # "cut" drops the connection every 100,000 bytes, "dead" after none
        length = {"cut": 100_000, "dead": 0}.get(how, len(body))
        return self.wfile.write(body[:length])

    def log_message(self, *_) -> None:
        """No line on stderr for every request."""


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "some folder" / "nyu.mat"


def left_over(path: Path) -> list[str]:
    return sorted(other.name for other in path.parent.iterdir() if other != path)


@pytest.mark.parametrize("how", ["range", "plain", "cut"])
def test_it_brings_the_file_whole(server, path, how):
    assert download([server.url(how)], path, SHA256) == path
    assert path.read_bytes() == CONTENT
    assert left_over(path) == []


def test_a_cut_connection_goes_on_where_it_ended(server, path):
    download([server.url("cut")], path)
    assert server.ranges("cut") == [None, "bytes=100000-", "bytes=200000-"]


def test_an_interrupted_download_goes_on_in_the_next_run(server, path):
    url = server.url("range")
    path.parent.mkdir()
    part_file(path, url).write_bytes(CONTENT[:123_456])
    download([url], path, SHA256)
    assert path.read_bytes() == CONTENT
    assert server.ranges("range") == ["bytes=123456-"]


def test_a_server_that_cannot_resume_sends_all_again(server, path):
    url = server.url("plain")
    path.parent.mkdir()
    part_file(path, url).write_bytes(CONTENT[:1000])
    download([url], path, SHA256)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("extra", [b"", b"more"])
def test_a_part_as_long_as_the_file_or_longer(server, path, extra):
    url = server.url("range")
    path.parent.mkdir()
    part_file(path, url).write_bytes(CONTENT + extra)
    download([url], path)
    assert path.read_bytes() == CONTENT


def test_a_part_of_an_older_file_is_given_up(server, path):
    url = server.url("range")
    path.parent.mkdir()
    part_file(path, url).write_bytes(bytes(1000))
    download([url], path, SHA256)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("first", ["missing", "page", "dead", "other"])
def test_the_next_address_is_tried(server, path, first):
    download([server.url(first), server.url("range")], path, SHA256)
    assert path.read_bytes() == CONTENT
    assert left_over(path) == []


def test_an_address_without_a_server(server, path):
    download(["http://127.0.0.1:9/nyu.mat", "not an address", server.url("range")], path)
    assert path.read_bytes() == CONTENT


def test_all_failures_are_named_in_one_line(server, path):
    ways = ["missing", "page", "other", "dead"]
    with pytest.raises(UserError) as caught:
        download([server.url(how) for how in ways], path, SHA256)
    message = str(caught.value)
    assert "\n" not in message
    assert all(server.url(how) in message for how in ways)
    for reason in ("HTTP 404", "web page", "wrong content", "after 0 of 300000 bytes", str(path)):
        assert reason in message
    assert not path.exists()


def test_the_first_digits_of_a_checksum_are_enough(server, path):
    download([server.url("range")], path, SHA256[:12])
    assert sha256_of(path) == SHA256


def test_a_file_that_is_there_is_not_fetched_again(server, path):
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    download([server.url("range")], path, SHA256)
    assert server.requests == []


def test_another_file_of_that_name_is_not_overwritten(server, path):
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(UserError, match="not the published file.*name another --root"):
        download([server.url("range")], path, SHA256)
    assert path.read_text() == "mine"


def test_a_place_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        download([server.url("range")], tmp_path / "file" / "nyu.mat")


def test_a_redirect_that_leads_back_is_still_one_line(server, tmp_path):
    """Python's own message has three."""
    with pytest.raises(UserError, match="infinite loop") as caught:
        download([server.url("circle")], tmp_path / "nyu.mat")
    assert "\n" not in str(caught.value)

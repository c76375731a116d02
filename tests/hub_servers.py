"""A stand-in for a model hub: silent, silent after a while, or slow; it counts who comes."""

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

COMMIT = "0123456789012345678901234567890123456789"


class Hub:
    """What a test tells the server, and what the server has seen."""

    def __init__(self) -> None:
        self.num_requests = 0
        self.num_answered = 0  # requests before it falls silent; the others wait
        self.files: dict[str, bytes] = {}  # name -> content, of any model
        self.pause = 0.0  # seconds between the tenths of a file
        self.closing = threading.Event()


@contextmanager
def serve() -> Iterator[tuple[str, Hub]]:
    """Address and hub."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def answer(self) -> None:
            hub.num_requests += 1
            if hub.num_requests > hub.num_answered:
                hub.closing.wait(60)
                return
            content = hub.files.get(self.path.rpartition("/")[2])
            is_there = content is not None or not self.path.strip("/")
            self.send_response(200 if is_there else 404)
            if not is_there:
                self.send_header("X-Error-Code", "EntryNotFound")
            content = content or b""
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                size = max(len(content) // 10, 1)
                for first in range(0, len(content), size):
                    self.wfile.write(content[first : first + size])
                    self.wfile.flush()
                    time.sleep(hub.pause)

        do_GET = do_HEAD = answer

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # a client that gave up

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()


def use_hub(address: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries of this process go there, with a cache of their own."""
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def put_in_cache(cache: Path, model: str, *files: Path, lacking: tuple[str, ...] = ()) -> None:
    """As a finished download leaves it; lacking: what the hub said it does not have."""
    repo = cache / f"models--{model.replace('/', '--')}"
    place = repo / "snapshots" / COMMIT
    place.mkdir(parents=True)
    for file in files:
        (place / file.name).write_bytes(file.read_bytes())
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(COMMIT)
    for name in lacking:
        marker = repo / ".no_exist" / COMMIT / name
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()


def free_port() -> int:
    """Where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

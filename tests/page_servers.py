"""A running page, and questions to it as a browser sends them, or as one would not."""

import json
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from scripts.page.desk import Desk
from scripts.page.examples import Example
from scripts.page.serving import private_gradio, serve
from scripts.page.uploads import Limits
from scripts.prediction.model import DepthModel


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class RunningPage:
    """A page that answers at `address`; visitors share its one model."""

    def __init__(self, page: Any, address: str, folder: Path) -> None:
        self.page, self.address, self.folder = page, address, folder
        self.client = httpx.Client(base_url=address, timeout=60, trust_env=False)
        self.session = uuid.uuid4().hex

    def call(self, element: str, event: str, *inputs: Any) -> list[Any]:
        """What the event of an element answers; its inputs after the state."""
        number = self._find(element, event)
        asked = {"data": list(inputs), "fn_index": number, "session_hash": self.session}
        content = json.dumps({**asked, "event_data": None})  # halves of characters as \\ud83d
        headers = {"content-type": "application/json"}
        joined = self.client.post("gradio_api/queue/join", content=content, headers=headers)
        joined.raise_for_status()
        answers = self.client.stream("GET", f"gradio_api/queue/data?session_hash={self.session}")
        with answers as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data") else {}
                if message.get("msg") == "process_completed":
                    if not message["success"]:
                        raise PermissionError(str(message["output"]))
                    return message["output"]["data"]
        raise AssertionError("no answer")

    def mistake(self, answer: list[Any]) -> str:
        """The line of the mistake in an answer; "": there is none."""
        return answer[1]

    def upload(self, name: bytes, content: bytes) -> dict[str, Any]:
        """As a browser hands in a file; name: as it stands in the request."""
        head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="' + name
        body = head + b'"\r\nContent-Type: image/png\r\n\r\n' + content + b"\r\n--x--\r\n"
        headers = {"content-type": "multipart/form-data; boundary=x"}
        answer = self.client.post("gradio_api/upload", content=body, headers=headers)
        answer.raise_for_status()
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}

    def _find(self, element: str, event: str) -> int:
        (number,) = (
            own["id"]
            for own in self.page.config["dependencies"]
            for target, kind in own["targets"]
            if kind == event and self.page.blocks[target].elem_id == element
        )
        return number


@contextmanager
def running(model: DepthModel, limits: Limits, examples: list[Example]) -> Iterator[RunningPage]:
    with private_gradio() as folder:
        from scripts.page.layout import build_page

        page = build_page(Desk(model, folder / "made", limits), examples)
        try:
            yield RunningPage(page, serve(page, "127.0.0.1", free_port(), limits.max_bytes), folder)
        finally:
            page.close(verbose=False)

"""The page's server: what it tells, what it keeps to itself, and that nothing ends it."""

import io
import os
import re
import socket
import subprocess
from pathlib import Path

import httpx
import pytest
from conftest import run_script
from PIL import Image
from prediction_runs import CAPTION, make_encoder, make_run, open_run, picture

from common.config import REPO_ROOT

gradio = pytest.importorskip("gradio", reason="pip install --no-deps -r requirements-app.txt")
from page_servers import free_port, running  # noqa: E402

from common.errors import UserError  # noqa: E402
from scripts.page.answers import NUM_FOUND  # noqa: E402
from scripts.page.serving import private_gradio, serve  # noqa: E402
from scripts.page.uploads import Limits  # noqa: E402


@pytest.fixture(scope="module")
def page(workspace, tmp_path_factory):
    encoder = make_encoder(tmp_path_factory.mktemp("encoder"))
    run = make_run(workspace, "joint", tmp_path_factory.mktemp("joint"))
    with running(open_run(run, encoder), Limits(max_bytes=200_000), []) as own:
        yield own


def png() -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture()).save(content, "PNG")
    return content.getvalue()


def predict(page, caption: str) -> list:
    return page.call("predict", "click", None, caption, None, "none")


def still_works(page) -> bool:
    """A picture and a caption give depth."""
    opened = page.call("upload", "change", page.upload(b"a.png", png()))
    answer = predict(page, CAPTION)
    return not page.mistake(opened) and not page.mistake(answer) and "median" in answer[4]


def test_a_picture_and_a_caption_give_depth(page):
    assert still_works(page)
    answer = predict(page, CAPTION)
    assert len(answer) == NUM_FOUND
    assert answer[3]["path"].startswith(str(page.folder))


def test_nothing_is_shared_sent_home_or_open_to_others(page):
    assert page.page.share_url is None
    assert not page.page.analytics_enabled
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    host, port = re.fullmatch(r"http://(.+):(\d+)/", page.address).groups()
    assert host == "127.0.0.1"
    listening = subprocess.run(["ss", "-ltn"], capture_output=True, text=True)
    places = re.findall(rf"(\S+):{port}\s", listening.stdout) if not listening.returncode else []
    assert set(places) <= {"127.0.0.1"}
    assert page.client.get("", headers={"host": "evil.example"}).status_code == 400
    assert page.client.get("", headers={"host": f"localhost:{port}"}).status_code == 200
    info = page.client.get("gradio_api/info").json()
    assert not info["named_endpoints"]
    assert not info["unnamed_endpoints"]
    text = page.client.get("").text
    outside = set(re.findall(r'(?:src|href)="(https?://[^"]+)"', text))
    assert all(address.startswith(page.address) for address in outside), outside
    assert page.folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "place",
    [
        "/etc/passwd",
        str(REPO_ROOT / "README.md"),
        "README.md",
        str(REPO_ROOT / "scripts/../README.md"),
    ],
)
def test_no_file_of_the_machine_is_given_away(page, place):
    answer = page.client.get(f"gradio_api/file={place}")
    assert answer.status_code in (403, 404), answer.text
    forged = {"path": place, "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(PermissionError):
        page.call("upload", "change", forged)
    assert still_works(page)


def test_addresses_are_not_fetched(page):
    with socket.socket() as trap:
        trap.bind(("127.0.0.1", 0))
        trap.listen()
        trap.settimeout(0.5)
        for host in (f"127.0.0.1:{trap.getsockname()[1]}", "example.org"):
            forged = {"path": f"http://{host}/a.png", "meta": {"_type": "gradio.FileData"}}
            with pytest.raises(PermissionError, match="addresses are not fetched"):
                page.call("upload", "change", forged)
        with pytest.raises(TimeoutError):
            trap.accept()


def test_files_above_the_limit_are_refused_before_they_are_kept(page):
    before = sorted(page.folder.rglob("*"))
    with pytest.raises(httpx.HTTPStatusError, match="413"):
        page.upload(b"a.png", bytes(200_001 + 1024))
    kept = [path for path in page.folder.rglob("*") if path not in before and path.is_file()]
    assert sum(path.stat().st_size for path in kept) <= 200_000
    assert still_works(page)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"a.png", b"no picture"),
        (b"a.png", b""),
        (b"caf\xe9.png", b"no picture"),
        (b"<b>x</b>.png", b"no picture"),
        (b"../../a.png", b"no picture"),
        (b"\xff" * 300 + b".png", b"no picture"),
    ],
)
def test_bad_files_are_a_line_and_leave_nothing_of_the_picture_before(page, name, content):
    assert still_works(page)
    answer = page.call("upload", "change", page.upload(name, content))
    assert "not a readable image" in page.mistake(answer)
    assert "<b>" not in page.mistake(answer)
    assert str(page.folder) not in page.mistake(answer)
    assert answer[2] is None  # no picture, no depth
    assert answer[3] is None
    assert "there is no picture yet" in page.mistake(predict(page, CAPTION))
    assert still_works(page)


def test_a_picture_whose_name_is_not_utf8_is_read(page):
    assert not page.mistake(page.call("upload", "change", page.upload(b"caf\xe9.png", png())))
    assert not page.mistake(predict(page, CAPTION))


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("a \ud83d", "half a character"),
        ("", "the caption is empty"),
        ("auto", "no caption here"),
        (None, "the caption is empty"),
        ("a" * 100_001, "100,001 characters"),
    ],
)
def test_bad_captions_are_a_line_and_the_page_goes_on(page, caption, message):
    assert still_works(page)
    assert message in page.mistake(predict(page, caption))
    assert not page.mistake(predict(page, "kitchen " * 10_000))
    assert still_works(page)


def test_an_error_of_the_program_does_not_end_it(page, monkeypatch):
    assert still_works(page)
    with monkeypatch.context() as broken:
        broken.setattr("scripts.page.texts.describe_range", lambda _: 1 / 0)
        assert "ZeroDivisionError" in page.mistake(predict(page, CAPTION))
    assert still_works(page)


def test_visitors_do_not_see_each_other(page):
    assert still_works(page)
    before, page.session = page.session, "another"
    assert "there is no picture yet" in page.mistake(predict(page, CAPTION))
    page.session = before


def test_a_busy_port_is_one_line(page):
    port = int(page.address.rstrip("/").rpartition(":")[2])
    with gradio.Blocks(analytics_enabled=False) as other, pytest.raises(UserError, match="--port"):
        serve(other, "127.0.0.1", port, 1000)
    assert still_works(page)


def test_settings_of_the_environment_are_not_read(monkeypatch):
    for name, value in (("GRADIO_SHARE", "True"), ("GRADIO_ALLOWED_PATHS", "/")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GRADIO_TEMP_DIR", os.environ.get("GRADIO_TEMP_DIR", ""))
    with private_gradio() as folder:
        assert "GRADIO_SHARE" not in os.environ
        assert "GRADIO_ALLOWED_PATHS" not in os.environ
        assert Path(os.environ["GRADIO_TEMP_DIR"]).parent == folder
    assert not folder.exists()


def test_a_checkpoint_that_is_none_is_one_line(tmp_path):
    outcome = run_script("app.py", "--checkpoint", tmp_path, "--port", free_port())
    assert "no checkpoint in" in outcome.refusal

"""The page in a real browser, with a model that has learnt what words say of scale."""

import re
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import run_script, start_process, train, write_yaml
from tiny_configs import SWIN

from common.language.captions import read_captions
from scripts.prediction.load import load

pytest.importorskip("gradio", reason="pip install --no-deps -r requirements-app.txt")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="pip install --no-deps playwright pyee greenlet"
)
from page_servers import free_port  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]
PATIENCE = 120_000  # ms; other tests may run beside it
NETWORK = {
    "encoder": SWIN | {"embed_dim": 16, "depths": [1, 1, 1, 1], "window_size": 4},
    "decoder_channels": [64, 32, 16],
    "code_channels": 32,
    "hidden_dims": [64],
    "metric_hidden": 32,
    "standardize_text": True,
}
ROOM, TWIN = "train/bedroom_0000/rgb_00000.jpg", "train/dollhouse_bedroom_0000/rgb_00000.jpg"


@pytest.fixture(scope="module")
def rooms(tmp_path_factory) -> Path:
    """Six rooms at two scales to learn by heart."""
    folder = tmp_path_factory.mktemp("demo")
    counts = ("--scenes", 6, "--val-scenes", 2, "--test-scenes", 2, "--workers", 1)
    outcome = run_script("make_demo_data.py", "--out", folder, "--what", "rooms", *counts)
    assert outcome.code == 0, outcome.err
    return folder / "rooms"


@pytest.fixture(scope="module")
def run(rooms, tmp_path_factory) -> Path:
    """A joint model for which the caption tells the two scales of one picture apart."""
    folder = tmp_path_factory.mktemp("run")
    lists = {f"{s}_list": f"{s}_files_with_gt.txt" for s in ("train", "val", "test")}
    config = {
        "experiment": "browser",
        "recipe": "joint",
        "data": {
            "name": "nyu",
            "root": str(rooms),
            "height": 64,
            "width": 96,
            "max_depth": 10.0,
            "mean_log_depth": 0.47,
            "rotate_degrees": 0.0,
            "jitter": False,
            "mask_border": False,
            **lists,
        },
        "text": {"captions": "captions.jsonl", "encoder": "untrained:0"},
        "model": NETWORK,
        "train": {
            "batch_size": 12,
            "max_steps": 150,
            "lr": 2e-3,
            "final_lr": 1e-5,
            "warmup_steps": 10,
            "num_workers": 0,
            "precision": "fp32",
        },
        "eval": {"every": 1000, "protocol": "none"},
    }
    write_yaml(folder / "joint.yaml", config)
    outcome = train("joint", str(folder / "joint.yaml"), f"output_root={folder}")
    assert outcome.code == 0, outcome.err
    return folder / "browser/stage3"


@pytest.fixture(scope="module")
def address(run, rooms):
    """Of `scripts/app.py` as a user starts it."""
    port = str(free_port())
    options = ("--checkpoint", str(run), "--examples", str(rooms), "--port", port)
    process = start_process(sys.executable, "scripts/app.py", *options, PYTHONUNBUFFERED="1")
    try:
        line = process.stdout.readline()
        assert f"http://127.0.0.1:{port}" in line, process.communicate()[1]
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert "Traceback" not in err
    finally:
        process.kill()


@pytest.fixture
def tab(address):
    """A new visitor; every request of the page is kept in `tab.asked`."""
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_page(viewport={"width": 1360, "height": 1000})
        page.set_default_timeout(PATIENCE)
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        page.locator("#predict").wait_for()
        yield page
        browser.close()


def upload(tab, *files: Path) -> None:
    tab.locator("#upload input[type=file]").set_input_files([str(file) for file in files])


def median_after(tab, caption: str) -> float:
    """Edit the caption, ask for depth; the median in meters that the page then shows."""
    tab.locator("#caption textarea").fill(caption)
    tab.locator("#predict").click()
    tab.locator("#facts").get_by_text(f"“{caption}”").wait_for()
    return float(re.search(r"median (\S+) m", tab.locator("#facts").inner_text())[1])


def test_the_depth_of_a_picture_follows_its_caption(tab, run, rooms):
    captions = read_captions(rooms / "captions.jsonl")
    upload(tab, rooms / ROOM)
    tab.locator("#picture img").wait_for()
    shown = [median_after(tab, captions[key]) for key in (ROOM, TWIN)]
    model = load(run, "cpu")
    expected = [np.median(model.predict(rooms / ROOM, captions[key]).depth) for key in (ROOM, TWIN)]
    assert shown == pytest.approx(expected, rel=0.006)  # three digits are shown
    assert 0.2 < shown[1] / shown[0] < 0.3  # a quarter, as of the demo's miniatures
    tab.locator("#depth img").wait_for()
    assert all(url.startswith((tab.url, "data:", "blob:", "about:")) for url in tab.asked), (
        tab.asked
    )


def test_examples_words_scenes_distances_and_ground_truth(tab):
    tab.locator("#examples button img").first.click()
    tab.locator("#facts b").wait_for()
    tab.get_by_role("tab", name="Other words").click()
    tab.locator("#compare").click()
    tab.locator("#about-words p").nth(2).wait_for()
    tab.locator("#comparison img").wait_for()
    tab.get_by_role("tab", name="Sampled scenes").click()
    tab.locator("#count input[type=number]").fill("3")
    tab.locator("#draw").click()
    tab.locator("#about-scenes p").first.wait_for()
    first = tab.locator("#scene img").get_attribute("src")
    tab.locator("#scene-number input[type=number]").fill("3")
    tab.locator("#scene-number input[type=number]").press("Enter")
    tab.wait_for_function("first => document.querySelector('#scene img').src !== first", arg=first)
    tab.get_by_role("tab", name="Known distances").click()
    tab.locator("#picture img").click(position={"x": 150, "y": 100})
    tab.locator("#points td").nth(3).wait_for()
    depth = float(tab.locator("#points td").nth(3).inner_text().split()[0])
    tab.locator("#meters input").fill(str(2 * depth))
    tab.locator("#know").click()
    tab.locator("#points table").nth(1).wait_for()
    tab.locator("#calibrate").click()
    tab.locator("#points p").first.wait_for()
    assert re.search(r"scale: 2(\.00\d)? \* depth", tab.locator("#points").inner_text())
    tab.get_by_role("tab", name="Ground truth").click()
    tab.locator("#score").click()
    tab.locator("#scores table").wait_for()
    assert "abs_rel" in tab.locator("#scores").inner_text()
    tab.get_by_role("tab", name="Depth", exact=True).click()
    tab.locator("#make-files").click()
    tab.locator("#files a").first.wait_for()
    assert "calibration.json" in tab.locator("#files").inner_text().replace("\n", "")


def test_points_are_drawn(tab):
    tab.locator("#examples button img").first.click()
    tab.locator("#facts b").wait_for()
    tab.get_by_role("tab", name="Points").click()
    frame = tab.locator("#cloud iframe")
    frame.wait_for()
    counts = []
    for _ in range(20):
        tab.wait_for_timeout(500)
        counts.append(number_of_colors(frame.screenshot()))
        if counts[-1] > 500:
            break
    assert counts[-1] > 500, counts  # the empty view has one, and those of a line of text


def number_of_colors(png: bytes) -> int:
    import cv2

    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    return len(np.unique(pixels.reshape(-1, 3), axis=0))


def test_bad_files_are_told_and_the_page_goes_on(tab, rooms, tmp_path):
    (tmp_path / "none.png").write_bytes(b"no picture")
    upload(tab, tmp_path / "none.png")
    tab.locator("#mistake .mistake").wait_for()
    assert "none.png: not a readable image" in tab.locator("#mistake").inner_text()
    tab.reload()
    tab.locator("#predict").wait_for()
    tab.locator("#predict").click()
    tab.get_by_text("there is no picture yet").wait_for()
    upload(tab, rooms / ROOM)
    tab.locator("#picture img").wait_for()
    assert median_after(tab, "A photo of a bedroom.") > 0

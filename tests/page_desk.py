"""A desk of the page, and what a visitor has: plugins `prediction_runs` and `page_desk`."""

from pathlib import Path

import pytest
from PIL import Image
from prediction_runs import CAPTION, make_run, open_run, picture

from scripts.page.desk import Desk, View
from scripts.page.state import PageState
from scripts.page.uploads import Limits

SMALL = Limits(max_bytes=300_000, max_pixels=6_200, max_caption=90_000)


@pytest.fixture(scope="module")
def model(workspace, encoder, tmp_path_factory):
    return open_run(make_run(workspace, "joint", tmp_path_factory.mktemp("joint")), encoder)


@pytest.fixture
def desk(model, tmp_path) -> Desk:
    return Desk(model, tmp_path / "page", SMALL)


@pytest.fixture
def photo(tmp_path) -> Path:
    """48x80."""
    Image.fromarray(picture()).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def predicted(desk, photo) -> PageState:
    return desk.predict(desk.open_picture(photo), View(CAPTION))

"""The report of a study: a page that nests and holds its numbers, whatever is missing."""

import subprocess
from dataclasses import replace

import cv2
import numpy as np
import pytest
import yaml
from html_pages import Page
from made_up_scores import FACTS, IMAGES, STUDY, MadeUp, cell
from studies import StudyProgram

from common.images.depth_files import write_depth_png
from scripts.reporting.study_numbers import compute_numbers
from scripts.reporting.study_pictures import pick_images
from scripts.reporting.study_report import REPORT_FILES, write_study_report


@pytest.fixture
def made_up(tmp_path):
    return MadeUp(tmp_path)


def write(folder, *rows, failures=(), study=STUDY, facts=FACTS):
    """The page and the table of these rows of scores."""
    scores = [score for row in rows for score in row]
    table = write_study_report(folder, study, scores, failures, facts)
    source = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    assert page.open_tags == []
    assert page.tags.count("script") == 1
    assert "http:" not in source
    assert "https:" not in source
    assert ">nan<" not in source
    return source, page, table


def test_the_page_says_what_the_scores_say(tmp_path, made_up):
    source, page, table = write(
        tmp_path,
        made_up.row(cell(), -0.05),
        made_up.row(cell(train="none"), 0.0),
        made_up.row(cell(scored="wrong"), 0.1),
        made_up.row(cell("joint"), 0.05),
        made_up.row(cell("joint", "none"), 0.0),
    )
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == sorted(REPORT_FILES)
    for text in (
        "Do words help?",
        "words help",
        "words hurt",
        "5 rows, 3 seeds, 15 scores, up to 24 test images of 8 scenes",
        "with captions of another type of scene, in the test only",
        "caption → wrong",
        "Other words in the test",
        "Recipes against each other",
        "By type of scene",
        "living room",
        "staged, none: 0.226 at the end",
        "python scripts/study.py words.yaml",
        "a made-up machine",
        "experiment: words_0",
    ):
        assert text in page.text, text
    for line in table.splitlines():
        assert line in (tmp_path / "table.txt").read_text(encoding="utf-8")
    assert source.count('class="span good"') == 2, "one interval: a line and a dot"
    assert 'class="under"' in source
    assert 'class="over"' in source


def test_names_are_text_and_no_html(tmp_path, made_up):
    name = 'joint <b>"&x</b>'
    study = replace(STUDY, name="<i>s</i>", question="Is a < b & c?")
    source, page, _ = write(
        tmp_path,
        made_up.row(cell(name, captions="<i>c</i>"), -0.05),
        made_up.row(cell(name, "none", captions="<i>c</i>"), 0.0),
        failures=["<b>joint</b>, seed 4: no memory"],
        study=study,
        facts={"machine": "<u>m</u>", "command": "a <x>"},
    )
    assert not {"u", "x", "c"} & set(page.tags)
    assert "<i>" not in source.replace('<li><i class="', "")
    assert "<b>joint" not in source
    assert name in page.text
    assert "Is a < b & c?" in page.text
    assert "<b>joint</b>, seed 4: no memory" in page.text
    assert "failed: <b>joint</b>" in (tmp_path / "table.txt").read_text()


@pytest.mark.parametrize("what", ["nothing", "no reference", "no captions", "no images", "a fold"])
def test_partial_results_make_a_page(tmp_path, made_up, what):
    caption, none = made_up.row(cell(), -0.05), made_up.row(cell(train="none"), 0.0)
    empty = [replace(score, images=[]) for score in caption]
    rows = {
        "nothing": [],
        "no reference": [caption],
        "no captions": [none, made_up.row(cell(train="shuffled"), 0.01)],
        "no images": [empty, none],
        "a fold": [made_up.row(cell(), 0.0, [0], folds=4)[:1]],
    }[what]
    _, page, table = write(tmp_path, *rows)
    assert "No answer yet" in page.text
    assert "nan" not in table


def test_runs_without_logs_make_a_page(tmp_path, made_up):
    scores = made_up.row(cell("linear"), 0.1, [0])
    _, page, _ = write(tmp_path, [replace(score, run_folder=tmp_path / "no") for score in scores])
    assert "Validation AbsRel by step" not in page.text
    assert "linear" in page.text


def test_one_scene_has_no_interval_but_a_difference(tmp_path, made_up):
    small = replace(made_up, images=IMAGES[:3])
    source, page, _ = write(tmp_path, small.row(cell(), -0.05), small.row(cell(train="none"), 0.0))
    assert "all test images are of one scene" in page.text
    assert "By type of scene" not in page.text
    assert source.count('class="span plain"') == 1, "a dot without a line"


def test_a_borrowed_reference_is_named(tmp_path, made_up):
    _, page, _ = write(
        tmp_path,
        made_up.row(cell(captions="detailed"), -0.05),
        made_up.row(cell(train="none"), 0.0),
    )
    assert "of nyu, short, minilm" in page.text


def with_predictions(workspace, folder, train, factor):
    """Scores of the tiny rooms' test images, and predictions: `factor` times the truth."""
    keys = [line.split()[0].strip("/") for line in (workspace.data / "test.txt").open()]
    scores = MadeUp(folder, tuple(keys)).row(cell(train=train), 0.1 * factor, [0, 1])
    predictions = folder / f"predictions_{train}"
    for key in keys:
        depth_file = workspace.data / key.replace("rgb_", "sync_depth_")
        depth = cv2.imread(str(depth_file), cv2.IMREAD_UNCHANGED)
        path = predictions / key
        path.parent.mkdir(parents=True, exist_ok=True)
        write_depth_png(path, (depth * factor).clip(1, 60000).astype(np.uint16))
    for score in scores:
        config = yaml.safe_load((workspace.configs / "base.yaml").read_text())
        (score.run_folder / "config.yaml").write_text(yaml.safe_dump({**config, "extra": 1}))
    return [replace(scores[0], predictions=predictions), scores[1]]


def test_pictures_show_where_words_changed_most(workspace, tmp_path):
    source, page, _ = write(
        tmp_path,
        with_predictions(workspace, tmp_path, "caption", 1.1),
        with_predictions(workspace, tmp_path, "none", 1.5),
    )
    assert "Where they helped most" in page.text
    assert "Where they hurt most" not in page.text, "nowhere"
    assert source.count('<figure class="tiles">') == 2, "one image for each of two scenes"
    assert source.count("data:image/jpeg") == 12
    assert "A room, seen from test/room_0000/rgb_0000" in page.text
    truth = float(page.text.partition("ground truth, ")[2].partition(" m")[0])
    ours = float(page.text.partition("with captions, ")[2].partition(" m")[0])
    assert ours == pytest.approx(1.1 * truth, abs=0.02)


def test_pictures_that_cannot_be_drawn_leave_a_sentence(workspace, tmp_path):
    rows = [
        with_predictions(workspace, tmp_path, "caption", 1.1),
        with_predictions(workspace, tmp_path, "none", 1.5),
    ]
    for path in (tmp_path / "predictions_none").rglob("*.png"):
        path.write_bytes(b"damaged")
    _, page, _ = write(tmp_path, *rows)
    assert "The pictures cannot be drawn" in page.text
    (rows[0][0].run_folder / "config.yaml").unlink()
    _, page, _ = write(tmp_path, *rows)
    assert "The pictures cannot be drawn" in page.text


def test_images_are_picked_by_their_change_one_of_a_scene(made_up):
    ours, theirs = made_up.row(cell(), 0.0, [0]), made_up.row(cell(train="none"), 0.0, [0])
    for number, image in enumerate(IMAGES):
        theirs[0].images[number]["abs_rel"] = 0.5
        ours[0].images[number]["abs_rel"] = 0.5 + 0.01 * (number - 11)
        assert ours[0].images[number]["image_path"] == image
    (difference,) = compute_numbers(STUDY, [*ours, *theirs]).answers
    helped, hurt = pick_images(difference, count=3)
    assert [each.image for each in helped] == [IMAGES[0], IMAGES[3], IMAGES[6]]
    assert [each.image for each in hurt] == [IMAGES[23], IMAGES[20], IMAGES[17]]
    assert helped[0].ours - helped[0].theirs == pytest.approx(-0.11)
    some, others = pick_images(difference, count=10)
    assert len(some) == len(others) == 4, "only those that changed that way"


@pytest.mark.slow
def test_a_study_that_was_run_has_all_of_its_page(workspace, tmp_path, monkeypatch):
    """Trained, scored and drawn by the program, with predictions that `eval.py` saved."""
    program = StudyProgram(workspace, tmp_path / "tiny")
    monkeypatch.setattr(subprocess, "Popen", program.start)
    program.write(save_predictions=True, seeds=[0, 1], eval_control=["same", "shuffled"])
    outcome = program.run()
    assert outcome.code == 0, outcome.err
    page = Page((tmp_path / "tiny" / "report.html").read_text(encoding="utf-8"))
    assert page.open_tags == []
    for text in (
        "Do words help?",
        "joint: with captions AbsRel is",
        "Validation AbsRel by step",
        "where words changed most",
        "ground truth, ",
        "Other words in the test",
        "config of joint",
    ):
        assert text in page.text, text
    assert "cannot be drawn" not in page.text

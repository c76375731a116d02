"""Names with line breaks and other control characters leave a line one line."""

import json
from pathlib import Path

import pytest
from conftest import call, train
from dataset_trees import picture, save

from common.errors import UserError
from common.images.reading import read_image
from common.printable import one_line
from scripts.doctor_checks.findings import problem
from scripts.doctor_checks.report_text import describe

pytest_plugins = ["prediction_runs", "predict_program"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rgb/küche 1.jpg", "rgb/küche 1.jpg"),
        ("a\nb.png", r"a\nb.png"),
        ("a\r\nb\t.png", r"a\r\nb\t.png"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("a\x85b\u2028c\x7f", r"a\x85b\u2028c\x7f"),
        (r"a\nb", r"a\nb"),
        (Path("x\n"), r"x\n"),
        ("k\udcfcche", "k\udcfcche"),  # not UTF-8: escaped where it is written
    ],
)
def test_control_characters_are_shown(text, shown):
    assert one_line(text) == shown
    assert len(one_line(text).splitlines()) == 1


def test_an_error_about_such_a_file_is_one_line(tmp_path):
    path = tmp_path / "a\nerror: b.png"
    path.write_bytes(b"")

    def main():
        read_image(path)

    outcome = call(main)
    assert outcome.refusal.count("error: ") == 2 and r"a\nerror: b.png" in outcome.refusal
    with pytest.raises(UserError, match="a\nerror"):  # the error itself keeps the name
        read_image(path)


def test_one_line_for_each_picture(predict, tmp_path):  # noqa: F811
    save(tmp_path / "in/a\nb.png", picture(48, 80, 0))
    save(tmp_path / "in/c.png", picture(48, 80, 1))
    (tmp_path / "in/d\ne.png").write_bytes(b"")
    outcome = predict(tmp_path / "in")
    lines = outcome.out.splitlines()
    assert [line.split(": ")[0] for line in lines[:2]] == [r"a\nb.png", "c.png"]
    assert lines[2].startswith("2 of 3 written to")
    assert sum(r"d\ne.png" in line for line in outcome.err.splitlines()) == 2


def test_log_and_doctor(workspace, tmp_path):
    root = tmp_path / "own"
    for number, scene in enumerate("abcd"):
        save(root / f"rgb/{scene}/x\ny.png", picture(64, 96, number).astype("uint8"))
        save(root / f"depth/{scene}/x\ny.png", picture(64, 96, 4)[..., 0].astype("uint16") * 20 + 9)
    save(root / "rgb/a/lone\nly.png", picture(64, 96, 9))
    settings = (
        "data.name=folder", f"data.root={root}", "data.train_list=null", "data.val_list=null",
        "data.test_list=null", "data.val_share=0.3", "text.features=null", "text.captions=null",
        "text.control=none", "train.max_steps=1", "train.batch_size=1", "data.on_error=skip",
    )  # fmt: skip
    outcome = train("stage1", *workspace.arguments("stage1", tmp_path, *settings))
    assert outcome.code == 0, outcome.err
    log = (tmp_path / "tiny/stage1/log.txt").read_text()
    assert r"lone\nly.png" in log and "lone\nly" not in log
    (metrics,) = (
        json.loads(line)
        for line in (tmp_path / "tiny/stage1/metrics.jsonl").read_text().splitlines()
        if '"train"' in line
    )
    assert metrics["bad_images"] == 0
    text = describe(problem("unreadable", "1 file", ["x\ny.png"]))
    assert r"x\ny.png" in text

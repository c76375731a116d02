"""`eval.py` keeps the scores of the other images when one fails, and tries its outputs first."""

import csv
import json

import pytest
import torch
from conftest import evaluate

from common.data.batch import Batch, Failure
from common.errors import UserError
from common.evaluation import scoring
from common.evaluation.results import describe_failures, result_dict
from common.evaluation.scoring import ScoringRule, evaluate_depth
from scripts.run_plans.few_shot_plan import FewShotRun, Subset


@pytest.fixture
def score(trained, data, tmp_path):
    """Score stage 1 on that copy, with --json and --csv."""
    words = ["--checkpoint", str(trained / "tiny/stage1"), f"data.root={data}"]
    words += ["--json", str(tmp_path / "out.json"), "--csv", str(tmp_path / "out.csv")]
    return lambda *more: evaluate("stage1", *words, *more)


def keys_of(data):
    return [line.split()[0].lstrip("/") for line in (data / "test.txt").read_text().splitlines()]


def damage_image(data, key):
    (data / key).write_bytes(b"nothing")


def damage_depth(data, key):
    path = data / key.replace("rgb_", "sync_depth_")
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [damage_image, damage_depth])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_one_damaged_file(score, data, tmp_path, damage, batch_size):
    key, *others = keys_of(data)
    damage(data, key)
    outcome = score(f"eval.batch_size={batch_size}", "--save-predictions", str(tmp_path / "saved"))
    assert outcome.refusal.startswith("error: incomplete, only 3 images are scored: ")
    assert key.split("/")[-1].split("_")[-1] in outcome.refusal
    assert "stage1 (incomplete)" in outcome.out
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["complete"] is False
    assert [failed["image"] for failed in result["failed"]] == [key]
    assert result["failed"][0]["reason"] in outcome.refusal
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [row["image_path"] for row in rows] == [*others, key]
    assert [bool(row["abs_rel"]) for row in rows] == [True, True, True, False]
    assert len(list((tmp_path / "saved").rglob("*.png"))) == 3
    lines = (data / "test.txt").read_text().splitlines()
    (data / "test.txt").write_text("\n".join(lines[1:]))
    assert score().code == 0
    whole = json.loads((tmp_path / "out.json").read_text())
    assert whole["metrics"] == pytest.approx(result["metrics"], rel=1e-6)
    assert "complete" not in whole and "failed" not in whole


def test_where_every_file_fails_nothing_is_written(score, data, tmp_path):
    for key in keys_of(data):
        damage_image(data, key)
    assert "not a readable image" in score().refusal
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("words", [["--protocol", "nyu_eigen"], ["eval.protocol=nyu_eigen"]])
def test_the_advice_names_the_option_and_works(score, words):
    line = score(*words).refusal
    assert "use --protocol none" in line and "eval.protocol" not in line
    assert score(*words[:1], "none").code == 0 if words[0] == "--protocol" else True
    assert score("eval.protocol=nyu_eigen", "--protocol", "none").code == 0


def test_a_disk_that_fills_up_keeps_the_scores(score, tmp_path, monkeypatch):
    written = []

    def write(path, stored):
        if len(written) == 2:
            raise UserError("cannot write it: no space left")
        written.append(path)

    monkeypatch.setattr("common.images.depth_files.write_depth_png", write)
    outcome = score("--save-predictions", str(tmp_path / "saved"))
    assert "only 4 images are scored: cannot write it: no space left" in outcome.refusal
    result = json.loads((tmp_path / "out.json").read_text())
    assert (result["complete"], result["num_images"], len(result["failed"])) == (False, 4, 1)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + 4


@pytest.mark.parametrize("option", ["--json", "--csv", "--save-predictions", "--report"])
@pytest.mark.parametrize("kind", ["below a file", "wrong kind", "no such system folder"])
def test_outputs_are_tried_before_anything_is_scored(trained, tmp_path, monkeypatch, option, kind):
    monkeypatch.setattr("common.programs.inference.evaluate_depth", None)  # not callable
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    wrong = "file" if option in ("--save-predictions", "--report") else "folder"
    place = {
        "below a file": tmp_path / "file/out",
        "wrong kind": tmp_path / wrong,
        "no such system folder": "/proc/nowhere/out",
    }[kind]
    outcome = evaluate("stage1", "--checkpoint", str(trained / "tiny/stage1"), option, str(place))
    assert "cannot write" in outcome.refusal and str(place) in outcome.refusal


def test_two_outputs_of_one_name(trained, tmp_path):
    both = ["--json", str(tmp_path / "a"), "--csv", str(tmp_path / "b/../a")]
    outcome = evaluate("stage1", "--checkpoint", str(trained / "tiny/stage1"), *both)
    assert "--json and --csv both name" in outcome.refusal


def batch_of(*sizes, first=0):
    """Images of one size, with ground truth of the given ones."""
    gts = [torch.full((1, *size), 2.0) for size in sizes]
    count = len(sizes)
    keys = [f"{first + i}.png" for i in range(count)]
    position = torch.arange(first, first + count)
    return Batch(torch.zeros(count, 3, 32, 32), gts, None, None, [""] * count, keys, position)


def ones(batch):
    return torch.ones_like(batch.image[:, :1])


def test_one_map_of_another_size_and_one_that_was_not_read():
    unread = Failure("9.png", UserError("9.png: cut off"))
    loader = [batch_of((480, 640), (60, 80)), unread, batch_of((480, 640), first=2)]
    result = evaluate_depth(ones, loader, ScoringRule("nyu_eigen", 10.0))
    assert [row["image_path"] for row in result.per_image] == ["0.png", "2.png"]
    assert [failure.image for failure in result.failures] == ["1.png", "9.png"]
    assert describe_failures(result).endswith("use eval.protocol=none (1 more images failed)")
    assert result_dict(result)["complete"] is False


def test_it_gives_up_where_nothing_can_be_scored():
    seen = []

    def loader():
        for number in range(100):
            seen.append(number)
            yield batch_of((60, 80), first=number)

    with pytest.raises(UserError, match="0.png: protocol nyu_eigen"):
        evaluate_depth(ones, loader(), ScoringRule("nyu_eigen", 10.0))
    assert len(seen) == scoring.GIVE_UP_AFTER


def test_failures_of_all_processes_are_gathered():
    unread = Failure("9.png", UserError("9.png: cut off"))
    calls = []

    def gather(rows):
        calls.append(rows)
        return rows if len(calls) == 1 else [*rows, unread]

    result = evaluate_depth(ones, [batch_of((8, 8))], ScoringRule("none", 10.0), gather=gather)
    assert result.failures == [unread]


def test_an_incomplete_result_of_few_shot_is_made_again(tmp_path, monkeypatch):
    def named_after(self, *facts):
        return tmp_path / "-".join(("result", *facts))

    monkeypatch.setattr(FewShotRun, "_named_after", named_after)
    run = FewShotRun(None, Subset(2, 12, 0, "pictures"), (), "last")
    for text, is_done in (('{"complete": false}', False), ('{"metrics": 1}', True), ("{", False)):
        run.result_file.write_text(text)
        assert (run.read_result() is not None) == is_done

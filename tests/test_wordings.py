"""scripts/wordings.py and scripts/explore_prior.py on runs of every stage."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import TEXT_DIM, Workspace, call, run_script, train
from text_models import make_bert

import llm_mde.eval
import llm_mde.train

CAPTIONS = {  # of the tiny test images, in two files
    "short": lambda key: {"image": key, "caption": "a kitchen"},
    "long": lambda key: {"image": key, "captions": ["a room with a table", "a photo of a room"]},
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    """A tiny encoder whose features are as long as those of the workspace."""
    assert TEXT_DIM == 16
    return f"text.encoder=hf:{make_bert(tmp_path_factory.mktemp('encoder') / 'bert')}"


@pytest.fixture(scope="module")
def runs(workspace, trained, tmp_path_factory) -> dict[str, Path]:
    """A run of every stage."""
    folder = tmp_path_factory.mktemp("more_runs")
    control = ("language.mode=none", "experiment=control", "train.max_steps=1")
    one = "train.max_steps=1"
    outcomes = [
        train("joint", *workspace.arguments("joint", folder, one)),
        call(llm_mde.train.main, *workspace.arguments("llm_mde", folder, one)),
        train("stage3", *workspace.arguments("stage3", folder, *control)),
    ]
    assert [outcome.code for outcome in outcomes] == [0, 0, 0], outcomes
    return {
        **{stage: trained / "tiny" / stage for stage in ("stage1", "stage2", "stage3")},
        "joint": folder / "tiny/stage3",
        "llm_mde": folder / "tiny/llm_mde",
        "control": folder / "control/stage3",
    }


@pytest.fixture
def files(workspace, tmp_path) -> dict[str, Path]:
    """Caption files of the test images, and true and false sentences."""
    keys = keys_of(workspace)
    for name, line_of in CAPTIONS.items():
        lines = [json.dumps(line_of(key)) for key in keys]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    sentences = {
        "true": {"depth": "a table is of a room"},
        "false_relation": {"depth": "a table is with a room"},
        "false_objects": {"depth": "a room is of a table"},
    }
    lines = [json.dumps({"image": key, **sentences}) for key in keys[:2]]
    (tmp_path / "sentences.jsonl").write_text("\n".join(lines))
    return {path.stem: path for path in tmp_path.glob("*.jsonl")}


def keys_of(workspace: Workspace) -> list[str]:
    """The test images."""
    lines = (workspace.data / "test.txt").read_text().splitlines()
    return [line.split()[0].lstrip("/") for line in lines]


def ask(tmp_path, *words) -> tuple[dict, list[dict[str, str]], str]:
    """JSON, CSV lines and stdout of scripts/wordings.py."""
    out = ("--json", tmp_path / "out.json", "--csv", tmp_path / "out.csv")
    outcome = run_script("wordings.py", *words, *out)
    assert outcome.code == 0, outcome.err
    with (tmp_path / "out.csv").open(newline="") as file:
        return (
            json.loads((tmp_path / "out.json").read_text()),
            list(csv.DictReader(file)),
            (outcome.out),
        )


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3", "joint", "llm_mde"])
def test_every_stage_answers_every_kind_of_question(
    workspace, runs, files, encoder, tmp_path, stage
):
    key, strip = keys_of(workspace)[1], tmp_path / "strip.png"
    words = ["--checkpoint", runs[stage], encoder]
    words += ["--captions", files["short"], files["long"], "--sentences", files["sentences"]]
    words += ["--change", "room", "photo", "--png", strip]
    words += ["--image", key, "--say", "a kitchen", "a photo of a kitchen"]
    result, rows, out = ask(tmp_path, *words)
    counts = {study: sum(row["study"] == study for row in rows)
              for study in ("captions", "sentences", "changes", "picture")}  # fmt: skip
    assert counts == {"captions": 12, "sentences": 8, "changes": 8, "picture": 2}
    assert result["stage"] in stage or stage == "joint"
    assert {kind: own["num_captions"] for kind, own in result["captions"].items()} == {
        "all": 12, "short": 4, "long": 8}  # fmt: skip
    assert result["captions"]["all"]["spread"]["mean_ratio"] > 1
    assert "spread" not in result["captions"]["short"]  # one caption of each image
    changes = {"paraphrase", "false_relation", "false_objects"}
    assert set(result["sentences"]["depth"]) == set(result["sentences"]["all"]) == changes
    assert result["sentences"]["depth"]["paraphrase"]["depth"] > 0
    assert result["changes"]["room -> photo"]["num_images"] == 4
    assert [one["change"] for one in result["picture"]["answers"]] == ["", "+ a photo of"]
    assert cv2.imread(str(strip)).shape[1] > 3 * 240
    assert "share of words" in out and "x paraphrase" in out and f"{key}: true median" in out


def test_the_own_caption_gives_the_answer_of_eval(workspace, runs, tmp_path, encoder):
    """In LLM-MDE, which reads the captions themselves; and the spread is that of these medians."""
    captions = workspace.data / "captions.jsonl"
    other = tmp_path / "other.jsonl"
    lines = [json.dumps({"image": key, "caption": "A kitchen."}) for key in keys_of(workspace)]
    other.write_text("\n".join(lines))
    run = runs["llm_mde"]
    result, rows, _ = ask(tmp_path, "--checkpoint", run, "--captions", captions, other)
    expected = []
    for name in (captions, other):
        out = tmp_path / "eval.csv"
        words = ("--checkpoint", str(run), f"text.captions={name}", "--csv", str(out))
        assert call(llm_mde.eval.main, *words).code == 0
        with out.open(newline="") as file:
            expected.append(list(csv.DictReader(file)))
    for kind, own in zip(("captions", "other"), expected, strict=True):
        asked = [row for row in rows if row["kind"] == kind]
        for mine, theirs in zip(asked, own, strict=True):
            assert mine["image_path"] == theirs["image_path"]
            for name in ("abs_rel", "silog", "log_ratio", "pred_median", "gt_median"):
                assert float(mine[name]) == pytest.approx(float(theirs[name]), rel=1e-4)
    pairs = [[float(row["pred_median"]) for row in own] for own in expected]
    ratios = np.max(pairs, axis=0) / np.min(pairs, axis=0)
    spread = result["captions"]["all"]["spread"]
    assert spread["mean_ratio"] == pytest.approx(ratios.mean(), rel=1e-4)
    assert spread["largest_ratio"] == pytest.approx(ratios.max(), rel=1e-4)


def test_sentences_after_the_own_caption(workspace, runs, files, encoder, tmp_path):
    words = ("--checkpoint", runs["stage1"], encoder, "--sentences", files["sentences"])
    _, rows, _ = ask(tmp_path, *words, "--after-caption")
    key = keys_of(workspace)[0]
    assert rows[0]["caption"] == f"A room, seen from {key}. A table is of a room."


def test_an_image_that_cannot_be_read_stops_no_other(workspace, runs, files, encoder, tmp_path):
    data = shutil.copytree(workspace.data, tmp_path / "data")
    (data / keys_of(workspace)[0]).write_bytes(b"no picture")
    words = ["--checkpoint", runs["stage1"], encoder, f"data.root={data}"]
    words += ["--captions", files["long"], "--json", tmp_path / "out.json"]
    outcome = run_script("wordings.py", *words)
    assert "incomplete, 1 images are left out" in outcome.refusal
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["complete"] is False and len(result["failed"]) == 1
    assert result["captions"]["long"]["num_images"] == 3
    for key in keys_of(workspace):
        (data / key).write_bytes(b"no picture")
    none = run_script("wordings.py", *words)
    assert keys_of(workspace)[0] in none.refusal and "incomplete" not in none.refusal


@pytest.mark.parametrize(
    ("stage", "words", "message"),
    [
        ("stage1", (), "nothing to ask"),
        ("stage1", ("--image", "x"), "--image KEY and --say"),
        ("stage1", ("--image", "x", "--say", "y"), "no such image; it is named as in the list"),
        ("stage1", ("--change", "boat", "car"), "no caption of this split has 'boat'"),
        ("stage1", ("--captions", "SHORT"), "no image of this split has two captions"),
        ("stage1", ("--captions", "SHORT", "SHORT"), "two files have one name"),
        ("stage1", ("--captions", "no.jsonl"), "no caption file no.jsonl"),
        ("stage1", ("--sentences", "SHORT"), ":1: expected"),
        ("stage1", ("--captions", "LONG", "train.lr=1"), "train.lr=1 cannot be changed here"),
        ("stage1", ("--captions", "LONG", "text.encoder=untrained:0"), "gives 1024 numbers"),
        ("control", ("--captions", "LONG"), "reads no words"),
        ("stage1", ("--change", "", "hall"), "--change: a word is empty"),
        ("stage1", ("--change", "room", " "), "--change: a word is empty"),
    ],
)
def test_refusals(workspace, runs, files, encoder, stage, words, message):
    places = {"SHORT": files["short"], "LONG": files["long"]}
    outcome = run_script(
        "wordings.py", "--checkpoint", runs[stage], encoder, *(places.get(w, w) for w in words)
    )
    assert message in outcome.refusal


@pytest.mark.parametrize("program", ["wordings.py", "explore_prior.py"])
def test_places_that_hold_no_checkpoint(runs, tmp_path, program):
    words = ("a kitchen",) if program == "explore_prior.py" else ("--captions", "x.jsonl")
    several = run_script(program, *words, "--checkpoint", runs["stage1"].parent)
    assert "holds several runs; name one" in several.refusal
    nothing = run_script(program, *words, "--checkpoint", tmp_path)
    assert "no checkpoint in" in nothing.refusal


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3", "joint"])
def test_scenes_of_sentences(runs, encoder, tmp_path, stage):
    words = ["--checkpoint", runs[stage], encoder, "--output", tmp_path, "--samples", "20"]
    outcome = run_script("explore_prior.py", "a kitchen", "a  room with a table", *words)
    assert outcome.code == 0, outcome.err
    first, second = json.loads((tmp_path / "prior.json").read_text())["captions"]
    assert (first["caption"], second["caption"]) == ("a kitchen", "a room with a table")
    assert first["p5"] < first["p50"] < first["p95"] and len(first["medians"]) == 20
    assert first["medians"] != second["medians"]
    assert cv2.imread(str(tmp_path / "prior.png")).shape[0] > 300
    again = run_script("explore_prior.py", "a room with a table", *words)
    assert again.code == 0
    (alone,) = json.loads((tmp_path / "prior.json").read_text())["captions"]
    assert alone["medians"] == pytest.approx(second["medians"], rel=1e-5)
    assert ("these are of" in outcome.err) == (stage == "stage3")


def test_the_scenes_of_stages_1_2_and_3_are_one_distribution(runs, encoder, tmp_path):
    found = []
    for stage in ("stage1", "stage2", "stage3"):
        words = ["--checkpoint", runs[stage], encoder, "--output", tmp_path, "--samples", "3"]
        assert run_script("explore_prior.py", "a kitchen", *words).code == 0
        found.append(json.loads((tmp_path / "prior.json").read_text())["captions"])
    assert found[0] == found[1] == found[2]


def test_who_has_no_scenes(runs, encoder, tmp_path):
    refused = run_script("explore_prior.py", "a kitchen", "--checkpoint", runs["llm_mde"])
    assert "llm-mde) has no distribution of scenes" in refused.refusal
    none = run_script("explore_prior.py", "a kitchen", "--checkpoint", runs["control"])
    assert "reads no words" in none.refusal
    alone = tmp_path / "alone.pt"
    shutil.copy(runs["stage3"] / "checkpoints/best.pt", alone)
    words = ("--checkpoint", alone, encoder, f"output_root={tmp_path}")
    assert "stage2 it started from is not in" in (
        run_script("explore_prior.py", "a kitchen", *words).refusal
    )
    empty = run_script("explore_prior.py", " ", "--checkpoint", runs["stage1"], encoder)
    assert "a sentence is empty" in empty.refusal


def test_sentences_of_any_length_and_a_seed_that_is_none(runs, encoder, tmp_path):
    words = ["--checkpoint", runs["stage1"], encoder, "--output", tmp_path, "--samples", "2"]
    long = "room " * 5000
    outcome = run_script("explore_prior.py", long, *words)
    assert outcome.code == 0, outcome.err
    assert max(map(len, outcome.out.splitlines())) < 200
    (found,) = json.loads((tmp_path / "prior.json").read_text())["captions"]
    assert found["caption"] == long.strip()
    refused = run_script("explore_prior.py", "a room", *words, "--seed=-1")
    assert refused.code == 2 and "-1 is not a whole number of at least 0" in refused.err


def test_a_long_sentence_about_a_picture_is_told_in_brief(workspace, runs, encoder, tmp_path):
    about = ["--image", keys_of(workspace)[0], "--png", tmp_path / "strip.png", "--say"]
    words = ["wordings.py", "--checkpoint", runs["stage1"], encoder]
    outcome = run_script(*words, *about, "a room", "room " * 5000)
    assert outcome.code == 0, outcome.err
    assert max(map(len, outcome.out.splitlines())) < 300
    refused = run_script("wordings.py", "--checkpoint", runs["llm_mde"], *about, "room " * 5000)
    assert "sentence 1, 'room room" in refused.refusal and len(refused.refusal) < 500


def test_a_network_that_never_had_words_says_so(workspace, runs, encoder, tmp_path):
    trained = train("stage1", *workspace.arguments("stage1", tmp_path, "text.control=none"))
    assert trained.code == 0, trained.err
    note = "was trained with text.control=none: it never learned from sentences"
    for run, is_told in ((tmp_path / "tiny/stage1", True), (runs["stage1"], False)):
        words = ["--checkpoint", run, encoder]
        place = ["--output", tmp_path, "--samples", "2"]
        explored = run_script("explore_prior.py", "a room", *words, *place)
        asked = run_script("wordings.py", *words, "--change", "room", "hall")
        assert (explored.code, asked.code) == (0, 0), explored.err + asked.err
        assert [note in outcome.err for outcome in (explored, asked)] == [is_told] * 2

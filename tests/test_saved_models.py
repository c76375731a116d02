"""A model saved, loaded again in one line from a folder, a hub or by torch.hub, and its card."""

import json
import types

import numpy as np
import pytest
import torch
from conftest import evaluate
from hub_servers import free_port, put_in_cache, use_hub
from huggingface_hub import HfApi
from prediction_runs import CAPTION, make_encoder, make_run, open_run, picture
from published_files import convert, write_published

import hubconf
from common.config import REPO_ROOT
from common.errors import UserError
from common.runtime.saved_models import without_folders
from scripts.prediction.load import load
from scripts.prediction.model import DepthModel


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def run(workspace, tmp_path_factory):
    return make_run(workspace, "joint", tmp_path_factory.mktemp("joint"))


@pytest.fixture(scope="module")
def saved(run, encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    open_run(run, encoder).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["stage1", "stage2", "stage3", "llm_mde"])
def test_a_round_trip_predicts_the_same_bits(workspace, trained, encoder, tmp_path, name):
    run = trained / "tiny" / name
    if name == "llm_mde":
        run = make_run(workspace, name, tmp_path)
    before = open_run(run, encoder)
    before.save_pretrained(tmp_path / "saved")
    assert {file.name for file in (tmp_path / "saved").iterdir()} == {
        "README.md", "config.json", "model.safetensors"}  # fmt: skip
    after = load(tmp_path / "saved", "cpu", [encoder])
    assert np.array_equal(after.predict(picture(), CAPTION).depth,
                          before.predict(picture(), CAPTION).depth)  # fmt: skip
    assert after.trained.stage is before.trained.stage
    own, same = before.trained.facts, after.trained.facts
    assert (own["step"], own["best_metric"]) == (same["step"], same["best_metric"])


def test_every_door_opens_on_the_same_model(run, saved, encoder):
    expected = open_run(run, encoder).predict(picture(), CAPTION).depth
    key, value = encoder.split("=", 1)
    doors = {
        "folder": load(saved, "cpu", [encoder]),
        "file": load(saved / "model.safetensors", "cpu", [encoder]),
        "hubconf": hubconf.langdepth(str(saved), "cpu", **{key: value}),
        "torch.hub": torch.hub.load(
            str(REPO_ROOT), "langdepth", str(run), source="local", device="cpu", **{key: value}
        ),
    }
    for name, model in doors.items():
        assert np.array_equal(model.predict(picture(), CAPTION).depth, expected), name
    plain = DepthModel.from_pretrained(saved, device="cpu")
    assert isinstance(plain, DepthModel) and plain.predict(picture(), "none").depth.any()


def test_saving_into_the_folder_it_came_from_and_after_a_change(saved, encoder, tmp_path):
    load(saved, "cpu", [encoder]).save_pretrained(tmp_path / "again")
    model = load(tmp_path / "again", "cpu", [encoder])
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    changed = model.predict(picture(), CAPTION).depth
    model.save_pretrained(tmp_path / "again")
    after = load(tmp_path / "again", "cpu", [encoder]).predict(picture(), CAPTION).depth
    assert np.array_equal(after, changed)


def test_the_hub_is_another_door(saved, encoder, tmp_path, monkeypatch):
    use_hub(f"http://127.0.0.1:{free_port()}", tmp_path / "cache", monkeypatch)
    put_in_cache(tmp_path / "cache", "someone/depth", saved / "config.json",
                 saved / "model.safetensors")  # fmt: skip
    model = load("hf://someone/depth", "cpu", [encoder])
    expected = load(saved, "cpu", [encoder]).predict(picture(), CAPTION).depth
    assert np.array_equal(model.predict(picture(), CAPTION).depth, expected)
    with pytest.raises(UserError, match="cannot load model someone/else: .*check the name"):
        load("hf://someone/else", "cpu")


def test_what_is_pushed_to_the_hub(saved, encoder, monkeypatch):
    pushed = {}

    def upload(api, *, folder_path, repo_id, **_):
        pushed.update({path.name: path.read_bytes() for path in folder_path.iterdir()})
        return f"https://hub/{repo_id}"

    def create(api, repo_id, **_):
        return types.SimpleNamespace(repo_id=repo_id)

    monkeypatch.setattr(HfApi, "create_repo", create)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    url = load(saved, "cpu", [encoder]).push_to_hub("someone/depth")
    assert url == "https://hub/someone/depth"
    assert set(pushed) == {"README.md", "config.json", "model.safetensors"}
    assert pushed["model.safetensors"] == (saved / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def scored_run(run, tmp_path_factory):
    """The run, and what eval.py says of it."""
    folder = tmp_path_factory.mktemp("scored")
    out = folder / "test.json"
    words = ("--checkpoint", str(run), "--json", str(out), f"output_root={folder}")
    assert evaluate("stage3", *words).code == 0
    return run, json.loads(out.read_text())


def test_the_card_is_made_from_the_run(workspace, run, encoder, tmp_path):
    out = tmp_path / "test.json"
    words = ("--checkpoint", str(run), "--json", str(out), f"output_root={tmp_path}")
    assert evaluate("stage3", *words, "text.control=shuffled").code == 0
    folder = tmp_path / "saved"
    open_run(run, encoder).save_pretrained(folder, model_card_kwargs={"results": [out]})
    card = (folder / "README.md").read_text()
    head = card.split("---")[1]
    for text in ("library_name: langdepth", "license: other", "pipeline_tag: depth-estimation"):
        assert text in head
    metrics = json.loads(out.read_text())["metrics"]
    row = next(line for line in card.splitlines() if line.startswith("| test, words: shuffled"))
    assert f"| none | 4 | {metrics['abs_rel']:.4f} |" in row
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    own = [line["abs_rel"] for line in log if line["kind"] == "val"][-1]
    assert f"| validation, in training | none |  | {own:.4f} |" in card
    for text in ("recipe `joint`", "`text.control=caption`", "NYU, fx 518.858", "## Limits", "MIT"):
        assert text in card
    assert str(workspace.data.parent) not in card + (folder / "config.json").read_text()
    assert list(card.splitlines()).count(row) == 1


@pytest.mark.parametrize(
    ("own", "told"),
    [((), ""), (("eval.max_images=3", "eval.flip=true"), ", the first 3 images, flip averaged")],
)
def test_the_card_says_how_the_run_validated(workspace, encoder, tmp_path, own, told):
    """Whatever the model is opened with."""
    run = make_run(workspace, "joint", tmp_path / "runs", *own)
    others = ("eval.max_images=2", "eval.flip=false", "eval.protocol=nyu_eigen")
    model = open_run(run, encoder, *others)
    model.save_pretrained(tmp_path / "saved")
    card = (tmp_path / "saved/README.md").read_text()
    assert f"\n| validation, in training{told} | none |  |" in card


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"recipe": "staged"}, "stage3 staged"),
        ({"checkpoint": "runs/demo/stage3/checkpoints/last.pt"}, "demo/stage3"),
        ({"checkpoint": "runs/other/stage3/checkpoints/best.pt"}, "other/stage3"),
        ({"complete": False, "failed": [{"image": "a", "reason": "b"}]}, "incomplete"),
        ({"calibration": {"num_draws": 100}}, "--samples"),
        ({"metrics": {}}, "not a result"),
        ({"metrics": None}, "not a result"),
    ],
)
def test_results_of_something_else_do_not_get_into_the_card(
    scored_run, encoder, tmp_path, changed, message
):
    run, result = scored_run
    file = tmp_path / "test.json"
    file.write_text(json.dumps({**result, **changed}))
    with pytest.raises(UserError, match=message) as caught:
        open_run(run, encoder).save_pretrained(tmp_path, model_card_kwargs={"results": [file]})
    assert str(file) in str(caught.value)
    for bad in ({"stage": "stage3"}, []):
        file.write_text(json.dumps(bad))
        with pytest.raises(UserError, match=r"test\.json: not a result"):
            open_run(run, encoder).save_pretrained(tmp_path, model_card_kwargs={"results": [file]})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, "test"),
        ({"calibrated": "/home/me/c.json: 2 * depth"}, "test, calibrated by known distances"),
        ({"captions": "all"}, "test, captions: all"),
        ({"images": "the first 3 (eval.max_images)"}, "test, the first 3 (eval.max_images)"),
        ({"flip": True, "control": "none"}, "test, words: none, flip averaged"),
    ],
)
def test_the_card_says_what_was_not_as_usual(scored_run, encoder, tmp_path, changed, told):
    run, result = scored_run
    file = tmp_path / "test.json"
    file.write_text(json.dumps({**result, **changed}))
    folder = tmp_path / "saved"
    open_run(run, encoder).save_pretrained(folder, model_card_kwargs={"results": [file]})
    card = (folder / "README.md").read_text()
    assert f"\n| {told} | none | 4 |" in card
    assert "/home/me" not in card


def test_eval_scores_a_saved_model(workspace, run, saved, tmp_path):
    results = []
    for place in (run, saved):
        out = tmp_path / "out.json"
        words = ("--checkpoint", str(place), "--json", str(out), f"data.root={workspace.data}")
        assert evaluate("stage3", *words).code == 0
        results.append(json.loads(out.read_text())["metrics"])
    assert results[0] == results[1]


def test_a_published_file_converted_goes_the_same_way(encoder, tmp_path):
    (file,) = write_published(tmp_path, "joint_kitti")
    words = ("--dataset", "kitti", "--from", file, "--output", tmp_path / "ours.pt")
    assert convert(*words).code == 0
    model = load(tmp_path / "ours.pt", "cpu", [encoder])
    found = model.predict(picture(), CAPTION)
    assert found.depth.shape == (48, 80)
    assert any("trained for the KITTI camera" in note for note in found.notes)
    assert any("not finite" in note for note in found.notes)  # random weights
    model.save_pretrained(tmp_path / "saved")
    again = load(tmp_path / "saved", "cpu", [encoder]).predict(picture(), CAPTION)
    assert np.array_equal(again.depth, found.depth, equal_nan=True)


@pytest.mark.parametrize("damage", ["cut", "text", "no state", "no config", "another project"])
def test_damaged_folders_are_one_line(saved, tmp_path, damage):
    folder = tmp_path / "damaged"
    folder.mkdir()
    weights, config = (saved / name for name in ("model.safetensors", "config.json"))
    content, data = json.loads(config.read_text()), weights.read_bytes()
    if damage == "cut":
        data = data[: len(data) // 2]
    if damage == "no state":
        del content["state"]
    if damage == "another project":
        content = {"model_type": "bert", "state": {}}
    (folder / "model.safetensors").write_bytes(data)
    if damage != "no config":
        text = "{" if damage == "text" else json.dumps(content)
        (folder / "config.json").write_text(text)
    with pytest.raises(UserError, match=str(folder)) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_package_of_another_project_is_told(monkeypatch):
    other = types.ModuleType("common")
    other.__file__ = "/elsewhere/common/__init__.py"
    monkeypatch.setitem(__import__("sys").modules, "common", other)
    with pytest.raises(ImportError, match="`common` of another project is in the way"):
        hubconf.langdepth("runs/nyu/stage3")


def test_folders_of_this_machine_stay_here():
    tree = {"data": {"root": "/home/me/nyu", "list": "a/b.txt"}, "x": ["/a/b", 3], "e": "hf:/m"}
    assert without_folders(tree) == {
        "data": {"root": "nyu", "list": "a/b.txt"}, "x": ["b", 3], "e": "hf:m"}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("hf:/home/bob/models/bert", "hf:bert"),
        ("RN50:openai=/home/bob/w.pt", "RN50:openai=w.pt"),
        ("~/models/bert", "bert"),
        ("hf:~bob/models/bert", "hf:bert"),
        ("file:///home/bob/bert", "file:bert"),
        ("//home/bob/models/bert", "bert"),
        ("RN50:openai=//srv/bob/w.pt", "RN50:openai=w.pt"),
        ("~ 3/4 of the room is in the picture", None),
        ("hf:google-bert/bert-base-uncased", None),
        ("https://example.org/models/bert", None),
        ("RN50:openai", None),
        ("A room, 3 m / 10 ft wide: it/is ~ bright", None),
    ],
)
def test_what_says_the_kind_of_a_path_stays_and_its_folders_do_not(text, kept):
    assert without_folders({"text": {"encoder": text}}) == {"text": {"encoder": kept or text}}

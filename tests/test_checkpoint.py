"""Checkpoints: written whole, plain to read, refused in one line when they do not fit."""

import random
import resource
import signal
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from common.errors import UserError
from common.programs.stage import EarlierStage
from common.runtime import checkpoints as ckpt

CONTENT = {
    "stage": "stage1",
    "recipe": "staged",
    "model": {"weight": torch.randn(100, 20), "count": torch.tensor(3)},
    "step": 7,
    "best_metric": float("inf"),
}
KEYS = {
    "format_version",
    "stage",
    "recipe",
    "model",
    "model_config",
    "config",
    "data",
    "optimizer",
    "scaler",
    "step",
    "sampler_position",
    "random_states",
    "cpu",
    "watch",
    "window",
    "best_metric",
}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "checkpoints" / "last.pt"
    ckpt.save_checkpoint(path, CONTENT)
    return path


def refusal(path, **wanted):
    with pytest.raises(UserError) as caught:
        ckpt.load_checkpoint(path, **{"stage": "stage1", "recipes": ("staged",), **wanted})
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_round_trip_leaves_one_file(saved):
    content = ckpt.load_checkpoint(saved, stage="stage1", recipes=("staged",))
    assert content["format_version"] == ckpt.FORMAT_VERSION
    assert torch.equal(content["model"]["weight"], CONTENT["model"]["weight"])
    assert content["step"] == 7
    assert list(saved.parent.iterdir()) == [saved]


def test_another_stage_recipe_or_format(saved):
    message = refusal(saved, stage="stage2")
    assert "checkpoint of stage1 (staged recipe)" in message
    assert "a stage2 (staged) checkpoint is needed" in message
    assert "a stage1 (joint) checkpoint is needed" in refusal(saved, recipes=("joint",))
    torch.save({**CONTENT, "format_version": 99}, saved)
    assert "has format 99" in refusal(saved)


def test_files_of_other_programs(tmp_path):
    path = tmp_path / "x.pt"
    for content in ({"model": {}}, [1, 2], torch.ones(3)):
        torch.save(content, path)
        assert "not a checkpoint of this project" in refusal(path)
    torch.save({"format_version": ckpt.FORMAT_VERSION}, path)
    assert "a stage1 (staged) checkpoint is needed" in refusal(path)
    assert "no checkpoint" in refusal(tmp_path / "nowhere.pt")
    assert "cannot read checkpoint" in refusal(tmp_path)


class Dangerous:
    def __reduce__(self):
        return print, ("code ran",)


def test_no_pickled_code_runs(tmp_path, capsys):
    path = tmp_path / "x.pt"
    torch.save({"format_version": 1, "stage": "stage1", "model": Dangerous()}, path)
    assert "cannot read checkpoint" in refusal(path)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_damaged_files(saved):
    whole = saved.read_bytes()
    rng = random.Random(0)
    damaged = [b"", b"hello\n", b"\x80\x02", bytes(4000), whole[:-1], whole[: len(whole) // 2]]
    damaged += [whole[: rng.randrange(len(whole))] for _ in range(20)]
    damaged += [bytes(rng.choices(range(256), k=rng.randrange(2, 200))) for _ in range(60)]
    for data in damaged:
        saved.write_bytes(data)
        assert "damaged or not a checkpoint" in refusal(saved)


def test_a_full_disk_keeps_the_old_file(saved):
    before = saved.read_bytes()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*last\.pt.*disk space"):
            ckpt.save_checkpoint(saved, {**CONTENT, "model": {"weight": torch.ones(1000, 100)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_an_interrupted_write_keeps_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def half(content, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        ckpt.save_checkpoint(saved, CONTENT)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_find_by_folder_or_file(tmp_path):
    folder = tmp_path / "stage1"
    find = partial(ckpt.find_checkpoint, "stage1", "stage1_vae", "")
    with pytest.raises(UserError) as caught:
        ckpt.find_checkpoint("stage1", "stage1_vae", "init.stage1=PATH", folder)
    message = str(caught.value)
    assert all(part in message for part in (str(folder), "stage1_vae/train.sh", "init.stage1=PATH"))
    for name in ("last.pt", "best.pt"):  # the best one, where there is one
        ckpt.save_checkpoint(folder / "checkpoints" / name, CONTENT)
        found = find(folder)
        assert found == folder / "checkpoints" / name
        assert find(folder / "checkpoints") == found
        assert find(found) == found


def test_earlier_stage_is_found_in_the_first_experiment_that_has_one(tmp_path):
    def look(place=None, experiments=("own", "other")):
        earlier = EarlierStage(
            "stage1",
            "stage1_vae",
            "staged",
            load=lambda checkpoint: None,
            place=lambda config: place,
            experiments=lambda config: experiments,
        )
        path = earlier.find(SimpleNamespace(output_root=tmp_path))
        return ckpt.load_checkpoint(path, stage="stage1", recipes=("staged",))["step"]

    with pytest.raises(
        UserError, match=r"no stage1 checkpoint in .*own/stage1 or .*other/stage1; make one"
    ):
        look()
    (tmp_path / "own/stage1/checkpoints").mkdir(parents=True)  # begun, but nothing saved yet
    ckpt.save_checkpoint(tmp_path / "other/stage1/checkpoints/last.pt", {**CONTENT, "step": 1})
    assert look() == 1
    ckpt.save_checkpoint(tmp_path / "own/stage1/checkpoints/last.pt", {**CONTENT, "step": 2})
    assert look() == 2
    assert look(tmp_path / "other/stage1") == 1
    assert look(experiments=(None, "other")) == 1
    with pytest.raises(UserError, match=r"no stage1 checkpoint in .*nowhere"):
        look(tmp_path / "nowhere")


@pytest.mark.parametrize("recipe", ["staged", "constant"])
def test_earlier_stage_reads_its_own_recipe_alone(tmp_path, recipe):
    path = tmp_path / "last.pt"
    earlier = EarlierStage(
        "stage1", "stage1_vae", recipe, lambda checkpoint: checkpoint["step"], lambda config: path
    )
    ckpt.save_checkpoint(path, {**CONTENT, "recipe": recipe})
    assert earlier.read(earlier.find(SimpleNamespace())) == CONTENT["step"]
    ckpt.save_checkpoint(path, {**CONTENT, "recipe": "joint"})
    with pytest.raises(UserError, match=rf"a stage1 \({recipe}\) checkpoint is needed here"):
        earlier.read(path)


def test_random_states_come_back():
    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()  # noqa: NPY002

    np.random.standard_normal()  # noqa: NPY002 (leaves a cached second draw)
    states = ckpt.random_states()
    first = draw()
    assert draw() != first
    ckpt.restore_random_states(states)
    assert draw() == first


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_a_trained_run_holds_plain_tensors_and_plain_types(trained, stage):
    folder = trained / "tiny" / stage / "checkpoints"
    last = torch.load(folder / "last.pt", weights_only=True)
    best = torch.load(folder / "best.pt", weights_only=True)
    assert set(last) == KEYS
    assert set(best) == KEYS - {"optimizer", "scaler", "random_states", "cpu", "watch", "window"}
    assert (last["stage"], last["recipe"], last["step"]) == (stage, "staged", 2)
    assert last["sampler_position"] == 2 * last["config"]["train"]["batch_size"]
    assert all(isinstance(value, torch.Tensor) for value in last["model"].values())
    assert not any(key.startswith(("module.", "_orig_mod.")) for key in last["model"])
    assert 0 < last["best_metric"] < 1

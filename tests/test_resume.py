"""A run continues where it was, exactly, and no command touches a run that is not its own."""

import os
import shutil
import signal
import time

import pytest
import torch
from conftest import metrics_of, start_process, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_configs import SWIN

from common.config import build_config
from common.networks.swin import SwinConfig, SwinEncoder
from common.programs.run import Run
from common.runtime.processes import Processes

TIMES = {"step_seconds", "data_seconds", "images_per_s", "memory_gb"}


def same(a, b):
    """Whether two trees of plain types hold the same numbers, bit for bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def last(run):
    return torch.load(run / "checkpoints/last.pt", weights_only=True)


def snapshot(folder):
    """Every file of a folder with its content."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def words(workspace, trained, tmp_path):
    """The command line of a stage whose runs go to `tmp_path`, earlier stages found there too."""

    def of(stage, *overrides):
        earlier = {"stage2": "stage1", "stage3": "stage2"}.get(stage)
        init = [f"init.{earlier}={trained / 'tiny' / earlier}"] if earlier else []
        return workspace.arguments(
            stage, tmp_path, "eval.every=2", "train.schedule=constant", *init, *overrides
        )

    return of


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3", "joint"])
def test_resumed_equals_uninterrupted_bit_for_bit(words, tmp_path, stage, monkeypatch):
    """Stochastic depth on, several validations, and a stop between two of them."""
    settings = ["train.max_steps=7", "train.batch_size=5"]
    settings += ["model.encoder.drop_path=0.3"] if stage != "stage1" else []
    straight = words(stage, *settings, "experiment=straight")
    assert train(stage, *straight).code == 0
    broken = words(stage, *settings, "experiment=broken", "train.save_every=3")
    stop_after_save(monkeypatch, 3)
    assert train(stage, *broken).code == 1
    monkeypatch.undo()
    outcome = train(stage, *broken, "train.num_workers=1")
    assert outcome.code == 0
    assert "resuming at step 3" in outcome.err
    folder = "stage3" if stage == "joint" else stage
    runs = [tmp_path / name / folder for name in ("straight", "broken")]
    a, b = (last(run) for run in runs)
    assert a["step"] == b["step"] == 7
    for key in ("model", "optimizer", "random_states", "best_metric", "sampler_position"):
        assert same(a[key], b[key]), key
    best = [torch.load(run / "checkpoints/best.pt", weights_only=True) for run in runs]
    assert best[0]["step"] == best[1]["step"]
    assert same(best[0]["model"], best[1]["model"])
    lines = [metrics_of(run, "train") + metrics_of(run, "val") for run in runs]
    assert len(lines[0]) == len(lines[1]) == 7 + 4
    for x, y in zip(*lines, strict=True):
        assert {k: v for k, v in x.items() if k not in TIMES} == {
            k: v for k, v in y.items() if k not in TIMES
        }


def stop_after_save(monkeypatch, saves_at):
    """Kill a run right after the step that follows its checkpoint: later lines must vanish."""
    write = Run.scalars

    def scalars(self, step, kind, values):
        write(self, step, kind, values)
        if step == saves_at + 1:
            raise SystemExit(1)

    monkeypatch.setattr(Run, "scalars", scalars)


def test_more_steps_continue_and_the_same_command_does_nothing(words, tmp_path):
    assert train("stage1", *words("stage1", "train.max_steps=3")).code == 0
    run = tmp_path / "tiny/stage1"
    before = snapshot(run / "checkpoints")
    again = train("stage1", *words("stage1", "train.max_steps=3"))
    assert again.code == 0
    assert "already trained: 3 of 3 steps; nothing to do" in again.err
    assert snapshot(run / "checkpoints") == before
    longer = train("stage1", *words("stage1", "train.max_steps=5"))
    assert "resuming at step 3" in longer.err
    assert [line["step"] for line in metrics_of(run, "train")] == [1, 2, 3, 4, 5]
    assert last(run)["step"] == 5
    assert not (tmp_path / "tiny/stage1-2").exists()


def test_other_settings_leave_the_first_run_alone(words, tmp_path):
    assert train("stage1", *words("stage1")).code == 0
    first = tmp_path / "tiny/stage1"
    before = snapshot(first)
    changes = ["train.lr=1e-2", "seed=1", "model.code_channels=4", "data.flip=false"]
    for number, change in enumerate(changes, 2):
        outcome = train("stage1", *words("stage1", change))
        assert outcome.code == 0
        assert f"{first} holds a run with other settings and is left alone" in outcome.err
        assert last(tmp_path / f"tiny/stage1-{number}")["step"] == 2
    assert snapshot(first) == before
    again = train("stage1", *words("stage1", "seed=1"))
    assert f"run folder: {tmp_path / 'tiny/stage1-3'}" in again.err
    assert "already trained" in again.err


@pytest.mark.parametrize(
    "change",
    [
        "train.num_workers=1",
        "train.micro_batch_size=3",
        "train.log_every=7",
        "eval.every=5",
        "eval.batch_size=1",
        "train.save_every=9",
    ],
)
def test_settings_that_do_not_change_the_numbers_continue_the_run(words, tmp_path, change):
    assert train("stage1", *words("stage1", "train.max_steps=1")).code == 0
    outcome = train("stage1", *words("stage1", "train.max_steps=2", change))
    assert "resuming at step 1" in outcome.err
    assert [p.name for p in (tmp_path / "tiny").iterdir()] == ["stage1"]


def test_a_run_from_before_a_setting_existed_goes_on(words, tmp_path):
    assert train("stage1", *words("stage1", "train.max_steps=1")).code == 0
    path = tmp_path / "tiny/stage1/config.yaml"
    lines = path.read_text().splitlines(keepends=True)
    older = [line for line in lines if "subset_seed" not in line]
    assert len(older) == len(lines) - 1
    path.write_text("".join(older))
    assert "resuming at step 1" in train("stage1", *words("stage1", "train.max_steps=2")).err


def test_resuming_needs_no_start_weights(words, tmp_path):
    """The checkpoint holds them: a file or a model hub may be out of reach by then."""
    file = tmp_path / "swin.pth"
    start = f"model.encoder.weights={file}"
    network = SwinEncoder(build_config(SwinConfig, SWIN), (64, 96))
    weights = {f"encoder.{name}": weight for name, weight in network.state_dict().items()}
    torch.save({"model": weights}, file)
    first = train("joint", *words("joint", "train.max_steps=1", start))
    assert "encoder starts from" in first.err
    file.unlink()
    second = train("joint", *words("joint", "train.max_steps=2", start))
    assert second.code == 0, second.err
    assert "resuming at step 1" in second.err
    assert "encoder starts from" not in second.err


def test_resume_false_starts_over_in_the_same_folder(words, tmp_path):
    assert train("stage1", *words("stage1", "train.max_steps=3")).code == 0
    first = last(tmp_path / "tiny/stage1")
    outcome = train("stage1", *words("stage1", "train.max_steps=3", "train.resume=false"))
    assert "resuming" not in outcome.err
    assert same(last(tmp_path / "tiny/stage1")["model"], first["model"])
    assert [r["step"] for r in metrics_of(tmp_path / "tiny/stage1", "train")] == [1, 2, 3]


def test_a_run_killed_before_its_first_checkpoint_leaves_no_lines(words, tmp_path, monkeypatch):
    stop_after_save(monkeypatch, 0)
    assert train("stage1", *words("stage1")).code == 1
    monkeypatch.undo()
    assert train("stage1", *words("stage1")).code == 0
    assert [r["step"] for r in metrics_of(tmp_path / "tiny/stage1", "train")] == [1, 2]


def test_tensorboard_forgets_what_is_written_again(tmp_path):
    """A run that reached step 5 is resumed from its checkpoint of step 3."""
    for first, end in ((0, 5), (3, 6)):
        run = Run(tmp_path, "stage1", Processes(0, 1, torch.device("cpu")))
        run.rewind(first)
        for step in range(first + 1, end + 1):
            run.scalars(step, "train", {"loss": 10.0 * first + step})
        run.board.close()
        (file,) = (p for p in (tmp_path / "tensorboard").iterdir() if p.suffix != ".done")
        file.rename(file.with_name(f"events.out.tfevents.{first}.done"))
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    values = [(event.step, event.value) for event in board.Scalars("train/loss")]
    assert values == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 34.0), (5, 35.0), (6, 36.0)]


def test_a_half_written_metrics_line_is_dropped(words, tmp_path):
    assert train("stage1", *words("stage1")).code == 0
    metrics = tmp_path / "tiny/stage1/metrics.jsonl"
    whole = metrics.read_text()
    metrics.write_text(whole + '{"step": 3, "ki')
    assert train("stage1", *words("stage1")).code == 0
    assert metrics.read_text() == whole


@pytest.mark.parametrize("damage", ["cut", "empty", "other stage"])
def test_a_damaged_checkpoint_is_one_clear_line(words, trained, tmp_path, damage):
    assert train("stage1", *words("stage1")).code == 0
    path = tmp_path / "tiny/stage1/checkpoints/last.pt"
    if damage == "other stage":
        shutil.copy(trained / "tiny/stage2/checkpoints/last.pt", path)
    else:
        path.write_bytes(path.read_bytes()[: 1000 if damage == "cut" else 0])
    outcome = train("stage1", *words("stage1", "train.max_steps=3"))
    assert outcome.code == 2
    assert len(outcome.errors) == 1
    assert str(path) in outcome.errors[0]


def wait_for(path, process, text="", seconds=120):
    """Until a running process has written `text` into the file."""
    end = time.monotonic() + seconds
    while not (path.exists() and text in path.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("nproc", ["1", "2"])
def test_ctrl_c_and_the_same_command_again(words, tmp_path, nproc, number):
    """The whole group gets it, as from a terminal, Slurm: shell, launcher, data workers."""
    command = ["sh", "stage1_vae/train.sh"]
    command += words("stage1", "train.max_steps=100000", "train.num_workers=1", "eval.every=100000")
    run = tmp_path / "tiny/stage1"
    process = start_process(*command, NPROC=nproc)
    wait_for(run / "metrics.jsonl", process, '"step": 2,')
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    step = last(run)["step"]
    assert f"interrupted; saved at step {step} of 100000" in err
    assert metrics_of(run, "train")[-1]["step"] == step
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["last.pt"]
    if nproc == "2" or number == signal.SIGTERM:
        return
    continued = start_process(*command, NPROC=nproc)
    wait_for(run / "log.txt", continued, f"resuming at step {step}")
    wait_for(run / "metrics.jsonl", continued, f'"step": {step + 2},')
    continued.send_signal(signal.SIGTERM)
    _, err = continued.communicate(timeout=60)
    assert continued.returncode == 130, err
    steps = [line["step"] for line in metrics_of(run, "train")]
    assert steps == list(range(1, last(run)["step"] + 1))

"""SIGKILL at any point, and the same command again: the run ends as one that was never killed."""

import random

import pytest
from conftest import metrics_of
from killing import at_call, check_same_run, in_call, train_forked

SEED = 20261127
# Steps of five of twelve images, so that epochs end inside a step, and at the end of one (12).
SETTINGS = (
    "train.batch_size=5",
    "train.save_every=2",
    "train.log_every=3",
    "eval.every=3",
    "train.schedule=polynomial",
)


@pytest.fixture
def words(workspace, request, tmp_path):
    """The command line of a stage whose runs go to `tmp_path`, earlier stages found there too."""

    def of(stage, *overrides):
        earlier = {"stage2": "stage1", "stage3": "stage2"}.get(stage)
        runs = earlier and request.getfixturevalue("trained") / "tiny"
        init = [f"init.{earlier}={runs / earlier}"] if earlier else []
        return workspace.arguments(stage, tmp_path, *SETTINGS, *init, *overrides)

    return of


def run_of(tmp_path, stage, experiment):
    return tmp_path / experiment / ("stage3" if stage == "joint" else stage)


def kill_at_random(words, tmp_path, stage, num_kills, *settings, num_processes=1):
    """Kill and start again; a run that comes to its end is compared, and a new one begun."""
    log = tmp_path / "log"

    def start(experiment, kill=None, rank=0):
        command = words(stage, *settings, f"experiment={experiment}")
        return train_forked(stage, command, log, kill, num_processes, rank)

    whole = start("straight")
    assert whole.code == 0, log.read_text()
    rng = random.Random(SEED)
    points, runs, kills = [], 1, 0
    while kills < num_kills:
        # Half of them anywhere, half after the first step has begun.
        point = rng.randrange(1 if rng.random() < 0.5 else whole.to_fit, whole.calls)
        points.append(point)
        rank = rng.randrange(num_processes)
        print(f"run {runs}: SIGKILL at call {point} of {whole.calls} in process {rank}")
        ended = start(f"killed_{runs}", at_call(point), rank)
        kills += ended.was_killed
        if not ended.was_killed:
            assert ended.code == 0, (points, log.read_text())
            runs += 1
    ended = start(f"killed_{runs}")
    assert ended.code == 0, (points, log.read_text())
    for number in range(1, runs + 1):
        check_same_run(
            run_of(tmp_path, stage, "straight"), run_of(tmp_path, stage, f"killed_{number}")
        )


def test_random_points(words, tmp_path):
    kill_at_random(words, tmp_path, "stage1", 5, "train.max_steps=5")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        ("stage1", ("train.micro_batch_size=2",)),
        ("stage1", ("train.num_workers=2",)),
        ("stage1", ("train.async_save=true", "train.ema_decay=0.7", "train.keep_every=3")),
        ("stage2", ()),
        ("stage3", ("model.encoder.drop_path=0.3", "train.num_workers=2")),
        ("joint", ("model.encoder.drop_path=0.3", "train.micro_batch_size=2")),
        ("llm_mde", ("train.micro_batch_size=3",)),
    ],
)
def test_twenty_random_points(words, tmp_path, stage, settings):
    kill_at_random(words, tmp_path, stage, 20, "train.max_steps=7", *settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        ("stage1", ("train.micro_batch_size=2", "train.num_workers=2")),
        ("stage3", ("model.encoder.drop_path=0.3", "train.async_save=true")),
    ],
)
def test_random_points_of_one_of_two_processes(words, tmp_path, stage, settings):
    kill_at_random(words, tmp_path, stage, 10, "train.max_steps=7", *settings, num_processes=2)


def just_saved():
    """In a run's first start: its checkpoint of step 3, an epoch's end, is whole, no step more."""
    return in_call("fetch", 1, after="_write_last")


# Where a process is killed in its first start, and in those after that.
POINTS = {
    "before the first step": lambda: [in_call("fit")],
    "in the first step": lambda: [in_call("__call__", after="fetch")],
    "in the middle of the first file": lambda: [in_call("write_record", 9)],
    "in the middle of the next file": lambda: [in_call("write_record", 9, after="_start_over")],
    "before the old file is kept": lambda: [in_call("_keep_previous")],
    "as the old file is kept": lambda: [in_call("link")],
    "between the old file and the new name": lambda: [in_call("whole_file", 1, after="link")],
    "in an evaluation": lambda: [in_call("_score")],
    "between an evaluation's best.pt and last.pt": lambda: [in_call("_write_last")],
    "at an epoch's end": lambda: [just_saved(), in_call("fetch")],
    "in the second epoch": lambda: [in_call("see", 4), in_call("see", 1)],
    "in a resumed run's start": lambda: [just_saved(), in_call("restore_random_states")],
    "in a resumed run's save": lambda: [just_saved(), in_call("write_record", 9)],
    "in a resumed run's evaluation, twice": lambda: [just_saved(), *(in_call("_score"),) * 2],
    "after the last save": lambda: [in_call("finish")],
}


@pytest.fixture
def straight(words, tmp_path):
    """A run of three steps of four images: an epoch of twelve; and three of the next."""
    settings = ("train.max_steps=6", "train.batch_size=4", "train.save_every=3")
    log = tmp_path / "log"
    assert train_forked("stage1", words("stage1", *settings, "experiment=straight"), log).code == 0
    return settings


@pytest.mark.slow
def test_chosen_points(words, tmp_path, straight):
    log = tmp_path / "log"
    for number, (name, kills) in enumerate(POINTS.items()):
        print(name)
        command = words("stage1", *straight, f"experiment=killed_{number}")
        for kill in kills():
            assert train_forked("stage1", command, log, kill).was_killed, (name, log.read_text())
        assert train_forked("stage1", command, log).code == 0, (name, log.read_text())
        run = run_of(tmp_path, "stage1", f"killed_{number}")
        check_same_run(run_of(tmp_path, "stage1", "straight"), run)
        unfinished = [path for path in (run / "checkpoints").iterdir() if path.name[0] == "."]
        assert not unfinished, name


def test_between_two_log_lines(words, tmp_path):
    """The line after a resume is the mean over all its steps, also of those before."""
    settings = ("train.max_steps=4", "train.log_every=4", "eval.every=4")
    log = tmp_path / "log"
    for experiment, kills in {"straight": [], "killed": [in_call("see", 4)]}.items():
        command = words("stage1", *settings, f"experiment={experiment}")
        for kill in kills:
            assert train_forked("stage1", command, log, kill).was_killed
        assert train_forked("stage1", command, log).code == 0, log.read_text()
    runs = [run_of(tmp_path, "stage1", name) for name in ("straight", "killed")]
    assert [line["step"] for line in metrics_of(runs[1], "train")] == [4]
    check_same_run(*runs)

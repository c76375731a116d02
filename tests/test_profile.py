"""`train.profile=true` leaves a trace that TensorBoard and Perfetto can open."""

import gzip
import json

import pytest
import torch
from conftest import train, train_process

from common.engine.profiling import ACTIVE, WAIT, WARM_UP, profile_steps

FIRST = WAIT + WARM_UP + 1
NAME = f"from_step_{FIRST}.pt.trace.json.gz"


def events_of(path):
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)["traceEvents"]


def steps_in(events):
    return sorted({e["name"] for e in events if str(e.get("name", "")).startswith("ProfilerStep#")})


def test_a_run_writes_a_trace_of_the_steps_it_names(workspace, tmp_path):
    words = workspace.arguments("stage1", tmp_path, "train.profile=true", "train.max_steps=10")
    outcome = train("stage1", *words)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "tiny" / "stage1" / "profile"
    assert [path.name for path in folder.iterdir()] == [NAME]
    log = (tmp_path / "tiny" / "stage1" / "log.txt").read_text()
    assert f"profile from step {FIRST} on: {folder / NAME}" in log
    events = events_of(folder / NAME)
    assert steps_in(events) == [f"ProfilerStep#{WAIT + WARM_UP + i}" for i in range(ACTIVE)]
    names = {e.get("name") for e in events}
    assert {"aten::convolution", "Optimizer.step#Adam.step"} <= names
    backward = [
        e
        for e in events
        if e.get("name") == "autograd::engine::evaluate_function: ConvolutionBackward0"
    ]
    assert len(backward) >= ACTIVE
    assert all(e["dur"] > 0 for e in backward)


def test_the_switch_changes_no_number_and_may_be_set_when_resuming(workspace, tmp_path):
    def losses(runs, *overrides):
        outcome = train("stage1", *workspace.arguments("stage1", runs, *overrides))
        assert outcome.code == 0, outcome.err
        lines = (runs / "tiny" / "stage1" / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        return [row["loss/total"] for row in rows if row["kind"] == "train"]

    plain = losses(tmp_path / "plain", "train.max_steps=9")
    traced = losses(tmp_path / "traced", "train.max_steps=9", "train.profile=true")
    assert traced == plain
    losses(tmp_path / "plain", "train.max_steps=18", "train.profile=true")
    folder = tmp_path / "plain" / "tiny" / "stage1" / "profile"  # the same run, not stage1-2
    assert [path.name for path in folder.iterdir()] == [f"from_step_{9 + FIRST}.pt.trace.json.gz"]


def test_a_run_too_short_says_so(workspace, tmp_path):
    outcome = train("stage1", *workspace.arguments("stage1", tmp_path, "train.profile=true"))
    assert outcome.code == 0, outcome.err
    assert not (tmp_path / "tiny" / "stage1" / "profile").exists()
    assert f"train.profile: no trace, the run ended before step {FIRST}" in outcome.err


def test_an_unwritable_folder_is_a_users_mistake(workspace, tmp_path):
    run = tmp_path / "tiny" / "stage1"
    run.mkdir(parents=True)
    (run / "profile").write_text("in the way")
    words = workspace.arguments("stage1", tmp_path, "train.profile=true", "train.max_steps=9")
    outcome = train("stage1", *words)
    assert outcome.code == 2
    assert len(outcome.errors) == 1
    assert "cannot write" in outcome.errors[0]


def test_a_run_that_is_interrupted_while_recording_keeps_what_it_has(tmp_path):
    lines = []
    try:
        with profile_steps(tmp_path, torch.device("cpu"), lines.append) as after_step:
            for _ in range(FIRST):
                torch.ones(8).sum()
                after_step()
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert events_of(tmp_path / NAME)
    assert len(lines) == 1


@pytest.mark.slow
def test_only_the_main_process_writes(workspace, tmp_path):
    words = workspace.arguments("stage1", tmp_path, "train.profile=true", "train.max_steps=9")
    outcome = train_process("stage1", *words, NPROC="2")
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "tiny" / "stage1" / "profile"
    assert [path.name for path in folder.iterdir()] == [NAME]

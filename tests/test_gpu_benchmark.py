"""The GPU benchmark runs on a CPU at tiny sizes, and keeps going when a part fails."""

import json
import sys
import time

import pytest
import torch
from conftest import run_process

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import loading, parts, resuming, stalls, steps, table
from benchmarks.gpu.__main__ import choice_of, parse
from benchmarks.gpu.bench import Bench, Choice, products_in
from benchmarks.gpu.recipes import RECIPES
from benchmarks.gpu.stepping import FEWEST, StepClock, run_steps
from common.config import REPO_ROOT

CPU = torch.device("cpu")


@pytest.fixture
def bench(tmp_path):
    return Bench(CPU, True, tmp_path / "rows.jsonl", time.monotonic() + 600, tmp_path / "work")


def rows_of(bench):
    return [json.loads(line) for line in bench.rows.read_text().splitlines()]


def test_the_card_of_a_cpu(bench):
    parts.measure_card(bench)
    rows = {row["what"]: row for row in rows_of(bench)}
    assert {"card", "matrix product bf16", "matrix product fp32", "copy on the device"} <= set(rows)
    assert rows["matrix product fp32"]["tflops"] > 0


@pytest.mark.parametrize("variant", ["plain", "fp32", "bf16"])
def test_a_step_is_timed_and_its_work_counted(bench, variant):
    found = steps.measure_step("stage1", variant, 2, bench)
    assert found["steps"] >= FEWEST
    assert found["ms_lowest"] <= found["ms"] <= found["ms_highest"]
    assert found["images_per_s"] == pytest.approx(2e3 / found["ms"])
    assert found["gflop_per_image"] > 1e-3
    assert found.get("trains", True)


def test_the_counted_work_is_that_of_the_network(bench):
    """A forward and backward pass of one linear layer and nothing else: 3 products of 2 n m."""
    with pytest.MonkeyPatch.context() as patch:
        layer = torch.nn.Linear(8, 4)
        patch.setattr(steps, "network_of", lambda what, bench: layer)
        data = torch.randn(1, 8, requires_grad=True)
        patch.setattr(steps, "step_of", lambda what: lambda *_: {"total": layer(data).sum()})
        assert steps.count_flop("stage1", "ours", bench) == 3 * 2 * 8 * 4


def test_too_little_memory_is_a_result_and_the_rest_goes_on(bench):
    def action():
        raise torch.OutOfMemoryError("CUDA out of memory")

    bench.attempt("a", action, batch=16)
    bench.attempt("b", lambda: 1 / 0)
    bench.attempt("c", lambda: {"ms": 1.0})
    first, second, third = rows_of(bench)
    assert first == {"what": "a", "batch": 16, "error": "out of memory"}
    assert second["error"] == "ZeroDivisionError: division by zero"
    assert third == {"what": "c", "ms": 1.0}


def test_no_case_begins_when_time_is_short(bench):
    bench.deadline = time.monotonic() + 1
    steps.measure_first_steps(bench)
    assert {row["error"] for row in rows_of(bench)} == {"no time left"}


def test_only_the_chosen_cases_are_measured(bench, monkeypatch):
    taken = []
    monkeypatch.setattr(steps, "measure_step", lambda *case: taken.append(case[:3]) or {})
    bench.choice = Choice(("stage3", "llm-mde"), ("bf16", "compile"), (4, 16))
    steps.measure_first_steps(bench)
    steps.measure_other_steps(bench)
    steps.measure_compiled_steps(bench)
    assert {(what, variant) for what, variant, _ in taken} == {
        (what, variant) for what in ("stage3", "llm-mde") for variant in ("bf16", "compile")
    }
    assert len(taken) == 2 * len([("bf16", 16), ("bf16", 4), ("compile", 16)])


def test_nothing_is_compiled_in_less_time_than_the_last_one_took(bench, monkeypatch):
    taken, now = [], [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def compile_for_80_s(what, *_):
        taken.append(what)
        now[0] += 80
        return {}

    monkeypatch.setattr(steps, "measure_step", compile_for_80_s)
    bench.deadline = 180
    steps.measure_compiled_steps(bench)
    assert taken == list(RECIPES[:2])


def test_a_part_is_told_which_cases_are_chosen(monkeypatch):
    words = ["--recipes", "stage1", "stage3", "--variants", "bf16", "--batches", "1", "16"]
    monkeypatch.setattr(sys, "argv", ["gpu", *words])
    assert choice_of(parse()).options() == words
    monkeypatch.setattr(sys, "argv", ["gpu"])
    choice = choice_of(parse())
    assert (choice.options(), choice.has("stage1", "fp32", 4)) == ([], True)


def test_waits_are_counted_where_they_come_from(bench, monkeypatch):
    """With PyTorch's warning in the place of a GPU that gives it."""
    import warnings

    step_of = stalls.run_steps

    def warn_in_every_step(what, network, batch, precision, bench, after_step, count):
        def after():
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
            after_step()

        step_of(what, network, batch, precision, bench, after, count)

    monkeypatch.setattr(stalls, "run_steps", warn_in_every_step)
    monkeypatch.setattr(stalls, "STEADY", 0)
    found = stalls.waits_of("stage1", bench)
    (place,) = found["places"]
    assert place.startswith("tests/test_gpu_benchmark.py:")
    assert found["per_step"] == pytest.approx(1, abs=0.3)


def test_a_profile_names_what_takes_longest(bench):
    found = stalls.profile_of("stage1", 2, bench)
    times = [entry["ms"] for entry in found["kernels"]]
    assert 0 < len(times) <= stalls.TOP
    assert times == sorted(times, reverse=True)
    assert sum(times) <= found["kernel_ms"] * 1.001


def test_the_clock_ends_the_loop_and_leaves_the_warm_up_out(bench):
    clock = StepClock(CPU, warm_up=2)
    network = steps.network_of("stage1", bench)
    run_steps("stage1", network, steps.batch_of("stage1", 1, bench), "fp32", bench, clock)
    assert len(clock.seconds()) == len(clock.marks) - 2
    assert all(0 < seconds < 10 for seconds in clock.seconds())


def test_switching_tf32_off_does_nothing_without_a_gpu():
    before = torch.backends.cudnn.allow_tf32
    with products_in(CPU, tf32=not before):
        assert torch.backends.cudnn.allow_tf32 == before


def test_the_table_says_what_was_found_and_what_was_not():
    step = {"what": "stage3", "batch": 16, "ms": 100.0, "memory_gb": 30.0, "tflops": 200.0}
    content = {
        "machine": "m",
        "versions": "torch 2",
        "commit": "c",
        "settings": {"tiny": False},
        "parts": {
            "card": {
                "status": "done",
                "seconds": 3.0,
                "rows": [
                    {"what": "card", "name": "a card"},
                    {"what": "matrix product bf16", "tflops": 400.0},
                ],
            },
            "steps": {
                "status": "stopped after 90 s",
                "rows": [
                    {**step, "variant": "bf16", "images_per_s": 160.0},
                    {"what": "stage3", "batch": 16, "variant": "plain", "error": "out of memory"},
                ],
            },
            "stalls": {
                "status": "done",
                "rows": [
                    {
                        "what": "profile stage3",
                        "kernel_ms": 90.0,
                        "kernels": [{"name": "a|b", "ms": 45.0, "calls": 3.0}],
                    }
                ],
            },
        },
    }
    lines = table.markdown(content).splitlines()
    assert lines[0].startswith("a card, torch 2")
    assert "| stage3 | 16 | plain | out of memory |  |  |  |  |  |" in lines
    assert "| stage3 | 16 | bf16 | 160 | 100 |  | 30 | 200 | 50 % |" in lines
    assert "| a\\|b | 45 | 50.0 % | 3 |" in lines
    assert "| steps | stopped after 90 s |  |" in lines


@pytest.mark.slow
def test_loading_and_fed_training(bench):
    bench.work.mkdir()
    loading.measure_loading(bench)
    rows = rows_of(bench)
    assert len(rows) == 3
    assert all(row["images_per_s"] > 0 for row in rows)


@pytest.mark.slow
def test_resumed_equals_uninterrupted(bench):
    bench.work.mkdir()
    resuming.check_resuming(bench)
    (row,) = rows_of(bench)
    assert row["ok"], row
    assert row["tensors"] > 100


@pytest.mark.slow
def test_the_command_writes_table_and_json(tmp_path):
    path = tmp_path / "here.json"  # "gpu.json": where the root has one, that is meant
    command = ["sh", str(REPO_ROOT / "benchmarks" / "gpu.sh"), "--device", "cpu", "--tiny"]
    command += ["--parts", "card", "golden", "--json", path.name]
    outcome = run_process(*command, cwd=tmp_path)  # a name starts at the current folder
    assert outcome.code == 0, outcome.err
    assert "| golden stage1 | fp32 |" in outcome.out
    content = json.loads(path.read_text())
    assert {part["status"] for part in content["parts"].values()} == {"done"}
    assert path.with_suffix(".log").exists()
    again = run_process(sys.executable, "-m", "benchmarks.gpu.table", str(path))
    assert again.out.strip() in outcome.out


def test_a_part_that_takes_too_long_is_stopped_and_keeps_its_rows(tmp_path, monkeypatch):
    program = tmp_path / "part.sh"  # in the place of Python; $6 is its --rows
    program.write_text('#!/bin/sh\necho \'{"what": "a"}\' > "$6"\nexec sleep 60\n')
    program.chmod(0o755)
    path = tmp_path / "to come" / "gpu.json"
    words = ["--device", "cpu", "--tiny", "--parts", "card", "--json", str(path)]
    monkeypatch.setattr(sys, "argv", ["gpu", *words, "--minutes", "0.07"])
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(gpu, "SHORTEST", 0)
    monkeypatch.setattr(gpu.signal, "signal", lambda *_: None)
    begin = time.monotonic()
    gpu.main()
    assert time.monotonic() - begin < 30
    part = json.loads(path.read_text())["parts"]["card"]
    assert part["status"].startswith("stopped after")
    assert part["rows"] == [{"what": "a"}]


@pytest.mark.slow
def test_nothing_here_needs_open_clip():
    script = (
        "import sys; sys.modules['open_clip'] = None; import benchmarks.gpu.parts, llm_mde.model"
    )
    assert run_process(sys.executable, "-c", f"{script}, llm_mde.model").code == 0


@pytest.mark.slow
def test_a_users_mistakes(tmp_path):
    program = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu"]
    outcome = run_process(*program, "--json", str(tmp_path))
    assert f"cannot write {tmp_path}: it is a folder" in outcome.refusal
    outcome = run_process(sys.executable, "-m", "benchmarks.gpu.table", str(tmp_path / "no.json"))
    assert outcome.code == 2
    assert "Traceback" not in outcome.err

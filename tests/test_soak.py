"""`benchmarks/soak.py`: a run in which nothing grows, and runs with a leak that it must see."""

import gc
import os
import sys
import textwrap

import numpy as np
import pytest
from conftest import call, run_process

from benchmarks import soak
from benchmarks.launching import last_line
from benchmarks.process_memory import Slope, children, look, slope
from common.config import REPO_ROOT
from common.errors import UserError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
STEPS = 400
LIMIT_KB = 20_000  # per 1,000 steps: a run as short as this one has hardly warmed up
# A stand-in for stage3_depth/train.py: it does `LEAK` with each batch that a step is given.
LEAKY = """
import sys
sys.path.insert(0, {root!r})
import stage3_depth.train
from common.engine import update

kept, step = [], update.Update.__call__

def leaking(self, number, parts, *others):
    {leak}
    return step(self, number, parts, *others)

update.Update.__call__ = leaking
from common.errors import run_program
run_program(stage3_depth.train.main)
"""


def test_a_slope_and_how_sure_it_is():
    steps = range(5, 2005, 5)
    noise = np.random.default_rng(0).normal(0, 500, 400)
    growing = slope(steps, [3.0 * step + 1e5 + n for step, n in zip(steps, noise, strict=True)])
    assert growing.value == pytest.approx(3000, abs=growing.uncertainty)
    assert 50 < growing.uncertainty < 500
    flat = slope(steps, (1e5 + noise).tolist())
    assert abs(flat.value) <= flat.uncertainty
    peaks = [1e6 if step % 100 == 0 else 1e5 for step in steps]  # evaluations
    assert slope(steps, peaks).value == pytest.approx(0, abs=1e-3)
    with pytest.raises(ValueError, match="needs 20"):
        slope(steps[:19], [0.0] * 19)


@pytest.mark.parametrize(
    ("value", "uncertainty", "verdict"),
    [(0, 900, "flat"), (500, 600, "unclear"), (1500, 400, "grows"), (1500, 600, "unclear"),
     (-5000, 100, "flat"), (0, 2000, "unclear")],
)  # fmt: skip
def test_verdicts(value, uncertainty, verdict):
    assert Slope(value, uncertainty).verdict(1000) == verdict


def test_what_a_process_holds_itself(tmp_path):
    gc.collect()  # what earlier tests left, or it may go meanwhile
    before = look(os.getpid())
    kept = np.ones(64_000_000)  # 512 MB: what else comes and goes is little beside it
    with (tmp_path / "a").open("w"), (tmp_path / "b").open("w"):
        after = look(os.getpid())
    assert after.kilobytes - before.kilobytes > 0.9 * kept.nbytes / 1024
    assert after.files - before.files == 2
    assert look(2**22 + 1) is None


def test_those_that_it_started():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        assert child in children(os.getpid())
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)
    assert child not in children(os.getpid())


def test_the_last_whole_line_of_a_file_that_grows(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for content, expected in (("", None), ("a", None), ("a\nb", "a"), ("a\n" * 5000 + "b\n", "b")):
        path.write_text(content)
        assert last_line(path) == expected


def made_up(num_samples: int, kilobytes=lambda step: 200_000, files=lambda step: 20):
    """Samples of a run with two workers."""
    steady = soak.Figures(90_000, 40_000, 12)
    for step in range(5, 5 * num_samples + 1, 5):
        sizes = dict.fromkeys(soak.LOGS, 370 * step // 5)
        trainer = soak.Figures(kilobytes(step), 100_000, files(step))
        yield soak.Moment(step, trainer, {7: steady, 9: steady}, sizes)


def verdicts(samples, limit_kb=1000):
    rows = soak.judge(list(samples), limit_kb)
    return {row.name: row.facts["verdict"] for row in rows}


def test_what_grows_is_named():
    assert set(verdicts(made_up(100)).values()) == {"flat", ""}
    assert verdicts(made_up(100, kilobytes=lambda s: 2 * s))["trainer, memory"] == "grows"
    assert verdicts(made_up(100, kilobytes=lambda s: 2 * s), 5000)["trainer, memory"] == "flat"
    assert verdicts(made_up(100, files=lambda s: s // 100))["trainer, open files"] == "grows"
    early = made_up(100, kilobytes=lambda s: min(s, 100) * 1000)  # in the warm-up alone
    assert verdicts(early)["trainer, memory"] == "flat"
    rows = {row.name: row for row in soak.judge(list(made_up(100)), 1000)}
    assert {"worker 1, memory", "worker 2, open files"} <= rows.keys()
    assert rows["metrics.jsonl"].facts["per 1,000 steps"] == pytest.approx(74_000, rel=0.01)


def test_too_little_to_judge_is_said():
    with pytest.raises(UserError, match="give more --steps"):
        soak.judge(list(made_up(20)), 1000)
    alone = [soak.Moment(s.step, s.trainer, {}, s.sizes) for s in made_up(100)]
    with pytest.raises(UserError, match="no data worker"):
        soak.judge(alone, 1000)


@pytest.mark.slow
def test_a_run_that_fails_is_one_line():
    outcome = call(soak.main, "--program", "stage3_depth/train.py", "--config", "nowhere.yaml")
    assert "nowhere.yaml" in outcome.refusal
    assert "the training run ended with code 2" in outcome.refusal


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return soak.write_config(tmp_path_factory.mktemp("soak"))


def run(config, folder, program):
    words = soak.run_words(folder, STEPS)
    return verdicts(soak.watch_run(program, config, folder / "runs", words), LIMIT_KB)


@pytest.mark.slow
def test_nothing_grows_in_a_real_run(tmp_path):
    outcome = run_process(
        sys.executable, "benchmarks/soak.py", "--steps", str(STEPS), "--limit-kb", str(LIMIT_KB),
        "--json", str(tmp_path / "soak.json"),
    )  # fmt: skip
    assert outcome.code == 0, outcome.out + outcome.err
    assert "nothing grows" in outcome.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("leak", "grows"),
    [
        ("kept.append(parts)", "trainer, memory"),
        ("kept.append(open(sys.argv[0]))", "trainer, open files"),
    ],
    ids=["every batch is kept", "a file is left open"],
)
def test_a_leak_is_seen(config, tmp_path, leak, grows):
    program = tmp_path / "train.py"
    program.write_text(textwrap.dedent(LEAKY).format(leak=leak, root=str(REPO_ROOT)))
    assert run(config, tmp_path, program)[grows] == "grows"

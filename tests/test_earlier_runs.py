"""What the code before its rooms wrote still opens, resumes and scores the same.

`fixtures/earlier_runs` holds a tiny data root, YAML files, a run of every recipe after two steps,
encoded features, and in `expected.json` what that code scored and logged when it went on.
"""

import json
import shutil
from pathlib import Path

import pytest
from conftest import evaluate, metrics_of, train

from common.config import REPO_ROOT

EARLIER = REPO_ROOT / "tests/fixtures/earlier_runs"
EXPECTED = json.loads((EARLIER / "expected.json").read_text())
STAGE = {"stage2_clip": "stage2", "stage3_none": "stage3", "joint": "stage3",
         "joint_legacy": "stage3"}  # fmt: skip
# Another OpenCV turns and resizes pictures a little differently: 0.4 % of a term, 1 % of a norm.
OTHER_VERSIONS = 0.02
RESUMABLE = [name for name in EXPECTED if name not in ("stage3_none", "joint_legacy")]


@pytest.fixture
def runs(tmp_path) -> Path:
    """A copy of the earlier runs that may be written to."""
    shutil.copytree(EARLIER / "runs", tmp_path / "runs")
    return tmp_path / "runs"


@pytest.mark.parametrize("name", EXPECTED)
def test_earlier_checkpoints_score_the_same(name, tmp_path):
    out = tmp_path / "out.json"
    run = EARLIER / "runs" / EXPECTED[name]["run"]
    outcome = evaluate(STAGE.get(name, name), "--checkpoint", str(run), "--json", str(out))
    assert outcome.code == 0, outcome.err
    assert json.loads(out.read_text())["metrics"] == pytest.approx(
        EXPECTED[name]["metrics"], rel=1e-4
    )


@pytest.mark.parametrize("name", RESUMABLE)
def test_earlier_runs_go_on_where_they_stopped(name, runs):
    """The same YAML, two steps more: the losses, rates and scores of the code that wrote it."""
    words = (str(EARLIER / f"configs/{name}.yaml"), f"output_root={runs}", "train.max_steps=4")
    outcome = train(STAGE.get(name, name), *words)
    assert outcome.code == 0, outcome.err
    assert "resuming at step 2" in outcome.err
    run = runs / EXPECTED[name]["run"]
    assert not run.with_name(f"{run.name}-2").exists()
    for expected in EXPECTED[name]["after_resuming"]:
        (line,) = (row for row in metrics_of(run, expected["kind"])
                   if row["step"] == expected["step"])  # fmt: skip
        assert {key: line[key] for key in expected} == {
            key: pytest.approx(value, rel=OTHER_VERSIONS) if isinstance(value, float) else value
            for key, value in expected.items()
        }


def test_earlier_feature_files_are_found_and_not_made_again(runs):
    before = {path.name: path.stat().st_mtime_ns for path in (runs / "features").iterdir()}
    words = (
        str(EARLIER / "configs/stage1.yaml"), f"output_root={runs}", "experiment=again",
        "text.features=null", "text.encoder=untrained:0", "model.text_dim=1024",
    )  # fmt: skip
    outcome = train("stage1", *words)
    assert outcome.code == 0, outcome.err
    after = {path.name: path.stat().st_mtime_ns for path in (runs / "features").iterdir()}
    assert after == before

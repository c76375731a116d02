"""What an error says to set is set, and works: training and scoring go on."""

import re
import shutil

import doctor_trees as trees
import pytest
from conftest import evaluate, train

SETTING = re.compile(r"(?<![\w.])(?:data|text|eval|train|model)\.[a-z_]+=[^\s,;()]*[a-z0-9]")


def few_maps(root):
    for line in (root / "train.txt").read_text().splitlines()[:2]:
        (root / line.split()[1].lstrip("/")).unlink()


CASES = {
    "protocol": (None, ["eval.protocol=nyu_eigen"]),
    "missing maps": (few_maps, []),
    "no validation": (None, ["data.val_list=null", "data.val_share=0"]),
    "cache": (None, ["data.cache=/proc/nowhere"]),
}


@pytest.mark.parametrize("name", list(CASES))
def test_a_training_that_was_refused_runs(workspace, tmp_path, name):
    damage, settings = CASES[name]
    data = shutil.copytree(workspace.data, tmp_path / "data")
    if damage:
        damage(data)
    words = workspace.arguments("stage1", tmp_path / "runs", f"data.root={data}", *settings)
    advised = SETTING.findall(train("stage1", *words).refusal)
    assert len(advised) == 1
    outcome = train("stage1", *words, *advised)
    assert outcome.code == 0, outcome.err


def test_a_folder_named_one_too_deep(workspace, tmp_path):
    trees.write_folder(tmp_path / "mine", count=20)
    shares = "data.val_share=0.2", "data.test_share=0.2"
    lists = [f"data.{name}_list=null" for name in ("train", "val", "test")]
    own = ["data.name=folder", *lists, *shares, "text.captions=null", "language.mode=none"]
    words = workspace.arguments("stage3", tmp_path, *own, f"data.root={tmp_path / 'mine/rgb'}")
    [advised] = SETTING.findall(train("stage3", *words).refusal)
    assert train("stage3", *words, advised).code == 0


def test_a_scoring_that_was_refused_runs(trained):
    words = ["--checkpoint", str(trained / "tiny/stage1")]
    refusal = evaluate("stage1", *words, "--protocol", "nyu_eigen").refusal
    [option] = re.findall(r"--protocol \w+$", refusal)
    assert evaluate("stage1", *words, *option.split()).code == 0

"""The program that compares recipes on few-shot subsets of the training images."""

import json
import math
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import yaml
from conftest import EVAL_MAINS, MAINS, Outcome, call, write_yaml

from common.config import REPO_ROOT

PROGRAM = str(REPO_ROOT / "scripts" / "few_shot.py")
REAL_POPEN = subprocess.Popen
ASKED = [
    "--recipe",
    "joint",
    "--images",
    "2",
    "0.5",
    "--seeds",
    "0",
    "1",
    "eval.max_images=1",
    "eval.flip=true",
]


class Started:
    """A program that has run to its end."""

    def __init__(self, code: int):
        self.returncode = code

    def poll(self) -> int:
        return self.returncode


class FewShot:
    """`scripts/few_shot.py` in this process, its trainings and evaluations too.

    broken: experiment -> exit code of its training.
    """

    def __init__(self, configs: Path, output: Path):
        self.configs, self.output = configs, output
        self.started: list[str] = []
        self.broken: dict[str, int] = {}

    def start(self, arguments: list[str], **options: object) -> object:
        """In place of subprocess.Popen."""
        folder, program = (
            (Path(arguments[1]).parent.name, Path(arguments[1]).name) if arguments[1:] else ("", "")
        )
        if program not in ("train.sh", "eval.py"):
            return REAL_POPEN(arguments, **options)
        stage = {"stage1_vae": "stage1", "stage2_sampler": "stage2"}.get(folder, "stage3")
        experiment = re.search(r"experiment=(\S+)|([^/]+)/stage\d/checkpoints", " ".join(arguments))
        name = experiment[1] or experiment[2]
        self.started.append(f"{stage} {program} {name}")
        if program == "train.sh" and name in self.broken:
            return Started(self.broken[name])
        mains = MAINS if program == "train.sh" else EVAL_MAINS
        outcome = call(mains[stage], *arguments[2:])
        assert outcome.code == 0, outcome.err
        return Started(0)

    def run(self, *arguments: str) -> Outcome:
        self.started.clear()

        def main() -> None:
            runpy.run_path(PROGRAM)["main"]()

        standard = [f"--data={self.configs}", f"--output={self.output}"]
        return call(main, *standard, *arguments)

    def results(self) -> dict:
        return json.loads((self.output / "results.json").read_text())


@pytest.fixture
def few_shot(workspace, tmp_path, monkeypatch) -> FewShot:
    program = FewShot(workspace.configs, tmp_path / "few shot")
    monkeypatch.setattr(subprocess, "Popen", program.start)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return program


def test_table_plot_and_rerun(few_shot):
    outcome = few_shot.run(*ASKED)
    assert outcome.code == 0, outcome.err
    results = few_shot.results()
    places = [(run["train_images"], run["seed"]) for run in results["runs"]]
    assert places == [(2, 0), (2, 1), (6, 0), (6, 1)] and results["failed"] == []
    check_runs(few_shot.output, results["runs"])
    check_table(results, outcome.out, (few_shot.output / "table.txt").read_text())
    check_plot(results["table"], (few_shot.output / "abs_rel.svg").read_text())

    again = few_shot.run(*ASKED)
    assert again.code == 0 and few_shot.started == []
    assert few_shot.results()["runs"] == results["runs"]
    longer = few_shot.run(*ASKED[:4], "--seeds", "0", *ASKED[-2:], "train.max_steps=3")
    assert longer.code == 0 and len(few_shot.started) == 2  # trained on, and scored again
    changed = few_shot.results()["runs"]
    assert len(changed) == 1 and changed[0]["result"] != results["runs"][0]["result"]


def check_runs(output: Path, runs: list[dict]) -> None:
    for run in runs:
        folder = output / f"joint_k{run['train_images']}_s{run['seed']}" / "stage3"
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config["seed"] == config["data"]["subset_seed"] == run["seed"]
        assert config["data"]["train_images"] == run["train_images"]
        result = run["result"]
        assert result["checkpoint"] == str(folder / "checkpoints" / "last.pt")
        assert (result["split"], result["num_images"], result["flip"]) == ("test", 4, True)
    assert len({run["result"]["metrics"]["abs_rel"] for run in runs}) == 4


def check_table(results: dict, *texts: str) -> None:
    """Against numpy."""
    for entry, images in zip(results["table"], (2, 6), strict=True):
        chosen = [r for r in results["runs"] if r["train_images"] == images]
        values = np.array([r["result"]["metrics"]["abs_rel"] for r in chosen])
        assert (entry["name"], entry["train_images"], entry["seeds"]) == ("joint", images, [0, 1])
        mean, std = values.sum() / 2, math.sqrt(((values - values.mean()) ** 2).sum() / 1)
        assert entry["mean"]["abs_rel"] == pytest.approx(mean, rel=1e-12)
        assert entry["std"]["abs_rel"] == pytest.approx(std, rel=1e-12)
        line = rf"joint +{images} +2 +{mean:.4f} ± {std:.4f} "
        assert all(re.search(line, text) for text in texts)


def check_plot(table: list[dict], svg: str) -> None:
    """Every mean is a dot where it belongs, with its value to read; the file stands alone."""
    root = ElementTree.fromstring(svg)
    tag = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{tag}svg" and "var(--" not in svg
    dots = [dot for dot in root.iter(f"{tag}circle") if dot.find(f"{tag}title") is not None]
    texts = [dot.find(f"{tag}title").text for dot in dots]
    assert texts == [
        f"training images {e['train_images']}: {e['mean']['abs_rel']:.6g}" for e in table
    ]
    grid = [line for line in root.iter(f"{tag}line") if line.get("class") == "grid"]
    ticks = [t for t in root.iter(f"{tag}text") if t.get("text-anchor") == "end"]
    (y0, v0), (y1, v1) = [
        (float(g.get("y1")), float(t.text)) for g, t in zip(grid, ticks, strict=True)
    ][:2]
    for dot, entry in zip(dots, table, strict=True):
        shown = v0 + (float(dot.get("cy")) - y0) * (v1 - v0) / (y1 - y0)
        assert shown == pytest.approx(entry["mean"]["abs_rel"], abs=abs(v1 - v0) / abs(y1 - y0))
    assert float(dots[0].get("cx")) < float(dots[1].get("cx"))
    assert sum(path.get("d").count("h8") for path in root.iter(f"{tag}path")) == 2 * len(table)


def test_a_failed_run_is_reported_and_only_it_is_done_again(few_shot):
    few_shot.broken["joint_k6_s0"] = 1
    outcome = few_shot.run(*ASKED)
    assert outcome.code == 1
    assert "1 of 4 runs failed:\njoint, 6 of 12 images, seed 0: exit code 1" in outcome.err
    results = few_shot.results()
    assert len(results["runs"]) == 3 and len(results["failed"]) == 1
    assert [entry["seeds"] for entry in results["table"]] == [[0, 1], [1]]
    assert results["table"][1]["std"]["abs_rel"] is None  # one seed has no spread
    assert len(few_shot.started) == 4 + 3
    few_shot.broken.clear()
    assert few_shot.run(*ASKED).code == 0
    assert few_shot.started == ["stage3 train.sh joint_k6_s0", "stage3 eval.py joint_k6_s0"]
    assert [entry["seeds"] for entry in few_shot.results()["table"]] == [[0, 1], [0, 1]]


def test_an_interruption_ends_it_and_keeps_what_is_finished(few_shot):
    few_shot.broken["joint_k2_s1"] = 130
    outcome = few_shot.run(*ASKED)
    assert outcome.code == 130
    assert [(r["train_images"], r["seed"]) for r in few_shot.results()["runs"]] == [(2, 0)]


def test_staged_chains_its_stages_and_shares_the_early_ones_with_its_variants(few_shot):
    arguments = ["--recipe", "staged", "staged language.mode=none", "--images", "3", "--seeds", "0"]
    outcome = few_shot.run(*arguments)
    assert outcome.code == 0, outcome.err
    control = few_shot.output / "staged-language.mode-none_k3_s0"
    assert [path.name for path in control.iterdir()] == ["stage3"]
    config = yaml.safe_load((control / "stage3" / "config.yaml").read_text())
    assert config["language"] == {"mode": "none"}
    shared = few_shot.output / "staged_k3_s0"
    assert config["init"]["stage2"] == str(shared / "stage2" / "checkpoints" / "last.pt")
    for stage in ("stage1", "stage2", "stage3"):
        data = yaml.safe_load((shared / stage / "config.yaml").read_text())["data"]
        assert (data["train_images"], data["subset_seed"]) == (3, 0)
    names = [row["name"] for row in few_shot.results()["runs"]]
    assert names == ["staged", "staged language.mode=none"]


def test_epochs_become_the_same_number_of_steps_for_every_subset(few_shot, workspace, tmp_path):
    few_shot.configs = tmp_path / "configs"
    few_shot.configs.mkdir()
    joint = yaml.safe_load((workspace.configs / "joint.yaml").read_text())
    length = {"train": {"max_steps": None, "epochs": 1}}
    base = str(workspace.configs / "base.yaml")
    write_yaml(few_shot.configs / "joint.yaml", {**joint, "base": base, **length})
    outcome = few_shot.run("--recipe", "joint", "--images", "1", "all", "--seeds", "0")
    assert outcome.code == 0, outcome.err
    for images in (1, 12):
        run = few_shot.output / f"joint_k{images}_s0" / "stage3"
        assert "steps 0 to 3, batch 4" in (run / "log.txt").read_text()  # 12 images / 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "jont"], "no such recipe; there are staged, joint"),
        (["--recipe", ""], "no such recipe"),
        (["--recipe", "joint 'a=b"], "close the quotes"),
        (["--recipe", "joint oops"], "'oops' is not of the form key=value"),
        (["--recipe", "llm-mde", "--data", "nowhere"], "found no config file"),
        (["--recipe", "joint", "--images", "0"], "--images 0: give numbers of images"),
        (["--recipe", "joint", "--images", "nan"], "--images nan: give numbers of images"),
        (["--recipe", "joint", "--images", "2", "1.5"], "--images 1.5: give numbers of images"),
        (["--recipe", "joint", "--images", "13"], "the training split has only 12"),
        (["--recipe", "joint", "--seeds", "-1"], "seed: -1 is not at least 0"),
        (["--recipe", "joint", "experiment=mine"], "few_shot.py sets experiment itself"),
        (["--recipe", "joint", "init.stage1=x"], "few_shot.py sets init.stage1 itself"),
        (["--recipe", "joint", "train.max_step=3"], "unknown key 'train.max_step'"),
        (["--recipe", "joint", "joint data.train_list=val.txt"], "read different train images"),
        (["--recipe", "joint", "staged data.test_list=val.txt"], "read different test images"),
        (["--recipe", "joint", "joint eval.protocol=nyu_eigen"], "has eval.protocol none, joint"),
    ],
)
def test_mistakes_end_it_before_anything_is_trained(few_shot, arguments, message):
    images = [] if "--images" in arguments else ["--images", "2"]
    outcome = few_shot.run(*images, *arguments)
    assert few_shot.started == [] and not few_shot.output.exists()
    assert message in outcome.refusal


def test_other_test_pictures_are_scored_again(few_shot, workspace, tmp_path):
    root = shutil.copytree(workspace.data, tmp_path / "data")
    asked = (*ASKED[:4], "--seeds", "0", *ASKED[-2:], f"data.root={root}")
    assert few_shot.run(*asked).code == 0
    assert few_shot.run(*asked).code == 0 and few_shot.started == []
    before = few_shot.results()["runs"][0]["result"]["metrics"]
    depth = root / "test/room_0000/sync_depth_00000.png"
    cv2.imwrite(str(depth), np.full((64, 96), 9000, np.uint16))
    assert few_shot.run(*asked).code == 0
    assert [line.split()[1] for line in few_shot.started] == ["train.sh", "eval.py"]
    assert few_shot.results()["runs"][0]["result"]["metrics"] != before

"""The "add a ..." sections of docs/extending.md, applied to a copy of the repository and run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import metrics_of, run_process

from common.config import REPO_ROOT
from common.runtime.checkpoints import read_checkpoint

PAGE = (REPO_ROOT / "docs/extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```$", PAGE, re.M | re.S)
CODE = ("common", "scripts", "stage1_vae", "stage2_sampler", "stage3_depth", "llm_mde", "configs")


def section(title: str) -> list[tuple[str, str, str]]:
    """The blocks (language, file, text) below a heading."""
    start = PAGE.index(f"\n## {title}\n")
    end = PAGE.find("\n## ", start + 1)
    return [block for block in BLOCKS if start < PAGE.index(block[2]) < end]


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the repository's code that may be changed."""
    root = tmp_path / "repository"
    for name in CODE:
        shutil.copytree(REPO_ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".venv").symlink_to(sys.prefix)  # train.sh takes the environment beside it
    return root


def apply(root: Path, blocks: list[tuple[str, str, str]]) -> None:
    """Write the files that blocks name, and make the replacements that diffs show."""
    assert blocks
    for language, name, text in blocks:
        if language == "diff":
            apply_diff(root, text)
        elif name:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")


def apply_diff(root: Path, diff: str) -> None:
    """Hunks without line numbers: what they show before stands in the file exactly once."""
    path = root / re.search(r"^\+\+\+ b/(\S+)$", diff, re.M)[1]
    source = path.read_text(encoding="utf-8")
    for hunk in diff.split("@@\n")[1:]:
        lines = hunk.splitlines()
        before = "\n".join(line[1:] for line in lines if not line.startswith("+"))
        after = "\n".join(line[1:] for line in lines if not line.startswith("-"))
        assert source.count(before) == 1, before
        source = source.replace(before, after)
    path.write_text(source, encoding="utf-8")


def run(root: Path, program: str, *arguments: str) -> str:
    outcome = run_process(sys.executable, str(root / program), *arguments, cwd=root)
    assert outcome.code == 0, outcome.err
    return outcome.out


def test_a_data_set_is_one_file(copy, workspace, tmp_path):
    apply(copy, section("Add a data set"))
    config = str(workspace.configs / "stage1.yaml")
    runs = f"output_root={tmp_path / 'runs'}"
    run(copy, "stage1_vae/train.py", config, runs, "data.name=office")
    written = (tmp_path / "runs/tiny/stage1/config.yaml").read_text()
    assert "name: office" in written and "prior_mean: 1.1" in written
    out = run(copy, "stage1_vae/eval.py", "--checkpoint", str(tmp_path / "runs/tiny/stage1"))
    assert "none" in out
    doctor = (sys.executable, str(copy / "scripts/doctor.py"), "office")
    done = run_process(*doctor, "--root", str(workspace.data), "data.val_list=val.txt")
    assert done.code == 1, done.err
    assert "offices" in done.out  # its depths are ten times too small for an office
    assert "no folder" in run_process(*doctor).refusal  # the page's own data/office


def test_a_loss_is_a_term(copy, workspace, trained, tmp_path):
    apply(copy, section("Change a loss weight, or the loss"))
    words = (str(workspace.configs / "stage3.yaml"), f"init.stage2={trained / 'tiny/stage2'}")
    run(copy, "stage3_depth/train.py", *words, f"output_root={tmp_path / 'runs'}")
    for line in metrics_of(tmp_path / "runs/tiny/stage3", "train"):
        terms = {name: line[f"loss/{name}"] for name in ("total", "silog", "log_l1")}
        assert terms["total"] == pytest.approx(terms["silog"] + 0.1 * terms["log_l1"], rel=1e-4)
        assert terms["log_l1"] > 0


def test_an_augmentation_is_a_line(copy):
    apply(copy, section("Change the augmentation"))
    code = """
import numpy as np
from common.images.transforms import Augmentation, augment
settings = Augmentation(0.0, 1.0, False, False, (1.0, 1.0))
rng = np.random.default_rng(0)
image, depth = rng.integers(0, 255, (8, 8, 3), np.uint8), np.ones((8, 8), np.uint16)
found = [augment(image, depth, settings, rng)[0] for _ in range(300)]
assert {each.dtype for each in found} == {image.dtype}
print(sum(bool((each == each[..., :1]).all()) for each in found))
"""
    done = run_process(sys.executable, "-c", code, cwd=copy)
    assert done.code == 0, done.err
    assert 10 <= int(done.out) <= 60  # about 30


@pytest.mark.slow
def test_a_recipe_is_a_stage_of_a_folder(copy, workspace, trained, tmp_path):
    apply(copy, section("Add a recipe"))
    run_folder = tmp_path / "runs/tiny/stage3"
    words = (str(workspace.configs / "stage3.yaml"), f"init.stage2={trained / 'tiny/stage2'}")
    run(copy, "stage3_depth/train.py", *words, f"output_root={tmp_path / 'runs'}", "recipe=l1")
    assert all(line["loss/log_l1"] > 0 for line in metrics_of(run_folder, "train"))
    assert read_checkpoint(run_folder / "checkpoints/last.pt")["recipe"] == "l1"
    run(copy, "stage3_depth/eval.py", "--checkpoint", str(run_folder))
    said = run_process(sys.executable, str(copy / "stage3_depth/train.py"), *words, "recipe=l2")
    assert "one of staged, l1, joint, joint-legacy, not 'l2'" in said.refusal
    study = {"name": "both", "question": "Which?", "data": {"nyu": "nyu"}, "reference": "caption",
             "recipes": {"staged": "staged", "l1": "l1"}, "train_control": ["caption"]}  # fmt: skip
    (tmp_path / "both.yaml").write_text(yaml.safe_dump(study))
    listed = run(copy, "scripts/study.py", str(tmp_path / "both.yaml"), "--list")
    assert re.search(r"^l1 +caption +caption", listed, re.M)


def test_a_language_control_is_a_case(copy, workspace, tmp_path):
    apply(copy, section("Add a language control"))
    config = str(workspace.configs / "stage1.yaml")
    words = (f"output_root={tmp_path / 'runs'}", "text.control=photo_of", "model.text_dim=1024",
             "text.features=null", "text.encoder=untrained:0")  # fmt: skip
    run(copy, "stage1_vae/train.py", config, *words)
    log = (tmp_path / "runs/tiny/stage1/log.txt").read_text()
    assert "text.control=photo_of: all 12 images have the words 'A photo of a room.'" in log


def test_a_number_in_the_log_is_a_term(copy, workspace, trained, tmp_path):
    apply(copy, section("Add a number to the log"))
    config = str(workspace.configs / "stage3.yaml")
    words = (f"output_root={tmp_path / 'runs'}", f"init.stage2={trained / 'tiny/stage2'}",
             "train.micro_batch_size=2")  # fmt: skip
    run(copy, "stage3_depth/train.py", config, *words)
    for line in metrics_of(tmp_path / "runs/tiny/stage3", "train"):
        assert 0.5 < line["loss/measured_share"] < 1


def test_a_stage_is_a_folder(copy, workspace, tmp_path):
    apply(copy, section("Add a stage"))
    config = str(workspace.configs / "base.yaml")
    run_folder = tmp_path / "runs/tiny/stage0"
    start = ("sh", "stage0_constant/train.sh", config, f"output_root={tmp_path / 'runs'}")
    for steps in ("2", "4"):  # and it resumes
        done = run_process(*start, f"train.max_steps={steps}", cwd=copy)
        assert done.code == 0, done.err
    assert "resuming at step 2" in (run_folder / "log.txt").read_text()
    found = {p.name for p in (run_folder / "checkpoints").iterdir()}
    assert found == {"last.pt", "last.previous.pt", "best.pt"}
    out = run(copy, "stage0_constant/eval.py", "--checkpoint", str(run_folder))
    assert "stage0" in out
    rules = subprocess.run(
        [sys.executable, "-c", "import stage0_constant.stage"], cwd=copy, capture_output=True
    )
    assert rules.returncode == 0


def second_stage(root: Path, blocks: list[tuple[str, str, str]]) -> None:
    """Stage 0 once more as `stage9`, which starts from stage 0 as the page says."""
    shutil.copytree(root / "stage0_constant", root / "stage9_again")
    for path in (root / "stage9_again").iterdir():
        text = path.read_text(encoding="utf-8").replace("stage0", "stage9")
        path.write_text(text.replace("stage9_constant", "stage9_again"), encoding="utf-8")
    apply_diff(
        root,
        """+++ b/stage9_again/train.py
@@
-    return ConstantDepth(config.data.data_set.mean_log_depth)
+    return earlier
""",
    )
    (earlier,) = [text for _, name, text in blocks if not name]
    path = root / "stage9_again/stage.py"
    head, config, stage = re.split(r"\n(?=@dataclass|STAGE = )", path.read_text(encoding="utf-8"))
    head += (
        "\nfrom pathlib import Path\nfrom common.programs.stage import EarlierStage\n"
        "from stage0_constant.model import load as load_stage0\n"
    )
    config += "    init: InitConfig = field(default_factory=InitConfig)\n"
    stage = stage.replace("    load=load,", "    load=load,\n    earlier=EARLIER,")
    path.write_text("\n".join((head, earlier, config, stage)), encoding="utf-8")


@pytest.mark.slow
def test_a_stage_starts_from_one_of_any_recipe(copy, workspace, tmp_path):
    blocks = section("Add a stage")
    apply(copy, blocks)
    second_stage(copy, blocks)
    words = (str(workspace.configs / "base.yaml"), f"output_root={tmp_path / 'runs'}")
    run(copy, "stage0_constant/train.py", *words, "train.lr=0.5")
    run(copy, "stage9_again/train.py", *words, "train.lr=1e-12")
    weights = [
        read_checkpoint(tmp_path / f"runs/tiny/{stage}/checkpoints/last.pt")["model"]["log_depth"]
        for stage in ("stage0", "stage9")
    ]
    assert abs(weights[0] - 1.54) > 0.1  # stage 0 learned something, and stage 9 has it
    assert abs(weights[0] - weights[1]) < 1e-5
    log = (tmp_path / "runs/tiny/stage9/log.txt").read_text()
    assert "stage0: " in log


@pytest.mark.slow
def test_an_encoder_is_a_file_and_a_line(copy, workspace, trained, tmp_path):
    """Evidence of stage 2, in stage 3, in the joint network, frozen, with weights of a run."""
    apply(copy, section("Swap the backbone"))
    runs = tmp_path / "runs"

    def train(program: str, config: str, *words: str) -> str:
        text = (workspace.configs / f"{config}.yaml").read_text()
        assert "encoder:" in text
        tree = yaml.safe_load(text)
        tree["model"]["encoder"] = {"name": "patches"}
        (tmp_path / f"{config}.yaml").write_text(
            yaml.safe_dump({**tree, "base": str(workspace.configs / "base.yaml")})
        )
        done = run_process(sys.executable, str(copy / program), str(tmp_path / f"{config}.yaml"),
                           f"output_root={runs}", *words, cwd=copy)  # fmt: skip
        return done.err if done.code == 0 else done.refusal

    train("stage2_sampler/train.py", "stage2", f"init.stage1={trained / 'tiny/stage1'}")
    weights = read_checkpoint(runs / "tiny/stage2/checkpoints/last.pt")["model"]
    assert weights["encoder.patches.3.weight"].shape == (128, 3, 32, 32)
    train("stage3_depth/train.py", "stage3")
    stage3 = runs / "tiny/stage3/checkpoints/last.pt"
    words = (f"model.encoder.weights={stage3}", "model.encoder.frozen=true", "experiment=joint")
    log = train("stage3_depth/train.py", "joint", *words)
    assert f"encoder starts from {stage3}: 8 tensors" in log
    before = read_checkpoint(stage3)["model"]["estimator.encoder.patches.0.weight"]
    after = read_checkpoint(runs / "joint/stage3/checkpoints/last.pt")["model"]
    assert torch.equal(before, after["encoder.patches.0.weight"])
    said = train("stage3_depth/train.py", "joint", "model.encoder.weights=timm:resnet18",
                 "experiment=x")  # fmt: skip
    assert "PatchEncoder starts from files alone, not from timm:resnet18" in said
    said = train("stage3_depth/train.py", "joint", f"init.stage1={trained}", "model.encoder.name=p")
    assert "name: must be swin, patches or timm:NAME, not 'p'" in said

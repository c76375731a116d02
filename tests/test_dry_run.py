"""`train.dry_run=true` tries a run and leaves nothing; `--print-config` shows its settings."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from conftest import train, train_process

from common.config import load_config, to_dict
from common.engine.loop import Plan
from common.engine.train_config import TrainConfig
from common.programs.dry_run import num_evaluations
from stage1_vae.config import Stage1Config
from stage2_sampler.config import Stage2Config

DRY = "train.dry_run=true"
LONG = ("train.max_steps=600", "eval.every=100")


def everything_in(*folders):
    return {
        path: path.read_bytes() if path.is_file() else None
        for folder in folders
        for path in [folder, *folder.rglob("*")]
    }


def number(pattern, text):
    found = re.search(pattern, text)
    assert found, text
    return float(found[1].replace(",", ""))


def test_it_tells_what_a_run_takes_and_leaves_nothing(workspace, data, tmp_path):
    runs = tmp_path / "runs"
    before = everything_in(tmp_path)
    features = ("text.features=null", "text.encoder=untrained:0", f"data.root={data}")
    words = (*features, "model.text_dim=1024", f"data.cache={tmp_path / 'cache'}", *LONG)
    outcome = train("stage1", *workspace.arguments("stage1", runs, DRY, *words))
    assert outcome.code == 0, outcome.err
    assert everything_in(tmp_path) == before
    out = outcome.err
    rate = number(r"dry run: ([\d.e+]+) images/s", out)
    hours = number(r"dry run: ([\d.e-]+) hours to the end", out)
    steps = number(r"hours to the end: ([\d.e-]+) for 600 steps", out)
    assert steps == pytest.approx(600 * 4 / rate / 3600, rel=0.02)
    assert hours >= steps
    assert "for 6 evaluations of 4 images" in out
    assert number(r"peak memory: ([\d.]+) GB", out) > 0.05
    assert f"a run would write to {runs}/tiny/stage1: config.yaml" in out
    assert re.search(rf"features, once: {runs}/features/\S+\.safetensors", out)
    assert f"(data.cache): {tmp_path / 'cache'}/nyu_64x96_12_" in out
    assert "nothing was kept" in out


def test_a_real_run_comes_after_it_and_stores_nothing_of_it(workspace, tmp_path):
    words = workspace.arguments("stage1", tmp_path)
    assert train("stage1", *words, DRY).code == 0
    assert train("stage1", *words).code == 0
    run = tmp_path / "tiny/stage1"
    assert "dry_run" not in (run / "config.yaml").read_text()
    before = everything_in(tmp_path)
    longer = [*words, "train.max_steps=5"]
    outcome = train("stage1", *longer, DRY)
    assert outcome.code == 0, outcome.err
    assert "resuming at step 2" in outcome.err
    assert "for 3 steps" in outcome.err and "it would go on with the run that is there" in (
        outcome.err
    )
    assert everything_in(tmp_path) == before
    assert "already" not in train("stage1", *longer).err
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["stage1"]
    assert (
        "dry_run"
        not in torch.load(run / "checkpoints/last.pt", weights_only=True)["config"]["train"]
    )
    assert "nothing is left to try" in train("stage1", *longer, DRY).err


@pytest.mark.slow
def test_several_processes_try_it_together(workspace, tmp_path):
    words = workspace.arguments("stage1", tmp_path, DRY, *LONG)
    outcome = train_process("stage1", *words, "train.num_workers=1", NPROC="2")
    assert outcome.code == 0, outcome.err
    assert "on 2 process(es)" in outcome.err
    assert outcome.err.count("hours to the end") == 1
    assert "with train.num_workers=1 for each process" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_what_would_end_the_run_ends_it_too_and_leaves_nothing(workspace, data, tmp_path):
    for path in data.glob("train/*/sync_depth_*.png"):
        path.write_bytes(b"nothing")
    before = everything_in(tmp_path)
    words = workspace.arguments("stage1", tmp_path / "runs", DRY, f"data.root={data}")
    assert "not a readable image" in train("stage1", *words).refusal
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize(("start", "total", "expected"), [(0, 10, 4), (3, 9, 2), (4, 5, 1)])
def test_evaluations_to_come(start, total, expected):
    plan = Plan(TrainConfig(max_steps=total), 0, start, total, evaluate_every=3)
    counted = sum(plan.due(done).evaluation for done in range(start + 1, total + 1))
    assert num_evaluations(plan) == counted == expected


def print_config(stage, *words):
    outcome = train(stage, *words, "--print-config")
    assert outcome.code == 0, outcome.err
    return outcome.out


def source_of(key, text):
    (line,) = [line for line in text.splitlines() if line.strip().startswith(f"{key}:")]
    return line.partition("  # ")[2]


def test_print_config_says_where_each_setting_came_from(workspace, tmp_path):
    words = workspace.arguments("stage1", tmp_path, "train.lr=2e-3")
    text = print_config("stage1", *words)
    assert source_of("lr", text) == "command line"
    assert source_of("latent_dim", text) == str(workspace.configs / "stage1.yaml")
    assert source_of("batch_size", text.partition("\neval:")[0]) == str(
        workspace.configs / "base.yaml"
    )
    assert source_of("weight_decay", text) == "default"
    assert source_of("prior_mean", text) == "data set nyu"
    assert source_of("depth_scale", text) == "default; the data set's own: 1000.0"
    assert list(tmp_path.iterdir()) == []


def test_what_is_printed_is_the_config_itself(workspace, tmp_path):
    words = workspace.arguments("stage1", tmp_path, "data.root=/some/where #1", "experiment=007")
    printed = tmp_path / "printed.yaml"
    printed.write_text(print_config("stage1", *words))
    again = load_config(Stage1Config, printed, [])
    direct = load_config(Stage1Config, Path(words[0]), words[1:])
    differing = {"model": {"prior_mean": again.model.prior_mean}}  # filled in
    assert again.model.prior_mean is not None
    expected = yaml.safe_load(yaml.safe_dump(to_dict(direct)))
    expected["model"] |= differing["model"]
    assert to_dict(again) == expected


def test_print_config_knows_the_earlier_stage_or_says_that_it_is_missing(workspace, tmp_path):
    words = workspace.arguments("stage2", tmp_path)
    text = print_config("stage2", *words)
    assert "# no stage1 checkpoint in" in text and "what it decides is not shown" in text
    printed = tmp_path / "printed.yaml"
    printed.write_text(text)
    load_config(Stage2Config, printed, [])


def test_a_mistake_is_refused_as_ever(workspace, tmp_path):
    words = workspace.arguments("stage1", tmp_path, "train.lrr=1")
    assert "unknown key 'train.lrr'" in train("stage1", *words, "--print-config").refusal
    assert "[CONFIG.yaml] [key=value ...]" in train("stage1", "--print-confg").refusal

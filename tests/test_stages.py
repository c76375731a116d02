"""The three stages: as programs, and on one batch."""

from dataclasses import replace

import pytest
from conftest import CLIP, FOLDERS, IMAGE_DIM, TEXT_DIM, metrics_of, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from common.config import load_config
from common.engine.loop import Plan
from common.language.language import Needs
from common.programs.assembly import training_batches
from common.programs.session import bind_task
from common.runtime.randomness import StepRandom
from stage1_vae.config import Stage1Config
from stage2_sampler.config import Stage2Config
from stage3_depth.config import Stage3Config

CONFIG_TYPES = {"stage1": Stage1Config, "stage2": Stage2Config, "stage3": Stage3Config}
TERMS = {
    "stage1": {"loss/total", "loss/l1", "loss/smoothness", "loss/std_floor"},
    "stage2": {"loss/total", "loss/l1", "loss/smoothness", "loss/std_floor"},
    "stage3": {"loss/total", "loss/silog"},
}
stages = pytest.mark.parametrize("stage", list(FOLDERS))


def backward(parts):
    """Gradients of one step on the first batch, as the loop takes it."""
    plan = Plan(parts.config.train, seed=0, start_step=0, total_steps=1, evaluate_every=1)
    batch = next(training_batches(parts.data.train, plan, parts.run.processes))
    rng = StepRandom(0, 0, len(batch), 0, len(batch))
    task = bind_task(parts.stage, parts.config)
    task.step_fn(parts.model.train(), batch, rng, {})["total"].backward()


# As programs


@stages
def test_two_steps_leave_a_complete_run_folder(trained, stage):
    run = trained / "tiny" / stage
    assert {p.name for p in run.iterdir()} == {
        "checkpoints",
        "config.yaml",
        "log.txt",
        "metrics.jsonl",
        "panels",
        "tensorboard",
    }
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"last.pt", "best.pt"}
    assert len(list((run / "panels").glob("val_*2_?.png"))) == 4
    board = EventAccumulator(str(run / "tensorboard")).Reload()
    assert board.Tags()["images"] == ["val/0", "val/1", "val/2", "val/3"]
    assert [event.step for event in board.Scalars("train/loss/total")] == [1, 2]
    assert [event.step for event in board.Scalars("val/abs_rel")] == [2]
    assert "val abs_rel" in (run / "log.txt").read_text()


@stages
def test_metrics_are_named_terms_and_the_nine_metrics(trained, stage):
    lines = metrics_of(trained / "tiny" / stage, "train")
    assert [line["step"] for line in lines] == [1, 2]
    others = {
        "step",
        "kind",
        "lr",
        "step_seconds",
        "data_seconds",
        "images_per_s",
        "grad_norm",
        "memory_gb",
        "skipped_updates",
    }
    assert all(set(line) == TERMS[stage] | others for line in lines)
    assert all(line["loss/total"] > 0 and line["grad_norm"] > 0 for line in lines)
    (val,) = metrics_of(trained / "tiny" / stage, "val")
    assert val["step"] == 2
    assert set(val) - {"step", "kind"} == {
        "abs_rel",
        "sq_rel",
        "rmse",
        "rmse_log",
        "log10",
        "d1",
        "d2",
        "d3",
        "silog",
        "gt_used",
    }


@stages
def test_the_resolved_config_says_where_it_comes_from_and_starts_the_same_run(
    workspace, trained, stage
):
    path = trained / "tiny" / stage / "config.yaml"
    head = [line for line in path.read_text().splitlines() if line.startswith("# ")]
    assert [line.split(":")[0] for line in head] == [
        "# command",
        "# processes",
        "# commit",
        "# versions",
        "# python",
        "# machine",
    ]
    again = load_config(CONFIG_TYPES[stage], path, [])
    given = load_config(
        CONFIG_TYPES[stage], workspace.configs / f"{stage}.yaml", [f"output_root={trained}"]
    )
    if stage != "stage2":  # a depth head starts from the data set's mean
        mean = given.data.data_set.mean_log_depth
        given = replace(given, model=replace(given.model, prior_mean=mean))
    assert again == given


@stages
def test_help_explains_the_program(stage):
    outcome = train(stage, "--help")
    assert outcome.code == 0
    assert f"sh {FOLDERS[stage]}/train.sh" in outcome.out


# On one batch


@pytest.mark.parametrize(
    ("stage", "overrides"),
    [
        ("stage1", ()),
        ("stage2", ()),
        ("stage2", CLIP),
        ("stage3", ()),
        ("stage3", ("language.mode=none",)),
    ],
)
def test_the_loss_falls_on_one_batch(workspace, trained, tmp_path, stage, overrides):
    lines = (workspace.data / "train.txt").read_text().splitlines()[:4]
    (tmp_path / "four.txt").write_text("\n".join(lines))
    words = workspace.arguments(
        stage,
        tmp_path,
        f"data.train_list={tmp_path / 'four.txt'}",
        "data.rotate_degrees=0",
        "data.flip=false",
        "data.jitter=false",
        "train.max_steps=30",
        "train.lr=1e-2",
        "eval.every=100",
        "eval.max_images=1",
        *overrides,
    )
    if stage != "stage1":
        earlier = {"stage2": "stage1", "stage3": "stage2"}[stage]
        words.append(f"init.{earlier}={trained / 'tiny' / earlier}")
    outcome = train(stage, *words)
    assert outcome.code == 0, outcome.err
    term = {"stage3": "loss/silog"}.get(stage, "loss/l1")
    losses = [line[term] for line in metrics_of(tmp_path / "tiny" / stage, "train")]
    share = {"stage2": 0.95}.get(stage, 0.6)  # a barely trained stage 1 leaves little to choose
    assert sum(losses[-3:]) / 3 < share * losses[0]


@pytest.mark.parametrize(
    ("stage", "overrides", "frozen"),
    [
        ("stage1", (), ()),
        ("stage2", (), ("vae.", "encoder.norms.0", "encoder.norms.1", "encoder.norms.2")),
        ("stage2", CLIP, ("vae.",)),
        ("stage3", (), ()),
        ("stage3", ("language.mode=none",), ("scenes.", "sampler.")),
    ],
)
def test_gradients_reach_what_is_trained_and_nothing_else(build, stage, overrides, frozen):
    parts = build(stage, *overrides)
    backward(parts)
    named = dict(parts.model.named_parameters())
    for name, parameter in named.items():
        assert parameter.requires_grad != name.startswith(frozen or "-"), name
        assert (parameter.grad is not None) == parameter.requires_grad, name
        if parameter.grad is not None and parameter.ndim > 1:
            assert parameter.grad.abs().sum() > 0, name
    optimizer = parts.stage.optimizer(
        parts.stage.parameters(parts.model, parts.config), parts.config.train
    )
    optimized = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in optimized} == {id(p) for p in named.values() if p.requires_grad}


def test_stage_3_trains_the_prior_with_clip_evidence_too(build, clip_runs):
    parts = build(
        "stage3",
        f"init.stage2={clip_runs / 'tiny/stage2'}",
        "text.image_features=image.safetensors",
    )
    backward(parts)
    assert all(p.grad is not None for p in parts.model.parameters())
    assert parts.stage.needs(parts.model) == Needs(TEXT_DIM, IMAGE_DIM)

"""The three stages: as programs, on one batch, and handing their weights on."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
import yaml
from conftest import FOLDERS, IMAGE_DIM, MAINS, TEXT_DIM, call, metrics_of, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from common.config import load_config
from common.engine.loop import Plan
from common.language.language import Needs
from common.programs.assembly import training_batches
from common.programs.session import bind_task
from common.programs.stage import with_mean_log_depth
from common.runtime.randomness import StepRandom
from stage1_vae.config import Stage1Config
from stage1_vae.model import load_text_vae
from stage2_sampler.config import Stage2Config
from stage2_sampler.model import load_sampled_vae
from stage3_depth.config import Stage3Config
from stage3_depth.model import load_language_depth

CONFIG_TYPES = {"stage1": Stage1Config, "stage2": Stage2Config, "stage3": Stage3Config}
CLIP = (
    "model.evidence=clip",
    f"model.image_dim={IMAGE_DIM}",
    "text.image_features=image.safetensors",
)
TERMS = {
    "stage1": {"loss/total", "loss/l1", "loss/smoothness", "loss/std_floor"},
    "stage2": {"loss/total", "loss/l1", "loss/smoothness", "loss/std_floor"},
    "stage3": {"loss/total", "loss/silog"},
}
stages = pytest.mark.parametrize("stage", list(FOLDERS))


@pytest.fixture
def build(workspace, trained, tmp_path, monkeypatch):
    """What a stage's `main` hands to the training session, without the training."""

    def build_parts(stage, *overrides):
        caught = {}
        monkeypatch.setattr(
            "common.programs.train.train_to_the_end",
            lambda stage, config, model, data, run: caught.update(
                stage=stage, config=config, model=model, data=data, run=run
            ),
        )
        earlier = {"stage2": "stage1", "stage3": "stage2"}.get(stage)
        words = workspace.arguments(stage, tmp_path / "runs", *overrides)
        if earlier and not any(word.startswith("init.") for word in overrides):
            words.append(f"init.{earlier}={trained / 'tiny' / earlier}")
        outcome = call(MAINS[stage], *words)
        assert outcome.code == 0, outcome.err
        return SimpleNamespace(**caught)

    return build_parts


@pytest.fixture(scope="session")
def clip_runs(workspace, trained, tmp_path_factory):
    """Stage 2 with CLIP image features as evidence."""
    runs = tmp_path_factory.mktemp("clip")
    words = workspace.arguments("stage2", runs, f"init.stage1={trained / 'tiny/stage1'}", *CLIP)
    assert train("stage2", *words).code == 0
    return runs


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
    assert again == (given if stage == "stage2" else with_mean_log_depth(given))


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


# Handing on


def weights(path):
    return torch.load(path / "checkpoints/last.pt", weights_only=True)["model"]


def test_stage_2_holds_stage_1_unchanged(trained):
    vae, sampled = weights(trained / "tiny/stage1"), weights(trained / "tiny/stage2")
    assert all(torch.equal(value, sampled[f"vae.{key}"]) for key, value in vae.items())


def test_stage_3_starts_from_stage_2(build, trained):
    model = build("stage3").model
    stage2 = weights(trained / "tiny/stage2")
    ours = model.state_dict()
    for key, value in stage2.items():
        renamed = key.replace("vae.scenes.", "scenes.").replace("encoder.", "estimator.encoder.", 1)
        if key.startswith(("vae.metric", "vae.depth_conv")):
            continue
        if key.startswith("vae."):
            renamed = key.removeprefix("vae.")
        assert torch.equal(value, ours[renamed]), key
    trained_on = weights(trained / "tiny/stage3")
    assert not torch.equal(trained_on["scenes.mean.0.weight"], ours["scenes.mean.0.weight"])
    assert not torch.equal(trained_on["sampler.eps.0.weight"], ours["sampler.eps.0.weight"])


def test_the_control_has_the_same_parameters_and_initial_weights(build):
    with_words = build("stage3").model.state_dict()
    without = build("stage3", "language.mode=none", "experiment=control").model.state_dict()
    assert list(with_words) == list(without)
    assert all(torch.equal(with_words[key], without[key]) for key in with_words)


def test_the_control_ignores_the_words(build):
    image = torch.randn(2, 3, 64, 96)
    text = torch.randn(2, TEXT_DIM)
    with_words = build("stage3").model.eval()
    control = build("stage3", "language.mode=none", "experiment=control")
    without = control.model.eval()
    assert control.stage.needs(without) == Needs()
    assert torch.equal(without(image, None), without(image, text))
    assert not torch.equal(with_words(image, text), with_words(image, -text))
    assert not torch.equal(with_words(image, text), without(image, text))


@stages
def test_initial_weights_follow_the_seed(build, stage):
    first, same, other = (
        build(stage, f"seed={seed}", f"experiment=e{i}").model.state_dict()
        for i, seed in enumerate((0, 0, 1))
    )
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_an_earlier_stage_is_found_by_place_folder_file_and_experiment(
    workspace, trained, build, tmp_path
):
    wanted = weights(trained / "tiny/stage1")["scenes.mean.0.weight"]
    folder = trained / "tiny/stage1"
    for overrides in (
        (f"init.stage1={folder}",),
        (f"init.stage1={folder / 'checkpoints/last.pt'}",),
        (f"output_root={trained}", "init.experiment=null"),
        (f"output_root={trained}", "experiment=elsewhere", "init.experiment=tiny"),
    ):
        model = build("stage2", *overrides, "seed=5").model
        assert torch.equal(model.vae.scenes.mean[0].weight, wanted), overrides


def test_settings_of_the_model_come_from_the_earlier_stage(build):
    model = build("stage3").model
    assert model.scenes.decoder.latent_dim == 16
    assert model.configs["vae"].text_dim == TEXT_DIM


def test_standardized_features_use_training_statistics(build):
    parts = build("stage1", "model.standardize_text=true")
    features = torch.stack(
        [parts.data.train.language.text_features[s.key] for s in parts.data.train.samples]
    )
    standardize = parts.model.scenes.standardize
    torch.testing.assert_close(standardize.mean, features.mean(0))
    torch.testing.assert_close(standardize.std, features.std(0, correction=0))
    torch.testing.assert_close(standardize(features).std(0, correction=0), torch.ones(TEXT_DIM))
    images = build("stage2", *CLIP, "model.standardize_image=true").model.sampler.standardize
    assert images.mean.shape == (IMAGE_DIM,)
    assert images.mean.abs().max() > 0


@stages
def test_a_model_rebuilt_from_its_description_is_the_same(trained, stage):
    load = {"stage1": load_text_vae, "stage2": load_sampled_vae, "stage3": load_language_depth}
    saved = torch.load(trained / "tiny" / stage / "checkpoints/last.pt", weights_only=True)
    model = load[stage](saved)
    assert all(torch.equal(v, saved["model"][k]) for k, v in model.state_dict().items())
    assert yaml.safe_dump(saved["model_config"])  # plain types


def test_stage_3_refuses_a_prior_whose_encoder_is_another(workspace, trained, tmp_path):
    init = f"init.stage2={trained / 'tiny/stage2'}"
    for override, named in (
        ("model.encoder.embed_dim=16", "model.encoder.embed_dim"),
        ("model.encoder.window_size=4", "model.encoder.window_size"),
        ("data.height=32", "data.height"),
    ):
        outcome = train("stage3", *workspace.arguments("stage3", tmp_path / "runs", init, override))
        assert outcome.code == 2
        assert named in outcome.errors[0]
        assert "the same as in stage 2" in outcome.errors[0]
    free = ("model.encoder.drop_path=0.1", "model.encoder.activation_checkpointing=true")
    assert train("stage3", *workspace.arguments("stage3", tmp_path / "runs", init, *free)).code == 0


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_configs_are_frozen(workspace, stage):
    config = load_config(CONFIG_TYPES[stage], workspace.configs / f"{stage}.yaml", [])
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1

"""The stages hand their weights on, and a later one takes what an earlier one has decided."""

import dataclasses

import pytest
import torch
import yaml
from conftest import CLIP, FOLDERS, IMAGE_DIM, TEXT_DIM, train

from common.config import load_config
from common.language.language import Needs
from stage1_vae.config import Stage1Config
from stage1_vae.model import load_text_vae
from stage2_sampler.config import Stage2Config
from stage2_sampler.model import load_sampled_vae
from stage3_depth.config import Stage3Config
from stage3_depth.model import load_language_depth

CONFIG_TYPES = {"stage1": Stage1Config, "stage2": Stage2Config, "stage3": Stage3Config}
stages = pytest.mark.parametrize("stage", list(FOLDERS))


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


def test_an_earlier_stage_is_found_by_place_folder_file_and_experiment(trained, build):
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

"""The stages' own configs: the keys that every one has, and values out of range."""

import pytest
from config_refusals import refusal

from common.config import valid_keys
from stage1_vae.config import Stage1Config
from stage2_sampler.config import Stage2Config
from stage3_depth.config import Stage3Config

REQUIRED_KEYS = [
    "experiment",
    "output_root",
    "seed",
    "data.name",
    "data.root",
    "data.gt_root",
    "data.train_list",
    "data.val_list",
    "data.test_list",
    "data.height",
    "data.width",
    "data.max_depth",
    "text.features",
    "text.encoder",
    "train.batch_size",
    "train.micro_batch_size",
    "train.epochs",
    "train.max_steps",
    "train.lr",
    "train.precision",
    "train.compile",
    "train.num_workers",
    "eval.every",
    "eval.protocol",
]


@pytest.mark.parametrize("kind", [Stage1Config, Stage2Config, Stage3Config])
def test_every_stage_has_the_promised_keys(kind):
    assert set(REQUIRED_KEYS) <= set(valid_keys(kind))


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("train.batch_size=0", "at least 1"),
        ("train.micro_batch_size=0", "at least 1"),
        ("train.log_every=0", "at least 1"),
        ("train.lr=-1", "positive"),
        ("train.lr=nan", "must be a number"),
        ("train.clip_norm=0", "positive"),
        ("train.final_lr=-1", "at least 0"),
        ("train.num_workers=-1", "at least 0"),
        ("train.max_steps=null", "max_steps or train.epochs"),
        ("eval.every=0", "at least 1"),
        ("eval.protocol=nyu_eigne", "did you mean 'nyu_eigen'"),
        ("seed=-1", "at least 0"),
        ("experiment=a/b", "plain folder name"),
        ("experiment=..", "plain folder name"),
        ("experiment=''", "plain folder name"),
        ("data.height=65", "use 64 or 96"),
        ("data.width=0", "divisible by 32"),
        ("data.max_depth=-1", "above 0"),
        ("model.decoder_channels=[8, 8]", "three sizes"),
        ("model.decoder_channels=[8, 8, 6]", "divisible by 4"),
        ("model.decoder_channels=[0, 8, 8]", "at least 1"),
        ("model.metric_hidden=0", "at least 1"),
        ("model.encoder.depths=[1, 1]", "four"),
        ("model.encoder.depths=[1, 0, 1, 1]", "at least 1"),
        ("model.encoder.embed_dim=0", "at least 1"),
        ("model.encoder.window_size=0", "at least 1"),
        ("model.encoder.num_heads=[3, 2, 2, 4]", "must divide"),
        ("model.encoder.num_heads=[0, 2, 2, 4]", "at least 1"),
        ("model.encoder.drop_path=1", "drop_path"),
        ("loss.silog_lambda=2", "silog_lambda"),
    ],
)
def test_values_out_of_range(workspace, word, part):
    message = refusal(workspace.configs / "stage3.yaml", word, kind=Stage3Config)
    assert message.startswith("command line: ")
    assert word.partition("=")[0].rpartition(".")[0] in message
    assert part in message


@pytest.mark.parametrize(
    "word",
    [
        "model.text_dim=0",
        "model.latent_dim=0",
        "model.latent_dim=6",
        "model.code_channels=0",
        "model.hidden_dims=[16, 0]",
        "model.metric_hidden=0",
        "loss.smoothness_weight=-1",
        "loss.std_floor=-1",
    ],
)
def test_values_out_of_range_in_stage_1(workspace, word):
    message = refusal(workspace.configs / "stage1.yaml", word, kind=Stage1Config)
    assert message.startswith(f"command line: {word.partition('=')[0]}: ")

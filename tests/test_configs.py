"""Every YAML file under `configs/` loads with its program's dataclass."""

import re
from pathlib import Path

import pytest
import yaml

from common.config import REPO_ROOT, load_config
from common.programs.run_config import RunConfig
from llm_mde.config import LLMMDEConfig
from stage1_vae.config import Stage1Config
from stage2_sampler.config import Stage2Config
from stage3_depth.config import JointStageConfig, Stage3Config

FOLDER = REPO_ROOT / "configs"
TYPES: dict[str, type[RunConfig]] = {
    "stage1": Stage1Config,
    "stage2": Stage2Config,
    "stage3": Stage3Config,
    "joint": JointStageConfig,
    "joint_legacy": JointStageConfig,
    "llm_mde": LLMMDEConfig,
}


def bases_of(path: Path) -> list[Path]:
    named = yaml.safe_load(path.read_text(encoding="utf-8")).get("base", [])
    names = named if isinstance(named, list) else [named]
    return [(path.parent / name).resolve() for name in names]


def kind_of(path: Path) -> str:
    """`labeled_stage1` -> `stage1`."""
    found = re.search(r"(stage\d|joint_legacy|joint|llm_mde)$", path.stem)
    return found[1] if found else path.stem


# Those of zero_shot/ only change the data of a checkpoint (test_zero_shot.py), those of studies/
# say which configs are run (test_study_plan.py).
OTHERS = (FOLDER / "zero_shot", FOLDER / "studies")
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.parent not in OTHERS)
BASES = {
    base for path in FILES for base in bases_of(path)
}  # some of these only hold what others share
CONFIGS = [path for path in FILES if path not in BASES or kind_of(path) in TYPES]
ids = [str(path.relative_to(FOLDER)) for path in CONFIGS]


def load(path: Path):
    return load_config(TYPES[kind_of(path)], path, [])


@pytest.mark.parametrize("path", CONFIGS, ids=ids)
def test_it_loads(path):
    config = load(path)
    assert config.experiment.startswith(path.parent.name)
    assert config.train.total_steps(1000) > 0


@pytest.mark.parametrize("path", CONFIGS, ids=ids)
def test_it_says_in_a_comment_what_it_is(path):
    assert path.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("path", CONFIGS, ids=ids)
def test_no_key_is_written_twice(path):
    """PyYAML takes the last one in silence."""
    node = yaml.compose(path.read_text(encoding="utf-8"))
    stack = [node]
    while stack:
        mapping = stack.pop()
        keys = [key.value for key, _ in mapping.value]
        assert len(keys) == len(set(keys)), keys
        stack += [value for _, value in mapping.value if isinstance(value, yaml.MappingNode)]


def test_the_promised_files_are_there():
    names = set(ids)
    for data in ("demo", "nyu", "kitti"):
        assert {f"{data}/stage{k}.yaml" for k in (1, 2, 3)} <= names
        assert f"{data}/llm_mde.yaml" in names
    assert {f"nyu/labeled_stage{k}.yaml" for k in (1, 2, 3)} <= names


@pytest.mark.parametrize("folder", sorted({path.parent for path in CONFIGS}), ids=lambda p: p.name)
def test_the_stages_of_a_data_set_fit_each_other(folder):
    """The same data and experiment; with an encoder as evidence stage 3 starts from stage 2's."""
    for prefix in ("", "labeled_"):
        paths = [folder / f"{prefix}stage{k}.yaml" for k in (1, 2, 3)]
        if not all(path.is_file() for path in paths):
            continue
        one, two, three = map(load, paths)
        assert one.data == two.data == three.data
        assert one.experiment == two.experiment == three.experiment
        assert one.text == two.text == three.text
        if two.model.evidence == "encoder":
            assert three.model.encoder is None  # stage 2's is taken


def test_published_settings_of_nyu_and_kitti():
    """What the published runs used."""
    nyu = [load(FOLDER / "nyu" / f"stage{k}.yaml") for k in (1, 2, 3)]
    kitti = [load(FOLDER / "kitti" / f"stage{k}.yaml") for k in (1, 2, 3)]
    assert [(c.data.height, c.data.width, c.data.max_depth) for c in nyu] == [(480, 640, 10.0)] * 3
    assert [(c.data.height, c.data.width) for c in kitti] == [(352, 1216)] * 3
    assert {c.data.max_depth for c in kitti} == {80.0}
    assert [c.train.batch_size for c in nyu] == [20, 20, 4]
    assert [nyu[0].train.lr, nyu[1].train.lr, nyu[2].train.lr] == [3e-5] * 3
    assert (kitti[0].train.lr, kitti[0].train.batch_size, kitti[2].train.batch_size) == (
        1e-4,
        16,
        3,
    )
    assert (nyu[2].train.weight_decay, nyu[2].train.clip_norm) == (1e-3, 1.0)
    assert nyu[2].train.final_lr == 1e-5
    assert [c.data.data_set.mean_log_depth for c in nyu] == [1.54] * len(nyu)
    assert [c.data.data_set.mean_log_depth for c in kitti] == [2.54] * len(kitti)
    assert {c.model.prior_mean for c in (nyu[0], nyu[2], kitti[0], kitti[2])} == {None}
    for config in (nyu[2], kitti[2]):
        encoder = config.model.encoder
        assert (encoder.embed_dim, encoder.window_size) == (192, 12)
        assert encoder.depths == (2, 2, 18, 2)
        assert config.model.decoder_channels == (512, 256, 64)
        assert config.loss.silog_lambda == 0.85
    assert nyu[1].model.evidence == kitti[1].model.evidence == "clip"
    assert nyu[0].model.hidden_dims == (512, 256)
    assert nyu[0].model.latent_dim == 256
    assert nyu[0].eval.protocol == "nyu_eigen"
    assert kitti[0].eval.protocol.startswith("kitti_garg")


def test_published_settings_of_llm_mde():
    """What the published LLM-MDE used."""
    for data in ("nyu", "kitti"):
        config = load(FOLDER / data / "llm_mde.yaml")
        vision, language = config.model.vision, config.model.language
        assert (vision.name, vision.weights) == ("vit_base_patch16_224", "pretrained")
        assert (vision.lora_rank, vision.lora_alpha, language.lora_rank) == (160, 320, 32)
        assert (vision.train, language.num_layers >= 4) == ("lora", True)
        assert config.model.reprogramming.num_prototypes == 1000
        assert config.model.reprogramming.num_heads == 24
        assert (config.train.lr, config.train.batch_size) == (1e-4, 32)
        assert config.loss.silog_lambda == 0.85
    assert load(FOLDER / "nyu" / "llm_mde.yaml").train.epochs == 50

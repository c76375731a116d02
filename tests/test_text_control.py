"""`text.control` in the programs: training and eval.py see other words and nothing else new."""

import json
import shutil

import pytest
import torch
import yaml
from conftest import COUNTS, TEXT_DIM, Workspace, call, evaluate, train

import llm_mde.eval
import llm_mde.train
from common.config import build_config
from common.data.samples import SplitName
from common.language.controls import choose_lenders, folder_category
from common.language.feature_files import write_features
from common.language.feature_store import FeatureStore
from common.language.language import Needs
from common.programs.assembly import load_split
from common.runtime.processes import Processes
from stage1_vae.config import Stage1Config

ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def homes(workspace, tmp_path_factory) -> Workspace:
    """The workspace with rooms of two categories: every second folder is an office."""
    root = tmp_path_factory.mktemp("homes")
    data = shutil.copytree(workspace.data, root / "data")
    shutil.copytree(workspace.configs, root / "configs")
    for folder in data.glob("*/room_*[13579]"):
        folder.rename(folder.with_name(renamed(folder.name)))
    for name in (*(f"{split}.txt" for split in COUNTS), "captions.jsonl"):
        (data / name).write_text(renamed((data / name).read_text()))
    for name in ("text", "image"):
        store = FeatureStore.open(data / f"{name}.safetensors")
        keys = list(store.tables[0].rows)
        rows = torch.stack([store[key] for key in keys])
        write_features(data / f"{name}.safetensors", [renamed(key) for key in keys], rows, {})
    base = yaml.safe_load((root / "configs/base.yaml").read_text())
    base["data"]["root"] = str(data)
    (root / "configs/base.yaml").write_text(yaml.safe_dump(base))
    return Workspace(data, root / "configs")


def renamed(text):
    for number in (1, 3, 5):
        text = text.replace(f"room_{number:04d}", f"office_{number:04d}")
    return text


@pytest.fixture(scope="module")
def runs(homes, tmp_path_factory):
    """Stage 1 and LLM-MDE, trained on their own captions."""
    folder = tmp_path_factory.mktemp("controlled_runs")
    outcomes = [
        train("stage1", *homes.arguments("stage1", folder)),
        call(llm_mde.train.main, *homes.arguments("llm_mde", folder)),
    ]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    return folder / "tiny"


def score(stage, run, out, *words):
    words = ("--checkpoint", str(run / stage), "--json", str(out), *words)
    main = {"llm_mde": lambda: call(llm_mde.eval.main, *words)}
    outcome = main.get(stage, lambda: evaluate(stage, *words))()
    assert outcome.code == 0, outcome.err
    return json.loads(out.read_text())["metrics"], outcome.err


def with_lent_words(homes, folder, control):
    """The data with captions and features exchanged by hand, as the control does it for `test`."""
    data = shutil.copytree(homes.data, folder)
    lines = [json.loads(line) for line in (data / "captions.jsonl").read_text().splitlines()]
    captions = {line["image"]: line["caption"] for line in lines if "test/" in line["image"]}
    lenders = choose_lenders(control, captions, folder_category, 0)
    assert all(key != lender for key, lender in lenders.items())
    new = [{"image": key, "caption": captions[lender]} for key, lender in lenders.items()]
    (data / "captions.jsonl").write_text("\n".join(map(json.dumps, new)))
    store = FeatureStore.open(data / "text.safetensors")
    rows = torch.stack([store[lender] for lender in lenders.values()])
    write_features(data / "text.safetensors", list(lenders), rows, {})
    return data


@pytest.mark.parametrize("stage", ["stage1", "llm_mde"])  # reads features; reads captions
@pytest.mark.parametrize("control", ["wrong", "shuffled"])
def test_eval_scores_a_checkpoint_with_other_words(homes, runs, tmp_path, stage, control):
    own, _ = score(stage, runs, tmp_path / "own.json")
    other, log = score(stage, runs, tmp_path / "other.json", f"text.control={control}")
    assert f"test: text.control={control}: 4 of 4 images have the words of an" in log
    assert other != own
    data = with_lent_words(homes, tmp_path / "data", control)
    by_hand, _ = score(stage, runs, tmp_path / "by_hand.json", f"data.root={data}")
    assert by_hand == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize("control", ["none", "empty", "constant", "category", "other_image"])
def test_every_other_control_in_llm_mde(homes, runs, tmp_path, control):
    own, _ = score("llm_mde", runs, tmp_path / "own.json")
    other, log = score("llm_mde", runs, tmp_path / "out.json", f"text.control={control}")
    assert f"test: text.control={control}: " in log
    assert other != own


@pytest.mark.parametrize("control", ["none", "other_image"])
def test_training_with_other_words(homes, tmp_path, control):
    words = homes.arguments("stage1", tmp_path, f"text.control={control}", "train.max_steps=2")
    outcome = train("stage1", *words)
    assert outcome.code == 0, outcome.err
    run = tmp_path / "tiny/stage1"
    log = (run / "log.txt").read_text()
    assert f"train: text.control={control}: " in log
    assert f"val: text.control={control}: " in log
    assert yaml.safe_load((run / "config.yaml").read_text())["text"]["control"] == control
    _, log = score("stage1", tmp_path / "tiny", tmp_path / "out.json")  # with the same control
    assert f"test: text.control={control}: " in log
    _, log = score("stage1", tmp_path / "tiny", tmp_path / "out.json", "text.control=caption")
    assert "text.control" not in log
    again = train("stage1", *homes.arguments("stage1", tmp_path, "text.control=shuffled"))
    assert again.code == 0, again.err  # other words are another run
    assert (tmp_path / "tiny/stage1-2/config.yaml").is_file()


def test_encoded_sentences_in_training(homes, tmp_path):
    words = ("text.encoder=untrained:0", "text.features=null", "model.text_dim=1024")
    words = homes.arguments("stage1", tmp_path, *words, "text.control=category")
    outcome = train("stage1", *words)
    assert outcome.code == 0, outcome.err
    log = (tmp_path / "tiny/stage1/log.txt").read_text()
    assert "all 12 images have their scene category as words (2 categories: a room, ...)" in log


def load(tree, control, split: SplitName):
    config = build_config(Stage1Config, {**tree, "text": {**tree["text"], "control": control}})
    return load_split(config, split, Needs(text_dim=config.model.text_dim), ALONE)


@pytest.mark.parametrize("control", ["none", "shuffled", "other_image", "wrong"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_nothing_but_the_words_differs(homes, tmp_path, control, split: SplitName):
    config = yaml.safe_load((homes.configs / "base.yaml").read_text())
    config |= {"output_root": str(tmp_path), "model": {"text_dim": TEXT_DIM}}
    own, other = (load(config, name, split) for name in ("caption", control))
    assert [sample.key for sample in own.samples] == [sample.key for sample in other.samples]
    for index in range(len(own)):
        key = (index, 100 + index) if split == "train" else index
        one, two = own[key], other[key]
        for name in vars(one).keys() - {"text_feature", "caption"}:
            same = getattr(one, name) == getattr(two, name)
            assert same.all() if isinstance(same, torch.Tensor) else same, name
        assert one.caption != two.caption
        assert not torch.equal(one.text_feature, two.text_feature)


def test_one_category_only_is_refused(workspace, trained, tmp_path):
    words = ("--checkpoint", str(trained / "tiny/stage1"), "text.control=wrong")
    assert "all 4 images are of one category (room)" in evaluate("stage1", *words).refusal
    words = ("--checkpoint", str(trained / "tiny/stage1"), "text.control=scrambled")
    assert "text.control must be one of caption, none" in evaluate("stage1", *words).refusal

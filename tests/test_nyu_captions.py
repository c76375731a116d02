"""The captions that ship: whole, beside the frames of prepare_nyu.py, and read by the configs."""

import re

import pytest
from conftest import evaluate, train

from common.config import REPO_ROOT
from common.data.lists import read_list
from common.language.captions import read_captions
from tests.nyu_files import CAPTIONS_AND_LISTS, prepare, prepared, write_labeled, write_splits

SHIPPED = REPO_ROOT / "configs/nyu/captions"
CAPTIONS, (TRAIN, VAL) = CAPTIONS_AND_LISTS[:3], CAPTIONS_AND_LISTS[3:]
TINY = (
    "model.hidden_dims=[8]",
    "model.latent_dim=8",
    "model.code_channels=4",
    "train.batch_size=2",
)


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """`official_splits` of a file with five frames, whose numbers are those of real ones."""
    root = tmp_path_factory.mktemp("nyu")
    labeled, splits = write_labeled(root / "l.mat"), write_splits(root / "splits.mat")
    out = prepared(root, "--labeled", labeled, "--splits", splits)
    assert "captions of 2 training and 3 test frames (short, detailed, objects)" in out
    return root / "official_splits"


@pytest.mark.parametrize("kind", ["short", "detailed", "objects"])
def test_what_ships_is_whole_and_keeps_its_promises(kind):
    captions = read_captions(SHIPPED / f"{kind}.jsonl")
    assert (
        len(captions) == 1017 and captions.keys() == read_captions(SHIPPED / "short.jsonl").keys()
    )
    assert sum(key.startswith("train/") for key in captions) == 795
    assert len({key[-9:] for key in captions}) == 1017  # the number alone tells the frame
    said = re.compile(r"\b(left|right|met(re|er)s?|feet|inch(es)?|cm|mm)\b", re.IGNORECASE)
    assert not [caption for caption in captions.values() if said.search(caption)]


def test_captions_and_lists_have_the_keys_of_the_frames(official):
    keys = {name: [pair.image for pair in read_list(official / name)] for name in (TRAIN, VAL)}
    assert keys[TRAIN] == ["train/kitchen/rgb_00000.jpg", "train/office/rgb_00003.jpg"]
    assert [key[-9:-4] for key in keys[VAL]] == ["00002", "00004", "00001"]
    for pair in (*read_list(official / TRAIN), *read_list(official / VAL)):
        assert (official / pair.image).is_file() and (official / pair.depth).is_file()
    shipped = read_captions(SHIPPED / "short.jsonl")
    by_number = {key[-9:]: caption for key, caption in shipped.items()}
    short = read_captions(official / "captions_short.jsonl")
    assert list(short) == keys[TRAIN] + keys[VAL]
    assert all(caption == by_number[key[-9:]] for key, caption in short.items())


def test_own_files_are_kept_and_half_ones_are_completed(official):
    root, (own, cut) = official.parent, (official / CAPTIONS[0], official / CAPTIONS[1])
    before = {path: path.read_text() for path in (own, cut)}
    own.write_text('{"image": "a.jpg", "caption": "My own."}\n')
    cut.write_text(before[cut].splitlines(keepends=True)[0])
    out = prepared(root)
    assert f"{own} says something else, and is kept as it is" in out
    assert "My own." in own.read_text() and cut.read_text() == before[cut]
    cut.write_bytes(b"\xff")
    outcome = prepare("--root", root)  # the rest is not stopped by it
    assert outcome.code == 0 and f"warning: no captions beside the frames: cannot read {cut}" in (
        outcome.err
    )
    own.unlink()
    cut.unlink()
    prepared(root)
    assert {path: path.read_text() for path in before} == before


@pytest.mark.parametrize("stage", ["stage1", pytest.param("llm_mde", marks=pytest.mark.slow)])
def test_the_labeled_configs_train_and_score_on_them(official, tmp_path, stage):
    config = f"{REPO_ROOT}/configs/nyu/labeled_{stage}.yaml"
    words = [config, f"data.root={official}", f"output_root={tmp_path}", "train.max_steps=1"]
    words += ["train.num_workers=0", "text.encoder=untrained:0"]
    if stage == "stage1":
        words += ["model.text_dim=1024", "data.height=32", "data.width=64", *TINY]
    outcome = train(stage, *words)
    assert outcome.code == 0, outcome.err
    run = str(tmp_path / "nyu_labeled" / stage)
    outcome = evaluate(stage, "--checkpoint", run, "eval.captions=all")
    assert outcome.code == 0, outcome.err
    assert "largest to smallest median depth of an image" in outcome.out

"""Half characters in captions and keys, and names on disk that are not UTF-8."""

import csv
import json
import os
import sys
from pathlib import Path

import doctor_trees
import numpy as np
import pytest
import torch
from captioning_models import make_blip
from conftest import REPO_ROOT, evaluate, run_process, run_script, train, write_pair

from common.config import build_config
from common.data.lists import read_list
from common.errors import UserError
from common.fingerprints import take_fingerprint
from common.language.captions import parse_entry, read_captions, read_entries, write_entries
from common.language.feature_files import read_pictures, write_features
from common.language.feature_store import FeatureStore
from common.language.features import TextConfig
from llm_mde.prompt import PromptConfig

CAFE = os.fsdecode(b"caf\xe9")  # as Latin-1 systems write it
SCENES = (CAFE, "kitchen", "hall")
MODEL = ("model.hidden_dims=[16]", "model.latent_dim=16", "model.code_channels=8")


@pytest.fixture
def rooms(tmp_path) -> Path:
    """A folder data set whose validation scene is not UTF-8, with a list of raw bytes."""
    root, rng = tmp_path / "rooms", np.random.default_rng(0)
    keys = [f"rgb/{scene}/{number}.png" for scene in SCENES for number in range(4)]
    for key in keys:
        image = key.replace(CAFE, "cafe")  # OpenCV writes to no other name
        depth = root / image.replace("rgb", "depth", 1)
        depth.parent.mkdir(parents=True, exist_ok=True)
        write_pair(root / image, depth, rng)
    for kind in ("rgb", "depth"):
        (root / kind / "cafe").rename(root / kind / CAFE)
    for name, wanted in (("val.txt", True), ("train.txt", False)):
        lines = [f"{k} {k.replace('rgb', 'depth', 1)}" for k in keys if (CAFE in k) == wanted]
        (root / name).write_bytes(os.fsencode("\n".join(lines)))
    entries = [{"image": key, "caption": f"Room {number}."} for number, key in enumerate(keys)]
    write_entries(root / "captions.jsonl", entries)
    return root


def arguments(root: Path, runs: Path) -> list[str]:
    data = ("name=folder", f"root={root}", "height=64", "width=96", "max_depth=10")
    lists = ("train_list=train.txt", "val_list=val.txt", "test_list=null")
    other = ("train.batch_size=4", "train.num_workers=0", "train.max_steps=1", "train.epochs=null")
    words = ("text.features=null", "text.captions=captions.jsonl", "eval.protocol=none")
    keys = [f"data.{key}" for key in (*data, *lists)]
    return ["configs/demo/stage1.yaml", *keys, *other, *words, *MODEL, f"output_root={runs}"]


def test_names_that_are_not_utf8_go_through_training_scoring_and_doctor(rooms, tmp_path):
    health = doctor_trees.examine(
        "folder", tmp_path, f"data.root={rooms}", "text.captions=captions.jsonl"
    )
    assert "caption_unreadable" not in health.codes()
    done = train("stage1", *arguments(rooms, tmp_path / "runs"))
    assert done.code == 0, done.err
    checkpoint = tmp_path / "runs/demo/stage1"
    out = ("--json", tmp_path / "o.json", "--csv", tmp_path / "o.csv")
    options = ("--split", "val", *out, "--save-predictions", tmp_path / "pred")
    scored = evaluate("stage1", "--checkpoint", str(checkpoint), *map(str, options))
    assert scored.code == 0, scored.err
    assert (tmp_path / "pred/rgb" / CAFE / "0.png").is_file()
    with (tmp_path / "o.csv").open(encoding="utf-8") as file:
        names = [row["image_path"] for row in csv.DictReader(file)]
    assert names == [f"rgb/caf\\udce9/{number}.png" for number in range(4)]


def test_a_name_that_is_not_utf8_is_told_in_the_log(rooms, tmp_path):
    (rooms / "depth" / CAFE / "1.png").unlink()
    done = train("stage1", *arguments(rooms, tmp_path / "runs"), "data.allow_missing=true")
    assert done.code == 0, done.err
    log = (tmp_path / "runs/demo/stage1/log.txt").read_text(encoding="utf-8")
    assert f"{rooms}/depth/caf\\udce9/1.png" in log


def test_programs_print_any_name():
    code = (
        "from common.errors import UserError, run_program\n"
        "def main():\n    print('caf\\udce9')\n    raise UserError('no caf\\udce9')\n"
        "run_program(main)"
    )
    done = run_process(sys.executable, "-c", code, PYTHONIOENCODING="utf-8:strict")
    assert done.out == "caf\\udce9\n"
    assert done.refusal == "error: no caf\\udce9"


def test_images_in_such_folders_are_captioned_and_encoded(rooms, tmp_path):
    (tmp_path / "blip").mkdir()
    make_blip(tmp_path / "blip")
    output = tmp_path / "captions.jsonl"
    model = ("--model", tmp_path / "blip", "--precision", "fp32", "--max-new-tokens", 4)
    done = run_script("caption_images.py", "--images", rooms / "rgb", "--output", output, *model)
    assert done.code == 0, done.err
    output.read_text(encoding="utf-8")
    keys = {f"{scene}/{number}.png" for scene in SCENES for number in range(4)}
    assert read_captions(output).keys() == keys
    for source in (("--captions", output), ("--images", rooms / "rgb")):
        packed = tmp_path / "f.safetensors"
        done = run_script("encode_text.py", *source, "--encoder", "untrained:0", "--output", packed)
        assert done.code == 0, done.err
        assert not FeatureStore.open(packed).missing(keys)


def test_features_lie_in_such_a_folder(tmp_path):
    place = tmp_path / CAFE / "f.safetensors"
    write_features(place, [CAFE, "b"], torch.eye(2), {"encoder": CAFE})
    store = FeatureStore.open(place)
    assert torch.equal(store[CAFE], torch.tensor([1.0, 0.0]))
    assert store.provenance[0]["encoder"] == CAFE


def test_features_of_pictures_lie_in_such_a_folder(rooms, tmp_path):
    files = {f"{scene}/0.png": rooms / "rgb" / scene / "0.png" for scene in SCENES}
    place = tmp_path / CAFE / "f.safetensors"
    write_features(place, files, torch.eye(len(files)), {}, take_fingerprint(files))
    made_from = read_pictures(place)
    assert made_from is not None and not made_from.changed(files)


def test_a_list_keeps_the_bytes_of_its_names(tmp_path):
    (tmp_path / "list.txt").write_bytes(
        b"\xef\xbb\xbfcaf\xe9/1.png d/1.png\nplain/\xc3\xa9.png d/2.png"
    )
    images = [pair.image for pair in read_list(tmp_path / "list.txt")]
    assert images == [f"{CAFE}/1.png", "plain/é.png"]


CAPTION = '{"image": "rgb/hall/0.png", "caption": "A room \\ud83d"}'
KEY = '{"image": "rgb/hall/\\ud83d.png", "caption": "A room"}'
LATIN = '{"image": "rgb/hall/0.png", "caption": "A caf\udce9"}'


@pytest.mark.parametrize("line", [CAPTION, KEY, LATIN], ids=["caption", "key", "latin-1"])
def test_half_a_character_is_one_line_before_any_work(line, rooms, tmp_path):
    file = rooms / "captions.jsonl"
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([*lines[:2], os.fsencode(line), *lines[2:]]))
    refusal = train("stage1", *arguments(rooms, tmp_path / "runs")).refusal
    assert f"{file}:3: the " in refusal
    assert "half a character" in refusal
    assert not (tmp_path / "runs").exists()
    health = doctor_trees.examine("folder", tmp_path, f"data.root={rooms}", f"text.captions={file}")
    assert f"{file}:3: the " in health.finding("caption_unreadable")["examples"][0]
    output = ("--output", tmp_path / "f.safetensors")
    done = run_script("encode_text.py", "--captions", file, "--encoder", "untrained:0", *output)
    assert f"{file}:3: the " in done.refusal


def test_two_halves_of_an_emoji_are_one(tmp_path):
    file = tmp_path / "captions.jsonl"
    file.write_text('{"image": "a.png", "caption": "A room \\ud83d\\ude00"}')
    assert read_captions(file) == {"a.png": "A room \U0001f600"}
    write_entries(file, read_entries(file).values())
    assert "\U0001f600" in file.read_text(encoding="utf-8")


def test_published_captions_that_are_not_utf8_are_named(tmp_path):
    text, feature = tmp_path / "text/nyu/train/a/1.txt", tmp_path / "text_feat/nyu/train/a/1.pt"
    for file in (text, feature):
        file.parent.mkdir(parents=True)
    text.write_bytes(b"A caf\xe9.")
    torch.save(torch.ones(1, 1024).half(), feature)
    words = ("--import-published", tmp_path, "--output", tmp_path / "f.safetensors")
    assert f"{text} is no caption" in run_script("encode_text.py", *words).refusal


def test_a_setting_with_half_a_character_is_refused():
    with pytest.raises(UserError, match="encoder must be text, not"):
        build_config(TextConfig, {"encoder": "hf:\ud83d"})
    with pytest.raises(UserError, match="templates.task: has half a character"):
        build_config(PromptConfig, {"templates": {"task": f"In the {CAFE}."}})


def test_a_run_folder_that_tensorboard_cannot_write_to_is_refused(rooms, tmp_path):
    words = arguments(rooms, tmp_path / "runs")
    with pytest.MonkeyPatch.context() as patch:
        (tmp_path / CAFE).mkdir()
        patch.chdir(tmp_path / CAFE)
        # Not "runs": where the repository has such a folder, that is meant.
        words[0], words[-1] = str(REPO_ROOT / words[0]), f"output_root={tmp_path.name}"
        assert "output_root" in (refusal := train("stage1", *words).refusal)
    assert "choose another" in refusal
    assert json.dumps(CAFE)[1:-1] in refusal


@pytest.mark.parametrize("line", ["[" * 100_000, '{"image": 1' + "0" * 6000 + "}", '{"image": '])
def test_a_line_that_python_cannot_parse_is_named(line):
    with pytest.raises(UserError, match="captions.jsonl:7: not a JSON object"):
        parse_entry(line, "captions.jsonl:7")

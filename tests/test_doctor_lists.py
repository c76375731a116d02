"""Plant one kind of damage in lists, captions or features; the doctor must name it and its cure."""

import json
import runpy
import shlex
import shutil

import doctor_trees as trees
import pytest
import torch
from caption_files import write_file
from conftest import call, run_script
from doctor_trees import nyu_tree  # noqa: F401  (the fixture `nyu`)

from common.language.feature_files import write_features
from common.language.feature_store import FeatureStore

# Lists.


def test_lines_that_cannot_be_read(nyu):
    trees.edit_list(nyu, lambda lines: [*lines[:4], lines[4].split()[0], *lines[5:], "a b c d e"])
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["list_unreadable"]
    finding = health.finding("list_unreadable")
    assert finding["count"] == 2
    assert f"{trees.NYU_TRAIN_LIST}:5: expected" in finding["examples"][0]
    assert health.content["counts"]["train"] == 11  # the others are examined all the same


@pytest.mark.parametrize(
    ("content", "code", "phrase"),
    [
        ("<!DOCTYPE html>\n<p>404: Not Found", "list_unreadable", "is a web page, not a list"),
        ("", "list_refused", "the list has no images"),
    ],
)
def test_a_list_without_pairs(nyu, content, code, phrase):
    (nyu / trees.NYU_TRAIN_LIST).write_text(content)
    health = trees.examine_nyu(nyu)
    assert health.codes() == [code]
    finding = health.finding(code)
    assert phrase in finding["text"]
    assert finding["mend"] == f"python scripts/prepare_nyu.py --root {nyu} --download"


def test_a_list_that_is_missing(nyu):
    (nyu / trees.NYU_TRAIN_LIST).unlink()
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["list_missing"]
    assert "prepare_nyu.py" in health.finding("list_missing")["mend"]
    assert health.content["counts"] == {"test": 8}


def test_a_published_list_that_was_cut_off(nyu):
    line = (nyu / trees.NYU_TEST_LIST).read_text().splitlines()[0]
    (nyu / trees.NYU_TEST_LIST).write_text(
        "\n".join(line.replace("0.", f"{i}.") for i in range(600))
    )
    health = trees.examine_nyu(nyu, "text.captions=null")
    assert "600 lines, the published list 654" in health.finding("list_count", "test")["text"]


def test_repeated_lines(nyu):
    trees.edit_list(nyu, lambda lines: [*lines, *lines[:2]])
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["list_repeats"]


# Test images among the training images.


def test_the_same_paths_in_both_lists(nyu):
    lists = [f"data.{name}_list={trees.NYU_TRAIN_LIST}" for name in ("train", "test")]
    health = trees.examine_nyu(nyu, *lists, "data.test_dir=sync", "data.val_share=0")
    assert health.codes() == ["train_test_overlap"]


def test_the_same_image_under_another_name(nyu):
    source, copy = trees.images(nyu)[0], trees.images(nyu, "official_splits")[3]
    shutil.copy(source, copy)
    health = trees.examine_nyu(nyu, "data.val_share=0")
    assert health.codes() == ["train_test_overlap"]
    finding = health.finding("train_test_overlap")
    assert finding["count"] == 1
    assert finding["examples"][0] == f"{'/'.join(source.parts[-2:])} = {'/'.join(copy.parts[-2:])}"


# Captions and features.


def test_captions_of_some_images_only(nyu):
    lines = (nyu / "captions.jsonl").read_text().splitlines()
    (nyu / "captions.jsonl").write_text("\n".join(lines[:-3]))
    health = trees.examine_nyu(nyu)
    assert health.codes() == ["caption_missing"]
    finding = health.finding("caption_missing")
    assert finding["text"] == "test: 3 of 8 images have no caption"
    assert "caption_images.py" in finding["mend"]


def run(command, program):
    """What a `fix` line says, in this process: its exit code."""
    arguments = shlex.split(command)
    assert arguments[:2] == ["python", f"scripts/{program}.py"]
    main = runpy.run_path(str(trees.REPO_ROOT / arguments[1]))["main"]
    return call(main, *arguments[2:])


def test_the_command_for_captions_can_be_run(nyu):
    """caption_images.py adds nothing to a file of other people, and takes one --output."""
    lines = (nyu / "captions.jsonl").read_text().splitlines()
    (nyu / "captions.jsonl").write_text("\n".join(lines[:-3]))
    command, then = trees.examine_nyu(nyu).finding("caption_missing")["mend"].split("\n")
    assert then == "then text.captions=captions_made.jsonl"
    assert shlex.split(command)[-1] == str(nyu / "captions_made.jsonl")
    assert f"data.train_list={trees.NYU_TRAIN_LIST}" in shlex.split(command)
    outcome = run(f"{command} --model /no/model", "caption_images")
    assert "cannot load model" in outcome.err  # all before the model is as it should be
    health = trees.examine_nyu(nyu, "text.captions=[a.jsonl, b.jsonl]")
    assert str(nyu / "a.jsonl") in health.finding("caption_missing", "a.jsonl")["examples"]
    assert "captions_made.jsonl" in health.finding("caption_missing", "a.jsonl")["mend"]


def test_the_commands_for_features_mend_them(nyu):
    encoder = "text.encoder=untrained:0"
    (nyu / "text.safetensors").write_bytes(b"cut off")
    cut, new = "text.features=text.safetensors", "text.features=[a.npz, b.npz]"
    fix = trees.examine_nyu(nyu, encoder, cut).finding("feature_unreadable")["fix"]
    assert run(fix["command"], "encode_text").code == 0
    assert fix["settings"] == ["text.features=text_2.safetensors"]
    assert trees.examine_nyu(nyu, encoder, *fix["settings"]).codes() == []
    assert (nyu / "text.safetensors").read_bytes() == b"cut off"  # the user's file stays
    (nyu / "text.safetensors").unlink()
    fix = trees.examine_nyu(nyu, encoder, new).finding("feature_missing", "a.npz")["mend"]
    command, then = fix.split("\n")
    assert run(command, "encode_text").code == 0
    assert then == f"then {cut}"
    assert trees.examine_nyu(nyu, encoder, cut).codes() == []


def test_the_command_for_image_features_encodes_images(nyu):
    arguments = "text.image_features=images.npz", "text.encoder=untrained:0"
    fix = trees.examine_nyu(nyu, *arguments).finding("feature_missing")["mend"]
    command, then = fix.split("\n")
    assert "--config configs/nyu/data.yaml" in command
    assert f"data.test_list={trees.NYU_TEST_LIST}" in shlex.split(command)
    assert "--captions" not in command
    assert then == "then text.image_features=image.safetensors"


def test_captions_with_other_keys(nyu):
    keys = [f"nyu/{'/'.join(path.parts[-2:])}" for path in trees.images(nyu, ".")]
    trees.write_captions(nyu, keys)
    finding = trees.examine_nyu(nyu).finding("caption_missing", "test")
    assert "keyed by another path: 'nyu/" in finding["cause"]


def test_captions_that_are_none(nyu):
    lines = (nyu / "captions.jsonl").read_text().splitlines()
    empty = json.dumps({"image": json.loads(lines[1])["image"], "caption": " "})
    (nyu / "captions.jsonl").write_text("\n".join([lines[0], empty, *lines[2:], '{"image": "a']))
    health = trees.examine_nyu(nyu, "data.val_share=0")
    assert health.codes() == ["caption_missing", "caption_unreadable"]
    assert health.finding("caption_unreadable")["count"] == 2


def test_no_caption_file(nyu):
    (nyu / "captions.jsonl").unlink()
    assert trees.examine_nyu(nyu).codes() == ["caption_missing"]


def test_several_captions_are_counted_joined_and_searched(nyu):
    keys = [json.loads(x)["image"] for x in (nyu / "captions.jsonl").read_text().splitlines()]
    more = {key: ["A room.", f"A hall, {key}."] for key in keys}
    more[keys[3]] = ["A room.", "A chair on the left.", "A hall."]
    write_file(nyu / "more.jsonl", more)
    names = "text.captions=[captions.jsonl,more.jsonl]"
    health = trees.examine_nyu(nyu, names)
    assert health.codes() == []  # notes alone
    replaced = health.finding("caption_replaced")
    assert replaced["count"] == len(keys) and replaced["text"].endswith("the last one is read")
    assert "2 to 3 captions" in health.finding("captions_per_image")["text"]
    assert health.finding("caption_side")["examples"] == [keys[3]]
    health = trees.examine_nyu(nyu, names, *replaced["fix"]["settings"])
    assert "3 to 4 captions" in health.finding("captions_per_image")["text"]
    assert "caption_replaced" not in {f["code"] for f in health.content["findings"]}
    joined = (names, "text.join_captions=true")
    command = trees.examine_nyu(nyu, *joined, "text.features=no.safetensors").finding(
        "feature_missing"
    )["fix"]["command"]
    output = nyu / "made.safetensors"
    words = [w for w in shlex.split(command)[2:] if not w.endswith("no.safetensors")]
    outcome = run_script("encode_text.py", *words, output, "--encoder", "untrained:0")
    assert outcome.code == 0, outcome.err
    assert FeatureStore.open(output).count_of(keys[3]) == 4
    ready = ("text.features=made.safetensors", "text.encoder=untrained:0")
    assert trees.examine_nyu(nyu, *joined, *ready).codes() == []
    assert trees.examine_nyu(nyu, names, *ready).codes() == ["feature_captions"]


def test_features_that_do_not_fit(nyu):
    keys = [json.loads(x)["image"] for x in (nyu / "captions.jsonl").read_text().splitlines()]
    assert trees.examine_nyu(nyu, "text.features=text.safetensors").codes() == []
    health = trees.examine_nyu(nyu, "text.features=text.safetensors", "text.encoder=RN101:openai")
    assert health.codes() == ["feature_encoder"]
    assert health.finding("feature_encoder")["fix"]["settings"] == ["text.encoder=RN50:openai"]
    rows = torch.ones(len(keys) - 1, 8)
    rows[2] = 0
    origin = {"encoder": "RN50:openai", "captions_sha256": "0" * 64}
    write_features(nyu / "bad.safetensors", keys[:-1], rows, origin)
    health = trees.examine_nyu(nyu, "text.features=bad.safetensors")
    assert health.codes() == ["feature_captions", "feature_missing", "feature_value"]
    assert health.finding("feature_missing")["examples"] == [keys[-1]]
    assert health.finding("feature_value")["examples"] == [keys[2]]


def test_feature_files_of_two_encoders_and_none(nyu):
    names = "text.features=[text.safetensors,other.safetensors]"
    keys = [json.loads(x)["image"] for x in (nyu / "captions.jsonl").read_text().splitlines()]
    assert trees.examine_nyu(nyu, names).codes() == ["feature_missing"]
    write_features(nyu / "other.safetensors", keys, torch.ones(len(keys), 4), {})
    assert trees.examine_nyu(nyu, names).codes() == ["feature_length"]
    (nyu / "other.safetensors").write_bytes(b"not features")
    assert trees.examine_nyu(nyu, names).codes() == ["feature_unreadable"]

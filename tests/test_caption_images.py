"""scripts/caption_images.py with tiny random captioning models."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
import transformers as hf
from captioning_models import TOWER, write_models
from conftest import run_process, run_script

from common.errors import UserError
from common.language.captioner import Captioner, CaptionSettings, SeededSampling
from common.language.captions import read_captions
from common.runtime import hub
from scripts.preparation import caption_parts


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Folder of the tiny models: blip, encoder_decoder, llava."""
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def images(tmp_path):
    """Seven images in two folders, and a depth map."""
    root = tmp_path / "my images"
    rng = np.random.default_rng(0)
    for number in range(7):
        file = root / f"room_{number % 2}/rgb_{number:05d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        cv2.imwrite(str(file), cv2.resize(coarse, (40, 30), interpolation=cv2.INTER_NEAREST))
    cv2.imwrite(str(root / "room_0/sync_depth_00000.png"), np.ones((30, 40), np.uint16))
    return root


KEYS = sorted(f"room_{n % 2}/rgb_{n:05d}.png" for n in range(7))


def caption(tiny, images, output, *arguments):
    model = ("--model", tiny / "blip", "--precision", "fp32", "--max-new-tokens", 6)
    paths = ("--images", images, "--output", output)
    return run_script("caption_images.py", *paths, *model, *arguments)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def read(images, keys=KEYS):
    return [cv2.cvtColor(cv2.imread(str(images / k)), cv2.COLOR_BGR2RGB) for k in keys]


def captioner(folder, **settings):
    settings = {"max_new_tokens": 6, **settings}
    return Captioner(CaptionSettings(str(folder), **settings), torch.device("cpu"))


def test_every_image_of_a_folder_gets_a_line_with_its_origin(tiny, images, tmp_path):
    output = tmp_path / "out/captions.jsonl"
    outcome = caption(tiny, images, output, "--batch-size", "3")
    assert outcome.code == 0, outcome.err
    assert "left out 1 depth maps" in outcome.out
    lines = lines_of(output)
    assert [line["image"] for line in lines] == KEYS
    expected = captioner(tiny / "blip").caption(KEYS, read(images))
    assert read_captions(output) == {k: c for k, [c] in zip(KEYS, expected, strict=True)}
    assert len(set(read_captions(output).values())) > 1
    assert lines[0].keys() == {"image", "caption", "source", "picture"}
    source = lines[0]["source"]
    assert (source["model"], source["temperature"]) == (str(tiny / "blip"), 0.0)
    assert list(output.parent.iterdir()) == [output]
    before = output.stat().st_mtime_ns
    assert "already there" in caption(tiny, images, output).out
    assert output.stat().st_mtime_ns == before


def test_keys_of_a_config_are_those_of_its_lists(tiny, workspace, tmp_path):
    output = tmp_path / "captions.jsonl"
    outcome = run_script(
        "caption_images.py",
        "--config",
        workspace.configs / "stage1.yaml",
        "--output",
        output,
        "--model",
        tiny / "blip",
        "--split",
        "test",
        f"data.root={workspace.data}",
    )
    assert outcome.code == 0, outcome.err
    listed = [
        line.split()[0].lstrip("/")
        for line in (workspace.data / "test.txt").read_text().splitlines()
    ]
    said = [line["image"] for line in lines_of(output)]
    assert said == listed


def test_an_interrupted_run_continues(tiny, images, tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    arguments = ("--batch-size", "2", "--temperature", "0.8", "--num-captions", "2")
    assert caption(tiny, images, whole, *arguments).code == 0
    original, asked = Captioner.caption, []

    def stopping(self, keys, images):
        asked.extend(keys)
        if len(asked) == 6:
            raise KeyboardInterrupt
        return original(self, keys, images)

    monkeypatch.setattr(Captioner, "caption", stopping)
    assert caption(tiny, images, broken, *arguments).code == 130
    assert not broken.exists()
    part = tmp_path / "broken.jsonl.0.part"
    part.write_text(part.read_text()[:-20])  # the last of four lines is cut off
    asked.clear()
    assert caption(tiny, images, broken, *arguments).code == 0
    assert asked == KEYS[3:]
    assert broken.read_bytes() == whole.read_bytes()
    assert not part.exists()


def test_new_images_are_added_and_other_settings_refused(tiny, images, tmp_path, monkeypatch):
    output = tmp_path / "captions.jsonl"
    assert caption(tiny, images / "room_1", output).code == 0
    before = lines_of(output)
    assert len(before) == 3
    cv2.imwrite(str(images / "room_1/rgb_00000.png"), read(images)[0])
    asked = []
    original = Captioner.caption
    monkeypatch.setattr(
        Captioner,
        "caption",
        lambda s, keys, images: asked.extend(keys) or original(s, keys, images),
    )
    assert caption(tiny, images / "room_1", output).code == 0
    assert asked == ["rgb_00000.png"]
    after = lines_of(output)
    assert [line["image"] for line in after][:2] == ["rgb_00000.png", "rgb_00001.png"]
    assert after[1:] == before
    error = caption(tiny, images / "room_1", output, "--prompt", "a photo of").refusal
    assert 'made with {"prompt": null}, not {"prompt": "a photo of"}' in error
    output.write_text('{"image": "rgb_00000.png", "caption": "My own."}')
    assert "not made here" in caption(tiny, images / "room_1", output).refusal
    assert len(lines_of(output)) == 1


def test_sampled_captions_depend_on_the_image_and_the_seed_alone(tiny, images, tmp_path):
    def several(name, *arguments):
        output = tmp_path / f"{name}.jsonl"
        drawing = ("--temperature", "1.5", "--num-captions", "3")
        assert caption(tiny, images, output, *drawing, *arguments).code == 0
        return lines_of(output)

    lines = several("one", "--batch-size", "1")
    assert several("seven", "--batch-size", "7") == lines
    assert [x["captions"] for x in several("other", "--seed", "1")] != [
        x["captions"] for x in lines
    ]
    assert all(x["caption"] == x["captions"][0] for x in lines)
    assert max(len(set(x["captions"])) for x in lines) == 3


@pytest.mark.slow
def test_two_processes_equal_one(tiny, images, tmp_path):
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    arguments = ("--temperature", "0.8", "--num-captions", "2", "--batch-size", "2")
    assert caption(tiny, images, one, *arguments).code == 0
    outcome = run_process(
        "sh",
        "scripts/launch.sh",
        "scripts/caption_images.py",
        "--images",
        str(images),
        "--output",
        str(two),
        "--model",
        str(tiny / "blip"),
        "--precision",
        "fp32",
        "--max-new-tokens",
        "6",
        *arguments,
        NPROC="2",
    )
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("left out 1 depth maps") == 1
    assert two.read_bytes() == one.read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_noise_draws_from_the_softmax():
    logits = torch.tensor([[2.0, 0.0, 1.0]])
    process = SeededSampling(range(4000), 0.5, torch.device("cpu"))
    drawn = process(torch.zeros(4000, 1), logits.expand(4000, 3))
    assert (drawn == 0).sum() == 4000  # one word left for each row
    shares = Counter((drawn == 0).nonzero()[:, 1].tolist())
    for word, probability in enumerate((logits[0] / 0.5).softmax(0).tolist()):
        assert shares[word] / 4000 == pytest.approx(probability, abs=0.03)


def test_blip_starts_with_the_prompt_which_is_not_repeated(tiny, images):
    prompted = captioner(tiny / "blip", prompt="a photo of").caption(KEYS, read(images))
    assert prompted != captioner(tiny / "blip").caption(KEYS, read(images))
    model = hf.BlipForConditionalGeneration.from_pretrained(tiny / "blip").eval()
    processor = hf.AutoProcessor.from_pretrained(tiny / "blip")
    inputs = processor(images=read(images)[1], text="a photo of", return_tensors="pt")
    direct = processor.decode(
        model.generate(**inputs, max_new_tokens=6, do_sample=False)[0], skip_special_tokens=True
    )
    assert direct == " ".join(["a photo of", *prompted[1]])


def test_a_chat_model_is_asked_and_its_answer_kept(tiny, images):
    answers = captioner(tiny / "llava").caption(KEYS, read(images))
    model = hf.LlavaForConditionalGeneration.from_pretrained(tiny / "llava").eval()
    processor = hf.AutoProcessor.from_pretrained(tiny / "llava")
    question = "<image> Describe this picture in one short sentence. user"
    inputs = processor(images=[read(images)[2]], text=[question], return_tensors="pt")
    tokens = model.generate(**inputs, max_new_tokens=6, do_sample=False)
    direct = processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert [direct] == answers[2]
    assert len({tuple(answer) for answer in answers}) > 1


def test_a_model_without_a_joint_processor(tiny, images, tmp_path):
    output = tmp_path / "captions.jsonl"
    arguments = ("--model", tiny / "encoder_decoder")
    assert caption(tiny, images, output, *arguments).code == 0
    assert len(set(read_captions(output).values())) > 1
    outcome = caption(tiny, images, tmp_path / "other.jsonl", *arguments, "--prompt", "a photo of")
    assert "takes no --prompt" in outcome.refusal
    assert list(tmp_path.glob("other*")) == []


def test_damaged_images_are_named_or_left_out(tiny, images, tmp_path):
    output, damaged = tmp_path / "captions.jsonl", images / KEYS[4]
    damaged.write_bytes(damaged.read_bytes()[:50])
    error = caption(tiny, images, output, "--batch-size", "2").refusal
    assert f"{damaged}: the file is cut off" in error
    assert "--skip-unreadable" in error
    assert not output.exists()
    outcome = caption(tiny, images, output, "--skip-unreadable")
    assert outcome.code == 0, outcome.err
    assert f"left out: {damaged}" in outcome.err
    assert "1 images were left out" in outcome.err
    assert list(read_captions(output)) == [key for key in KEYS if key != KEYS[4]]


def test_mistakes_are_one_line_and_write_nothing(tiny, images, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "hub_is_reachable", lambda: False)
    output = tmp_path / "captions.jsonl"
    for arguments, message in (
        (("--model", "nobody/no-such-captioner"), "cannot load model nobody/no-such-captioner"),
        (("--num-captions", "3"), "needs --temperature"),
        (("--num-beams", "3", "--temperature", "1"), "choose one"),
        (("--pattern", "*.gif"), "no images in"),
        (("data.root=x",), "belongs to --config"),
        (("--output", tmp_path / "captions.txt"), "must end in .jsonl"),
    ):
        assert message in caption(tiny, images, output, *arguments).refusal
    assert "no folder" in caption(tiny, tmp_path / "nowhere", output).refusal
    (tmp_path / "empty").mkdir()
    assert "no images" in caption(tiny, tmp_path / "empty", output).refusal
    config = hf.BertConfig(**TOWER, vocab_size=10)
    hf.BertModel(config).save_pretrained(tmp_path / "bert")
    outcome = caption(tiny, images, output, "--model", tmp_path / "bert")
    assert "cannot load model" in outcome.refusal
    assert not list(tmp_path.glob("captions*"))


def test_captions_without_a_commit_are_continued(tmp_path):
    """Newer versions of transformers did not tell the commit for a while."""
    source = {"model": "someone/model", "revision": "0123abc", "seed": 0}
    file = tmp_path / "captions.jsonl"
    for other in ({"revision": None}, {"revision": None, "seed": 1}):
        file.write_text(json.dumps({"image": "a", "caption": "b", "source": {**source, **other}}))
        if "seed" not in other:
            assert list(caption_parts.read_done(file, source, {}).entries) == ["a"]
        else:
            with pytest.raises(UserError, match='was made with .*"seed": 1'):
                caption_parts.read_done(file, source, {})

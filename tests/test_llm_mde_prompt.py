"""LLM-MDE's adaptive prompt: sentences, statistics, depth class, tokens."""

import dataclasses

import pytest
import torch
from open_clip import SimpleTokenizer
from torch.nn import functional as F

from common.errors import UserError
from llm_mde.prompt import (
    DEPTH_CLASSES,
    AdaptivePrompt,
    PromptConfig,
    PromptTemplates,
    brightness_positions,
    compose_prompts,
    depth_classes,
    longest_prompts,
)
from llm_mde.tokenizer import PromptTokenizer

OFF = PromptConfig(dataset=False, task=False, statistics=False, depth_class=False)
VALUES = {"positions": [[0, 10, 20, 30, 40, 50]], "words": ["far"], "captions": ["A {blue} room."]}


def only(**parts) -> PromptConfig:
    return dataclasses.replace(OFF, **parts)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("dataset", ["distance of objects in a scene from a single 2D image"]),
        ("task", ["estimate the photo's depth"]),
        ("statistics", ["darkest pixel is at x 0%, y 10%", "x 20%, y 30%", "x 40%, y 50%"]),
        ("depth_class", ["is far."]),
        ("caption", ["A {blue} room."]),
    ],
)
def test_every_part_is_a_switch(part, words):
    ((sentence,),) = compose_prompts(only(**{part: True}), 1, **VALUES)
    assert all(word in sentence for word in words)
    everything = PromptConfig(caption=True)
    (full,) = compose_prompts(everything, 1, **VALUES)
    (rest,) = compose_prompts(dataclasses.replace(everything, **{part: False}), 1, **VALUES)
    assert rest == [s for s in full if s != sentence]
    assert len(full) == 5


def test_no_parts_no_prompt():
    assert OFF.is_empty and not only(task=True).is_empty
    assert compose_prompts(OFF, 2, None, None, None) == [[], []]


def test_templates_are_config():
    templates = PromptTemplates(caption="It shows: {caption}", depth_class="{depth_class}!")
    config = only(depth_class=True, caption=True, templates=templates)
    assert compose_prompts(config, 1, **VALUES) == [["far!", "It shows: A {blue} room."]]
    for name, text in (
        ("statistics", "{min}"),
        ("caption", "{caption"),
        ("task", "{caption}"),
        ("clip", "{}"),
    ):
        with pytest.raises(ValueError, match=f"^{name}: may name"):
            PromptTemplates(**{name: text})


def test_missing_values_and_counts_are_refused():
    with pytest.raises(ValueError, match="not given"):
        compose_prompts(only(caption=True), 1, None, None, None)
    with pytest.raises(ValueError, match="2 images"):
        compose_prompts(only(caption=True), 2, None, None, ["one"])


def test_statistics_are_positions_of_brightness_image_by_image():
    image = torch.linspace(0, 1, 5 * 5).view(1, 1, 5, 5).repeat(2, 3, 1, 1)
    image[0, :, 3, 1] = -5  # darkest: x 25 %, y 75 %
    image[1, :, 0, 4] = 9  # brightest: x 100 %, y 0 %
    found = brightness_positions(image)
    assert found.shape == (2, 3, 2)
    assert found[0].tolist() == [[25, 75], [100, 100], [25, 50]]
    assert found[1].tolist() == [[0, 0], [100, 0], [75, 50]]
    # flat pictures, and one pixel: the first in reading order
    assert brightness_positions(torch.zeros(1, 3, 4, 4)).tolist() == [[[0, 0]] * 3]
    assert brightness_positions(torch.zeros(1, 3, 1, 1)).tolist() == [[[0, 0]] * 3]


def test_brightness_undoes_the_normalization():
    """Pure red and pure blue of the same value are equally bright in the picture itself."""
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    picture = torch.zeros(3, 1, 3)
    picture[0, 0, 1], picture[2, 0, 2] = 0.8, 0.9
    normalized = ((picture - mean[:, None, None]) / std[:, None, None])[None]
    darkest, brightest, median = brightness_positions(normalized)[0].tolist()
    assert (darkest, brightest, median) == ([0, 0], [100, 0], [50, 0])


def test_what_the_words_depend_on_is_read_once(monkeypatch):
    """Each reading would wait for a GPU."""
    read = []
    to_list = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda x: read.append(x) or to_list(x))
    AdaptivePrompt(PromptConfig(), 12)(torch.randn(2, 3, 8, 8), None, torch.randn(2, 12))
    assert len(read) == 1


def test_the_depth_class_is_each_images_own():
    classes = F.normalize(torch.randn(7, 12), dim=1)
    wanted = [5, 0, 6, 5]
    features = F.normalize(classes[wanted] + 0.05 * torch.randn(4, 12), dim=1)
    assert depth_classes(features, classes).tolist() == wanted
    prompt = AdaptivePrompt(only(depth_class=True), 12)
    prompt.set_class_features(classes)
    image = torch.zeros(4, 3, 8, 8)
    sentences = [row[0] for row in prompt(image, None, features)]
    assert sentences == [f"The photo's depth is {DEPTH_CLASSES[i]}." for i in wanted]
    order = [2, 0, 1]  # an image's class does not depend on the others of its batch
    assert [s for (s,) in prompt(image[:3], None, features[order])] == [sentences[i] for i in order]
    with pytest.raises(ValueError, match="no image_feature"):
        prompt(image, None, None)


def test_clip_reads_the_seven_words_and_another_length_is_refused():
    prompt = AdaptivePrompt(PromptConfig(), 12)
    assert prompt.clip_sentences()[1] == "This object is extremely close."
    assert len(prompt.clip_sentences()) == 7
    with pytest.raises(UserError, match="16 numbers, the image features have 12"):
        prompt.set_class_features(torch.zeros(7, 16))


def test_the_longest_prompts_hold_every_caption_and_class():
    captions = ["A room.", "A much longer caption.", "A room."]
    prompts = longest_prompts(PromptConfig(caption=True), captions)
    assert len(prompts) == 7 * 2
    assert all("x 100%, y 100%" in prompt[2] for prompt in prompts)
    assert {prompt[-1] for prompt in prompts} == set(captions)
    assert len(longest_prompts(only(task=True), captions)) == 1


def test_tokens_are_those_of_the_whole_text_and_made_once_per_sentence():
    calls = []

    def encode(text):
        calls.append(text)
        return SimpleTokenizer().encode(text)

    tokenizer = PromptTokenizer(encode)
    calls.clear()
    task, caption = "Task: estimate the photo's depth.", "A photo of a bedroom."
    expected = SimpleTokenizer().encode(f"{task} {caption}")
    assert tokenizer([task, caption]) == tokenizer([task, caption]) == expected
    assert calls == [task, caption]
    assert tokenizer([]) == []


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: list(text.encode()),  # GPT-2: the space is part of the next word
        lambda text: list(f"_{text.replace(' ', '_')}".encode()),
    ],  # LLaMA: any text gets one
)
def test_sentences_are_joined_by_one_space_in_every_family(encode):
    assert PromptTokenizer(encode)(["A room.", "So far."]) == encode("A room. So far.")


def test_special_tokens_stand_around_the_prompt():
    tokenizer = PromptTokenizer(lambda text: [7], ends=[101, 102])
    assert tokenizer(["one", "two"]) == [101, 7, 7, 102]
    assert tokenizer([]) == []
    assert PromptTokenizer(lambda text: [7], ends=[1])(["one"]) == [1, 7]

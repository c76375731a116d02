"""Parts of the programs about words: sentences, exchanges, spread, pictures, encoders seen once."""

import json

import numpy as np
import pytest
import torch
from joint_networks import TINY_JOINT

from common.errors import UserError
from common.evaluation.canvas import PAPER, depth_to_color
from scripts.probes.answers import picture_seen_once
from scripts.probes.one_picture import describe_change
from scripts.probes.pictures import BAR_COLOR, TILE_WIDTH, draw_histogram, draw_samples, draw_strip
from scripts.probes.sampled_scenes import describe_scenes
from scripts.probes.sentence_files import CHANGES, read_sentences, turn_around
from scripts.probes.word_changes import exchange
from scripts.probes.wording_stats import depth_move, describe_spread, geometric_mean, scale_move
from stage3_depth.joint_model import JointDepth

TRUE = "a chair is in front of a sink"
LINE = {
    "image": "/a.jpg",
    "true": {"depth": TRUE, "vertical": None},
    "false_relation": {"depth": "a chair is behind a sink"},
    "false_objects": {"depth": "a sink is in front of a chair"},
}


def test_spread_of_known_answers():
    medians = [np.array([1.0, 2.0, 4.0]), np.array([3.0, 3.0])]
    errors = [np.array([-0.3, 0.0, 0.3]), np.array([1.0, 1.0])]
    found = describe_spread(medians, errors)
    within, between = (0.06 + 0) / 2, 0.25  # of the means 0 and 1
    assert found == pytest.approx(
        {
            "num_images": 2,
            "num_captions": 5,
            "mean_ratio": 2.5,
            "largest_ratio": 4.0,
            "std_wording": within**0.5,
            "std_picture": between**0.5,
            "explained_share": within / (within + between),
        }
    )
    same = describe_spread([np.ones(2)], [np.zeros(2)])
    assert same["explained_share"] == 0 and same["mean_ratio"] == 1
    with pytest.raises(ValueError, match="no picture"):
        describe_spread([], [])


def test_moves_are_in_log_scale():
    assert scale_move(1.0, 2.0) == scale_move(2.0, 1.0) == pytest.approx(np.log(2))
    depth = np.array([[1.0, 2.0], [4.0, 8.0]])
    assert depth_move(depth, 2 * depth) == pytest.approx(np.log(2))
    assert depth_move(depth, depth[::-1]) == pytest.approx(np.log(4))
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("caption", "old", "new", "expected"),
    [
        ("A kitchen with a sink.", "kitchen", "office", "An office with a sink."),
        ("An office, an office.", "office", "toy office", "A toy office, a toy office."),
        ("Kitchens and a kitchen.", "kitchen", "hall", "Kitchens and a hall."),
        ("There is a living room.", "living room", "bathroom", "There is a bathroom."),
        ("Kitchen with the kitchen table", "kitchen", "toy kitchen",
         "Toy kitchen with the toy kitchen table"),
        ("A sofa (red).", "(red)", "x", "A sofa (red)."),  # whole words
        ("A bath.", "kitchen", "hall", "A bath."),
    ],
)  # fmt: skip
def test_one_word_for_another(caption, old, new, expected):
    assert exchange(caption, old, new) == expected


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ("a kitchen", "a kitchen", ""),
        ("a kitchen", "a toy kitchen", "+ toy"),
        ("a small kitchen", "a kitchen", "- small"),
        ("a kitchen now", "a bath now", "kitchen > bath"),
    ],
)
def test_which_words_are_others(before, after, change):
    assert describe_change(before, after) == change


def test_a_true_paraphrase_comes_of_two_false_sentences(tmp_path):
    path = tmp_path / "sentences.jsonl"
    own = {**LINE, "image": "b.jpg", "paraphrase": {"depth": "the sink is farther"}}
    none = {"image": "c.jpg", "true": {"depth": None}}
    path.write_text("\n".join(map(json.dumps, (LINE, own, none))) + "\n\n")
    first, second = read_sentences(path)
    assert (first.image, first.relation, first.true) == ("a.jpg", "depth", TRUE)
    assert list(first.changes) == list(CHANGES)
    assert first.changes["paraphrase"] == "a sink is behind a chair"
    assert second.changes["paraphrase"] == "the sink is farther"


@pytest.mark.parametrize(
    "false",
    [
        ("a chair is behind a lamp", "a sink is in front of a chair"),  # other objects
        ("a chair is behind a sink", "a sink is above a chair"),  # another relation
        ("no chair stands behind a sink", "a sink is in front of a chair"),
        ("a chair is a sink", "a sink is in front of a chair"),
    ],
)
def test_sentences_of_another_build_have_no_paraphrase(false):
    assert turn_around(TRUE, *false) is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":1: not a JSON object"),
        ("[]", ":1: expected"),
        ('{"image": "a"}', ":1: expected"),
        ('{"image": 3, "true": {}}', ":1: expected"),
        ('{"image": "a", "true": "x"}', '"true" must be'),
        ('{"image": "a", "true": {"depth": " "}}', '"true" must be'),
        ('{"image": "a", "true": {}, "false_objects": {"depth": 3}}', '"false_objects" must be'),
        ('{"image": "a", "true": {"depth": "\\ud800"}}', '"true" must be'),
    ],
)
def test_bad_sentence_files(tmp_path, line, message):
    path = tmp_path / "sentences.jsonl"
    path.write_text(line)
    with pytest.raises(UserError, match=message):
        read_sentences(path)
    with pytest.raises(UserError, match="cannot read sentences .*missing.jsonl"):
        read_sentences(tmp_path / "missing.jsonl")


def test_encoders_see_a_repeated_picture_once_and_nothing_else_changes():
    torch.manual_seed(0)
    model = JointDepth(TINY_JOINT, (64, 96)).eval()
    image, words = torch.randn(1, 3, 64, 96).expand(5, -1, -1, -1), torch.randn(5, 16)
    seen = []
    model.encoder.norms[0].register_forward_hook(lambda m, i, o: seen.append(len(o)))
    with torch.no_grad():
        plain = model(image, words).depth
        with picture_seen_once(model):
            once = model(image, words).depth
        again = model(image, words).depth
    assert seen == [5, 1, 5]
    torch.testing.assert_close(once, plain, rtol=1e-5, atol=1e-6)
    assert torch.equal(again, plain)


def test_the_strip_has_one_tile_per_sentence_in_shared_colors():
    image = np.zeros((60, 80, 3), np.uint8)
    depths = [np.full((30, 40), value, np.float32) for value in (1.0, 2.0, 5.0)]
    strip = draw_strip(image, depths, ["one", "two " * 60, ""])
    height, width = strip.shape[:2]
    assert width > 4 * TILE_WIDTH and height > TILE_WIDTH * 60 / 80 + 44
    colors = [depth_to_color(d[:1, :1], 1.0, 5.0)[0, 0] for d in depths]
    found = [(np.abs(strip.astype(int) - color).max(-1) <= 3).sum() for color in colors]
    assert min(found) > 0.9 * TILE_WIDTH * TILE_WIDTH * 60 / 80


@pytest.mark.parametrize("size", [(30, 40), (90, 20), (8, 200)])
def test_rows_of_scenes_for_any_number_of_samples_and_equal_depths(size):
    for samples in (np.ones((1, *size)), np.random.default_rng(0).uniform(1, 3, (7, *size))):
        picture = draw_samples(["a", "b"], [samples, 2 * samples])
        assert picture.dtype == np.uint8 and picture.shape[1] > 2 * TILE_WIDTH


def test_the_histogram_shows_every_value_at_its_place():
    picture = draw_histogram(np.array([1.0, 1.0, 2.0]), (0.9, 2.1), (240, 100))
    is_bar = (picture == BAR_COLOR).all(-1)
    places = np.flatnonzero(is_bar.any(0))
    heights = is_bar.sum(0)[places]
    assert heights[0] / heights[-1] == pytest.approx(2, abs=0.1)
    assert places[0] == pytest.approx(0.1 / 1.2 * 239, abs=8)
    assert places[-1] == pytest.approx(1.1 / 1.2 * 239, abs=8)
    assert (picture[0, 0] == PAPER).all()


def test_scenes_are_described_by_the_median_depth_of_each():
    scenes = np.stack([np.full((2, 2), float(value)) for value in range(1, 102)])
    (found,) = describe_scenes(["a room"], [scenes])
    assert (found["mean"], found["p5"], found["p50"], found["p95"]) == (51.0, 6.0, 51.0, 96.0)
    assert sum(found["histogram"]) == 101 and len(found["edges"]) == len(found["histogram"]) + 1
    assert found["medians"] == list(map(float, range(1, 102)))


def test_a_mark_of_the_byte_order_is_no_part_of_a_sentence_file(tmp_path):
    path = tmp_path / "sentences.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(LINE).encode() + b"\r\n")
    assert [one.image for one in read_sentences(path)] == ["a.jpg"]

"""Several captions per image: files, packed features, controls, and which one a sample is given."""

import json
import pickle
from collections import Counter
from hashlib import sha256

import numpy as np
import pytest
import torch
from caption_files import write_file
from conftest import metrics_of, train

from common.data.dataset import DepthDataset, build_dataset
from common.data.sampling import StepSampler, train_loader
from common.data.splits import SplitFinder
from common.errors import UserError
from common.language.captions import Captions, captions_sha256, read_captions
from common.language.encoding import encode_captions
from common.language.feature_store import FeatureStore
from common.language.features import FeaturePlace, TextConfig
from common.language.language import Needs, load_language, read_all_captions
from common.packed_mappings import PackedLists

KEYS = [f"kitchen_{s:04d}/rgb_{i:05d}.jpg" for s in range(5) for i in range(3)]  # those of `nyu`
WORDS = {key: [f"Room {n} of {k}." for k in range(n % 4 + 1)] for n, key in enumerate(KEYS)}
SHORT, LONG = {"a": "A room.", "b": "A hall."}, {"c": "A den.", "a": "A large room."}


def as_dict(captions: Captions) -> dict[str, list[str]]:
    return {key: list(captions.all_of(key)) for key in captions}


@pytest.mark.parametrize("counts", [[1, 1, 1], [2, 1, 3]])
def test_packed_lists_are_the_lists(counts):
    numbers = np.arange(sum(counts)) * 10
    plain = [part.tolist() for part in np.split(numbers, np.cumsum(counts)[:-1])]
    lists = PackedLists.of_counts(numbers, counts)
    assert [lists.item(row).tolist() for row in range(len(lists))] == plain
    assert lists.counts.tolist() == counts and lists.has_several == (sum(counts) > 3)
    assert lists.firsts.tolist() == [part[0] for part in plain] and lists.first(2) == plain[2][0]
    taken = lists.take(np.array([2, 0, 2]))
    assert [taken.item(row).tolist() for row in range(3)] == [plain[2], plain[0], plain[2]]
    assert not lists.take(np.array([1])).has_several
    both = PackedLists.joined([lists, lists.shifted(5)])
    assert both.item(4).tolist() == [number + 5 for number in plain[1]]


def test_lines_with_one_or_several_and_both(tmp_path):
    lines = [
        {"image": "/a", "captions": [" A room. ", "A hall.", "A room."]},
        {"image": "b", "caption": "A hall.", "captions": ["A den.", "A hall."], "source": 1},
        {"image": "c", "caption": "A den.", "captions": None},
    ]
    path = tmp_path / "captions.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    captions = read_captions(path)
    assert as_dict(captions) == {
        "a": ["A room.", "A hall.", "A room."],
        "b": ["A hall.", "A den."],  # `caption` is the first
        "c": ["A den."],
    }
    assert captions == {"a": "A room.", "b": "A hall.", "c": "A den."}
    assert captions.distinct[0] == ["A room.", "A hall.", "A den."]
    assert list(captions.every())[2:4] == [("a", "A room."), ("b", "A hall.")]
    assert as_dict(captions.select(["c", "x", "a"]))["a"] == ["A room.", "A hall.", "A room."]
    assert as_dict(pickle.loads(pickle.dumps(captions))) == as_dict(captions)
    with pytest.raises(KeyError):
        captions.all_of("x")


@pytest.mark.parametrize("several", [[], ["A room.", ""], ["A room.", 3], "A room.", {"a": 1}])
def test_a_bad_list_of_captions_names_its_line(tmp_path, several):
    path = tmp_path / "captions.jsonl"
    path.write_text(json.dumps({"image": "a", "captions": several}))
    with pytest.raises(UserError) as caught:
        read_captions(path)
    assert str(caught.value).startswith(f"{path}:1: expected") and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="is a folder; make a caption file of the texts in it"):
        read_captions(tmp_path)


def test_files_win_or_are_joined(tmp_path):
    paths = [write_file(tmp_path / f"{n}.jsonl", c) for n, c in (("s", SHORT), ("l", LONG))]
    assert read_captions(*paths) == {"b": "A hall.", "c": "A den.", "a": "A large room."}
    assert as_dict(read_captions(*paths, join=True)) == {
        "a": ["A room.", "A large room."],
        "b": ["A hall."],
        "c": ["A den."],
    }
    text = TextConfig(captions=("l.jsonl", "s.jsonl"), join_captions=True)
    joined = read_all_captions(text, lambda name: tmp_path / name)
    assert joined.all_of("a") == ("A large room.", "A room.")
    paths[0].write_text(paths[0].read_text() + "\n" + paths[1].read_text())  # lines of one file
    assert read_captions(paths[0], join=True).all_of("a") == ("A room.", "A large room.")


def test_the_hash_knows_every_caption_and_that_of_single_ones_stays():
    one = {key: several[0] for key, several in WORDS.items()}
    assert captions_sha256({"b": "2", "a": "1"}) == sha256(b"a\t1\nb\t2\n").hexdigest()
    assert captions_sha256(dict(reversed(WORDS.items()))) == captions_sha256(WORDS)
    assert Captions.of(WORDS).only_firsts().sha256 == captions_sha256(one)
    for changed in (one, {**WORDS, KEYS[3]: WORDS[KEYS[3]][::-1]}, {**WORDS, "new": ["A room."]}):
        assert captions_sha256(changed) != captions_sha256(WORDS)


@pytest.fixture
def store(tmp_path) -> FeatureStore:
    encode_captions(tmp_path / "text.safetensors", WORDS, "untrained:0")
    return FeatureStore.open(tmp_path / "text.safetensors")


def test_features_hold_each_caption_once_and_all_of_an_image(store, tmp_path):
    num_captions = sum(map(len, WORDS.values()))
    assert store.tables[0].features.shape == (num_captions, 1024)
    for key, several in list(WORDS.items())[2:4]:
        assert store.count_of(key) == len(several)
        for number, text in enumerate(several):
            encode_captions(tmp_path / "one.safetensors", {"x": text}, "untrained:0")
            single = FeatureStore.open(tmp_path / "one.safetensors")["x"]
            torch.testing.assert_close(store.all_of(key)[number], single, atol=1e-3, rtol=0)
            assert torch.equal(store.nth(key, number), store.all_of(key)[number])
        assert torch.equal(store[key], store.nth(key, 0))
    features, rows = store.gather(KEYS)
    assert torch.equal(features[rows].float(), torch.cat([store.all_of(key) for key in KEYS]))
    first = pickle.loads(pickle.dumps(store.only_firsts()))
    assert first.counts(KEYS).tolist() == [1] * len(KEYS) and not first.has_several
    lent = pickle.loads(pickle.dumps(store.lent({"x": KEYS[3]})))
    assert torch.equal(lent.all_of("x"), store.all_of(KEYS[3])) and len(lent.all_of("x")) == 4


def test_equal_captions_share_a_row(tmp_path):
    words = {"a": ["A room.", "A hall."], "b": ["A hall.", "A hall."]}
    assert encode_captions(tmp_path / "t.safetensors", words, "untrained:0") == 2
    store = FeatureStore.open(tmp_path / "t.safetensors")
    assert store.tables[0].features.shape[0] == 2
    assert torch.equal(store.nth("a", 1), store.nth("b", 0))


@pytest.fixture
def language_of(tmp_path):
    def load(first_only=False, captions=WORDS, **settings):
        text = TextConfig(encoder="untrained:0", **settings)
        place = FeaturePlace(lambda name: tmp_path / name, tmp_path / "cache")
        files = {key: tmp_path / key for key in KEYS}
        needs = Needs(text_dim=1024)
        packed = None if captions is None else Captions.of(captions)
        return load_language(text, packed, "train", files, needs, place, first_only=first_only)

    return load


@pytest.mark.parametrize("control", ["caption", "shuffled"])
def test_words_and_features_agree_and_a_lender_lends_all(language_of, store, control):
    language = language_of(control=control)
    owners = {several[0]: key for key, several in WORDS.items()}
    for key in KEYS:
        owner = owners[language.captions[key]]
        assert (owner == key) == (control == "caption")
        assert list(language.captions.all_of(key)) == WORDS[owner]
        assert language.count_of(key) == len(WORDS[owner])
        for number, text in enumerate(WORDS[owner]):
            words = language.words_of(key, number)
            assert words["caption"] == text
            assert torch.equal(words["text_feature"], store.nth(owner, number))


def test_first_only_encodes_and_has_the_first_ones(language_of, tmp_path):
    language = language_of(first_only=True)
    assert language.captions.sha256 == captions_sha256({k: c[0] for k, c in WORDS.items()})
    assert not language.has_several
    (file,) = (tmp_path / "cache").glob("*")
    assert FeatureStore.open(file).tables[0].features.shape[0] == len(KEYS)


def test_ready_features_of_all_or_of_the_first_captions(language_of, store, tmp_path):
    ready = {"features": "text.safetensors"}
    assert language_of(**ready).count_of(KEYS[3]) == 4
    assert language_of(first_only=True, **ready).count_of(KEYS[3]) == 1
    assert language_of(captions=None, **ready).count_of(KEYS[3]) == 4
    firsts = {key: several[0] for key, several in WORDS.items()}
    encode_captions(tmp_path / "firsts.safetensors", firsts, "untrained:0")
    language = language_of(features="firsts.safetensors")
    assert language.count_of(KEYS[3]) == 1 and language.captions == firsts
    assert "of several the first" in language.notes[-1]
    other = {**WORDS, KEYS[3]: WORDS[KEYS[3]][:3]}
    with pytest.raises(UserError, match="made from other captions than text.captions gives"):
        language_of(captions=other, **ready)


def drawn(dataset: DepthDataset, positions: range) -> list[str]:
    numbers = [dataset.draw_caption(KEYS[3], position) for position in positions]
    return [dataset.language.words_of(KEYS[3], number)["caption"] for number in numbers]


def test_training_draws_by_seed_and_position(nyu, language_of):
    split = SplitFinder(nyu).find("train")
    dataset, plain = (
        build_dataset(nyu, split, language_of(first_only=first), seed=5, augment=True)
        for first in (False, True)
    )
    captions = drawn(dataset, range(200))
    counts = Counter(captions)
    assert set(counts) == set(WORDS[KEYS[3]]) and min(counts.values()) > 30
    assert captions[50:60] == drawn(dataset, range(50, 60))
    other = build_dataset(nyu, split, language_of(), seed=6)
    assert drawn(other, range(200)) != captions
    for position in range(4):  # the picture is augmented as without several captions
        item = dataset[3, position]
        assert item.caption == captions[position]
        assert torch.equal(item.image, plain[3, position].image)
        number = WORDS[KEYS[3]].index(item.caption)
        assert torch.equal(item.text_feature, dataset.language.text_features.nth(KEYS[3], number))
    assert set(drawn(plain, range(20))) == {WORDS[KEYS[3]][0]}
    assert dataset[3].caption == WORDS[KEYS[3]][0]


def test_word_dropout_leaves_its_share_without_words(nyu, language_of):
    split = SplitFinder(nyu).find("train")
    half, plain = (
        build_dataset(nyu, split, language_of(), 5, augment=True, word_dropout=share)
        for share in (0.5, 0.0)
    )
    dropped = [half.draw_words(KEYS[3], position)["caption"] == "" for position in range(200)]
    assert 70 < sum(dropped) < 130
    assert dropped[50:60] == [not half[3, position].caption for position in range(50, 60)]
    for position, is_dropped in enumerate(dropped[:8]):  # all else stays as it is
        item, other = half[3, position], plain[3, position]
        assert torch.equal(item.image, other.image) and item.gt_depth.equal(other.gt_depth)
        assert item.caption == ("" if is_dropped else other.caption)
        expected = torch.zeros(item.text_feature.shape) if is_dropped else other.text_feature
        assert torch.equal(item.text_feature, expected)
    assert half[3].caption == WORDS[KEYS[3]][0]  # in scoring every image has its words


def test_workers_and_processes_draw_the_same(nyu, language_of):
    dataset = build_dataset(nyu, SplitFinder(nyu).find("train"), language_of(), augment=True)

    def captions_of_steps(num_workers=0, rows=None):
        sampler = StepSampler(15, batch_size=6, micro_batch_size=3, rows=rows, num_steps=4)
        loader = train_loader(dataset, sampler, num_workers)
        return {int(p): c for b in loader for p, c in zip(b.position, b.caption, strict=True)}

    alone = captions_of_steps()
    assert captions_of_steps(num_workers=2) == alone
    parts = [captions_of_steps(rows=rows) for rows in (range(2), range(2, 6))]
    assert {**parts[0], **parts[1]} == alone


@pytest.fixture
def several(workspace, tmp_path):
    """Settings of stage 1 with three captions for every image of the workspace."""
    keys = read_captions(workspace.data / "captions.jsonl")
    words = {key: [f"{word} room, {key}." for word in ("A", "One", "Some")] for key in keys}
    path = write_file(tmp_path / "several.jsonl", words)
    own = (f"text.captions={path}", "text.features=null", "text.encoder=untrained:0")
    same_rate = ("train.final_lr=1e-3", "train.warmup_steps=0")  # however many steps
    return path, [*own, *same_rate, "model.text_dim=1024", "train.max_steps=4", "eval.every=2"]


def losses_of(run) -> list[float]:
    return [line["loss/total"] for line in metrics_of(run, "train")]


def test_a_resumed_run_is_the_uninterrupted_one(workspace, several, tmp_path):
    _, settings = several
    for name, steps in (("whole", (4,)), ("parts", (2, 4))):
        for number in steps:
            words = [*settings, f"experiment={name}", f"train.max_steps={number}"]
            outcome = train("stage1", *workspace.arguments("stage1", tmp_path, *words))
            assert outcome.code == 0, outcome.err
    runs = [tmp_path / name / "stage1" for name in ("whole", "parts")]
    losses = [losses_of(run) for run in runs]
    assert losses[0] == losses[1] and len(losses[0]) == 4
    saved = [torch.load(r / "checkpoints/last.pt", weights_only=True)["model"] for r in runs]
    assert all(torch.equal(saved[0][name], saved[1][name]) for name in saved[0])
    first = [*settings, "experiment=first", "text.caption_choice=first"]
    assert train("stage1", *workspace.arguments("stage1", tmp_path, *first)).code == 0
    assert losses_of(tmp_path / "first/stage1") != losses[0]


def test_a_run_goes_on_with_all_its_captions_or_not_at_all(workspace, several, tmp_path):
    path, settings = several
    words = workspace.arguments("stage1", tmp_path, *settings)
    assert train("stage1", *words).code == 0
    assert train("stage1", *words, "train.max_steps=5", "eval.captions=all").code == 0
    path.write_text(path.read_text().replace("Some room", "Any hall"))  # the third ones alone
    again = train("stage1", *words, "train.max_steps=6")
    assert "train: the text features are no longer those that this run read" in again.refusal

"""The demo's other words: unseen sentences with the same facts, one bit, and no other change."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from conftest import run_script

from scripts.demo_renderer import captions as seen
from scripts.demo_renderer import other_words as unseen
from scripts.demo_renderer.room_files import (
    RoomsSettings,
    reworded_captions,
    scene_captions,
    write_rooms,
)
from scripts.demo_renderer.rooms import ROOM_TYPES, draw_room

SMALL = RoomsSettings(train_scenes=12, val_scenes=3, test_scenes=10, height=48, width=64)
SIZES = ("--scenes", 12, "--val-scenes", 3, "--test-scenes", 10, "--height", 48, "--width", 64)
# The first 16 digits of SHA-256, as written before there were other words.
EARLIER = {
    "captions.jsonl": "bb88ec7223d74a50",
    "captions_swapped.jsonl": "1a12147e70bec7be",
    "dataset.json": "fbf3ab7d032303d0",
    "test_files_with_gt.txt": "26f508783c08d928",
    "train_files_with_gt.txt": "d535b228eea8721a",
    "val_files_with_gt.txt": "df4fe7cf565836e3",
}
REWORDED, UNSEEN = "captions_reworded.jsonl", "captions_unseen.jsonl"
NEW = {REWORDED, UNSEEN, "captions_flag.jsonl"}
COMMON = {"a", "an", "of", "in", "for", "the", "is", "this", "with", "to", "it", "room"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "rooms"
    write_rooms(folder, SMALL, workers=1)
    return folder


def lines_of(path: Path) -> dict[str, dict]:
    return {entry["image"]: entry for entry in map(json.loads, path.read_text().splitlines())}


def words_of(*texts: str) -> set[str]:
    return set(re.findall(r"[a-z-]+", " ".join(texts).lower())) - COMMON


def test_every_earlier_file_has_its_bytes(made):
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in made.iterdir()
        if path.is_file() and path.name not in NEW
    }
    assert digests == EARLIER


def test_who_has_other_words_and_that_only_the_sentence_is_new(made):
    own = lines_of(made / "captions.jsonl")
    test = {key: entry for key, entry in own.items() if key.startswith("test/")}
    for name, originals in ((REWORDED, test), (UNSEEN, test), ("captions_flag.jsonl", own)):
        others = lines_of(made / name)
        assert list(others) == list(originals)
        for key, entry in others.items():
            assert entry["caption"] != originals[key]["caption"]
            assert {**entry, "caption": ""} == {**originals[key], "caption": ""}
    flags = lines_of(made / "captions_flag.jsonl").values()
    assert {entry["scale"]: entry["caption"] for entry in flags} == unseen.FLAGS
    assert len({entry["caption"] for entry in flags}) == 2


def test_no_training_caption_has_the_new_words():
    kinds = [room.name for room in ROOM_TYPES]
    assert set(unseen.ROOMS) == set(kinds)
    taught = words_of(*seen.TEMPLATES, *seen.FULL_ROOMS, *seen.MINIATURE_ROOMS, *kinds)
    for wordings in (unseen.FULL, unseen.MINIATURE):
        assert not taught & words_of(*wordings)
    assert all(words_of(*names).isdisjoint(words_of(*kinds)) for names in unseen.ROOMS.values())
    assert "{}" not in unseen.MINIATURE, "the scale would not be told"
    shapes = {re.sub(r"\{[^}]*\}", "_", text) for text in seen.TEMPLATES}
    assert not shapes & {re.sub(r"\{[^}]*\}", "_", text) for text in unseen.SENTENCES}
    for sentence in unseen.SENTENCES:
        assert words_of(re.sub(r"\{[^}]*\}", "", sentence)) - taught


def named(text: str, phrases: dict[str, str]) -> set[str]:
    """The names whose phrases a caption has; the longest first, as `floor lamps` has `lamps`."""
    found, text = set(), text.lower()
    for name, phrase in sorted(phrases.items(), key=lambda item: -len(item[1])):
        if re.search(rf"\b{phrase.lower()}\b", text):
            found.add(name)
            text = text.replace(phrase.lower(), "")
    return found


@pytest.mark.parametrize("index", range(0, 3 * len(ROOM_TYPES), 2))
def test_the_facts_are_those_of_the_caption(index):
    room = draw_room(5, "test", index, 48, 64)
    phrases = {name: phrase for name, (phrase, _) in room.phrases.items()}
    renamed = {name: unseen.rename_phrase(name, phrase) for name, phrase in phrases.items()}
    own = scene_captions(5, "test", room)
    for name, miniature in ((REWORDED, seen.MINIATURE_ROOMS), (UNSEEN, unseen.MINIATURE)):
        other = reworded_captions(5, "test", room, name)
        for scale in ("full", "miniature"):
            things = named(own[scale], phrases)
            assert things and things == named(other[scale], renamed), (own[scale], other[scale])
            assert any(room_name in other[scale].lower() for room_name in unseen.ROOMS[room.kind])
            assert not words_of(other[scale]) & {"left", "right"}
        small = words_of(*miniature) - {"small", "one", "scale", "model", "built"}
        assert words_of(other["miniature"]) & (small | {"scale"})
        assert not words_of(other["full"]) & small


@pytest.mark.parametrize(
    ("name", "phrase", "other"),
    [
        ("sofa", "a sofa", "a couch"),
        ("sofa", "sofas", "couches"),
        ("armchair", "an armchair", "an easy chair"),
        ("mirror", "mirrors", "looking glasses"),
        ("chest of drawers", "chests of drawers", "dressers"),
        ("bed", "beds", "beds"),
    ],
)
def test_a_thing_keeps_its_number(name, phrase, other):
    assert unseen.rename_phrase(name, phrase) == other


def test_rooms_made_earlier_get_what_they_lack_and_keep_the_rest(made, tmp_path):
    arguments = ("--out", tmp_path, *SIZES, "--workers", 1)
    write_rooms(tmp_path / "rooms", SMALL, workers=1)
    for name in NEW:
        (tmp_path / "rooms" / name).unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "rooms").rglob("*.*")}
    outcome = run_script("make_demo_data.py", *arguments)
    assert outcome.code == 0 and "already there" in outcome.out
    assert f"captions_flag.jsonl and {REWORDED} and {UNSEEN} added" in outcome.out
    for name in NEW:
        assert (tmp_path / "rooms" / name).read_bytes() == (made / name).read_bytes()
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    again = run_script("make_demo_data.py", *arguments)
    assert again.code == 0 and "added" not in again.out


def test_rooms_that_cannot_be_completed_stay_usable(tmp_path):
    write_rooms(tmp_path / "rooms", SMALL, workers=1)
    (tmp_path / "rooms/captions_flag.jsonl").unlink()
    (tmp_path / "rooms/captions_flag.jsonl").mkdir()
    outcome = run_script("make_demo_data.py", "--out", tmp_path, *SIZES, "--workers", 1)
    assert outcome.code == 0 and "already there" in outcome.out
    assert "other words are not added: " in outcome.err

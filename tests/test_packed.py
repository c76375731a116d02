"""Long lists in a few arrays: the same sequences and mappings, and found the same way."""

import pickle
import re
from pathlib import PurePosixPath

import numpy as np
import pytest

from common.data.folder_search import natural_order
from common.data.pairs import Pair, PairList
from common.errors import UserError
from common.images.folder_index import FolderIndex
from common.images.suffixes import without_suffix
from common.language.captions import Captions, captions_sha256
from common.packed import CHUNK, PackedStrings
from common.packed_mappings import PackedRows

STRINGS = ["a/1.jpg", "", "küche/日.png", "b\udce9/2.jpg", "a/1.jpg", "b"]
SAME_HASH = ("plumless", "buckeroo")  # equal CRC-32


@pytest.fixture(params=["packed", "joined", "compressed", "taken", "sent"])
def packed(request) -> PackedStrings:
    """STRINGS, made in each way there is."""
    strings = PackedStrings.of(iter(STRINGS))
    match request.param:
        case "joined":
            return PackedStrings.from_joined(strings.to_joined())
        case "compressed":
            return PackedStrings.from_compressed(strings.compressed())
        case "taken":
            many = PackedStrings.of(["x" * 50, *STRINGS, "y"])
            return many.take(np.arange(1, 1 + len(STRINGS)))
        case "sent":
            return pickle.loads(pickle.dumps(strings))
    return strings


def test_a_packed_list_is_the_list(packed):
    assert list(packed) == STRINGS and packed == STRINGS and len(packed) == len(STRINGS)
    assert [packed[i] for i in range(-6, 6)] == STRINGS + STRINGS
    assert packed[1:5:2] == STRINGS[1:5:2] and packed[::-1] == STRINGS[::-1]
    assert packed != STRINGS[:-1] and packed != [*STRINGS[:-1], "c"]
    assert packed + packed[:2] == STRINGS + STRINGS[:2]
    assert [STRINGS[row] for row in packed.sorted_rows()] == sorted(STRINGS, key=to_sort)
    with pytest.raises(IndexError):
        packed[6]


def to_sort(string: str) -> bytes:
    return string.encode("utf-8", "surrogateescape")


def test_strings_are_found_by_their_last_row(packed):
    assert [packed.lookup.find(s) for s in (*STRINGS, "c", "\ud83d")] == [4, 1, 2, 3, 4, 5, -1, -1]
    assert packed.lookup.find_all(["b", "c", "a/1.jpg"]).tolist() == [5, -1, 4]
    assert packed.lookup.find_all(packed).tolist() == [4, 1, 2, 3, 4, 5]
    assert packed.lookup.repeated().tolist() == [0]


def test_equal_hashes_are_told_apart():
    both, one = PackedStrings.of(SAME_HASH), PackedStrings.of(SAME_HASH[:1])
    assert len(set(both.lookup.hashes.tolist())) == 1
    assert [both.lookup.find(s) for s in SAME_HASH] == [0, 1]
    assert both.lookup.find_all(reversed(SAME_HASH)).tolist() == [1, 0]
    assert one.lookup.find(SAME_HASH[1]) == -1 and not len(both.lookup.repeated())


def test_more_than_one_chunk_and_none():
    strings = [f"{number % 1000}/{number}" for number in range(CHUNK + 3)]
    assert PackedStrings.of(strings) == strings
    assert PackedStrings.of(strings).lookup.find(strings[-1]) == CHUNK + 2
    none = PackedStrings.of(())
    assert (
        none == [] and none.lookup.find("a") == -1 and none.lookup.find_all(["a"]).tolist() == [-1]
    )


def test_a_part_does_not_keep_the_text_of_all():
    few = PackedStrings.of(f"{number:06d}" for number in range(1000)).take(np.array([7, 9]))
    assert few == ["000007", "000009"] and len(few.text) == 12


def test_slashes_at_the_start_go():
    assert PackedStrings.of(["/a/b", "//c", "d/", "/", ""]).without_start("/") == [
        *("a/b", "c", "d/", "", "")
    ]


def test_a_mapping_is_the_mapping():
    table = PackedRows(PackedStrings.of(["a", "b"]), np.array([5, 7], np.int32))
    assert table == {"a": 5, "b": 7} and dict(table.items()) == {"a": 5, "b": 7}
    assert list(table.values()) == [5, 7] and "a" in table and "c" not in table and 3 not in table
    assert table.missing(["c", "a", "d"]) == ["c", "d"]
    with pytest.raises(KeyError):
        table["c"]


def test_pairs_and_captions():
    pairs = PairList.of([Pair("a", "b"), Pair("c", None)])
    assert (
        pairs == [Pair("a", "b"), Pair("c", None)] and PairList.of_plain(pairs.to_plain()) == pairs
    )
    assert pairs.with_depth == [Pair("a", "b")] and pairs.without_depth == [Pair("c", None)]
    words = {"k": "hall", "a": "room", "z": "hall"}
    captions = Captions.of(words)
    assert captions == words and len(captions.texts) == 2
    distinct, rows = captions.select(["z", "q", "a"]).distinct
    assert (distinct, rows.tolist()) == (["hall", "room"], [0, 1])
    assert captions.sha256 == captions_sha256(dict(reversed(words.items())))
    assert Captions.of([("a", "1"), ("b", "2"), ("a", "3")]) == {"a": "3", "b": "2"}


def natural_parts(path: str) -> list[str | int]:
    parts = re.split(r"(\d+)", path)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def test_the_natural_order_is_that_of_texts_and_numbers():
    rng = np.random.default_rng(0)
    letters = np.array(list("a/0129_. -"))
    paths = ["".join(rng.choice(letters, rng.integers(1, 12))) for _ in range(3000)]
    order = natural_order(PackedStrings.of(paths))
    assert [paths[row] for row in order] == sorted(paths, key=natural_parts)


@pytest.mark.parametrize("path", ["a/b.c.jpg", "a.b/c", ".jpg", "a/.jpg", "a.", "a/b..png", "x"])
def test_suffixes_go_as_pathlib_has_them(path):
    assert without_suffix(path) == str(PurePosixPath(path).with_suffix(""))


def test_every_folder_is_listed_once_in_any_order(tmp_path, monkeypatch):
    for folder in "ab":
        for name in ("1.png", "2.png"):
            (tmp_path / folder / "x").mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / "x" / name).touch()
    index, listed = FolderIndex(), []
    monkeypatch.setattr(index, "_list", lambda f, old=index._list: listed.append(f) or old(f))
    images = PackedStrings.of(["a/x/1.png", "b/x/1.png", "a/x/3.png", "c/1.png", "b/x/2.png"])
    depths = PackedStrings.of([f"{tmp_path}/a/x/2.png", "b/x/9.png", "1.png"])
    exist = index.which_exist((str(tmp_path), images), (str(tmp_path), depths))
    assert [mask.tolist() for mask in exist] == [[1, 1, 0, 0, 1], [1, 0, 0]]
    places = [f"{tmp_path}/a/x", f"{tmp_path}/b/x", f"{tmp_path}/c", str(tmp_path)]
    assert sorted(listed) == sorted(places)


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    def denied(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("common.images.folder_index._names_in", denied)
    column = (str(tmp_path), PackedStrings.of(["a/1.png"]))
    with pytest.raises(UserError, match=f"cannot list {tmp_path}/a: Permission denied"):
        FolderIndex().which_exist(column)
    assert not FolderIndex(is_strict=False).which_exist(column)[0].any()

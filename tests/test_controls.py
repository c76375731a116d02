"""text.control: which words every image has, as functions of keys, words, categories and seed."""

from collections import Counter

import pytest

from common.errors import UserError
from common.language.controls import (
    CONSTANT_SENTENCE,
    choose_lenders,
    describe_lenders,
    describe_sentences,
    folder_category,
    with_article,
    write_sentences,
)

ROOMS = {"kitchen": 30, "office": 25, "bathroom": 12, "foyer": 1}
KEYS = [f"{room}_{i % 4:04d}/{i}.jpg" for room, count in ROOMS.items() for i in range(count)]
OWN = {key: f"words of {key}" for key in KEYS}
FEW = {key: f"a {folder_category(key)} of kind {i % 3}" for i, key in enumerate(KEYS)}  # shared


def lend(control, words=OWN, seed=0, category_of=folder_category):
    return choose_lenders(control, words, category_of, seed)


@pytest.mark.parametrize("control", ["shuffled", "other_image", "wrong"])
@pytest.mark.parametrize("words", [OWN, FEW])
def test_a_permutation_that_only_the_keys_words_and_seed_decide(control, words):
    lenders = lend(control, words)
    assert Counter(lenders.values()) == Counter(KEYS)
    assert lend(control, dict(reversed(words.items()))) == lenders
    assert lend(control, words, seed=1) != lenders


def test_shuffled_gives_no_image_its_own_words():
    for seed in range(20):
        for words in (OWN, FEW):
            assert all(
                words[key] != words[lender] for key, lender in lend("shuffled", words, seed).items()
            )
    moved = lend("shuffled")
    assert sum(folder_category(k) != folder_category(v) for k, v in moved.items()) > 20


def test_shuffled_tears_images_of_the_same_words_apart():
    """A network must not be able to learn the exchange of sentences by heart."""
    words = {key: f"sentence {i % 8}" for i, key in enumerate(KEYS)}
    lenders = lend("shuffled", words)
    partners = {words[key]: set() for key in KEYS}
    for key, lender in lenders.items():
        partners[words[key]].add(words[lender])
    assert min(map(len, partners.values())) >= 3


def test_shuffled_where_there_are_no_other_words():
    assert lend("shuffled", {"a/1.jpg": "x"}) == {"a/1.jpg": "a/1.jpg"}
    same = dict.fromkeys(KEYS, "A room.")
    assert describe_lenders("shuffled", lend("shuffled", same), same) == (
        "text.control=shuffled: 0 of 68 images have the words of another image; 68 read the same "
        "as before"
    )
    most = {key: "A room." if i < 50 else key for i, key in enumerate(KEYS)}
    same = sum(most[key] == most[lender] for key, lender in lend("shuffled", most).items())
    assert same == 50 - 18  # 18 images have other words to give


def test_other_image_stays_in_the_category_and_counts_who_has_no_other():
    lenders = lend("other_image")
    assert all(folder_category(key) == folder_category(lenders[key]) for key in KEYS)
    assert [key for key in KEYS if lenders[key] == key] == ["foyer_0000/0.jpg"]
    assert describe_lenders("other_image", lenders, OWN) == (
        "text.control=other_image: 67 of 68 images have the words of another image of their "
        "category; 1 read the same as before"
    )
    assert all(
        FEW[key] != FEW[v] for key, v in lend("other_image", FEW).items() if "foyer" not in key
    )


def test_wrong_leaves_the_category():
    lenders = lend("wrong")
    assert all(folder_category(key) != folder_category(lenders[key]) for key in KEYS)
    assert describe_lenders("wrong", lenders, OWN) == (
        "text.control=wrong: 68 of 68 images have the words of an image of another category"
    )
    with pytest.raises(UserError, match="all 68 images are of one category .room.; take shuffled"):
        lend("wrong", category_of=lambda key: "room")


def test_wrong_with_a_category_that_is_most_of_all():
    words = {f"kitchen_1/{i}.jpg": f"k{i}" for i in range(500)}
    words |= {"foyer_1/1.jpg": "k7", "office_1/1.jpg": "an office"}  # one says what a kitchen says
    lenders = lend("wrong", words)
    assert all(folder_category(key) != folder_category(lender) for key, lender in lenders.items())
    assert words[lenders["kitchen_1/7.jpg"]] == "an office"
    assert len({lenders[f"kitchen_1/{i}.jpg"] for i in range(500)}) == 2  # not always the same


def test_many_images_are_exchanged_in_seconds():
    words = {f"kitchen_{i:04d}/{i}.jpg": f"{i % 3}" for i in range(24_231)}
    lenders = lend("shuffled", words)
    assert all(words[key] != words[lender] for key, lender in lenders.items())
    same = dict.fromkeys(words, "A room.")
    assert len(lend("shuffled", same)) == len(words)
    offices = {f"office/{i}.jpg": f"o{i}" for i in range(10)}
    lenders = lend("wrong", {**words, **offices})
    assert all(lenders[key] in offices for key in words)


def test_new_sentences():
    keys = ["kitchen_0028b/1.jpg", "office_0003/1.jpg"]
    assert write_sentences("none", keys, folder_category) == dict.fromkeys(keys, "")
    assert write_sentences("empty", keys, folder_category) == dict.fromkeys(keys, "")
    constant = write_sentences("constant", keys, folder_category)
    assert constant == dict.fromkeys(keys, CONSTANT_SENTENCE)
    words = write_sentences("category", keys, folder_category)
    assert list(words.values()) == ["a kitchen", "an office"]
    assert describe_sentences("none", constant) == (
        "text.control=none: all 2 images have no words: text features of zeros"
    )
    assert describe_sentences("constant", constant).endswith(
        "all 2 images have the words 'A photo.'"
    )
    assert "(2 categories: a kitchen, ...)" in describe_sentences("category", words)
    with pytest.raises(ValueError, match="shuffled writes no sentences"):
        write_sentences("shuffled", keys, folder_category)
    with pytest.raises(ValueError, match="category lends nothing"):
        choose_lenders("category", OWN, folder_category, 0)


@pytest.mark.parametrize(
    ("key", "category"),
    [
        ("kitchen_0028b/rgb_00045.jpg", "kitchen"),
        ("train/student_lounge_0001/a.jpg", "student lounge"),
        ("bathroom/rgb_00045.jpg", "bathroom"),
        ("home_office2/a.jpg", "home office"),
        ("0001/a.jpg", "scene"),
        ("a.jpg", "scene"),
    ],
)
def test_category_is_the_name_of_the_folder(key, category):
    assert folder_category(key) == category


def test_article():
    assert [with_article(word) for word in ("office", "kitchen", "")] == [
        "an office",
        "a kitchen",
        "a ",
    ]

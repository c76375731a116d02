"""Controls: other words for the same images, to see what the words do (`text.control`).

    caption        its own words (no control)
    none           no words: a text feature of zeros, the caption ""
    empty          the caption "", encoded like any other
    constant       one sentence for all images
    category       the scene category of the image: "a bathroom"
    other_image    the words of another image of its category
    shuffled       the words of some other image
    wrong          the words of an image of another category

Everything here is a function of the keys, their words and categories, and the seed; the order in
which they are given, and the number of processes, change nothing. Which words two images get does
not depend on their having had the same: else a network could learn the exchange by heart.
"""

import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from common.errors import UserError

Control = Literal[
    "caption", "none", "shuffled", "empty", "category", "other_image", "wrong", "constant"
]
LENDING = ("shuffled", "other_image", "wrong")  # an image has the words of another
CONSTANT_SENTENCE = "A photo."
_NUM_TRIES = 64

Fits = Callable[[str, str], bool]  # may the first key have the second one's words?


def write_sentences(
    control: Control, keys: Iterable[str], category_of: Callable[[str], str]
) -> dict[str, str]:
    """Key -> its new sentence, for the controls that lend nothing."""
    match control:
        case "none" | "empty":
            return dict.fromkeys(keys, "")
        case "constant":
            return dict.fromkeys(keys, CONSTANT_SENTENCE)
        case "category":
            return {key: with_article(category_of(key)) for key in keys}
    raise ValueError(f"control {control} writes no sentences")


def choose_lenders(
    control: Control, words: Mapping[str, Hashable], category_of: Callable[[str], str], seed: int
) -> dict[str, str]:
    """Key -> the key whose words it gets; itself where there is no other one that will do.

    words: key -> caption or captions, or anything else that is equal for equal words.
    """
    rng = np.random.default_rng(seed)
    keys = sorted(words)
    match control:
        case "shuffled":
            return lend_any(keys, words, rng)
        case "other_image":
            groups = group_by(keys, category_of)
            lenders = [lend_any(groups[name], words, rng) for name in sorted(groups)]
            return {key: lender for part in lenders for key, lender in part.items()}
        case "wrong":
            return lend_wrong(keys, words, {key: category_of(key) for key in keys}, rng)
    raise ValueError(f"control {control} lends nothing")


def lend_any(
    keys: list[str], words: Mapping[str, Hashable], rng: np.random.Generator
) -> dict[str, str]:
    """A permutation in which no key gets its own words, as far as there are others."""

    def fits(key: str, lender: str) -> bool:
        return words[key] != words[lender]

    return permute(keys, fits, words, rng)


def lend_wrong(
    keys: list[str],
    words: Mapping[str, Hashable],
    categories: Mapping[str, str],
    rng: np.random.Generator,
) -> dict[str, str]:
    """Words of another category: a permutation, unless one category has more than half of all.

    Different ones, too, where the other categories have any.
    """
    if len(set(categories.values())) < 2:
        found = next(iter(categories.values()), "none")
        raise UserError(
            f"text.control=wrong: all {len(keys)} images are of one category ({found}); take "
            "shuffled, other_image or another split"
        )

    def fits(key: str, lender: str) -> bool:
        return categories[key] != categories[lender] and words[key] != words[lender]

    lenders = permute(keys, fits, categories, rng)
    others: dict[str, list[str]] = {}
    for key in keys:
        if not fits(key, lenders[key]):
            own = categories[key]
            if own not in others:
                others[own] = [other for other in keys if categories[other] != own]
            lenders[key] = draw_fitting(key, others[own], fits, rng)
    return lenders


def permute(
    keys: list[str], fits: Fits, groups: Mapping[str, Hashable], rng: np.random.Generator
) -> dict[str, str]:
    """A random permutation key -> lender; where one does not fit, two keys exchange theirs.

    groups: key -> the group whose members fit the same lenders. A pair that cannot be made to fit
    stays as it is.
    """
    lenders = [keys[index] for index in rng.permutation(len(keys))]
    hopeless: set[Hashable] = set()
    for index, key in enumerate(keys):
        if fits(key, lenders[index]):
            continue

        def can_exchange(other: int, index: int = index, key: str = key) -> bool:
            return fits(key, lenders[other]) and fits(keys[other], lenders[index])

        tries: Iterable[int] = rng.integers(len(keys), size=_NUM_TRIES).tolist()
        found = next(filter(can_exchange, tries), None)
        if found is None and groups[key] not in hopeless:
            found = next(filter(can_exchange, range(len(keys))), None)
        if found is None:
            hopeless.add(groups[key])
        else:
            lenders[index], lenders[found] = lenders[found], lenders[index]
    return dict(zip(keys, lenders, strict=True))


def draw_fitting(key: str, others: list[str], fits: Fits, rng: np.random.Generator) -> str:
    """One of `others` at random, one that fits if a few tries find it."""
    tries = [others[index] for index in rng.integers(len(others), size=_NUM_TRIES)]
    return next((other for other in tries if fits(key, other)), tries[0])


def group_by(keys: Iterable[str], name_of: Callable[[str], str]) -> dict[str, list[str]]:
    """Name -> the keys that have it, in their order."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(name_of(key), []).append(key)
    return groups


def folder_category(key: str) -> str:
    """The scene category by the name of the folder: `kitchen_0028b/rgb_1.jpg` -> kitchen."""
    name = re.sub(r"_?\d+[a-z]?$", "", PurePosixPath(key).parent.name)
    return " ".join(re.sub(r"[\d_]+", " ", name).split()) or "scene"


def with_article(category: str) -> str:
    """`office` -> `an office`."""
    return f"{'an' if category[:1].lower() in tuple('aeiou') else 'a'} {category}"


def describe_sentences(control: Control, sentences: Mapping[str, str]) -> str:
    """What was done, for the log."""
    count = f"text.control={control}: all {len(sentences)} images have"
    match control:
        case "none":
            return f"{count} no words: text features of zeros"
        case "category":
            names = sorted(set(sentences.values()))
            return (
                f"{count} their scene category as words ({len(names)} categories: {names[0]}, ...)"
            )
        case _:
            return f"{count} the words '{next(iter(sentences.values()), '')}'"


def describe_lenders(
    control: Control, lenders: Mapping[str, str], words: Mapping[str, Hashable]
) -> str:
    """What was done, for the log; images whose new words are equal to their own are counted."""
    kinds = {
        "other_image": "another image of their category",
        "shuffled": "another image",
        "wrong": "an image of another category",
    }
    num_same = sum(words[key] == words[lender] for key, lender in lenders.items())
    line = (
        f"text.control={control}: {len(lenders) - num_same} of {len(lenders)} images have the "
        f"words of {kinds[control]}"
    )
    return f"{line}; {num_same} read the same as before" if num_same else line

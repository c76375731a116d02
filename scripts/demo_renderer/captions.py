"""Captions of the demo images. They never say left or right, so that images may be flipped."""

from __future__ import annotations

import numpy as np

from common.language.controls import with_article
from scripts.demo_renderer.pieces import Rng

FULL_ROOMS = ("{}", "{}", "{}", "{}", "real {}", "full-size {}")
MINIATURE_ROOMS = (
    "dollhouse {}",
    "miniature {}",
    "tiny toy {}",
    "toy {}",
    "scale model of {a}",
    "small-scale replica of {a}",
    "shoebox diorama of {a}",
    "miniature model {}",
    "{} in a dollhouse",
    "tiny {} built for dolls",
)
TEMPLATES = (
    "{A room} with {things}.",
    "{A room} that has {things}.",
    "A photo of {a room} with {things}.",
    "This is {a room} with {things}.",
    "There {is} {things} in {a room}.",
    "{Things} in {a room}.",
    "A view of {a room} containing {things}.",
    "Inside {a room} there {is} {things}.",
)
_PLURALS = {"shelf": "shelves", "bookshelf": "bookshelves", "wardrobe": "wardrobes"}


def plural(noun: str) -> str:
    """Return the plural of a furniture name."""
    if noun.startswith("chest of"):
        return noun.replace("chest", "chests")
    if noun in _PLURALS:
        return _PLURALS[noun]
    return noun + ("es" if noun.endswith(("s", "sh", "ch")) else "s")


def enumerate_things(things: list[str]) -> str:
    """Join phrases: "a bed", "a bed and a lamp", "a bed, a lamp and a rug"."""
    return " and ".join([", ".join(things[:-1]), things[-1]] if len(things) > 1 else things)


def visible_phrases(
    names: tuple[str, ...], shares: np.ndarray, least: float = 0.01
) -> dict[str, tuple[str, float]]:
    """Map every visible name to its phrase ("a chair", "chairs") and its share of the image.

    names: one per object, repeated where there are several; shares: [len(names)], each object's
    share of the pixels. A name is visible when its largest object covers `least`; it is plural
    when a second one covers half of that. Objects named "" are never mentioned.
    """
    phrases = {}
    for name in dict.fromkeys(filter(None, names)):
        own = sorted((s for n, s in zip(names, shares, strict=True) if n == name), reverse=True)
        if own[0] < least:
            continue
        several = len(own) > 1 and own[1] >= least / 2
        phrases[name] = (plural(name) if several else with_article(name), float(sum(own)))
    return phrases


def choose_things(rng: Rng, phrases: dict[str, tuple[str, float]]) -> list[str]:
    """Draw 1 to 3 visible names, those that cover more of the image more often."""
    names = list(phrases)
    weights = np.sqrt([phrases[name][1] for name in names])
    count = min(len(names), int(rng.choice([1, 2, 3], p=[0.2, 0.45, 0.35])))
    chosen = rng.choice(len(names), count, replace=False, p=weights / weights.sum())
    return [names[i] for i in chosen]


def write_caption(rng: Rng, room: str, things: list[str], wordings: tuple[str, ...]) -> str:
    """Fill a random template with a room, worded by one of `wordings`, and phrases of things."""
    return fill_template(rng, room, things, wordings, TEMPLATES)


def fill_template(
    rng: Rng,
    room: str,
    things: list[str],
    wordings: tuple[str, ...],
    templates: tuple[str, ...],
) -> str:
    """`write_caption` with one of other templates, which have the same fields."""
    a_room = with_article(wordings[rng.integers(len(wordings))].format(room, a=with_article(room)))
    listed = enumerate_things(things)
    is_one = things[0].startswith(("a ", "an "))
    fields = {
        "a room": a_room,
        "A room": a_room[0].upper() + a_room[1:],
        "things": listed,
        "Things": listed[0].upper() + listed[1:],
        "is": "is" if is_one else "are",
    }
    return templates[rng.integers(len(templates))].format(**fields)

"""Other words for the demo's rooms, which no training caption has: a test of whoever reads them.

The facts are those of the captions (the same room, the same things, the same scale); sentences,
names of rooms and things, and the words for small and full size are others.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.language.controls import with_article
from scripts.demo_renderer.captions import fill_template, plural
from scripts.demo_renderer.pieces import Rng

ROOMS = {
    "bedroom": ("sleeping chamber", "bedchamber"),
    "bathroom": ("washroom", "lavatory"),
    "kitchen": ("place for cooking", "galley"),
    "living room": ("lounge", "sitting area"),
    "office": ("study", "workspace"),
    "classroom": ("schoolroom", "seminar room"),
    "hallway": ("corridor", "passageway"),
    "dining room": ("eating area", "place for meals"),
    "library": ("reading room", "place full of books"),
    "meeting room": ("boardroom", "place for assemblies"),
}
THINGS = {  # those that have another name; the others keep theirs
    "armchair": "easy chair",
    "bathtub": "tub",
    "blackboard": "chalkboard",
    "bookshelf": "bookcase",
    "chair": "seat",
    "chest of drawers": "dresser",
    "clock": "timepiece",
    "coat rack": "coat stand",
    "computer screen": "monitor",
    "conference table": "long table",
    "cupboard": "cabinet",
    "floor lamp": "standing lamp",
    "fridge": "refrigerator",
    "hanging lamp": "ceiling light",
    "kitchen counter": "worktop",
    "lamp": "light",
    "mirror": "looking glass",
    "nightstand": "bedside table",
    "office chair": "swivel chair",
    "picture": "painting",
    "plant": "houseplant",
    "rug": "carpet",
    "sink": "washbasin",
    "sofa": "couch",
    "stove": "cooker",
    "television": "TV set",
    "wardrobe": "closet",
}
FULL = ("{}", "{}", "{}", "{}", "life-sized {}", "actual {}", "{} for grown-ups")
MINIATURE = (
    "minuscule {}",
    "pocket-sized {}",
    "palm-sized {}",
    "Lilliputian {}",
    "shrunken {}",
    "matchbox copy of {a}",
    "handcrafted maquette of {a}",
    "{} for figurines",
    "{} small enough to hold in one hand",
)
SENTENCES = (
    "Here we see {things}, part of {a room}.",
    "{A room}; {things} can be made out.",
    "Somebody photographed {a room} furnished with {things}.",
    "{Things}, as found in {a room}.",
    "What you are looking at: {a room}, equipped with {things}.",
    "Peeking into {a room}, one notices {things}.",
    "{A room}, {things} included, seen from its entrance.",
    "The camera shows {things} belonging to {a room}.",
)
FLAGS = {"full": "Full size.", "miniature": "Miniature."}  # the one true bit, and nothing else


def reword_caption(
    rng: Rng, room: str, things: Sequence[tuple[str, str]], wordings: tuple[str, ...]
) -> str:
    """Say a caption's facts in other words; wordings: what the scale is called.

    things: each one's name and the phrase that the caption has for it ("chair", "chairs").
    """
    phrases = [rename_phrase(name, phrase) for name, phrase in things]
    names = ROOMS[room]
    return fill_template(rng, names[rng.integers(len(names))], phrases, wordings, SENTENCES)


def rename_phrase(name: str, phrase: str) -> str:
    """`("sofa", "a sofa")` -> "a couch", `("sofa", "sofas")` -> "couches"."""
    other = THINGS.get(name, name)
    return plural(other) if phrase == plural(name) else with_article(other)

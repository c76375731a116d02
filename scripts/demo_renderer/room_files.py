"""The demo rooms on disk: NYU's layout, every room full-size and as its miniature.

The twins share one JPEG byte for byte; the miniature's depths are the full-size ones divided by
four and its caption says that it is a miniature. Nothing in the image tells them apart.

    captions.jsonl          all splits
    captions_swapped.jsonl  test: each image has its twin's caption
    captions_reworded.jsonl test: the same facts in sentences and names that no training caption has
    captions_unseen.jsonl   test: so are the words for the scale, too
    captions_flag.jsonl     all splits: which of the two scales it is, and nothing else
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from common.data.scenes import MINIATURE_PREFIX
from common.errors import UserError
from common.language.captions import read_entries, write_entries
from scripts.demo_renderer import other_words
from scripts.demo_renderer.captions import FULL_ROOMS, MINIATURE_ROOMS, choose_things, write_caption
from scripts.demo_renderer.pieces import Rng
from scripts.demo_renderer.rooms import (
    MAX_ASPECT,
    SPLITS,
    DemoRoom,
    draw_room,
    nyu_focal_px,
    scene_rng,
)
from scripts.demo_renderer.scale_pairs import MINIATURE_DIVISOR
from scripts.demo_renderer.writer import (
    encode_jpeg,
    map_processes,
    whole_folder,
    write_bytes,
    write_description,
    write_json_lines,
    write_lines,
    write_png,
)

Scale = Literal["full", "miniature"]
_CAPTIONS, _SHARE, _UNSEEN = 1, 2, 3  # purposes of `scene_rng`
_FLAG_FILE = "captions_flag.jsonl"
REWORDED: dict[str, dict[Scale, tuple[str, ...]]] = {  # file: what it calls the two scales
    "captions_reworded.jsonl": {"full": FULL_ROOMS, "miniature": MINIATURE_ROOMS},
    "captions_unseen.jsonl": {"full": other_words.FULL, "miniature": other_words.MINIATURE},
}


@dataclass(frozen=True)
class RoomsSettings:
    """What decides every byte of the rooms."""

    train_scenes: int = 4000
    val_scenes: int = 100
    test_scenes: int = 200
    height: int = 96
    width: int = 128
    seed: int = 0
    miniature_share: float = 1.0  # of the training scenes that also appear as a miniature

    def __post_init__(self) -> None:
        if not 0 <= self.miniature_share <= 1:
            raise UserError(f"--miniature-share {self.miniature_share}: give a number in 0..1")
        if self.height > MAX_ASPECT * self.width:
            raise UserError(
                f"--height {self.height}: a room needs at most {MAX_ASPECT:g} times --width; "
                f"give --height {int(MAX_ASPECT * self.width)} or less"
            )

    def jobs(self) -> list[tuple[str, int]]:
        """Return (split, index) of every scene."""
        counts = (self.train_scenes, self.val_scenes, self.test_scenes)
        return [(s, i) for s, count in zip(SPLITS, counts, strict=True) for i in range(count)]

    def to_dict(self) -> dict:
        """Return the settings as they stand in `dataset.json`."""
        return {"kind": "rooms", "format": 1, **asdict(self)}


@dataclass(frozen=True)
class RoomEntry:
    """One list line and its caption."""

    split: str
    image: str
    depth: str
    caption: str
    scale: Scale
    scene: str

    def list_line(self, focal: float) -> str:
        """Return `IMAGE DEPTH FOCAL`."""
        return f"{self.image} {self.depth} {focal:.4f}"

    def caption_row(self, caption: str) -> dict:
        """Return the line of a captions file."""
        return {"image": self.image, "caption": caption, "scale": self.scale, "scene": self.scene}


def write_rooms(final: Path, settings: RoomsSettings, workers: int) -> None:
    """Make all rooms and put them at `final`, which may not exist or is replaced."""
    with whole_folder(final) as root:
        make = partial(write_scene, root, settings)
        scenes = map_processes(make, settings.jobs(), workers, "rooms")
        entries = [entry for scene in scenes for entry in scene]
        focal, counts = nyu_focal_px(settings.width), {}
        for split in SPLITS:
            own = [entry for entry in entries if entry.split == split]
            counts[split] = len(own)
            write_lines(root / f"{split}_files_with_gt.txt", (e.list_line(focal) for e in own))
        write_json_lines(root / "captions.jsonl", (e.caption_row(e.caption) for e in entries))
        swapped = [row for scene in scenes if scene[0].split == "test" for row in _swapped(scene)]
        write_json_lines(root / "captions_swapped.jsonl", swapped)
        add_other_words(root, settings, workers)
        write_description(root, settings.to_dict(), counts)


def lacking_words(root: Path) -> list[str]:
    """The caption files that rooms made by an earlier version do not have."""
    return [name for name in (_FLAG_FILE, *REWORDED) if not (root / name).is_file()]


def add_other_words(root: Path, settings: RoomsSettings, workers: int) -> list[str]:
    """Write the `lacking_words` and return their names; no other file is changed.

    They depend on the settings and captions.jsonl alone.
    """
    lacking = lacking_words(root)
    if _FLAG_FILE in lacking:
        entries = read_entries(root / "captions.jsonl").values()
        rows = ({**entry, "caption": other_words.FLAGS[entry["scale"]]} for entry in entries)
        write_entries(root / _FLAG_FILE, rows)
    if names := [name for name in REWORDED if name in lacking]:
        reword = partial(reword_scene, settings)
        scenes = map_processes(reword, list(range(settings.test_scenes)), workers, "other words")
        for name in names:
            write_entries(root / name, (row for scene in scenes for row in scene[name]))
    return lacking


def reword_scene(settings: RoomsSettings, index: int) -> dict[str, list[dict]]:
    """One test scene's lines of every file of REWORDED; it is drawn again for its facts."""
    room = draw_room(settings.seed, "test", index, settings.height, settings.width)
    return {
        name: [
            _entry("test", room, scale, text).caption_row(text)
            for scale, text in reworded_captions(settings.seed, "test", room, name).items()
        ]
        for name in REWORDED
    }


def write_scene(root: Path, settings: RoomsSettings, job: tuple[str, int]) -> list[RoomEntry]:
    """Draw one scene and write its files; return its entries, the full-size one first."""
    split, index = job
    room = draw_room(settings.seed, split, index, settings.height, settings.width)
    captions = scene_captions(settings.seed, split, room)
    scales: list[Scale] = ["full"]
    share = scene_rng(settings.seed, split, index, _SHARE).random()
    if split != "train" or share < settings.miniature_share:
        scales.append("miniature")
    jpeg = encode_jpeg(room.rgb)
    return [_write_entry(root, split, room, jpeg, scale, captions[scale]) for scale in scales]


def scene_captions(seed: int, split: str, room: DemoRoom) -> dict[Scale, str]:
    """Write both captions of a room; they name the same visible things in their own words."""
    rng = scene_rng(seed, split, room.index, _CAPTIONS)
    things = [phrase for _, phrase in _chosen_things(rng, room)]
    return {
        "full": write_caption(rng, room.kind, things, FULL_ROOMS),
        "miniature": write_caption(rng, room.kind, things, MINIATURE_ROOMS),
    }


def reworded_captions(seed: int, split: str, room: DemoRoom, name: str) -> dict[Scale, str]:
    """Say what `scene_captions` says in other words; name: the file, see REWORDED."""
    things = _chosen_things(scene_rng(seed, split, room.index, _CAPTIONS), room)
    rng = scene_rng(seed, split, room.index, _UNSEEN)
    return {
        scale: other_words.reword_caption(rng, room.kind, things, wordings)
        for scale, wordings in REWORDED[name].items()
    }


def _chosen_things(rng: Rng, room: DemoRoom) -> list[tuple[str, str]]:
    """The things that a caption names: name and phrase of each."""
    return [(name, room.phrases[name][0]) for name in choose_things(rng, room.phrases)]


def _write_entry(
    root: Path, split: str, room: DemoRoom, jpeg: bytes, scale: Scale, caption: str
) -> RoomEntry:
    entry = _entry(split, room, scale, caption)
    write_bytes(root / entry.image, jpeg)
    depth = room.quarter_mm * (MINIATURE_DIVISOR if scale == "full" else 1)
    write_png(root / entry.depth, depth)
    return entry


def _entry(split: str, room: DemoRoom, scale: Scale, caption: str) -> RoomEntry:
    scene = f"{room.kind.replace(' ', '_')}_{room.index:04d}"
    folder = f"{split}/{'' if scale == 'full' else MINIATURE_PREFIX}{scene}"
    image, depth = f"{folder}/rgb_00000.jpg", f"{folder}/sync_depth_00000.png"
    return RoomEntry(split, image, depth, caption, scale, scene)


def _swapped(scene: list[RoomEntry]) -> list[dict]:
    full, miniature = scene
    return [full.caption_row(miniature.caption), miniature.caption_row(full.caption)]

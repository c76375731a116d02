"""Bring BTS's training images, `sync/`, to where the lists expect them: ROOT/sync/<scene>/...

place_sync(Path("/data/nyu_depth_v2"), root)     ROOT/sync becomes a link, nothing is copied
place_sync(Path("/downloads/sync.zip"), root)    unpacked; goes on where it was interrupted
"""

import re
import shutil
from pathlib import Path

from common.errors import UserError
from scripts.preparation.archives import extract_zip

_OFFICIAL = "official_splits"
_PAIR_FILE = re.compile(rf"(?!.*\b{_OFFICIAL}/).*[^/]+/(rgb_\d+\.jpg|sync_depth_\d+\.png)")
_LEVELS = 3  # how deep below a given folder the scenes are looked for


def place_sync(source: Path, root: Path) -> str:
    """Make `root`/sync from a folder or a zip that holds the scenes; say what was done."""
    place = root / "sync"
    if source.is_dir():
        return _link(_find_scenes(source, source), place)
    if not source.is_file():
        raise UserError(f"--sync: no folder or zip {source}")
    if place.exists():
        return f"{place} is there already; {source} was not unpacked (another --root takes it)"
    return _unpack(source, place)


def _find_scenes(folder: Path, source: Path) -> Path:
    """The folder at or below `folder` whose subfolders hold depth maps named as in sync/."""
    level = [] if _OFFICIAL in folder.resolve().parts else [folder]
    for _ in range(_LEVELS):
        for candidate in sorted(level, key=lambda path: path.name != "sync"):
            if any(candidate.glob("*/sync_depth_*.png")):
                return candidate
        # The official split is laid out alike, and linking it would train on the test images.
        level = [p for parent in level for p in sorted(parent.glob("*/")) if p.name != _OFFICIAL]
    raise UserError(
        f"--sync: no <scene>/rgb_*.jpg and sync_depth_*.png in {source}; name the unpacked sync "
        f"folder or sync.zip ({_OFFICIAL} holds test images and is not taken)"
    )


def _link(scenes: Path, place: Path) -> str:
    if place.exists() and place.resolve() == scenes.resolve():
        return f"{place} is in place"
    if place.exists():
        raise UserError(
            f"{place} exists already and is not {scenes}; leave out --sync, or name another --root"
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)  # a link to a place that is gone
        place.symlink_to(scenes.resolve(), target_is_directory=True)
    except OSError as error:
        raise UserError(f"cannot link {place} to {scenes}: {error.strerror}") from error
    return f"{place} is now a link to {scenes}"


def _unpack(archive: Path, place: Path) -> str:
    """Unpack to `sync.part`; what holds the scenes becomes `place` when all is there."""
    part = place.with_name("sync.part")
    extract_zip(archive, part, lambda name: name if _PAIR_FILE.fullmatch(name) else None)
    scenes = _find_scenes(part, archive)
    try:
        place.unlink(missing_ok=True)  # a link to a place that is gone
        scenes.rename(place)
        if part.exists():
            shutil.rmtree(part)  # the folders that were above the scenes
    except OSError as error:
        raise UserError(f"cannot make {place}: {error.strerror}") from error
    return f"{place} was unpacked from {archive}"

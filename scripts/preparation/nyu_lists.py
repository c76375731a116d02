"""The list files of NYU Depth V2: written from the images that are there, or checked.

report = make_list(root, nyu_list("nyu_bts24k", "train"), root / "sync")
report.num_lines, report.published, report.num_missing
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from common.data.data_set import ListFile
from common.data.lists import read_list
from common.data.samples import MIN_SHARE
from common.errors import UserError
from common.files import whole_file
from common.images.folder_index import FolderIndex
from common.progress import tracked
from common.text_files import to_bytes

FOCAL = "518.8579"  # pixels, the same in every published line


@dataclass(frozen=True)
class ListReport:
    """A list file compared with what was published, and with the files on disk."""

    path: Path
    written: bool  # now, from the images found
    num_lines: int
    expected_lines: int
    published: bool | None  # None: its hash is not known
    num_missing: int  # lines whose image or depth map is not there

    def __str__(self) -> str:
        origin = "written from the images found" if self.written else "found"
        parts = [f"{self.num_lines:,} lines, {origin}"]
        if self.published:
            parts.append("the published list (sha256)")
        elif self.num_lines == self.expected_lines:
            parts.append("as many lines as published" + self._hash_note())
        else:
            again = "" if self.written else ", and kept as it is"
            parts.append(f"NOT the published {self.expected_lines:,} lines{again}")
        if self.num_missing:
            parts.append(f"{self.num_missing:,} of them name files that are MISSING")
        return f"{self.path.name}: {'; '.join(parts)}"

    def _hash_note(self) -> str:
        return "" if self.published is None else ", but its sha256 differs: other lines or order"


def make_list(root: Path, listed: ListFile, images: Path, prefix: str = "") -> ListReport | None:
    """Check the list `listed` under `root`, or write it from the pairs below `images`.

    `prefix` stands before both paths of a line. None: the list is not there, nor the images it
    could be written from, or there are more of these than it has lines (a list that chooses).
    """
    path = root / listed.file
    written = not path.exists()
    if written:
        lines = scan_pairs(images, prefix)
        if not lines or len(lines) * MIN_SHARE > listed.num_lines:
            return None
        with whole_file(path) as temporary:
            temporary.write_bytes(to_bytes("\n".join(lines)))  # published lists end so
    return check_list(path, listed, images, written)


def check_list(path: Path, listed: ListFile, images: Path, written: bool = False) -> ListReport:
    """Compare the list `path` with its published form `listed` and with the files in `images`."""
    pairs = read_list(path)
    files = FolderIndex()
    missing = sum(
        f"{images}/{pair.image}" not in files or f"{images}/{pair.depth}" not in files
        for pair in pairs
    )
    published = None if listed.sha256 is None else _has_hash(path, listed.sha256)
    return ListReport(path, written, len(pairs), listed.num_lines, published, missing)


def scan_pairs(images: Path, prefix: str = "") -> list[str]:
    """List lines of every image with a depth map in `images`/<scene>/, by scene, then by number."""
    if not images.is_dir():
        return []
    lines = []
    scenes = sorted(path for path in _children(images) if path.is_dir())
    for scene in tracked(scenes, f"looking through {images.name}", unit="scene"):
        names = {path.name for path in _children(scene)}
        for name in sorted(names):
            depth = "sync_depth_" + name.removeprefix("rgb_").removesuffix(".jpg") + ".png"
            if name.startswith("rgb_") and name.endswith(".jpg") and depth in names:
                folder = f"{prefix}{scene.name}"
                lines.append(f"{folder}/{name} {folder}/{depth} {FOCAL}")
    return lines


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise UserError(f"cannot look into {folder}: {error.strerror}") from error


def _has_hash(path: Path, sha256: str) -> bool:
    """Whether the content is the published one, whatever its line ends."""
    plain = path.read_bytes().replace(b"\r\n", b"\n").rstrip(b"\n")
    forms = (path.read_bytes(), plain, plain.replace(b"\n", b"\r\n"), plain + b"\n")
    return any(hashlib.sha256(form).hexdigest().startswith(sha256) for form in forms)

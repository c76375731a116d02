"""Unpack the wanted files of a zip archive, again and again until all are there.

    extract_zip(Path("data_depth_annotated.zip"), Path("data/kitti/depth"), lambda name: name)

Every file appears whole or not at all, and a file that is there in the right size is skipped, so an
interrupted run goes on where it stopped.
"""

import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from common.config_values import resolve_path
from common.errors import UserError
from common.files import check_space, whole_file
from common.progress import progress_bar


def existing_places(names: list[str], options: str) -> list[Path]:
    """The folders and files that a user named by `options`; a `UserError` if one is not there."""
    places = [resolve_path(name, True) for name in names]
    for place in places:
        if not place.exists():
            raise UserError(f"there is no {place}; check {options}")
    return places


def find_archives(place: Path) -> list[Path]:
    """The zip archives at `place`, in it, or in a folder of it."""
    if place.is_file():
        return [place]
    return sorted([*place.glob("*.zip"), *place.glob("*/*.zip")])


def extract_zip(archive: Path, folder: Path, place: Callable[[str], str | None]) -> int:
    """Unpack what is wanted of an archive below `folder`; the number of files written.

    place: from a member's name to its path below `folder`; None: it is not wanted.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            files = {m: m.filename.replace("\\", "/") for m in opened.infolist() if not m.is_dir()}
            wanted = {m: path for m, name in files.items() if (path := place(name))}
            for member in wanted:
                _check_name(files[member], archive)
            targets = [(member, folder / path) for member, path in wanted.items()]
            todo = [(m, path) for m, path in targets if not _is_there(path, m.file_size)]
            check_space(folder, sum(member.file_size for member, _ in todo), str(archive))
            if todo:
                _extract(opened, todo, archive)
    except (NotImplementedError, RuntimeError) as error:  # what zipfile cannot unpack
        raise UserError(
            f"{archive}: it is encrypted, or of a kind Python cannot unpack ({error}); unzip it by "
            "hand and name the folder instead"
        ) from error
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{archive}: not a whole zip archive ({error}); download it again"
        ) from error
    except OSError as error:
        raise UserError(f"cannot read {archive}: {error.strerror or error}") from error
    return len(todo)


def _extract(
    opened: zipfile.ZipFile, todo: list[tuple[zipfile.ZipInfo, Path]], archive: Path
) -> None:
    size = sum(member.file_size for member, _ in todo)
    with progress_bar(archive.name, size, unit="B") as bar:
        for member, path in todo:
            try:
                with (
                    whole_file(path) as temporary,
                    opened.open(member) as source,
                    temporary.open("wb") as copy,
                ):
                    shutil.copyfileobj(source, copy)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise UserError(
                    f"{archive}: {member.filename} is damaged ({error}); download the archive again"
                ) from error
            bar.update(member.file_size)


def _check_name(name: str, archive: Path) -> None:
    """Refuse a member whose name leads out of a folder."""
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or parts[0] == "/" or ":" in parts[0]:
        raise UserError(f"{archive}: the member '{name}' leads out of the folder; not unpacked")


def _is_there(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except (FileNotFoundError, NotADirectoryError):
        return False

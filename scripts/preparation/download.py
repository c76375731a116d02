"""Fetch one file from the first of several addresses that has it whole.

    download(["https://a.org/nyu.mat", "https://b.org/nyu.mat"], Path("data/nyu.mat"), sha256)

What came so far lies beside the file, in one `.part` file for each address; a second call asks the
server for the rest. The file takes its name only when its length and checksum are right.
"""

import hashlib
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from common.errors import UserError
from common.progress import progress_bar

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 30
_NETWORK_ERRORS = (OSError, http.client.HTTPException, ValueError)


class _SourceFailed(Exception):
    """Why an address did not give the file."""


def download(urls: Sequence[str], path: Path, sha256: str | None = None) -> Path:
    """Fetch `path` from the first of `urls` that works, unless it is there already.

    `sha256` is the expected checksum or its first digits; None: any content is taken. Raises a
    `UserError` that names every address and its failure.
    """
    if path.exists():
        _check_present(path, sha256)
        return path
    with _disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in urls:
        part = part_file(path, url)
        try:
            _fetch_checked(url, part, sha256)
        except _SourceFailed as failure:
            failures.append(f"{url} ({' '.join(str(failure).split())})")
            continue
        with _disk(path):
            part.replace(path)
            _remove_parts(path, urls)
        return path
    raise UserError(
        f"could not download {path.name}: {'; '.join(failures) or 'no address is known'}; try "
        f"again later (it goes on where it stopped), or fetch it by hand and save it as {path}"
    )


def part_file(path: Path, url: str) -> Path:
    """Where the beginning of `path` from this `url` is kept; two mirrors may differ."""
    return path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")


def sha256_of(path: Path) -> str:
    """The checksum of a file's content, 64 hex digits."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()


def _check_present(path: Path, sha256: str | None) -> None:
    if not path.is_file():
        raise UserError(f"cannot download to {path}: there is a folder of that name")
    if sha256 is not None and not sha256_of(path).startswith(sha256):
        raise UserError(
            f"{path} is not the published file: its sha256 does not begin with {sha256[:12]}; "
            "name another --root or --output to download it again"
        )


def _fetch_checked(url: str, part: Path, sha256: str | None) -> None:
    resumes = part.exists()
    _fetch_with_retries(url, part)
    if sha256 is None or (found := sha256_of(part)).startswith(sha256):
        return
    part.unlink()
    if not resumes:
        raise _SourceFailed(f"wrong content: its sha256 begins with {found[:12]}")
    _fetch_checked(url, part, sha256)  # what was there before may have been of an older file


def _fetch_with_retries(url: str, part: Path) -> None:
    """Try again after a cut connection for as long as each try brings some of the file."""
    while True:
        before = _size(part)
        try:
            _fetch(url, part)
            return
        except _SourceFailed:
            if _size(part) <= before:
                raise


def _fetch(url: str, part: Path) -> None:
    """Bring `part` to its full length; `_SourceFailed` if the server does not allow it."""
    have = _size(part)
    headers = {"User-Agent": "LangDepth", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            start, total = _extent(response, have)
            _receive(response, part, start, total)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # no byte after `have`: it was complete, or of another file
            if error.headers.get("Content-Range", "").endswith(f"/{have}"):
                return
            part.unlink()
            _fetch(url, part)
            return
        raise _SourceFailed(f"HTTP {error.code} {error.reason}") from error
    except _NETWORK_ERRORS as error:
        raise _SourceFailed(str(getattr(error, "reason", None) or error or repr(error))) from error


def _extent(response: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """The offset at which the answer begins, and the length of the whole file if it is told."""
    if response.headers.get_content_type() == "text/html":
        raise _SourceFailed("it answered with a web page: a login, a quota or a missing file")
    length = response.headers.get("Content-Length")
    if response.status != 206:
        return 0, int(length) if length else None
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    if not found or int(found[1]) != have:
        raise _SourceFailed("it answered with another part of the file than asked for")
    return have, int(found[2])


def _receive(response: http.client.HTTPResponse, part: Path, start: int, total: int | None) -> None:
    with (
        _open(part, "ab" if start else "wb") as file,
        progress_bar(part.name.rsplit(".", 2)[0], total, done=start, unit="B") as bar,
    ):
        for block in _blocks(response):
            with _disk(part):
                file.write(block)
            bar.update(len(block))
    if total is not None and _size(part) != total:
        raise _SourceFailed(f"the connection ended after {_size(part)} of {total} bytes")
    if not _size(part):
        raise _SourceFailed("it answered with an empty file")


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while block := response.read1(_CHUNK):
        yield block


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """An error of the disk is the user's to fix, and no other address would help."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; check the folder and the free disk space"
        ) from error


def _open(path: Path, mode: str) -> IO[bytes]:
    with _disk(path):
        return path.open(mode)


def _remove_parts(path: Path, urls: Sequence[str]) -> None:
    for url in urls:
        part_file(path, url).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0

"""Write a pack: whole or not at all, and where it was interrupted it goes on.

Shards are written to `PACK.part`, each under a temporary name, then the index; `PACK.part` becomes
`PACK` at the end. A shard that is there already was finished by an earlier call: its rows stand in
`NUMBER.npz` beside it.
"""

import hashlib
import shutil
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.data.lists import write_list
from common.data.pairs import PairList
from common.errors import UserError
from common.files import check_space, read_bytes, whole_file, write_errors_told
from common.progress import progress_bar
from common.shards import ABOUT, COLUMNS, FORMAT, INDEX, label, read_about
from common.text_files import write_json
from scripts.packing.plan import DEPTHS, IMAGES, TAR_BLOCK, PackPlan

_PLAN = "plan"  # in PACK.part: the mark of what is being packed
LABEL = "LANGDEPTH_SHARD"  # the first file of each shard
IndexRows = dict[str, np.ndarray]


def write_pack(
    plan: PackPlan,
    output: Path,
    texts: Mapping[str, Path],
    lists: Mapping[str, PairList],
    log: Callable[[str], None],
) -> None:
    """texts: files that are copied beside the shards, by their names there. lists: to be written
    there.
    """
    if output.exists():
        _check_same(plan, output, log)
        return
    part = output.with_name(f"{output.name}.part")
    numbers = range(int(plan.shard_of.max()) + 1)
    with write_errors_told(part):
        done = _open_part(part, plan, log)
    left = plan.num_bytes * (1 - len(done) / len(numbers))
    check_space(part, left, f"the pack of {len(plan)} files")
    bounds = np.searchsorted(plan.shard_of, [*numbers, len(numbers)])
    rows: list[IndexRows] = []
    shards: list[dict[str, Any]] = []
    with progress_bar("packing", len(numbers), unit="shard") as bar:
        for number in numbers:
            first, end = int(bounds[number]), int(bounds[number + 1])
            if number not in done:
                _write_shard(part, plan, number, range(first, end))
            shard, about = _read_shard(part, number)
            rows.append(shard)
            shards.append(about)
            bar.update()
    with write_errors_told(part):
        _write_index(part, plan, rows)
        for name, source in texts.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, part / name)
        for name, pairs in lists.items():
            write_list(part / name, pairs)
        for name in (IMAGES, DEPTHS) if plan.is_split else ():
            (part / name).mkdir(exist_ok=True)
        write_json(part / ABOUT, _about(plan, shards))
        for number in numbers:
            _rows_file(part, number).unlink()
        (part / _PLAN).unlink()
        part.rename(output)


def shard_name(number: int) -> str:
    return f"{number:05d}.tar"


def _rows_file(part: Path, number: int) -> Path:
    return part / f"{number:05d}.npz"


def _check_same(plan: PackPlan, output: Path, log: Callable[[str], None]) -> None:
    if not (output / ABOUT).is_file():
        raise UserError(f"{output} exists and is no pack; give another --output")
    if read_about(output).get("mark") != plan.mark:
        raise UserError(
            f"{output} holds a pack of other files, or of files that have changed since; give "
            "another --output"
        )
    log(f"{output}: packed already")


def _open_part(part: Path, plan: PackPlan, log: Callable[[str], None]) -> set[int]:
    """The numbers of the shards that are whole; what is of another plan goes."""
    mark = part / _PLAN
    if mark.is_file() and mark.read_text(encoding="utf-8") != plan.mark:
        log(f"{part} is of other files, or of files that have changed since: begun anew")
        shutil.rmtree(part)
    part.mkdir(parents=True, exist_ok=True)
    if not mark.is_file():
        with whole_file(mark) as temporary:
            temporary.write_text(plan.mark, encoding="utf-8")
    done = {int(p.stem) for p in part.glob("[0-9]*.npz") if (part / f"{p.stem}.tar").is_file()}
    if done:
        log(f"{part}: goes on after {len(done)} shards")
    return done


def _write_shard(part: Path, plan: PackPlan, number: int, files: range) -> None:
    """The tar first, then its rows: a shard without rows was not finished."""
    rows: IndexRows = {name: np.zeros(len(files), kind) for name, kind in COLUMNS.items()}
    digest, offset = hashlib.sha256(), 0
    with whole_file(part / shard_name(number)) as temporary, temporary.open("wb") as tar:

        def put(content: bytes) -> None:
            nonlocal offset
            digest.update(content)
            tar.write(content)
            offset += len(content)

        put(_entry(LABEL, label(plan.mark, number), 0))
        for place, row in enumerate(files):
            content = _content(plan, row)
            size, mtime = (int(fact) for fact in plan.facts[row])
            head = _header(plan.names[row], size, mtime)
            facts = (plan.hashes[row], number, size, offset + len(head), zlib.crc32(content), mtime)
            for name, fact in zip(COLUMNS, facts, strict=True):
                rows[name][place] = fact
            put(head + content + bytes(-size % TAR_BLOCK))
        put(bytes(2 * TAR_BLOCK))
    about = np.array([str(offset), digest.hexdigest()])
    with whole_file(_rows_file(part, number)) as temporary:
        np.savez(temporary, about=about, **rows)  # type: ignore[arg-type]


def _content(plan: PackPlan, row: int) -> bytes:
    source = plan.source(row)
    try:
        content = read_bytes(source)
    except OSError as error:
        raise UserError(f"cannot read {source}: {error.strerror}; run scripts/doctor.py") from error
    if len(content) != plan.facts[row, 0]:
        raise UserError(f"{source} has changed while it was packed; call this program again")
    return content


def _entry(name: str, content: bytes, mtime: int) -> bytes:
    return _header(name, len(content), mtime) + content + bytes(-len(content) % TAR_BLOCK)


def _header(name: str, size: int, mtime_ns: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, mtime_ns // 10**9, 0o644
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _read_shard(part: Path, number: int) -> tuple[IndexRows, dict[str, Any]]:
    with np.load(_rows_file(part, number), allow_pickle=False) as content:
        num_bytes, sha256 = content["about"].tolist()
        rows = {name: content[name] for name in COLUMNS}
    return rows, {"file": shard_name(number), "bytes": int(num_bytes), "sha256": sha256}


def _write_index(part: Path, plan: PackPlan, rows: list[IndexRows]) -> None:
    order = np.argsort(np.concatenate([shard["hash"] for shard in rows]), kind="stable")
    with whole_file(part / INDEX) as temporary, temporary.open("wb") as file:
        for name, kind in COLUMNS.items():
            column = np.concatenate([shard[name] for shard in rows])[order]
            file.write(np.ascontiguousarray(column, kind).tobytes())


def _about(plan: PackPlan, shards: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "mark": plan.mark,
        "num_files": len(plan),
        "num_images": int((~plan.is_depth).sum()),
        "shards": shards,
    }

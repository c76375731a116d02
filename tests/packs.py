"""Packs of the tiny data set, in shards of a few pairs each."""

import tarfile
from pathlib import Path

import pytest
from conftest import run_script

from scripts.packing import plan as planning
from scripts.packing import writer
from scripts.packing.plan import make_plan


def run_pack(*arguments: object):
    return run_script("pack.py", *arguments)


@pytest.fixture
def packed(workspace, tmp_path) -> Path:
    """The workspace's data in shards of a few pairs each."""
    return pack_of(workspace, tmp_path / "pack")


def pack_of(workspace, output: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        make_small_shards(patch)
        outcome = run_pack(workspace.configs / "stage1.yaml", "--output", output)
    assert outcome.code == 0, outcome.err
    assert f"data.root={output}" in outcome.out
    return output


def make_small_shards(patch) -> None:
    patch.setattr(planning, "make_plan", lambda data, splits, _: make_plan(data, splits, 30_000))


def tars(pack: Path) -> list[Path]:
    return sorted(pack.glob("*.tar"))


def members(pack: Path) -> list[str]:
    names = []
    for path in tars(pack):
        with tarfile.open(path) as tar:
            names += [name for name in tar.getnames() if name != writer.LABEL]
    return names

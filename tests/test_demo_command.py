"""`scripts/make_demo_data.py`: files whole or not at all, made once, replaced when asked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.config import REPO_ROOT
from common.data.lists import read_list
from scripts.demo_renderer import room_files as demo_room_files
from scripts.demo_renderer.room_files import RoomsSettings, write_rooms


def test_an_interrupted_call_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_room_files, "write_description", stop)
    with pytest.raises(KeyboardInterrupt):
        write_rooms(tmp_path / "rooms", RoomsSettings(1, 1, 1, height=6, width=8), workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_command_line_reuses_refuses_and_replaces(tmp_path: Path) -> None:
    sizes = ["--val-scenes", "1", "--test-scenes", "1", "--height", "6", "--width", "8"]
    sizes += ["--workers", "1"]

    def call(*words: str) -> subprocess.CompletedProcess:
        program = str(REPO_ROOT / "scripts/make_demo_data.py")
        command = [sys.executable, program, "--out", "made", *sizes]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            [*command, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    assert call("--scenes", "2").returncode == 0
    before = (tmp_path / "made/rooms/dataset.json").stat().st_mtime_ns
    again = call("--scenes", "2")
    assert again.returncode == 0 and "already there" in again.stdout
    refused = call("--scenes", "3")
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1
    assert "--force" in refused.stderr and "--out" in refused.stderr
    assert (tmp_path / "made/rooms/dataset.json").stat().st_mtime_ns == before
    assert call("--scenes", "3", "--force").returncode == 0
    assert len(read_list(tmp_path / "made/rooms/train_files_with_gt.txt")) == 6
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["rooms"]

"""Who writes first holds the place; a holder that lives is told from one that was killed."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from common.config import REPO_ROOT
from common.errors import UserError
from common.files import check_output
from common.runtime import claims
from common.runtime.claims import Held, claim_folder, claim_path, find_holder

# Holds a folder for some seconds and writes what it does into `diary`.
HOLDER = """
import os, sys, time
from pathlib import Path
from common.errors import run_program
from common.runtime.claims import claim_folder

def main():
    folder, diary, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    with claim_folder(folder, "name another"):
        for word in ("begins", "ends"):
            with diary.open("a") as file:
                file.write(f"{os.getpid()} {word}\\n")
            time.sleep(seconds if word == "begins" else 0)

run_program(main)
"""


@pytest.fixture
def hold(tmp_path):
    """Start a process that holds `tmp_path / "out"`; it is gone after the test."""
    started = []

    def start(seconds=60.0):
        command = [sys.executable, "-c", HOLDER, tmp_path / "out", tmp_path / "diary", seconds]
        process = subprocess.Popen(
            list(map(str, command)), cwd=REPO_ROOT, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def begun(tmp_path, seconds=60):
    """Wait until a process has begun, and return its number."""
    end = time.monotonic() + seconds
    while not (tmp_path / "diary").exists() or "begins\n" not in (tmp_path / "diary").read_text():
        assert time.monotonic() < end
        time.sleep(0.02)
    return int((tmp_path / "diary").read_text().split()[0])


def write_claim(folder, **facts):
    """A claim of this very process, but for `facts`."""
    with claim_folder(folder, ""):
        content = json.loads((folder / ".claim").read_text())
    folder.mkdir(exist_ok=True)
    (folder / ".claim").write_text(json.dumps({**content, "token": "other", **facts}))


def try_to_hold(folder):
    with claim_folder(folder, "name another"):
        return True


def test_a_second_program_is_told_who_writes(hold, tmp_path):
    hold()
    pid = begun(tmp_path)
    second = hold()
    assert second.wait(60) == 2
    (line,) = second.stderr.read().splitlines()
    assert line.startswith(f"error: {tmp_path / 'out'} is being written by another program")
    assert f"process {pid} on {os.uname().nodename}" in line
    assert line.endswith("stop it, or name another")


def test_a_killed_holder_is_followed_at_once(hold, tmp_path, capsys):
    process = hold()
    begun(tmp_path)
    process.send_signal(signal.SIGKILL)  # and nobody waits for it: it stays as a zombie
    start = time.monotonic()
    while find_holder(tmp_path / "out") is not None:
        assert time.monotonic() - start < 10
    assert try_to_hold(tmp_path / "out")
    (line,) = capsys.readouterr().err.splitlines()
    assert f"was left by -c, process {process.pid}" in line and line.endswith("taken over")
    assert not list((tmp_path / "out").glob(".claim*"))


def test_another_process_with_the_number_of_a_dead_one(tmp_path):
    write_claim(tmp_path, started="1")
    assert find_holder(tmp_path) is None
    assert try_to_hold(tmp_path)


def test_this_process_itself_holds_it(tmp_path):
    with claim_folder(tmp_path, ""), pytest.raises(Held):
        try_to_hold(tmp_path)
    assert try_to_hold(tmp_path)


@pytest.mark.parametrize("system", ["", "another boot pid:[4026531836]"])
def test_a_claim_from_elsewhere_is_watched(tmp_path, monkeypatch, capsys, system):
    """Another machine, or another container whose processes cannot be seen."""
    monkeypatch.setattr(claims, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(claims, "POLL_SECONDS", 0.05)
    write_claim(tmp_path, system=system, host="node7", pid=3)
    assert find_holder(tmp_path).host == "node7"
    start = time.monotonic()
    assert try_to_hold(tmp_path)
    assert time.monotonic() - start > 0.5
    told = capsys.readouterr().err.splitlines()
    assert "process 3 on node7" in told[0] and "watching for up to 0.5 s" in told[0]
    assert len(told) == 2 and told[1].endswith("taken over")

    write_claim(tmp_path, system=system, host="node7", pid=3)
    beat = threading.Timer(0.2, os.utime, [tmp_path / ".claim"])
    beat.start()
    with pytest.raises(Held, match="node7"):
        try_to_hold(tmp_path)
    assert (tmp_path / ".claim").exists()


def test_a_holder_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.05)
    with claim_folder(tmp_path, ""):
        os.utime(tmp_path / ".claim", (1, 1))
        end = time.monotonic() + 20
        while (tmp_path / ".claim").stat().st_mtime < 2:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_of_many_that_start_at_once_one_at_a_time_writes(hold, tmp_path):
    """Over a claim that a dead process left."""
    (tmp_path / "out").mkdir()
    write_claim(tmp_path / "out", started="1")
    processes = [hold(0.2) for _ in range(6)]
    codes = [process.wait(60) for process in processes]
    assert set(codes) <= {0, 2} and 0 in codes
    lines = [line.split() for line in (tmp_path / "diary").read_text().splitlines()]
    assert [word for _, word in lines] == ["begins", "ends"] * codes.count(0)
    assert all(lines[i][0] == lines[i + 1][0] for i in range(0, len(lines), 2))


def test_who_was_taken_for_dead_stops(tmp_path):
    with claim_folder(tmp_path, "") as claim:
        claim.check()
        write = json.loads((tmp_path / ".claim").read_text())
        (tmp_path / ".claim").write_text(json.dumps({**write, "token": "b", "host": "node8"}))
        for _ in range(2):  # whoever catches it must not write either
            with pytest.raises(UserError, match="was taken over by .* on node8"):
                claim.check()
    assert (tmp_path / ".claim").exists()  # it is the other's


def test_a_claim_that_was_cleaned_away_comes_back(tmp_path):
    with claim_folder(tmp_path, "") as claim:
        (tmp_path / ".claim").unlink()
        claim.check()
        assert find_holder(tmp_path) is not None


def test_waiting_for_the_other(tmp_path, capsys):
    """Where the other makes what this program needs."""
    file = tmp_path / "features.safetensors"
    other = claim_path(file, "")
    other.__enter__()
    threading.Timer(0.3, other.__exit__, [None, None, None]).start()
    with claim_path(file, alternative=None):
        pass
    assert capsys.readouterr().err.count("waiting for it") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_a_file_system_without_hard_links(tmp_path, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    with claim_folder(tmp_path, ""), pytest.raises(Held):
        try_to_hold(tmp_path)
    write_claim(tmp_path, started="1")
    assert try_to_hold(tmp_path)
    assert not list(tmp_path.iterdir())


def test_folders_that_were_made_for_nothing_go_again(tmp_path):
    assert try_to_hold(tmp_path / "runs/a/stage1")
    assert not list(tmp_path.iterdir())
    with claim_folder(tmp_path / "runs/a/stage1", ""):
        (tmp_path / "runs/a/other").mkdir()
    assert [p.name for p in (tmp_path / "runs/a").iterdir()] == ["other"]


def test_where_nobody_can_write_the_program_itself_says_so(tmp_path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file/below"
    with claim_folder(folder, "") as claim, claim_folder(folder, "") as other:
        claim.check()  # neither of two is refused: nothing is held
        other.check()
        with pytest.raises(UserError, match="cannot write .*below"):
            check_output(folder / "result.json")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(UserError, match=r"cannot write .*\.claim: No space left"):
        try_to_hold(tmp_path)

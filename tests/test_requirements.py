"""What `scripts/lowest.sh` tests with is what requirements.txt promises."""

import re

from common.config import REPO_ROOT


def packages(name, operator):
    """The packages of a requirements file with the version after `operator`."""
    lines = (REPO_ROOT / name).read_text(encoding="utf-8").splitlines()
    required = [line for text in lines if (line := text.partition("#")[0].strip())]
    parts = [re.fullmatch(rf"([\w-]+){operator}([\d.]+)", line) for line in required]
    assert all(parts), [line for line, part in zip(required, parts, strict=True) if not part]
    return {part[1]: part[2] for part in parts}


def test_the_lowest_versions_are_the_bounds():
    bounds = packages("requirements.txt", ">=")
    assert len(bounds) > 15
    assert packages("requirements-lowest.txt", "==") == bounds


def test_the_oldest_python_is_the_same_everywhere():
    project = (REPO_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    oldest = re.search(r'requires-python = ">=3\.(\d+)"', project)[1]
    assert f'target-version = "py3{oldest}"' in project
    for name in ("README.md", "scripts/setup.sh"):
        text = (REPO_ROOT / name).read_text(encoding="utf-8")
        assert set(re.findall(r"3\.(\d+) or newer", text)) == {oldest}, name
    assert f"sys.version_info >= (3, {oldest})" in text

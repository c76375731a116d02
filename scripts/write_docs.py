"""Write the pages of docs/ that are made from the code, or check that they are up to date.

python scripts/write_docs.py           # rewrites docs/configuration.md and docs/troubleshooting.md
python scripts/write_docs.py --check   # writes nothing; exit code 1 and one line if a page is stale

The configuration page is made of the config dataclasses and the comments beside their fields, the
troubleshooting page of the messages that the programs can print.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from common.errors import run_program
from common.text_files import write_text
from scripts.documentation.config_page import config_page
from scripts.documentation.troubleshooting_page import troubleshooting_page

PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": config_page,
    "troubleshooting.md": troubleshooting_page,
}


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if stale")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs", help="where the pages are")
    arguments = parser.parse_args()
    pages = {arguments.folder / name: make() for name, make in PAGES.items()}
    stale = [path for path, text in pages.items() if _read(path) != text]
    if arguments.check and stale:
        names = " and ".join(path.name for path in stale)
        print(f"{names} not up to date; run python scripts/write_docs.py", file=sys.stderr)
        sys.exit(1)
    for path in stale:
        write_text(path, pages[path])
        print(path)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    run_program(main)

"""A page to play with: depth for your own picture in a browser, with words that you can change.

    sh scripts/app.sh                                           the quickstart's model
    sh scripts/app.sh --checkpoint runs/nyu/stage3 --port 8000
    python scripts/app.py --checkpoint hf://USER/NAME           with Gradio installed

Picture in, caption editable; depth with a bar in meters, points, the same picture with other words,
sampled scenes, calibration by distances that you know, errors against ground truth. It serves this
machine alone (127.0.0.1) unless --host says otherwise, shares no link and sends nothing anywhere.
docs/app.md says what one sees.
"""

import argparse
import signal
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from common.config_values import positive, split_overrides
from common.errors import UserError, run_program
from common.programs.evaluate import CHANGEABLE
from scripts.page.desk import Desk
from scripts.page.examples import copy_examples
from scripts.page.serving import LOCAL, check_gradio, private_gradio, serve
from scripts.page.uploads import MEGA, Limits
from scripts.prediction.load import load
from scripts.prediction.model import DepthModel

CHECKPOINT = ROOT / "runs/demo/stage3"
EXAMPLES = ROOT / "data/demo/rooms"


def main() -> None:
    """Open the model, show the page until Ctrl-C."""
    arguments, overrides = _parse()
    limits = Limits(arguments.max_upload * MEGA, arguments.max_pixels * MEGA)
    signal.signal(signal.SIGTERM, _end_on)
    with private_gradio() as folder:
        check_gradio()
        from scripts.page.layout import build_page

        model = _open(arguments, overrides)
        examples = copy_examples(arguments.examples, folder / "examples")
        page = build_page(Desk(model, folder / "made", limits), examples)
        address = serve(page, arguments.host, arguments.port, limits.max_bytes)
        print(f"LangDepth: {address} (Ctrl-C ends it)", flush=True)
        if arguments.host not in LOCAL:
            print(
                f"warning: --host {arguments.host}: everyone who reaches this machine can use the "
                "page; it asks for no password and is not encrypted",
                file=sys.stderr,
            )
        try:
            threading.Event().wait()
        finally:
            page.close(verbose=False)


def _end_on(number: int, frame: object) -> None:
    """End as Ctrl-C does, so that the files of visitors go."""
    sys.exit(128 + number)


def _open(arguments: argparse.Namespace, overrides: list[str]) -> DepthModel:
    if arguments.checkpoint is None and not CHECKPOINT.exists():
        raise UserError(
            f"no checkpoint in {CHECKPOINT.relative_to(ROOT)}; sh scripts/quickstart.sh trains it, "
            "or name another: --checkpoint RUN"
        )
    return load(arguments.checkpoint or CHECKPOINT, arguments.device, overrides)


def _parse() -> tuple[argparse.Namespace, list[str]]:
    arguments, overrides = split_overrides(sys.argv[1:], CHANGEABLE)
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="app.py [--checkpoint RUN] [options] [key=value ...]",
    )
    add = parser.add_argument
    add("--checkpoint", metavar="RUN", help="as of predict.py (default: the quickstart's)")
    add("--host", default=LOCAL[0], metavar="ADDRESS", help="0.0.0.0: everyone who reaches this "
        "machine (default: 127.0.0.1, this machine alone)")  # fmt: skip
    add("--port", type=positive, default=7860, metavar="N", help="default: 7860")
    add("--max-upload", type=positive, default=20, metavar="MB", help="of a file (default: 20)")
    add("--max-pixels", type=positive, default=25, metavar="MILLIONS",
        help="of a picture, before it is decoded (default: 25)")  # fmt: skip
    add("--examples", type=Path, default=EXAMPLES, metavar="DIR",
        help="rooms that make_demo_data.py made (default: the demo's)")  # fmt: skip
    add("--device", metavar="NAME", help="cuda, cpu, ... (default: a GPU if there is one)")
    return parser.parse_args(arguments), overrides


if __name__ == "__main__":
    run_program(main)

"""A trained network as a file that other programs run: ONNX, or torch.export.

    python scripts/export.py --checkpoint runs/nyu/stage3 --output model.onnx
    python scripts/export.py --checkpoint runs/nyu/stage3 --output model.pt2
    python scripts/predict.py --checkpoint model.onnx kitchen.jpg --caption "A small kitchen."

Reads `image` (ImageNet-normalized) and, where the network reads words, `text_feature` (what the
run's text encoder makes of the caption); gives `depth` in meters. The batch is of any size, and so
are the pictures, if the network allows it; the program says where it does not. The file is compared
with PyTorch before it appears. docs/export.md tells more.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from common.config_values import output_path, split_overrides
from common.errors import UserError, run_program
from common.files import check_output, whole_file
from common.programs.evaluate import CHANGEABLE
from common.runtime.exported_files import ONNX, TORCH_EXPORT, is_exported
from common.runtime.processes import Processes
from scripts.exporting.network import find_interface, trace
from scripts.exporting.verify import verify
from scripts.exporting.writers import describe, write_onnx, write_torch_export
from scripts.prediction.trained import open_network


def main() -> None:
    """Trace the network, write it, compare; the file appears if all of that went well."""
    arguments, overrides = _parse()
    output = output_path(arguments.output)
    if output.suffix not in (ONNX, TORCH_EXPORT):
        raise UserError(f"--output {output}: its name must end with {ONNX} or {TORCH_EXPORT}")
    check_output(output)
    trained = open_network(arguments.checkpoint, overrides, Processes(0, 1, torch.device("cpu")))
    if is_exported(trained.path):
        raise UserError(f"{trained.path} is exported already; name the run it was made from")
    interface = find_interface(trained, arguments.fixed_size)
    metadata = describe(trained, interface)
    print("tracing the network, which may take a minute or two", file=sys.stderr, flush=True)
    program = trace(trained, interface)
    compared = []
    with whole_file(output) as temporary:
        if output.suffix == ONNX:
            write_onnx(program, interface, metadata, temporary)
        else:
            write_torch_export(program, interface, metadata, temporary)
        if arguments.verify:
            compared = verify(trained, interface, temporary)
    for name, axes in interface.describe_axes().items():
        print(f"{name}: {axes}")
    print(f"height and width: {metadata['height and width']}")
    print(f"weights: {metadata['weights']}")
    for one in compared:
        print(one.describe())
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB")


def _parse() -> tuple[argparse.Namespace, list[str]]:
    arguments, overrides = split_overrides(sys.argv[1:], CHANGEABLE)
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="export.py --checkpoint RUN --output FILE [options] [key=value ...]",
    )
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="RUN",
        help="a run folder, a .pt file, a folder of save_pretrained")  # fmt: skip
    add("--output", required=True, metavar="FILE", help="its end says the form: .onnx or .pt2")
    add("--fixed-size", action="store_true", help="pictures of the training size alone")
    add("--verify", action=argparse.BooleanOptionalAction, default=True,
        help="compare with PyTorch on two sizes; a file that differs is not kept")  # fmt: skip
    return parser.parse_args(arguments), overrides


if __name__ == "__main__":
    run_program(main)

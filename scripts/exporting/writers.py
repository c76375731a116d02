"""Exported files: ONNX, and torch.export's own; both say what they are and how they are fed."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from common.errors import UserError
from common.images.transforms import IMAGENET_MEAN, IMAGENET_STD
from common.programs.exported import OUTPUT
from common.runtime.exported_files import FACTS_KEY
from common.runtime.saved_models import describe_average, without_folders
from scripts.exporting.network import STRIDE, Interface
from scripts.prediction.trained import TrainedNetwork

FACTS_FILE = f"{FACTS_KEY}.json"
_LICENSE = (
    "The code that made this file is MIT. Whether these weights may be used for a purpose depends "
    "on the terms of the data they were trained on and of the pretrained parts in the config."
)


def describe(trained: TrainedNetwork, interface: Interface) -> dict[str, str]:
    """What a file says of itself, by name; the facts of the checkpoint as JSON among it."""
    config = trained.config
    facts = {**trained.facts, "config": without_folders(trained.facts["config"])}
    camera, words = config.data.data_set.camera, ""
    if "text_feature" in interface.dims:
        words = f"of the caption by {config.text.encoder}, rounded to 16 bits"
    lens = "not known" if camera is None else (
        f"{camera.name}, fx {camera.fx:g} px at {camera.size[1]}x{camera.size[0]}"
    )  # fmt: skip
    size = f"{interface.size[0]}x{interface.size[1]}"
    sides = f"fixed at {size}: {interface.fixed}" if interface.fixed else (
        f"any multiples of {STRIDE}; trained at {size}"
    )  # fmt: skip
    return {
        FACTS_KEY: json.dumps(facts),
        "weights": describe_average(trained.facts) or f"those of step {facts.get('step')}",
        "recipe": f"{trained.stage.name} ({trained.stage.recipe})",
        "inputs": json.dumps(interface.describe_axes()),
        "output": f"{OUTPUT}: float32 [batch, 1, height, width], meters along the optical axis, "
        f"trained up to {config.data.max_depth:g}",
        "preprocessing": f"image: RGB in 0 to 1, minus {list(IMAGENET_MEAN)}, divided by "
        f"{list(IMAGENET_STD)}; the whole picture resized to the training size",
        "height and width": sides,
        "text_feature": words or "none is read",
        "camera": lens,
        "license": _LICENSE,
    }


def write_onnx(
    program: ExportedProgram, interface: Interface, metadata: dict[str, str], path: Path
) -> None:
    """One file, weights included. Raises a `UserError` where packages are missing."""
    _check_packages()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made: Any = torch.onnx.export(
                program,
                input_names=list(interface.inputs),
                output_names=[OUTPUT],
                dynamo=True,
                verbose=False,
            )
        made.model.metadata_props.update(metadata)
        made.save(str(path), external_data=False)
    except (RuntimeError, ValueError, TypeError) as error:
        reason = next(iter(str(error).strip().splitlines()), "")[:200]
        raise UserError(
            f"cannot write {path.suffix} of this network ({type(error).__name__}: {reason}); "
            "name an output that ends with .pt2"
        ) from error


def write_torch_export(
    program: ExportedProgram, interface: Interface, metadata: dict[str, str], path: Path
) -> None:
    """For `torch.export.load`; what is said of it is in the extra file `langdepth.json`.

    A `UserError` where this PyTorch cannot write it: 2.6 cannot, of a network of free size.
    """
    try:
        torch.export.save(program, path, extra_files={FACTS_FILE: json.dumps(metadata)})
    except OSError:
        raise  # of the disk, told by who opened the file
    except Exception as error:  # its errors have no common class but this one
        reason = next(iter(str(error).strip().splitlines()), "")[:200]
        remedy = "name an output that ends with .onnx, or take a newer PyTorch"
        remedy = remedy if interface.fixed else f"add --fixed-size, {remedy}"
        raise UserError(
            f"PyTorch {torch.__version__} cannot write {path.suffix} of this network "
            f"({type(error).__name__}: {reason}); {remedy}"
        ) from error


def _check_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"writing ONNX needs a package that is not installed: {error.name}; "
            "pip install onnx onnxscript onnxruntime"
        ) from error

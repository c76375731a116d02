"""Convert the authors' checkpoints to this project's format, and back bit for bit.

The three files that staged training wrote, in any order:
  python scripts/convert_checkpoint.py --dataset nyu --output runs/published/nyu.pt \\
      --from model-best model-best_stage_1 model-best_stage_2
  python stage3_depth/eval.py --checkpoint runs/published/nyu.pt data.root=PATH
Back, to runs/authors/nyu, nyu_stage_1 and nyu_stage_2:
  python scripts/convert_checkpoint.py --to published --from runs/published/nyu.pt \\
      --output runs/authors/nyu

A stage 1 file alone, or stages 1 and 2, become checkpoints of these stages. A joint file becomes a
joint checkpoint, or with --recipe joint-legacy one that keeps the skip connections: the weights
have the same names. Any other file with `backbone.` weights (VA-DepthNet) becomes a Swin file for
model.encoder.weights. Weights that are not used are listed with the reason and kept in the new
file. Nothing pickled in a file is run.
"""

import argparse
import math
import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.config_values import output_path, resolve_path
from common.errors import UserError, run_program
from common.files import check_output
from common.networks.published import names as pub
from common.networks.published.names import Kind, State
from common.networks.published.sizes import encoder_sizes
from common.runtime.checkpoints import FORMAT_VERSION, save_checkpoint
from scripts.conversion.published_networks import (
    DATASETS,
    PARTS,
    build_target,
    check_own_weights,
    check_sizes,
)

RECIPES = ("staged", "joint", "joint-legacy")
SWIN_DEPTHS = ("2-2-18-2", "2-2-6-2")
SUFFIXES = {"stage1": "_stage_1", "prior": "_stage_1", "stage2": "_stage_2"}


@dataclass(frozen=True)
class RecognizedFile:
    """One published file."""

    path: Path
    kind: Kind
    file: pub.PublishedFile


def main() -> None:
    """See the module's docstring."""
    arguments = _parse()
    paths = [resolve_path(name, True) for name in arguments.sources]
    output = output_path(arguments.output)
    if output in paths:
        raise UserError(f"--output {output} is also an input; choose another name")
    check_output(output)  # before large files are read
    contents = [pub.read_safely(path) for path in paths]
    if arguments.to == "published":
        write_published_files(paths, contents, output)
    else:
        files = [_recognize(path, content) for path, content in zip(paths, contents, strict=True)]
        write_checkpoint(files, output, arguments.recipe, arguments.dataset)


def write_checkpoint(
    files: list[RecognizedFile], output: Path, recipe: str | None, dataset: str | None
) -> None:
    """Write the one checkpoint that the files make together."""
    layout, recipe = _layout_and_recipe(files, recipe)
    if layout == "stage3":
        files = [replace(s, kind="prior") if s.kind == "stage1" else s for s in files]
    try:
        target = build_target(layout, recipe, {s.kind: s.file.weights for s in files}, dataset)
    except (UserError, ValueError) as error:
        raise UserError(f"{', '.join(str(s.path) for s in files)}: {error}") from error
    model: State = {}
    aside: dict[str, State] = {}
    for source in files:
        part, unused = _convert(source, target.network, PARTS[layout][source.kind])
        model |= part
        aside[source.kind] = {name: source.file.weights[name] for name in unused}
        _report(source, unused)
        _report_swin(source)
    entries = {source.kind: source.file.entries for source in files}
    content = {
        "stage": "stage3" if layout == "joint" else layout,
        "recipe": recipe,
        "model": _microsoft_names(model) if layout == "encoder" else model,
        "model_config": target.model_config,
        "config": target.config,
        "step": max(_step_of(e) for e in entries.values()),
        "best_metric": float("inf"),
        "published_unused": aside,
        "published_entries": entries,
    }
    save_checkpoint(output, content)
    print(f"wrote {output} ({content['stage']}, {recipe})")


def write_published_files(paths: list[Path], contents: list[dict[str, Any]], output: Path) -> None:
    """Write the published files that one checkpoint of this project stands for."""
    if len(paths) > 1:
        raise UserError("--to published converts one checkpoint at a time")
    path, content = paths[0], contents[0]
    layout = _layout_of(content, path)
    model = content["model"]
    if layout == "encoder":
        model = _own_names(model)
    check_own_weights(layout, content["model_config"], model, path)
    written: list[tuple[Path, Kind, pub.PublishedFile, str]] = []
    for kind, prefix in PARTS[layout].items():
        own = {n.removeprefix(prefix): w for n, w in model.items() if n.startswith(prefix)}
        aside = content.get("published_unused", {}).get(kind, {})
        entries = content.get("published_entries", {}).get(kind, {"global_step": content["step"]})
        suffix = SUFFIXES[kind] if len(PARTS[layout]) > 1 and kind in SUFFIXES else ""
        place = output.with_name(output.name + suffix)
        if place == path:
            raise UserError(f"--output {output} would overwrite {path}; choose another name")
        theirs = pub.to_published(own, aside, kind)
        check_sizes(theirs, kind, path)
        note = f"{len(own)} weights and {len(aside)} kept aside"
        if not aside and pub.UNUSED[kind]:
            note += "\n  weights that nobody reads are not in it: load it with strict=False"
        written.append((place, kind, pub.PublishedFile(theirs, entries), note))
    for place, kind, file, note in written:  # nothing is written before all of it is found fit
        pub.write_published(place, file)
        print(f"wrote {place} ({kind}): {note}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--from", dest="sources", nargs="+", required=True, metavar="FILE", help="1 to 3 files")
    add("--output", required=True, metavar="NAME", help="the file to write")
    add("--to", choices=("langdepth", "published"), default="langdepth", help="default: langdepth")
    add("--recipe", choices=RECIPES, help="default: recognized by the weights' names (or: joint)")
    add("--dataset", choices=DATASETS, help="whose prior mean, depth range and settings")
    return parser.parse_args()


def _recognize(path: Path, content: dict[str, Any]) -> RecognizedFile:
    if "format_version" in content:
        raise UserError(
            f"{path} is already in this project's format; for the way back: --to published"
        )
    file = pub.published_file(content, path)
    kind = pub.detect_kind(file.weights)
    if kind is None:
        first = next(iter(file.weights))
        raise UserError(f"{path} holds none of the published networks; its first weight: {first}")
    return RecognizedFile(path, kind, file)


def _layout_and_recipe(files: list[RecognizedFile], asked: str | None) -> tuple[str, str]:
    """What the files make together; `asked` is the --recipe option."""
    kinds = sorted(source.kind for source in files)
    if kinds == ["joint"] and asked != "staged":
        return "joint", asked or "joint"
    if asked in (None, "staged"):
        if kinds == ["backbone"]:
            return "encoder", "swin"
        for last in (1, 2, 3):
            if kinds == [f"stage{i}" for i in range(1, last + 1)]:
                return f"stage{last}", "staged"
    raise UserError(
        f"--from: {', '.join(kinds)} do not make a {asked or 'whole'} checkpoint; give one joint "
        "file, or the staged files of stage 1, of stages 1 and 2, or of stages 1, 2 and 3"
    )


def _convert(
    source: RecognizedFile, network: nn.Module, prefix: str
) -> tuple[State, dict[str, str]]:
    """The file's share of the network's weights, and why each of its other weights is unused."""
    own, unused = pub.from_published(source.file.weights, source.kind)
    whole = network.state_dict()
    wanted = {n.removeprefix(prefix): w for n, w in whole.items() if n.startswith(prefix)}
    part, unknown = pub.complete(own, wanted, source.kind, str(source.path))
    return {prefix + name: weight for name, weight in part.items()}, unused | unknown


def _report(source: RecognizedFile, unused: dict[str, str]) -> None:
    total = len(source.file.weights)
    print(f"{source.path} ({source.kind}): {total - len(unused)} of {total} weights used")
    for reason in dict.fromkeys(unused.values()):
        names = [name for name, why in unused.items() if why == reason]
        print(f"  {len(names)} unused, {reason}:")
        print(textwrap.fill(", ".join(names), 96, initial_indent="    ", subsequent_indent="    "))


def _report_swin(source: RecognizedFile) -> None:
    """The encoder's sizes: a file without the last pair of blocks looks like a smaller Swin."""
    if source.kind not in ("stage3", "joint", "backbone"):
        return
    swin = encoder_sizes(source.file.weights)
    depths = "-".join(map(str, swin["depths"]))
    known = "" if depths in SWIN_DEPTHS else f"; published ones are {' or '.join(SWIN_DEPTHS)}"
    sizes = f"{swin['embed_dim']} channels, window {swin['window_size']}, depths {depths}"
    print(f"  Swin with {sizes}{known}")


def _step_of(entries: dict[str, Any]) -> int:
    """The training step a file names, 0 if it names none."""
    step = entries.get("global_step")
    if isinstance(step, Tensor) and step.numel() == 1:
        step = step.item()
    return int(step) if isinstance(step, int | float) and math.isfinite(step) else 0


def _layout_of(content: dict[str, Any], path: Path) -> str:
    """Which of `PARTS` a checkpoint of this project is, if it has a published form."""
    if content.get("format_version") != FORMAT_VERSION:
        raise UserError(f"{path} is not a checkpoint of this project (format {FORMAT_VERSION})")
    needed = ("stage", "recipe", "model_config", "model", "step")
    if missing := [key for key in needed if key not in content]:
        raise UserError(f"{path} is damaged: it has no {', '.join(missing)}")
    stage, recipe, settings = (content[key] for key in needed[:3])
    layout = "joint" if recipe.startswith("joint") else stage
    if layout not in PARTS:
        raise UserError(f"{path}: a {layout} checkpoint has no published form")
    if settings.get("sampler", {}).get("evidence", "clip") != "clip":
        raise UserError(f"{path}: a sampler with evidence 'encoder' has no published form")
    network = settings.get("joint" if layout == "joint" else "estimator", {})
    encoder = network.get("encoder", {}).get("name", "swin")
    if encoder != "swin":
        raise UserError(f"{path}: a network with the encoder {encoder} has no published form")
    if settings.get("language", "caption") != "caption":
        raise UserError(f"{path}: the control without language has no published form")
    return layout


def _microsoft_names(encoder: State) -> State:
    """The names of every published Swin file, which `model.encoder.weights` reads."""
    return {
        pub.published_name(name, "backbone").removeprefix("backbone."): weight
        for name, weight in encoder.items()
    }


def _own_names(microsoft: State) -> State:
    """Undo `_microsoft_names`."""
    return pub.from_published({f"backbone.{n}": w for n, w in microsoft.items()}, "backbone")[0]


if __name__ == "__main__":
    run_program(main)

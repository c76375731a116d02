"""Encode captions, or images, into one packed feature file; or pack the authors' features.

  python scripts/encode_text.py --captions data/nyu/captions.jsonl \\
      --output data/nyu/text.safetensors                       [--encoder RN50:openai]
  python scripts/encode_text.py --config configs/nyu/data.yaml --output data/nyu/images.safetensors
  python scripts/encode_text.py --import-published PATH --dataset nyu \\
      --output data/nyu/text.safetensors

Then train with text.features=text.safetensors (or text.image_features=images.safetensors). Each
distinct caption is encoded once; an image has a feature for each of its captions. The same command
after an interruption continues, and does nothing when the file is complete and of the same
captions, pictures and weights. --import-published reads text/<dataset>/<split>/<image>.txt and
text_feat/<dataset>/<split>/<image>.pt below PATH, and writes the captions beside the features.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from common.config_values import output_path, positive, resolve_path
from common.errors import UserError, run_program
from common.files import check_output
from common.fingerprints import file_identity
from common.language.captions import captions_sha256, read_captions, write_entries
from common.language.encoding import (
    PartFolder,
    encode_captions,
    encode_images,
    image_origin,
    text_origin,
)
from common.language.feature_files import open_table, read_pictures, write_features
from common.language.features import TextConfig
from common.language.provenance import describe_provenance
from common.printable import one_line
from common.runtime.claims import claim_path
from common.runtime.hub import add_hub_argument, set_hub_timeout
from common.runtime.machine import unused_gpu
from scripts.preparation import published_text as published
from scripts.preparation.image_sets import add_image_arguments, images_of_arguments

FEATURES_PER_PART = 4096


def main() -> None:
    """See the module's docstring."""
    arguments = _parse()
    set_hub_timeout(arguments.hub_timeout)
    output = _check_output(arguments)
    with claim_path(output, "name another --output"):
        if arguments.captions:
            encode_text(arguments, output)
        elif arguments.import_published:
            import_published(arguments, output)
        else:
            encode_image_files(arguments, output)


def encode_text(arguments: argparse.Namespace, output: Path) -> None:
    """Encode the captions of one or several files."""
    files = [resolve_path(name, True) for name in arguments.captions]
    captions = read_captions(*files, join=arguments.join)
    if not captions:
        raise UserError(f"no captions in {', '.join(str(file) for file in files)}")
    if _is_done(output, list(captions), text_origin(captions, arguments.encoder)):
        return
    num_distinct = encode_captions(
        output,
        captions,
        arguments.encoder,
        _device(),
        arguments.batch_size,
        caption_files=[file.name for file in files],
    )
    _report(output, f"{num_distinct} distinct captions encoded")


def encode_image_files(arguments: argparse.Namespace, output: Path) -> None:
    """Encode images, for stage 2."""
    images = images_of_arguments(arguments)
    if _is_done(output, list(images), image_origin(list(images), arguments.encoder), images):
        return
    encode_images(output, images, arguments.encoder, _device(), arguments.batch_size)
    _report(output, "images encoded")


def import_published(arguments: argparse.Namespace, output: Path) -> None:
    """Pack the authors' folders of small files, and write their captions as one file."""
    files = _find_published(arguments)
    captions, problems = published.read_captions_of(files.entries)
    problems += [f"{path} has no partner in text or text_feat" for path in files.lone]
    entries = [e for e in files.entries if e.caption is None or e.key in captions]
    if not entries:
        raise UserError(f"no published file can be used, first: {problems[0]}; copy them again")
    captions_file = _captions_file(arguments, output, captions)
    check_output(captions_file)
    keys = [entry.key for entry in entries]
    if not problems and captions_file.exists() and _is_done(output, keys, _origin(captions)):
        return
    with PartFolder(output, published.ENCODER) as parts:
        paths = [entry.feature for entry in entries]
        features = parts.encode(
            paths,
            [file_identity(path) for path in paths],
            FEATURES_PER_PART,
            "reading features",
            published.read_features,
        )  # [N, 1024]
        problems += published.problems_of(entries, features)
        _check_problems(problems, arguments.skip_damaged)
        usable = features.isfinite().all(dim=1)  # [N]
        keys = [key for key, good in zip(keys, usable.tolist(), strict=True) if good]
        captions = {key: captions[key] for key in keys if captions}
        if captions:
            write_entries(captions_file, _entries(captions))
        write_features(output, keys, features[usable], _origin(captions))
    _report(output, f"captions in {captions_file}" if captions else "no captions found")


def _find_published(arguments: argparse.Namespace) -> published.PublishedFiles:
    if arguments.split == "val":
        raise UserError("--split val: the authors published train and test")
    lists = [resolve_path(name, True) for name in arguments.list]
    keys = published.keys_of_lists(lists) if lists else None
    folder = resolve_path(arguments.import_published, True)
    splits = [arguments.split] if arguments.split else published.SPLITS
    datasets = [arguments.dataset] if arguments.dataset else list(published.SUFFIXES)
    files = published.find_published(folder, datasets, splits, keys)
    if keys is not None:
        print(f"{len(files.entries)} of {len(keys)} images of the lists have a published feature")
    return files


def _origin(captions: dict[str, str]) -> dict[str, Any]:
    """What the packed file says of published features."""
    origin = {"kind": "text", "encoder": published.ENCODER, "source": "published .pt files"}
    return {**origin, **({"captions_sha256": captions_sha256(captions)} if captions else {})}


def _check_problems(problems: list[str], skip: bool) -> None:
    if problems and not skip:
        raise UserError(
            f"{len(problems)} published files cannot be used, first: {problems[0]}; copy them "
            "again, or leave these images out with --skip-damaged"
        )
    for problem in problems[:10]:
        print(f"left out: {one_line(problem)}")
    if len(problems) > 10:
        print(f"left out: {len(problems) - 10} more")


def _captions_file(arguments: argparse.Namespace, output: Path, captions: dict[str, str]) -> Path:
    """Where the imported captions go; never over a file with other captions."""
    path = output.with_name("captions.jsonl")
    if arguments.captions_output:
        path = output_path(arguments.captions_output)
    if captions and path.exists() and not read_captions(path).items() <= captions.items():
        raise UserError(
            f"{path} is there and holds other captions; name another place by --captions-output"
        )
    return path


def _entries(captions: dict[str, str]) -> list[dict[str, str]]:
    return [
        {"image": key, "caption": caption, "source": "published"}
        for key, caption in captions.items()
    ]


def _is_done(
    output: Path,
    keys: Sequence[str],
    origin: dict[str, Any],
    images: dict[str, Path] | None = None,
) -> bool:
    """Whether the file is there with these keys, made from the same (and from these `images`)."""
    if not output.exists():
        return False
    try:
        table = open_table(output)
    except UserError:
        raise UserError(
            f"{output} is there and is no packed feature file; choose another"
        ) from None
    made_from = table.provenance or {}
    unknown = {"encoder_sha256"} & origin.keys() - made_from.keys()  # in older files
    told = {name: value for name, value in origin.items() if name not in unknown}
    if table.rows.keys() != set(keys) or any(made_from.get(k) != v for k, v in told.items()):
        print(f"{output}: made from something else; made anew")
        return False
    pictures = read_pictures(output) if images else None
    if images and pictures and (changed := pictures.changed(images)):
        print(f"{output}: made from other pictures ({len(changed)} of {len(images)}); made anew")
        return False
    print(f"{output}: already there")
    if unknown or (images and not pictures):
        what = "weights" if unknown else "pictures"
        print(f"it does not say from which {what} it was made; name another --output to be sure")
    return True


def _report(output: Path, what: str) -> None:
    table = open_table(output)
    num_rows, dim = table.features.shape
    print(
        f"{output}: {len(table.rows)} images, {num_rows} distinct features of {dim} numbers, "
        f"{output.stat().st_size / 1e6:.1f} MB; {what}"
    )
    for line in describe_provenance(table.provenance):
        print(line)


def _device() -> str:
    if warning := unused_gpu():
        print(warning, file=sys.stderr)
    return "cuda" if torch.cuda.is_available() else "cpu"


def _check_output(arguments: argparse.Namespace) -> Path:
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError("encode_text.py is one process: start it with python, or with NPROC=1")
    output = output_path(arguments.output)
    if output.suffix != ".safetensors":
        raise UserError(f"--output {output}: the name must end in .safetensors")
    check_output(output)  # before anything is encoded
    return output


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--captions", nargs="+", metavar="FILE", help="captions.jsonl files; a later one wins")
    add("--join", action="store_true", help="an image has the captions of all these files")
    add("--import-published", metavar="DIR", help="the authors' folder with text and text_feat")
    add("--output", required=True, metavar="FILE.safetensors")
    add(
        "--encoder",
        default=TextConfig.encoder,
        metavar="MODEL:WEIGHTS",
        help="an open_clip model with a tag or file of weights (default %(default)s), "
        "hf:NAME_OR_FOLDER[@REVISION] (captions only), or untrained:<seed>",
    )
    add("--batch-size", type=positive, default=64)
    add_image_arguments(parser)
    add_hub_argument(parser)
    _add_published_arguments(parser.add_argument_group("with --import-published"))
    arguments = parser.parse_intermixed_args()
    sources = (arguments.captions, arguments.import_published, arguments.images, arguments.config)
    if sum(bool(source) for source in sources) != 1:
        parser.error("give one of --captions, --images, --config and --import-published")
    if arguments.join and not arguments.captions:
        parser.error("--join goes with --captions")
    return arguments


def _add_published_arguments(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--dataset", choices=list(published.SUFFIXES), help="only this one (default: both)")
    add(
        "--list",
        nargs="+",
        default=[],
        metavar="FILE",
        help="only the images of these list files, with their suffixes",
    )
    add("--captions-output", metavar="FILE", help="default: captions.jsonl beside --output")
    add("--skip-damaged", action="store_true", help="leave out and count what cannot be used")


if __name__ == "__main__":
    run_program(main)

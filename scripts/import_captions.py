"""Make one caption file of published text files, one for every image, a caption on each line.

  python scripts/import_captions.py PATH --output data/nyu/captions.jsonl --dataset nyu
  python scripts/import_captions.py PATH --output captions.jsonl --list data/nyu/train.txt

PATH holds <dataset>/<split>/<image>.txt, or text/<dataset>/<split>/<image>.txt: the captions of RSA
(5 to 15 lines a file, text_llava-.../nyu/train/kitchen_0028b/rgb_00045.txt) and of WorDepth (one).
Datasets are nyu and kitti, splits train and test. The key of an image is its path with .jpg (NYU)
or .png (KITTI), or as the lists of --list have it. Blank lines are left out. Then train with
text.captions=captions.jsonl: one of an image's captions is drawn for each sample.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.config_values import output_path, resolve_path
from common.errors import UserError, run_program
from common.files import check_output
from common.language.captions import write_entries
from common.runtime.claims import claim_path
from scripts.preparation import published_text as published


def main() -> None:
    """See the module's docstring."""
    arguments = _parse()
    output = output_path(arguments.output)
    if output.suffix != ".jsonl":
        raise UserError(f"--output {output}: the name must end in .jsonl")
    if output.exists():
        raise UserError(f"{output} is there already; name another --output")
    check_output(output)
    with claim_path(output, "name another --output"):
        import_captions(arguments, output)


def import_captions(arguments: argparse.Namespace, output: Path) -> None:
    """Read the text files and write one line per image."""
    folder = resolve_path(arguments.folder, True)
    lists = [resolve_path(name, True) for name in arguments.list]
    keys = published.keys_of_lists(lists) if lists else None
    datasets = [arguments.dataset] if arguments.dataset else list(published.SUFFIXES)
    splits = [arguments.split] if arguments.split else published.SPLITS
    files = published.find_texts(folder, datasets, splits, keys)
    if not files:
        raise UserError(
            f"{folder}: no <dataset>/<split>/<image>.txt for {', '.join(datasets)} "
            f"({', '.join(splits)}); check --dataset, --split and --list"
        )
    texts, problems = published.read_texts(files)
    if problems and not arguments.skip_damaged:
        raise UserError(
            f"{len(problems)} of {len(files)} text files cannot be used, first: {problems[0]}; "
            "copy them again, or leave these images out with --skip-damaged"
        )
    if not texts:
        raise UserError(f"no text file can be used, first: {problems[0]}; copy them again")
    write_entries(output, (_entry(key, captions) for key, captions in texts.items()))
    _report(output, texts, problems, None if keys is None else len(keys))


def _entry(key: str, captions: list[str]) -> dict[str, object]:
    words = {"caption": captions[0]} if len(captions) == 1 else {"captions": captions}
    return {"image": key, **words, "source": "published"}


def _report(
    output: Path, texts: dict[str, list[str]], problems: list[str], num_listed: int | None
) -> None:
    counts = [len(captions) for captions in texts.values()]
    distinct = len({caption for captions in texts.values() for caption in captions})
    print(
        f"{output}: {len(texts):,} images with {min(counts)} to {max(counts)} captions, "
        f"{distinct:,} distinct ones"
    )
    if num_listed is not None:
        print(f"{len(texts):,} of {num_listed:,} images of the lists have captions")
    if problems:
        print(f"{len(problems)} text files were left out, first: {problems[0]}", file=sys.stderr)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", metavar="PATH", help="the folder of the published text files")
    add("--output", required=True, metavar="FILE.jsonl")
    add("--dataset", choices=list(published.SUFFIXES), help="only this one (default: both)")
    add("--split", choices=published.SPLITS, help="only this one (default: both)")
    add("--list", nargs="+", default=[], metavar="FILE", help="only the images of these list files")
    add("--skip-damaged", action="store_true", help="leave out and count what cannot be used")
    return parser.parse_args()


if __name__ == "__main__":
    run_program(main)

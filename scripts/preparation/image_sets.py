"""Which images a program is about: those below a folder, or those of a config's lists.

--images DIR [--pattern GLOB]                      keys: paths below DIR
--config CONFIG.yaml [--split train] [key=value ...]     keys: paths as in the lists
"""

import argparse
import glob
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from common.config import find_yaml
from common.config_values import resolve_path
from common.data.data_config import DataConfig
from common.data.samples import SplitName
from common.data.splits import SplitFinder, configured_splits
from common.errors import UserError
from common.images.suffixes import (
    DEPTH_SUFFIXES,
    IMAGE_SUFFIXES,
    counted_suffixes,
    has_suffix,
    one_of_each,
)
from common.programs.data_sections import read_data_sections

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class _DataOnly:
    data: DataConfig


def add_image_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that `images_of_arguments` reads."""
    add = parser.add_argument
    add("--images", metavar="DIR", help="all images below this folder")
    add("--pattern", default="**/*", metavar="GLOB", help="which of them, as '**/rgb_*.jpg'")
    add("--config", metavar="CONFIG.yaml", help="the images of this config's lists")
    add("--split", choices=SPLITS, help="only this one (default: all)")
    add("overrides", nargs="*", metavar="key=value", help="change the config: data.root=PATH")


def images_of_arguments(
    arguments: argparse.Namespace, log: Callable[[str], None] = print
) -> dict[str, Path]:
    """Image key -> file, in the order of the names or of the lists."""
    if (arguments.images is None) == (arguments.config is None):
        raise UserError("name the images by one of --images DIR and --config CONFIG.yaml")
    if arguments.images is None:
        return images_of_config(arguments.config, arguments.overrides, arguments.split)
    if arguments.overrides or arguments.split:
        extra = " ".join(arguments.overrides or ["--split"])
        raise UserError(f"command line: {extra} belongs to --config, not to --images")
    return images_below(resolve_path(arguments.images, True), arguments.pattern, log)


def images_below(
    folder: Path, pattern: str = "**/*", log: Callable[[str], None] = print
) -> dict[str, Path]:
    """The images below a folder by their path in it.

    Left out, counted and named are depth maps, files that are no images, and twins: of one name in
    two formats the one is taken that training takes.
    """
    if not folder.is_dir():
        raise UserError(f"--images: no folder {folder}")
    files = sorted(
        Path(name).as_posix()
        # Path.glob would not follow links to folders, and data often lies behind one.
        for name in glob.glob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207
        if (folder / name).is_file()
    )
    pictures = [name for name in files if has_suffix(name, IMAGE_SUFFIXES)]
    images = [name for name in pictures if not is_depth_map(folder / name)]
    chosen, twins = one_of_each(images, IMAGE_SUFFIXES)
    others = [name for name in files if not has_suffix(name, IMAGE_SUFFIXES)]
    unread = f"; {counted_suffixes(others)} are not read, first {others[0]}" if others else ""
    if not chosen:
        raise UserError(f"--images: no images in {folder} that fit --pattern '{pattern}'{unread}")
    if len(images) < len(pictures):
        log(f"left out {len(pictures) - len(images)} depth maps (one channel of 16 bits or more)")
    if others:
        log(f"left out {len(others)} files{unread}")
    if twins:
        log(f"left out {len(twins)} images in a second format: {twins[0][0]} beside {twins[0][1]}")
    return {name: folder / name for name in chosen}


def images_of_config(
    name: str, overrides: list[str], only: SplitName | None = None
) -> dict[str, Path]:
    """The images of a config's lists; `key=value` overrides change its data section."""
    data = read_data_sections(_DataOnly, find_yaml(name), overrides).config.data
    if only is None and data.val_list is None:  # not carved: training images are wanted whole
        data = replace(data, val_share=0.0)
    splits: list[SplitName] = [only] if only else configured_splits(data)
    images: dict[str, Path] = {}
    finder = SplitFinder(data)
    for split in splits:
        for key, file in finder.find(split).files.items():
            if images.setdefault(key, file) != file:
                raise UserError(
                    f"{key} is {images[key]} in one split and {file} in another; run each split "
                    "by itself with --split"
                )
    if not images:
        raise UserError(f"{name}: no lists; set data.split, data.train_list or data.test_list")
    return images


def is_depth_map(path: Path) -> bool:
    """Whether the header of a PNG or TIFF says one channel of 16 bits or more."""
    if not has_suffix(path.name, DEPTH_SUFFIXES):
        return False
    try:
        with Image.open(path) as image:
            return image.mode.startswith(("I", "F"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False  # reported when the image is read

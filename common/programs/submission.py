"""`eval.py --split kitti_benchmark`: a checkpoint's depth maps as the zip KITTI's server takes.

    python stage3_depth/eval.py --checkpoint runs/kitti/stage3 --split kitti_benchmark \\
        --save-submission submission.zip data.root=data/kitti/depth_selection
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from common.data.batch import Batch, collate_eval
from common.data.kitti_benchmark import (
    FARTHEST,
    NAMES,
    BenchmarkImages,
    find_images,
    to_stored,
    write_submission,
)
from common.data.sampling import eval_indices
from common.errors import UserError
from common.evaluation.all_captions import average_captions
from common.evaluation.metrics import MIN_DEPTH, sanitize
from common.evaluation.scoring import EvalConfig, predict_batch
from common.files import make_folder
from common.images.depth_files import write_depth_png
from common.programs.assembly import open_language
from common.programs.inference import Predict, prediction_on
from common.programs.run_config import RunConfig
from common.programs.stage import Stage
from common.progress import tracked
from common.runtime.processes import Processes


def check_submission(config: RunConfig, path: Path) -> None:
    """Raise a `UserError` for what would only show after all images are predicted."""
    if not config.data.data_set.has_benchmark:
        raise UserError(
            f"split kitti_benchmark: this checkpoint's data.name is {config.data.name}; its images "
            "are KITTI's: take a checkpoint trained on KITTI"
        )
    if config.eval.max_images is not None:
        raise UserError("eval.max_images: a submission needs every image; leave it out")
    if path.suffix != ".zip" or path.is_dir():
        raise UserError(f"--save-submission {path}: name a file that ends in .zip")


def export_submission(
    model: nn.Module, stage: Stage, config: RunConfig, processes: Processes, path: Path
) -> str:
    """Predict every image of the benchmark, check the depth maps, write the zip.

    The images are shared out over all processes. Returns the line that tells what was done.
    """
    check_submission(config, path)
    files = find_images(config.data.root, config.data.allow_missing)
    reader = open_language(config, stage.needs(model), processes)
    language = reader.read("kitti_benchmark", files, not config.eval.reads_all_captions)
    if processes.is_main and language.notes:
        print(*language.notes, sep="\n", file=sys.stderr)
    images = BenchmarkImages(files, language)
    stage.check_words(model, language, config.data.data_set.crop_size or config.data.size)
    max_depth = min(config.data.max_depth, FARTHEST)
    with _shared_folder(path.with_name(f".{path.name}.parts"), processes) as folder:
        counts = _predict_images(
            model, stage.predict, images, config.eval, max_depth, processes, folder
        )
        num_clamped = sum(processes.gather(counts))
        if processes.is_main:
            write_submission(path, folder, [file.name for file in files.values()])
    return _describe(path, len(files), num_clamped, max_depth)


@contextmanager
def _shared_folder(folder: Path, processes: Processes) -> Iterator[Path]:
    """A folder for all processes, which is gone after the block; an earlier run's goes first."""
    if processes.is_main:
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder.parent)
        folder.mkdir()
    processes.barrier()
    try:
        yield folder
    finally:
        if processes.is_main:
            shutil.rmtree(folder, ignore_errors=True)


@torch.no_grad()
def _predict_images(
    model: nn.Module,
    predict: Predict,
    images: BenchmarkImages,
    config: EvalConfig,
    max_depth: float,
    processes: Processes,
    folder: Path,
) -> list[int]:
    """Write this process's depth maps; returns the number of clamped pixels of each."""
    model.eval()
    predict_on_device = prediction_on(processes.device, model, predict)

    def predict_flipped(batch: Batch) -> Tensor:
        return predict_batch(predict_on_device, batch, config.flip)

    share = eval_indices(len(images), processes.rank, processes.world_size)
    loader = DataLoader(images, config.batch_size, sampler=share, collate_fn=collate_eval)
    counts = []
    for batch in tracked(loader, "predicting", unit="batch", stays=False):
        pred_depth, _ = average_captions(predict_flipped, batch, max_depth)
        for key, pred in zip(batch.key, pred_depth[:, 0], strict=True):
            depth, num_clamped = _clamp(key, pred, max_depth)
            write_depth_png(folder / images.files[key].name, to_stored(depth))
            counts.append(num_clamped)
    return counts


def _clamp(key: str, pred_depth: Tensor, max_depth: float) -> tuple[Tensor, int]:
    depth, num_clamped, num_nonfinite = sanitize(pred_depth, max_depth)
    if num_nonfinite:
        raise UserError(
            f"{key}: {num_nonfinite} of {pred_depth.numel()} predicted pixels are not finite; "
            "evaluate this checkpoint on a split with ground truth first"
        )
    return depth, int(num_clamped)


def _describe(path: Path, num_images: int, num_clamped: int, max_depth: float) -> str:
    text = (
        f"{path}: {num_images} depth maps, 16-bit, meters * 256; names, sizes and values checked; "
        f"{num_clamped} pixels were clamped to [{MIN_DEPTH:g}, {max_depth:g}] m"
    )
    if num_images < len(NAMES):
        text += f"\nThe server refuses this file: it needs {len(NAMES)} depth maps"
    return text

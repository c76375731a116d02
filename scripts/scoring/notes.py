"""What a reader of scores should know of the maps that were scored, a line each."""

from common.evaluation.alignment import Alignment, aligned_rows, column
from common.evaluation.results import EvalResult
from scripts.scoring.predicted_maps import PredictedMaps


def describe_maps(maps: PredictedMaps, num_images: int) -> list[str]:
    """What the folder has too little and too much of."""
    notes = []
    if maps.missing:
        notes.append(
            f"warning: {len(maps.missing)} of {num_images} images have no prediction, first "
            f"{next(iter(maps.missing))}"
        )
    if maps.extra:
        notes.append(
            f"note: {len(maps.extra)} depth files in {maps.folder} are of no image of this split "
            f"and are not read, first {maps.extra[0]}"
        )
    if maps.twins:
        notes.append(
            f"note: {len(maps.twins)} files are there in another format, which is scored, first "
            f"{maps.twins[0]}"
        )
    return notes


def describe_unaligned(result: EvalResult, alignments: tuple[Alignment, ...]) -> list[str]:
    """A line for each alignment that some images do not allow; their metric numbers are there."""
    notes = []
    for alignment in alignments:
        able = {row["image_path"] for row in aligned_rows(result.per_image, alignment)}
        images = [row["image_path"] for row in result.per_image]
        unable = [image for image in images if image not in able]
        if unable:
            notes.append(
                f"warning: {len(unable)} of {len(images)} predictions cannot be aligned by "
                f"{alignment} (their median is not above 0, or nothing is finite), first "
                f"{unable[0]}; its aligned numbers are those of the others"
            )
    return notes


def describe_inverse(result: EvalResult) -> list[str]:
    """A line if predictions grow where depth falls: they may be disparity."""
    if "scale_shift" not in result.aligned:
        return []
    rows = aligned_rows(result.per_image, "scale_shift")
    factors = [row[column("scale", "scale_shift")] for row in rows]
    num_negative = sum(factor < 0 for factor in factors)
    if not num_negative:
        return []
    return [
        f"warning: {num_negative} of {len(factors)} predictions fall where depth grows (scale "
        "below 0): if they are inverse depth (disparity), convert them to depth first"
    ]

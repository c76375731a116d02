"""The camera of a picture: what its pixels say about directions, and how that scales depth.

A network answers as if its training camera had taken the picture. One with a longer lens shows
everything larger, so nearer; `focal_ratio` says by how much.
"""

import math
from dataclasses import asdict, dataclass

from common.data.data_set import DataSet, TrainingCamera
from common.errors import UserError
from common.evaluation.known_distance import FocalRule
from scripts.prediction.frames import SeenFrame

FILM_DIAGONAL = math.hypot(36, 24)  # mm, of 35 mm film


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera, in pixels of the picture, and where it comes from."""

    fx: float
    fy: float
    cx: float
    cy: float
    source: str
    is_known: bool = True  # False: the training camera's, for want of the picture's own

    def to_plain(self) -> dict[str, float | str]:
        """As JSON files hold it."""
        return {name: value for name, value in asdict(self).items() if name != "is_known"}


def check_focal(focal: float) -> float:
    """The focal length in pixels; a `UserError` unless it is above 0."""
    if not 0 < focal < math.inf:
        raise UserError(f"focal length {focal}: it must be above 0 pixels of the picture's width")
    return float(focal)


def focal_of_film(millimeters: float, size: tuple[int, int]) -> float:
    """Pixels, of the focal length in mm with the same view on 35 mm film; size: (H, W).

    The same diagonal, as CIPA's DC-008 defines the EXIF tag.
    """
    return millimeters * math.hypot(*size) / FILM_DIAGONAL


def find_intrinsics(
    frame: SeenFrame, data_set: DataSet, given: float | None, film: float | None
) -> Intrinsics | None:
    """From the given focal length, else from EXIF's, else the training camera's; None: no camera.

    given: pixels. film: mm, see `focal_of_film`.
    """
    height, width = frame.size
    focal, source = given, "given"
    if focal is None and film is not None:
        focal, source = focal_of_film(film, frame.size), f"EXIF, {film:g} mm on 35 mm film"
    if focal is not None:
        return Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, source)
    camera = data_set.camera
    if camera is None:
        return None
    fx = _training_focal(camera, frame) / frame.scale
    rows, columns = (own / of for own, of in zip(frame.size, camera.size, strict=True))
    return Intrinsics(
        fx,
        fx * camera.fy / camera.fx,
        camera.cx * columns,
        camera.cy * rows,
        f"the {camera.name} camera, which the network was trained for",
        is_known=False,
    )


def focal_ratio(intrinsics: Intrinsics, camera: TrainingCamera, frame: SeenFrame) -> float:
    """How many times the training camera's the focal length is that the network sees."""
    return intrinsics.fx * frame.scale / _training_focal(camera, frame)


def _training_focal(camera: TrainingCamera, frame: SeenFrame) -> float:
    """Pixels of what the network reads: training's pictures are resized, or cut as they are."""
    return camera.fx if frame.is_crop_set else camera.fx * frame.image.shape[1] / camera.size[1]


def focal_factor(
    rule: FocalRule, intrinsics: Intrinsics | None, data_set: DataSet, frame: SeenFrame
) -> tuple[float, str | None]:
    """What depth is to be multiplied by, and a note for the user."""
    camera = data_set.camera
    if camera is None:
        if rule == "scale":
            raise UserError(
                f"--focal-rule scale: the camera of data.name={data_set.name} is not known, so "
                "there is nothing to scale by; use --focal-rule none"
            )
        return 1.0, None
    start = f"trained for the {camera.name} camera"
    if intrinsics is None or not intrinsics.is_known:
        return 1.0, (
            f"{start}, which is taken for this picture's: its own focal length is not known "
            f"({_field_of_view(camera)}); --focal says it"
        )
    ratio = focal_ratio(intrinsics, camera, frame)
    if rule == "scale":
        return ratio, f"{start}; depth is multiplied by {ratio:.3g}, the ratio of focal lengths"
    if abs(ratio - 1) < 0.02:
        return 1.0, f"{start}, whose focal length is that of this picture"
    return 1.0, (
        f"{start}; this picture's focal length is {ratio:.3g} times as long, and depth is not "
        "corrected for it: --focal-rule scale does"
    )


def _field_of_view(camera: TrainingCamera) -> str:
    degrees = 2 * math.degrees(math.atan(camera.size[1] / 2 / camera.fx))
    return f"{camera.fx:.0f} px at a width of {camera.size[1]}, a view of {degrees:.0f} degrees"

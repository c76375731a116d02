"""Depth in meters for your own pictures, by any trained model; no ground truth is needed.

    python scripts/predict.py --checkpoint runs/nyu/stage3 kitchen.jpg --caption "A small kitchen."
    python scripts/predict.py --checkpoint runs/nyu/stage3 photos/ "more/*.png" --caption auto --ply
    python scripts/predict.py --checkpoint runs/kitti/stage3 street.mp4 --captions captions.jsonl
    python scripts/predict.py --checkpoint hf://USER/NAME 0 --caption none          (a webcam)

Writes for each picture, at its own size: NAME.npy (meters), NAME.png (16 bits) with NAME.json
beside it (scale, size, caption, camera, calibration, notes), NAME_color.png; with --samples also
the mean and the spread of scenes drawn from what the words say. Of a video: NAME_depth.mp4, side by
side, and how much the depth flickers. docs/predict.md tells more.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.config_values import natural, positive, resolve_path, split_overrides
from common.errors import UserError, run_program
from common.evaluation.known_distance import (
    Fit,
    KnownDistance,
    read_calibration,
    read_known_distance,
)
from common.files import make_folder
from common.images.depth_files import describe_changed
from common.language.captioner import CaptionSettings
from common.printable import one_line
from common.programs.evaluate import CHANGEABLE
from common.progress import progress_bar
from common.runtime.claims import claim_folder
from common.shortages import (
    DISK,
    GPU_MEMORY,
    HOST_MEMORY,
    ShortageError,
    shortage,
    shortages_told,
)
from common.text_files import write_json
from scripts.prediction.clouds import check_glb
from scripts.prediction.focals import FocalSource
from scripts.prediction.inputs import CaptionSource, Inputs, find_inputs
from scripts.prediction.known import calibrate_picture, calibrated
from scripts.prediction.load import load
from scripts.prediction.model import DepthModel
from scripts.prediction.names import VIDEO_FACTS, check_names, output_folder, output_stems
from scripts.prediction.outputs import PictureWriter, range_text
from scripts.prediction.pictures import Picture, read_picture
from scripts.prediction.result import Asked, Prediction
from scripts.prediction.video import VideoAsked, open_video, predict_video
from scripts.prediction.words import AUTO, CAPTIONER, given

SHOWN = 20  # pictures with a line of their own
REMEDIES = {
    GPU_MEMORY: "use a smaller --batch, or --device cpu",
    HOST_MEMORY: "use a smaller --batch, or smaller pictures",
}


def main() -> None:
    """Open the model, find the pictures, predict and write each; code 2 if one has no depth."""
    arguments, overrides = _parse()
    known = [read_known_distance(text) for text in arguments.calibrate]
    if arguments.fit and not known:
        raise UserError("--fit: says how --calibrate fits known distances; give some")
    if arguments.glb:
        check_glb()
    calibration = read_calibration(arguments.calibration) if arguments.calibration else None
    asked = Asked(arguments.focal_rule, arguments.samples, arguments.seed, calibration)
    model = load(arguments.checkpoint, arguments.device, overrides)
    captions = _captions(arguments, model)
    focals = FocalSource(arguments.focal, arguments.focals)
    folder = output_folder(arguments.output, arguments.checkpoint, model.trained.path)
    inputs = find_inputs(arguments.pictures, folder)
    _tell(*inputs.notes)
    if known and (calibration or len(inputs.keys) != 1 or not inputs.pictures):
        raise UserError(
            "--calibrate: its places are in one picture: give that alone, and no --calibration; "
            "scripts/calibrate.py makes a --calibration FILE for others"
        )
    _check_for_videos(arguments, inputs)
    stems = output_stems(inputs.keys)
    read = [Path(name) for name in (arguments.calibration, arguments.focals, captions.file) if name]
    check_names(folder, stems, inputs, read)
    make_folder(folder)
    with claim_folder(folder, "name another --output"), shortages_told(REMEDIES):
        program = Program(model, arguments, asked, captions, focals, folder, stems, known)
        program.run(inputs)
    program.finish()


class Program:
    """Predicts and writes, and remembers what to tell at the end."""

    def __init__(
        self,
        model: DepthModel,
        arguments: argparse.Namespace,
        asked: Asked,
        captions: CaptionSource,
        focals: FocalSource,
        folder: Path,
        stems: dict[str, str],
        known: Sequence[KnownDistance] = (),
    ) -> None:
        self.model, self.arguments, self.asked, self.captions = model, arguments, asked, captions
        self.focals, self.folder, self.stems = focals, folder, stems  # of all inputs
        self.known = known  # in the one picture
        config, labels = model.config, model.trained.labels
        scale = config.eval.saved_depth_scale or config.data.data_set.depth_scale
        facts = {**labels, "samples": asked.samples}
        self.writer = PictureWriter(folder, scale, facts, arguments.ply, arguments.glb)
        self.lines: list[str] = []  # of what was written
        self.fit_text = ""  # of --calibrate
        self.failures: list[UserError] = []
        self.notes: dict[str, list[str]] = {}  # -> pictures they are about

    def run(self, inputs: Inputs) -> None:
        """All pictures, then all videos; one that fails does not stop the others."""
        size, todo = self.arguments.batch, list(inputs.pictures.items())
        with progress_bar("predict", len(todo), unit="picture", stays=False) as bar:
            for first in range(0, len(todo), size):
                part = todo[first : first + size]
                self._predict([read for key, file in part if (read := self._read(key, file))])
                bar.update(len(part))
        for key, source in (*inputs.videos.items(), *inputs.webcams.items()):
            try:
                self._predict_video(key, source)
            except UserError as error:
                self._fail(error)

    def finish(self) -> None:
        """Tell what was done; a `UserError` if not all of it could be."""
        for note, keys in self.notes.items():
            about = "" if len(keys) == len(self.lines) else f" ({len(keys)}, first {keys[0]})"
            _tell(f"note: {note}{about}")
        if self.fit_text:
            print(self.fit_text)
        lost = describe_changed(self.writer.changed, self.writer.depth_scale)
        _tell(*([lost] if lost else []))
        if self.lines:
            print(*map(one_line, self.lines[:SHOWN]), sep="\n")
            print(f"{len(self.lines)} of {len(self.stems)} written to {one_line(self.folder)}")
        if self.failures:
            more = len(self.failures) - 1
            raise UserError(f"{self.failures[0]}" + (f" ({more} more failed)" if more else ""))

    def _read(self, key: str, file: Path) -> tuple[str, Picture, str | None] | None:
        """Key, picture and caption; None: it cannot be read."""
        try:
            caption = self.captions.of(file)
            return key, read_picture(file, self.model.config.data.exif_orientation), caption
        except UserError as error:
            self._fail(error)
            return None

    def _predict(self, part: Sequence[tuple[str, Picture, str | None]]) -> None:
        """Predict and write a batch; where that fails, its pictures one by one."""
        if not part:
            return
        try:
            pictures = [picture for _, picture, _ in part]
            focals = [self.focals.of(Path(picture.name)) for picture in pictures]
            captions = [caption for *_, caption in part]
            found = self.model.predict_all(pictures, captions, focals, self.asked)
        except ShortageError:
            raise
        except UserError as error:
            if len(part) == 1:
                self._fail(error)
                return
            for one in part:
                self._predict([one])
            return
        for (key, picture, _), prediction in zip(part, found, strict=True):
            try:
                self._write(key, picture, prediction)
            except UserError as error:
                self._fail(error)

    def _write(self, key: str, picture: Picture, prediction: Prediction) -> None:
        if self.known:
            fitted, self.fit_text = calibrate_picture(prediction, self.known, self.arguments.fit)
            if not fitted.helps:
                raise UserError(
                    "--calibrate: at places that were left out of the fit, depth is better as it "
                    "is; measure more places, or check the numbers"
                )
            prediction = calibrated(prediction, fitted.calibration)
        self.writer.write(self.stems[key], picture, prediction)
        has_points = bool(self.arguments.ply or self.arguments.glb)
        camera = prediction.intrinsics
        about_points = [f"points by {camera.source}"] if camera and has_points else []
        self._remember(key, [*prediction.notes, *about_points])
        self.lines.append(f"{key}: {range_text(prediction.depth)}")
        if camera is None and has_points:
            raise UserError(
                f"{picture.name}: no camera is known for its points, its depth is written; give "
                "--focal PIXELS"
            )

    def _predict_video(self, key: str, source: Path | int) -> None:
        a = self.arguments
        file = source if isinstance(source, Path) else None
        caption = self.captions.of(file)
        asked = replace(self.asked, samples=0)
        how = VideoAsked(caption, self.focals.of(file), asked, a.batch, a.frames)
        place = f"{self.folder / self.stems[key]}_depth"
        with open_video(source) as video:
            report = predict_video(self.model, video, Path(f"{place}.mp4"), how)
        facts = {**self.model.trained.labels, **report.describe(str(source))}
        write_json(Path(f"{self.folder / self.stems[key]}{VIDEO_FACTS}"), facts)
        self._remember(key, [*report.last.notes, *report.notes])
        flicker = "" if report.flicker is None else f", flicker {100 * report.flicker:.2f} %"
        self.lines.append(f"{key}: {report.num_frames} frames{flicker}")

    def _remember(self, key: str, notes: Sequence[str]) -> None:
        for note in dict.fromkeys(notes):
            self.notes.setdefault(note, []).append(key)

    def _fail(self, error: UserError) -> None:
        """Remember it; a full disk is one for all that is to come."""
        if error.__cause__ is not None and shortage(error.__cause__) == DISK:
            raise error
        self.failures.append(error)
        if len(self.stems) > 1:  # else it ends the program
            _tell(f"left out: {error}")


def _check_for_videos(arguments: argparse.Namespace, inputs: Inputs) -> None:
    """Of a video there are neither points nor sampled scenes: say so."""
    if not inputs.videos and not inputs.webcams:
        return
    names = ("ply", "glb", "samples")
    asked = ", ".join(f"--{name}" for name in names if getattr(arguments, name))
    if asked and not inputs.pictures:
        raise UserError(f"{asked}: of pictures only, and this is a video; leave it out")
    if asked:
        _tell(f"note: {asked}: of the pictures, not of the videos")


def _captions(arguments: argparse.Namespace, model: DepthModel) -> CaptionSource:
    """Raises the `UserError` of missing words before anything is read."""
    if arguments.captioner:
        folder = resolve_path(arguments.captioner, True)
        name = str(folder) if folder.is_dir() else arguments.captioner
        model.words.captioner = CaptionSettings(name)
    file = resolve_path(arguments.captions, True) if arguments.captions else None
    if model.words.needs_caption and not (file and arguments.caption is None):
        given(arguments.caption)
    return CaptionSource(arguments.caption, file)


def _tell(*lines: str) -> None:
    for line in lines:
        print(one_line(line), file=sys.stderr)


def _parse() -> tuple[argparse.Namespace, list[str]]:
    """The options, and the `key=value` overrides."""
    arguments, overrides = split_overrides(sys.argv[1:], CHANGEABLE)
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="predict.py --checkpoint RUN PICTURES ... [options] [key=value ...]",
    )
    add = parser.add_argument
    add("pictures", nargs="+", metavar="PICTURES", help="files, folders, globs, videos, a webcam")
    add("--checkpoint", required=True, metavar="RUN",
        help="a run folder, .pt or .onnx file, saved model's folder, hf://USER/NAME")  # fmt: skip
    add(
        "--caption", metavar="TEXT", help=f"what they show; {AUTO}: a model says it; none: no words"
    )
    add("--captions", metavar="FILE", help="captions.jsonl with a caption of each picture")
    add("--captioner", metavar="MODEL", help=f"of --caption {AUTO} (default: {CAPTIONER})")
    add("--focal", type=float, metavar="PX", help="focal length in pixels of the pictures")
    add(
        "--focals", type=Path, metavar="LIST", help="a data set's list: IMAGE DEPTH PX in each line"
    )
    add("--focal-rule", choices=("none", "scale"), default="none",
        help="scale: depth grows with the focal length against the training camera's")  # fmt: skip
    add("--calibrate", action="append", default=[], metavar="x,y=METERS",
        help="a known distance in the picture, or x0,y0,x1,y1=METERS; repeatable")  # fmt: skip
    add("--fit", choices=get_args(Fit),
        help="of --calibrate: default is what held-out places say")  # fmt: skip
    add("--calibration", type=Path, metavar="FILE.json", help="what scripts/calibrate.py wrote")
    add("--samples", type=int, default=0, metavar="N", help="also draw N scenes: mean and spread")
    add("--seed", type=natural, default=0, help="of their noise (default: 0)")
    add("--ply", action="store_true", help="also write points")
    add("--glb", action="store_true", help="the same as glTF")
    add("--output", metavar="DIR", help="default: predictions/ in the run's folder")
    add("--batch", type=positive, default=4, metavar="N", help="pictures at once (default: 4)")
    add("--frames", type=positive, metavar="N", help="of a video or webcam, the first N alone")
    add("--device", metavar="NAME", help="cuda, cpu, ... (default: a GPU if there is one)")
    return parser.parse_intermixed_args(arguments), overrides


if __name__ == "__main__":
    run_program(main)

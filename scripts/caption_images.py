"""Write captions.jsonl: one or several sentences per image, by a Hugging Face captioning model.

  python scripts/caption_images.py --config configs/nyu/data.yaml --output data/nyu/captions.jsonl
  python scripts/caption_images.py --images PATH --output captions.jsonl \\
      --model Salesforce/blip2-opt-2.7b --prompt "a photo of"
  NPROC=4 sh scripts/launch.sh scripts/caption_images.py --images PATH --output captions.jsonl \\
      --num-captions 5 --temperature 0.9                        # four GPUs

--model is any image-captioning or image-text-to-text model that transformers knows, by name or
folder. A line is {"image": KEY, "caption": SENTENCE, "source": {...}}, with "captions": [...] when
there are several, the first of which is the caption; source holds model, commit and settings, and
"picture" tells the picture by size, time and contents. After an interruption the same command
continues; when all images have captions it does nothing, and when images were added or are others
now it captions those.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from common.config_values import natural, output_path, positive, resolve_path
from common.errors import UserError, run_program
from common.files import check_output
from common.images.reading import read_image
from common.language.captioner import Captioner, CaptionSettings
from common.language.captions import captions_of
from common.printable import one_line
from common.progress import progress_bar
from common.runtime.claims import claim_path, claim_together
from common.runtime.hub import add_hub_argument, set_hub_timeout
from common.runtime.precision import choose_precision
from common.runtime.processes import Processes, join_processes
from scripts.preparation import caption_parts
from scripts.preparation.image_sets import add_image_arguments, images_of_arguments

READERS = 4  # threads that read images ahead

ReadImage = tuple[str, np.ndarray | UserError]


def main() -> None:
    """See the module's docstring."""
    arguments = _parse()
    set_hub_timeout(arguments.hub_timeout)
    output = _check_output(arguments.output)
    with join_processes() as processes:
        claim = claim_path(output, "name another --output")
        with claim_together(processes, claim):
            caption_all(arguments, output, processes)


def caption_all(arguments: argparse.Namespace, output: Path, processes: Processes) -> None:
    """Caption this process's share of what is not done yet; the main process writes the file."""
    images = images_of_arguments(arguments, lambda text: _print_once(processes, text))
    settings = _settings(arguments, processes)
    source = settings.provenance()
    done = caption_parts.read_done(output, source, images)
    todo = [key for key in images if key not in done.entries]
    processes.barrier()  # everyone has read before anyone writes
    if done.others:
        _print_once(
            processes, f"{len(done.others)} captions are of other pictures than now: made anew"
        )
    if done.num_unknown:
        _print_once(processes, f"{done.num_unknown} captions do not say of which pictures they are")
    if not todo and not caption_parts.part_files(output):
        _print_once(processes, f"{output}: already there, {len(images)} images")
        return
    share = {key: images[key] for key in todo[processes.rank :: processes.world_size]}
    left_out = _caption_share(share, output, settings, source, arguments, processes)
    left_out = processes.gather(left_out)  # and wait until everyone is done
    if processes.is_main:
        _finish(output, source, images, left_out)


def _caption_share(
    images: dict[str, Path],
    output: Path,
    settings: CaptionSettings,
    source: dict[str, Any],
    arguments: argparse.Namespace,
    processes: Processes,
) -> list[str]:
    """Append the captions of `images` to this process's part; returns what was left out and why."""
    if not images:
        return []
    left_out: list[str] = []
    captioner = Captioner(settings, processes.device)
    with (
        caption_parts.open_part(output, processes.rank) as part,
        progress_bar("captioning", len(images), unit="image") as bar,
    ):
        for batch in _read_ahead(images, arguments.batch_size):
            readable, problems = _split_off_unreadable(batch, arguments.skip_unreadable)
            left_out += problems
            captions = (
                captioner.caption(list(readable), list(readable.values())) if readable else []
            )
            entries = [
                _entry(key, sentences, source, images[key])
                for key, sentences in zip(readable, captions, strict=True)
                if sentences
            ]
            said = {entry["image"] for entry in entries}
            left_out += [
                f"{images[key]}: the model said nothing" for key in readable if key not in said
            ]
            caption_parts.append(part, entries)
            bar.update(len(batch))
    return left_out


def _read_ahead(images: dict[str, Path], batch_size: int) -> Iterator[list[ReadImage]]:
    """Batches of images; the next one is read while the model works on this one."""
    keys = list(images)
    batches = [keys[first : first + batch_size] for first in range(0, len(keys), batch_size)]
    with ThreadPoolExecutor(READERS) as pool:
        reading: list[Future[ReadImage]] = []
        for batch in [*batches, []]:
            following = [pool.submit(_read, key, images[key]) for key in batch]
            if reading:
                yield [future.result() for future in reading]
            reading = following


def _read(key: str, file: Path) -> ReadImage:
    try:
        return key, read_image(file)
    except UserError as error:
        return key, error


def _split_off_unreadable(
    images: Sequence[ReadImage], skip: bool
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The readable images, and the others' messages; without `skip`, the first is raised."""
    readable: dict[str, np.ndarray] = {}
    problems: list[str] = []
    for key, image in images:
        if not isinstance(image, UserError):
            readable[key] = image
        elif skip:
            problems.append(str(image))
        else:
            raise UserError(f"{image}; or go on without it by --skip-unreadable") from image
    return readable, problems


def _entry(key: str, sentences: list[str], source: dict[str, Any], file: Path) -> dict[str, Any]:
    several = {"captions": sentences} if len(sentences) > 1 else {}
    facts = {"source": source, "picture": caption_parts.describe_picture(file)}
    return {"image": key, "caption": sentences[0], **several, **facts}


def _finish(
    output: Path, source: dict[str, Any], images: dict[str, Path], left_out: list[str]
) -> None:
    entries = caption_parts.finish(output, source, images)
    distinct = len({caption for entry in entries.values() for caption in captions_of(entry)})
    print(f"{output}: {len(entries)} images, {distinct} distinct captions")
    for problem in left_out[:10]:
        print(f"left out: {one_line(problem)}", file=sys.stderr)
    if left_out:
        print(f"{len(left_out)} images were left out", file=sys.stderr)


def _settings(arguments: argparse.Namespace, processes: Processes) -> CaptionSettings:
    a = arguments
    if a.num_captions > 1 and a.temperature == 0:
        raise UserError("--num-captions above 1 needs --temperature above 0: all would be the same")
    if a.num_beams > 1 and a.temperature > 0:
        raise UserError("--num-beams searches, --temperature draws: choose one of them")
    folder = resolve_path(a.model, True)
    return CaptionSettings(
        str(folder) if folder.is_dir() else a.model,
        a.revision,
        a.prompt,
        a.temperature,
        a.num_captions,
        a.num_beams,
        a.max_new_tokens,
        a.seed,
        choose_precision(a.precision, processes.device),
    )


def _check_output(name: str) -> Path:
    output = output_path(name)
    if output.suffix != ".jsonl":
        raise UserError(f"--output {output}: the name must end in .jsonl")
    check_output(output)  # before the model is loaded
    return output


def _print_once(processes: Processes, text: str) -> None:
    if processes.is_main:
        print(text)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add_image_arguments(parser)
    add_hub_argument(parser)
    add("--output", required=True, metavar="FILE.jsonl")
    add("--model", default="Salesforce/blip-image-captioning-large", help="default: %(default)s")
    add("--revision", help="branch, tag or commit of the model")
    add("--prompt", help="how the caption starts ('a photo of'), or what a chat model is asked")
    add(
        "--temperature",
        type=_at_least_0,
        default=0.0,
        help="above 0: draw the words, by --seed (default 0: the likeliest word)",
    )
    add("--num-captions", type=positive, default=1, help="for each image (needs --temperature)")
    add("--num-beams", type=positive, default=1, help="width of the search without --temperature")
    add("--max-new-tokens", type=positive, default=CaptionSettings.max_new_tokens)
    add("--seed", type=natural, default=0)
    add("--batch-size", type=positive, default=16, help="images per process (default %(default)s)")
    add("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    add("--skip-unreadable", action="store_true", help="leave out and count damaged images")
    return parser.parse_intermixed_args()


def _at_least_0(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of at least 0")
    return number


if __name__ == "__main__":
    run_program(main)

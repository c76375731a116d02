"""Show what a trained network makes of words alone: scenes sampled from their distribution.

    python scripts/explore_prior.py --checkpoint runs/nyu/stage1 "a small bathroom" "a lecture hall"
    python scripts/explore_prior.py --checkpoint runs/demo_joint/stage3 "a kitchen" "a toy kitchen"
        --samples 200 --output runs/prior

Stage 1, stage 2 (which holds stage 1) and the joint recipe have such a distribution; for the staged
recipe's stage 3 that of the stage it started from is shown. Prints, for each sentence, the mean and
the 5, 50 and 95 % quantiles of the scenes' median depth in meters. Writes prior.json (with the
histogram) and prior.png: a row for each sentence with the mean depth, a few scenes and the
histogram. The sentences are encoded by the run's own encoder. docs/wordings.md tells more.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.config_values import natural, output_path, positive, split_overrides
from common.errors import UserError, run_program
from common.evaluation.panels import write_png
from common.files import check_output
from common.runtime.processes import join_processes
from common.text_files import write_json
from scripts.prediction.trained import open_network, tell_wordless
from scripts.probes.pictures import draw_samples
from scripts.probes.sampled_scenes import (
    describe_scenes,
    network_of_words,
    sample_scenes,
    scenes_table,
)


def main() -> None:
    """Open the network, sample, print and write."""
    arguments, overrides = _parse()
    sentences = [" ".join(text.split()) for text in arguments.sentences]
    if not all(sentences):
        raise UserError("a sentence is empty; give at least one word")
    with join_processes() as processes:
        network = network_of_words(open_network(arguments.checkpoint, overrides, processes))
        tell_wordless(network)
        folder = output_path(arguments.output) if arguments.output else _own_folder(network.path)
        for name in ("prior.json", "prior.png"):
            check_output(folder / name)
        samples = sample_scenes(network, sentences, arguments.samples, arguments.seed)
    described = describe_scenes(sentences, samples)
    print(scenes_table(described))
    asked = {"samples": arguments.samples, "seed": arguments.seed}
    write_json(folder / "prior.json", {**network.labels, **asked, "captions": described})
    write_png(folder / "prior.png", draw_samples(sentences, samples))
    print(f"\n{arguments.samples} scenes each; {folder / 'prior.png'} and prior.json beside it")


def _own_folder(checkpoint: Path) -> Path:
    """`prior` in the run's folder, or beside a checkpoint that lies alone."""
    run = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    return run / "prior"


def _parse() -> tuple[argparse.Namespace, list[str]]:
    """The options, and the `key=value` overrides."""
    arguments, overrides = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage='explore_prior.py --checkpoint RUN "a sentence" ... [options] [key=value ...]',
    )
    add = parser.add_argument
    add("sentences", nargs="+", metavar="SENTENCE")
    add("--checkpoint", required=True, metavar="RUN", help="a .pt file or a run folder")
    add("--samples", type=positive, default=64, help="scenes per sentence (default: 64)")
    add("--seed", type=natural, default=0, help="of the noise (default: 0)")
    add("--output", metavar="DIR", help="for the two files (default: prior/ in the run's folder)")
    return parser.parse_intermixed_args(arguments), overrides


if __name__ == "__main__":
    run_program(main)

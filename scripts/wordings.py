"""Ask a trained network about pictures in other words, and see how far its answer moves.

    python scripts/wordings.py --checkpoint runs/nyu/stage3 --captions short.jsonl detailed.jsonl
    python scripts/wordings.py --checkpoint runs/nyu/stage3 --sentences true_false.jsonl
    python scripts/wordings.py --checkpoint runs/demo/stage3 --change kitchen "toy kitchen"
    python scripts/wordings.py --checkpoint runs/demo/stage3 --image test/kitchen_0002/rgb_00000.jpg
        --say "A kitchen with a fridge." "A toy kitchen with a fridge." --png strip.png

Any checkpoint of any stage that reads words; they are encoded by the run's own encoder. --captions:
several true captions of each picture: ratio of the largest to the smallest median depth, and the
share of the variance of the log scale's error that the wording explains. --sentences: how much a
false relation, or exchanged objects, move the answer, beside a true paraphrase. --change: one word
of each picture's own caption becomes another. --image with --say: one picture, a table and a strip
of depth maps with one color bar. docs/wordings.md tells more.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.config_values import output_path, split_overrides
from common.data.lists import find_file
from common.errors import UserError, run_program
from common.evaluation.panels import write_png
from common.evaluation.results import write_rows
from common.files import check_output
from common.language.captions import Captions
from common.programs.remedies import evaluation_remedies
from common.runtime.processes import join_processes
from common.shortages import shortages_told
from common.text_files import write_json
from scripts.prediction.trained import open_network, tell_wordless
from scripts.probes.answers import Interview
from scripts.probes.caption_spread import ask_captions
from scripts.probes.false_sentences import ask_sentences
from scripts.probes.one_picture import ask_about
from scripts.probes.reports import COLUMNS, WordReport
from scripts.probes.word_changes import ask_changes

DEFAULT_PNG = "wordings.png"


def main() -> None:
    """Open the network, ask what was wanted, print and write it."""
    arguments, overrides = _parse()
    outputs = _check_outputs(arguments)
    with join_processes() as processes:
        network = open_network(arguments.checkpoint, overrides, processes)
        if not network.reads_words:
            raise UserError(
                f"{network.path} reads no words (language.mode=none or prompt.caption=false), so "
                "other ones change nothing; name a run that reads them"
            )
        tell_wordless(network)
        needs_own = bool(arguments.change) or arguments.after_caption
        interview = Interview(network, network.load_data(arguments.split, needs_own))
        with shortages_told(evaluation_remedies(network.config.eval)):
            reports = _ask(interview, arguments, outputs)
    for report in reports:
        print(f"\n{report.table}")
    content = {**network.labels, "split": arguments.split, **{f.name: f.content for f in reports}}
    if interview.failures:
        failed = [{"image": f.image, "reason": str(f.error)} for f in interview.failures.values()]
        content = {"complete": False, **content, "failed": failed}
    if "json" in outputs:
        write_json(outputs["json"], content)
    if "csv" in outputs:
        write_rows(outputs["csv"], COLUMNS, [row for f in reports for row in f.rows])
    if interview.failures:
        first = next(iter(interview.failures.values())).error
        raise UserError(f"incomplete, {len(interview.failures)} images are left out: {first}")


def _ask(
    interview: Interview, arguments: argparse.Namespace, outputs: dict[str, Path]
) -> list[WordReport]:
    root, own = interview.network.config.data.root, interview.dataset.language.captions
    reports = []
    if arguments.captions:
        files = [find_file(name, root) for name in arguments.captions]
        reports.append(ask_captions(interview, files))
    if arguments.sentences:
        spoken_after: Captions | None = own if arguments.after_caption else None
        file = find_file(arguments.sentences, root)
        reports.append(ask_sentences(interview, file, spoken_after))
    if arguments.change:
        reports.append(ask_changes(interview, own, arguments.change))
    if arguments.image:
        report, strip = ask_about(interview, arguments.image, arguments.say)
        write_png(outputs["png"], strip)
        print(f"strip: {outputs['png']}")
        reports.append(report)
    return reports


def _check_outputs(arguments: argparse.Namespace) -> dict[str, Path]:
    """Where to write what, each place tried before anything is asked."""
    wanted = {"json": arguments.json, "csv": arguments.csv}
    if arguments.image:
        wanted["png"] = arguments.png or DEFAULT_PNG
    paths = {kind: output_path(name) for kind, name in wanted.items() if name}
    if len(set(paths.values())) < len(paths):
        raise UserError("--json, --csv and --png name one file; name several")
    for path in paths.values():
        check_output(path)
    return paths


def _parse() -> tuple[argparse.Namespace, list[str]]:
    """The options, and the `key=value` overrides."""
    given, overrides = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="wordings.py --checkpoint RUN (--captions | --sentences | --change | --image) ... "
        "[options] [key=value ...]",
    )
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="RUN", help="a .pt file or a run folder")
    add("--split", choices=("train", "val", "test"), default="test")
    add("--captions", nargs="+", metavar="FILE", help="caption files of the split's pictures")
    add("--sentences", metavar="FILE", help="true and false sentences: see docs/wordings.md")
    add("--after-caption", action="store_true", help="say each sentence after the own caption")
    add("--change", nargs=2, action="append", metavar=("WORD", "OTHER"), help="may come again")
    add("--image", metavar="KEY", help="one picture, named as in the list")
    add("--say", nargs="+", metavar="SENTENCE", help="what to say of it")
    add("--json", metavar="OUT.json", help="write the numbers")
    add("--csv", metavar="OUT.csv", help="write one line per answer")
    add("--png", metavar="OUT.png", help=f"where the strip goes (default: {DEFAULT_PNG})")
    arguments = parser.parse_args(given)
    _check_options(arguments)
    return arguments, overrides


def _check_options(arguments: argparse.Namespace) -> None:
    if not any((arguments.captions, arguments.sentences, arguments.change, arguments.image)):
        raise UserError("nothing to ask: give --captions, --sentences, --change or --image")
    if bool(arguments.image) != bool(arguments.say):
        raise UserError("--image KEY and --say SENTENCE ... go together; give both")
    if any(not word.strip() for pair in arguments.change or () for word in pair):
        raise UserError("--change: a word is empty; give at least one word, and one in its place")
    if arguments.after_caption and not arguments.sentences:
        raise UserError("--after-caption: only with --sentences")
    if arguments.png and not arguments.image:
        raise UserError("--png: only with --image")


if __name__ == "__main__":
    run_program(main)

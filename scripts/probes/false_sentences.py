"""True and false sentences: how much does a false one move the answer, beside a true paraphrase?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.evaluation.results import Row, align_columns
from scripts.probes.answers import Interview, Reply
from scripts.probes.reports import WordReport, answer_row, cells, mean
from scripts.probes.sentence_files import CHANGES, PARAPHRASE, TRUE, SentenceSet, read_sentences
from scripts.probes.wording_stats import depth_move, scale_move

HEADER = "sentence|images|scale moves|depth moves|x paraphrase|AbsRel true|AbsRel changed"


def ask_sentences(
    interview: Interview, path: Path, own_captions: Mapping[str, str] | None = None
) -> WordReport:
    """Ask with the true sentences of a file and their changes.

    own_captions: image key -> caption, after which every sentence is said; None: it stands alone.
    """
    asked = _questions(interview.keys, path)
    said = {key: [_say(key, t, own_captions) for t in _texts(sets)] for key, sets in asked.items()}
    rows: list[Row] = []
    moves: dict[str, dict[str, list[dict[str, float]]]] = {}
    for key, replies in interview.ask_all(said):
        answers = iter(replies)
        for one in asked[key]:
            true = next(answers)
            rows.append(answer_row("sentences", f"{one.relation}/{TRUE}", true))
            for name in one.changes:
                changed = next(answers)
                rows.append(answer_row("sentences", f"{one.relation}/{name}", changed))
                move = _move(true, changed)
                for relation in (one.relation, "all"):
                    moves.setdefault(relation, {}).setdefault(name, []).append(move)
    content = {
        relation: {name: _summary(own[name]) for name in CHANGES if name in own}
        for relation, own in moves.items()
    }
    return WordReport("sentences", _table(content), content, rows)


def _questions(keys: Sequence[str], path: Path) -> dict[str, list[SentenceSet]]:
    asked: dict[str, list[SentenceSet]] = {key: [] for key in keys}
    for one in read_sentences(path):
        if one.image in asked and one.changes:
            asked[one.image].append(one)
    asked = {key: sets for key, sets in asked.items() if sets}
    if not asked:
        raise UserError(
            f"--sentences {path}: it has no true and changed sentences about images of this split; "
            f"`image` is a path as in the list, such as {keys[0]}"
        )
    return asked


def _texts(sets: Sequence[SentenceSet]) -> list[str]:
    return [text for one in sets for text in (one.true, *one.changes.values())]


def _say(key: str, sentence: str, own_captions: Mapping[str, str] | None) -> str:
    if own_captions is None:
        return sentence
    return f"{own_captions[key].rstrip('.')}. {sentence[0].upper()}{sentence[1:].rstrip('.')}."


def _move(true: Reply, changed: Reply) -> dict[str, float]:
    return {
        "scale": scale_move(true.median, changed.median),
        "depth": depth_move(true.depth, changed.depth),
        "abs_rel_true": true.row["abs_rel"],
        "abs_rel_changed": changed.row["abs_rel"],
    }


def _summary(moves: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Means over pictures; `scale` and `depth`: see `wording_stats.py`."""
    means = {name: mean([move[name] for move in moves]) for name in moves[0]}
    return {"num_images": len(moves), **means}


def _table(content: dict[str, dict[str, dict[str, Any]]]) -> str:
    lines = [HEADER.split("|")]
    for relation, own in content.items():
        usual = own.get(PARAPHRASE, {}).get("depth")
        for name, m in own.items():
            times = m["depth"] / usual if usual else None
            numbers = cells(m["scale"], m["depth"], times, m["abs_rel_true"], m["abs_rel_changed"])
            lines.append([f"{relation}, {name}", str(m["num_images"]), *numbers])
    return align_columns(lines)

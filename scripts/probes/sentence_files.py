"""Files of true and false sentences about pictures, a JSON object in each line:

    {"image": "kitchen/rgb_1.jpg",
     "true":           {"depth": "a chair is in front of a sink"},
     "false_relation": {"depth": "a chair is behind a sink"},
     "false_objects":  {"depth": "a sink is in front of a chair"}}

"depth" may be any name, and there may be several; null: there is no such sentence. "paraphrase" may
hold true sentences, too. Where it does not, the two false ones are put together: of "A is R B",
"A is S B" and "B is R A" with the opposite S of R, "B is S A" is as true as the first.
"""

import codecs
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import read_bytes
from common.text_files import is_whole_text, to_text

TRUE, PARAPHRASE = "true", "paraphrase"
FALSE = ("false_relation", "false_objects")
CHANGES = (PARAPHRASE, *FALSE)


@dataclass(frozen=True)
class SentenceSet:
    """A true sentence about a picture and its changes; relation: what it is about ("depth")."""

    image: str
    relation: str
    true: str
    changes: Mapping[str, str]  # by name, of CHANGES


def read_sentences(path: Path) -> list[SentenceSet]:
    """All sets of a file; a `UserError` names a bad line."""
    try:
        text = to_text(read_bytes(path).removeprefix(codecs.BOM_UTF8))
    except OSError as error:
        raise UserError(f"cannot read sentences {path}: {error.strerror}") from error
    numbered = enumerate(text.split("\n"), 1)
    return [each for n, line in numbered if line.strip() for each in _parse(line, f"{path}:{n}")]


def _parse(line: str, where: str) -> list[SentenceSet]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not a JSON object: {getattr(error, 'msg', error)}") from error
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str) or TRUE not in entry:
        raise UserError(f'{where}: expected {{"image": "...", "true": {{...}}, ...}}')
    groups = {name: _group(entry.get(name, {}), name, where) for name in (TRUE, *CHANGES)}
    return [_set_of(entry["image"].lstrip("/"), name, groups) for name in groups[TRUE]]


def _group(group: Any, name: str, where: str) -> dict[str, str]:
    """The sentences of one kind, by relation; null: there is none."""
    texts = group.values() if isinstance(group, dict) else [""]
    given = [text for text in texts if text is not None]
    if not all(isinstance(t, str) and t.strip() and is_whole_text(t) for t in given):
        raise UserError(f'{where}: "{name}" must be {{"depth": "a sentence", ...}}')
    return {relation: text.strip() for relation, text in group.items() if text is not None}


def _set_of(image: str, relation: str, groups: dict[str, dict[str, str]]) -> SentenceSet:
    true = groups[TRUE][relation]
    changes = {name: groups[name][relation] for name in CHANGES if relation in groups[name]}
    if PARAPHRASE not in changes and all(name in changes for name in FALSE):
        paraphrase = turn_around(true, *(changes[name] for name in FALSE))
        changes = {**({PARAPHRASE: paraphrase} if paraphrase else {}), **changes}
    return SentenceSet(image, relation, true, changes)


def turn_around(true: str, false_relation: str, false_objects: str) -> str | None:
    """Say the true sentence from the other object's side; None: the three are not built so."""
    first, _, rest = true.partition(" is ")
    second, _, opposite = false_objects.partition(" is ")
    relation = rest.removesuffix(f" {second}")
    start, end = f"{first} is ", f" {second}"
    is_built_so = (
        true == f"{first} is {relation} {second}"
        and opposite == f"{relation} {first}"
        and false_relation.startswith(start)
        and false_relation.endswith(end)
        and len(false_relation) > len(start) + len(end)
    )
    if not is_built_so:
        return None
    return f"{second} is {false_relation[len(start) : -len(end)]} {first}"

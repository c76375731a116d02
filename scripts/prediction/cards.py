"""The model card of a saved model, made from its run: every number in it comes from a file.

Validation metrics are those of the run's log at its checkpoint's step; test metrics come from the
JSON files of eval.py, which say their protocol, split and words. A result of another checkpoint,
one with images that failed, and one of the words alone are refused; what else was not as usual
stands in the row.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard, ModelCardData

from common.errors import UserError
from common.evaluation.metrics import METRIC_NAMES
from common.language.encoders import encoder_kind
from common.runtime.saved_models import describe_average, without_folders
from scripts.prediction.trained import TrainedNetwork

_SHOWN = ("data", "text", "train", "eval", "model", "language", "prompt", "loss", "seed")
_TASKS = {
    "stage1": "depth of the scenes that a caption describes, from words alone",
    "stage2": "coarse metric depth: the image picks one of the scenes that a caption describes",
    "stage3": "metric depth from one image, guided by a caption",
    "llm_mde": "metric depth from one image, read by a language model behind a prompt",
}


def write_card(
    trained: TrainedNetwork, data: ModelCardData, results: Sequence[str | Path] = ()
) -> ModelCard:
    """results: JSON files of eval.py for this model."""
    name = f"{trained.config.experiment}/{trained.stage.name}"
    parts = [
        f"# {name}: {_TASKS[trained.stage.name]}",
        f"Trained with LangDepth, recipe `{trained.stage.recipe}`, "
        f"{trained.facts.get('step', 'unknown')} steps.{_average(trained)}",
        _usage(trained),
        _data(trained),
        "## Metrics\n" + _metrics(trained, [_read_result(Path(file), trained) for file in results]),
        _words(trained),
        _limits(trained),
        _config(trained),
        _license(),
    ]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n")


def _average(trained: TrainedNetwork) -> str:
    line = describe_average(trained.facts)
    return f" Here {line}." if line else ""


def _usage(trained: TrainedNetwork) -> str:
    caption = ', "A small kitchen with a stove."' if trained.reads_words else ""
    return f"""## Use
`REPO` is a copy of LangDepth.

```python
model = torch.hub.load(REPO, "langdepth", "hf://USER/NAME", source="local")
prediction = model.predict("picture.jpg"{caption})
prediction.depth  # float32 [H, W], meters
```"""


def _data(trained: TrainedNetwork) -> str:
    data = trained.config.data
    camera = data.data_set.camera
    lens = "not known" if camera is None else (
        f"{camera.name}, fx {camera.fx:g} px at {camera.size[1]}x{camera.size[0]}"
    )  # fmt: skip
    split = (
        data.split or ", ".join(filter(None, (data.train_list, data.test_list))) or "its folders"
    )
    size = "x".join(map(str, data.size))
    return (
        f"## Data\nData set `{data.name}` ({split}), images of {size}, depth up to "
        f"{data.max_depth:g} m. Camera: {lens}."
    )


def _metrics(trained: TrainedNetwork, results: Sequence[dict[str, Any]]) -> str:
    rows = [
        [f"{r['split']}{_unusual(r)}", r["protocol"], str(r["num_images"]), r["metrics"]]
        for r in results
    ]
    validation = _validation(trained)
    if validation is not None:
        own = trained.facts["config"]["eval"]  # the run's, and not of this opening
        most = own.get("max_images")
        first = "" if most is None else f", the first {most} images"
        flip = ", flip averaged" if own.get("flip") else ""
        protocol = own.get("protocol", trained.config.eval.protocol)
        rows.append([f"validation, in training{first}{flip}", protocol, "", validation])
    if not rows:
        return "None were handed to `save_pretrained`; score it with eval.py."
    lines = [["split", "protocol", "images", *METRIC_NAMES], ["---"] * (3 + len(METRIC_NAMES))]
    lines += [[*row[:3], *(f"{row[3][m]:.4f}" for m in METRIC_NAMES)] for row in rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"By LangDepth's evaluator; numbers of different protocols do not compare.\n\n{table}"


def _unusual(result: dict[str, Any]) -> str:
    """What makes the numbers others than the model's usual ones."""
    told = {
        "control": f"words: {result.get('control')}",
        "captions": f"captions: {result.get('captions')}",
        "images": result.get("images"),
        "flip": "flip averaged",
        "calibrated": "calibrated by known distances",  # the label names a file of this machine
    }
    return "".join(f", {text}" for name, text in told.items() if result.get(name))


def _validation(trained: TrainedNetwork) -> dict[str, float] | None:
    """What the run's log says of the checkpoint's step; None: there is no log, or no such line."""
    try:
        log = (trained.path.parent.parent / "metrics.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in log.splitlines()]
    except (OSError, ValueError):
        return None
    step = trained.facts.get("step")
    found = [line for line in lines if line.get("kind") == "val" and line.get("step") == step]
    return found[-1] if found and all(name in found[-1] for name in METRIC_NAMES) else None


def _read_result(file: Path, trained: TrainedNetwork) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        own = content["stage"], content["recipe"]
        path = Path(content["checkpoint"])
        metrics = {name: float(content["metrics"][name]) for name in METRIC_NAMES}
        needed = {key: content[key] for key in ("split", "protocol", "num_images")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: not a result that eval.py --json wrote") from error
    this = trained.stage.name, trained.stage.recipe
    if own != this or path.resolve() != trained.path.resolve():
        raise UserError(
            f"{file} is a result of {' '.join((*own, str(path)))}, this is "
            f"{' '.join((*this, str(trained.path)))}; score this one"
        )
    if content.get("complete") is False:
        raise UserError(f"{file} is an incomplete result: some images failed; score it again")
    if "calibration" in content:
        raise UserError(
            f"{file} is a result of --samples: it scores what the words alone say; score the "
            "pictures"
        )
    return {**content, **needed, "metrics": metrics}


def _words(trained: TrainedNetwork) -> str:
    text = trained.config.text
    if not trained.reads_words:
        return "## Words\nIt reads no caption."
    lines = [f"## Words\nIt was trained with `text.control={text.control}`"]
    lines.append(" (every image with its own caption)" if text.control == "caption" else "")
    if trained.text_dim is not None:
        lines.append(f"; captions are encoded by `{text.encoder}`")
        if encoder_kind(text.encoder) == "untrained":
            lines.append(", which has random weights: it tells words apart and knows no meaning")
    return "".join(lines) + "."


def _limits(trained: TrainedNetwork) -> str:
    data = trained.config.data
    return f"""## Limits
- Depth is metric for the training camera; another focal length scales it (`focal`, `focal_rule`).
- Nothing beyond {data.max_depth:g} m was in the loss; it knows scenes like those of `{data.name}`.
- A caption can mislead it: what the words say of the scale moves the answer.
- It is not for use where a wrong distance can hurt anyone."""


def _config(trained: TrainedNetwork) -> str:
    config = without_folders(trained.facts["config"])
    shown = {key: config[key] for key in _SHOWN if key in config}
    return f"## Config\n```yaml\n{yaml.safe_dump(shown, sort_keys=False)}```"


def _license() -> str:
    return """## License
The code is MIT. Whether these weights may be used for a purpose depends on the terms of the data
they were trained on, and on those of the pretrained parts that the config names.

Methods: WorDepth (Zeng et al., CVPR 2024), LLM-MDE (Xia and Wu, 2024); independent code."""

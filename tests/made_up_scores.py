"""Scores of a study that nobody ran: known differences, scenes and seeds, and logs of trainings."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.evaluation.metrics import METRIC_NAMES
from scripts.run_plans.study_scores import Cell, Score, StudyInfo

STUDY = StudyInfo("words", "Do words help?", "none")
# 8 scenes of 3 frames: two types, and gaps of 10 between scenes
IMAGES = tuple(
    f"test/{kind}/rgb_{10 * scene + frame:05d}.jpg"
    for kind in ("kitchen", "living_room")
    for scene in range(4)
    for frame in range(3)
)
FACTS = {"command": "python scripts/study.py words.yaml", "machine": "a made-up machine"}


@dataclass(frozen=True)
class MadeUp:
    """Makes scores. level: mean AbsRel; what a scene or a seed adds is the same in every row."""

    folder: Path
    images: Sequence[str] = IMAGES
    level: float = 0.2

    def row(
        self,
        cell: Cell,
        shift: float,
        seeds: Sequence[int] = (0, 1, 2),
        noise: float = 0.004,
        folds: int | None = None,
    ) -> list[Score]:
        """Scores whose AbsRel is `shift` above the level, with noise of its own by scene."""
        numbers = range(folds) if folds else (None,)
        return [
            self.score(cell, shift, seed, noise, fold, folds) for seed in seeds for fold in numbers
        ]

    def score(
        self,
        cell: Cell,
        shift: float,
        seed: int = 0,
        noise: float = 0.004,
        fold: int | None = None,
        folds: int | None = None,
    ) -> Score:
        images = self.images if fold is None else self.images[fold :: folds or 1]
        rows = [self.image_row(image, cell, shift, seed, noise) for image in images]
        metrics = {name: float(np.mean([row[name] for row in rows])) for name in METRIC_NAMES}
        result = {"metrics": metrics, "num_images": len(rows)}
        return Score(cell, seed, fold, result, rows, self.run_folder(cell, seed, shift), None)

    def image_row(
        self, image: str, cell: Cell, shift: float, seed: int, noise: float
    ) -> dict[str, str | float]:
        place = np.random.default_rng([len(image), self.images.index(image) // 3])
        own = np.random.default_rng([abs(hash_of(cell)), seed, self.images.index(image)])
        value = self.level + 0.03 * place.standard_normal() + 0.003 * seed
        value = max(value + shift + noise * own.standard_normal(), 1e-3)
        others = {name: value * (2 + i) for i, name in enumerate(METRIC_NAMES[1:])}
        return {"image_path": image, "abs_rel": value, **others, "d1": 1 - value}

    def run_folder(self, cell: Cell, seed: int, shift: float) -> Path:
        """With the log and the config of a training."""
        name = f"{cell.recipe}_{cell.train_control}_s{seed}".replace("/", "-")
        folder = self.folder / "runs" / "".join(c for c in name if c not in '<>"&')
        folder.mkdir(parents=True, exist_ok=True)
        records = [
            {"step": step, "kind": "val", "abs_rel": self.level + shift + 2 / step + 0.001 * seed}
            for step in (10, 20, 40, 80)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
        (folder / "config.yaml").write_text(f"experiment: words_{seed}\n")
        return folder


def hash_of(cell: Cell) -> int:
    """The same in every process."""
    return sum(ord(c) * 31**i for i, c in enumerate(str(cell))) % 2**32


def cell(
    recipe: str = "staged",
    train: str = "caption",
    scored: str | None = None,
    captions: str = "short",
    encoder: str = "minilm",
    data: str = "nyu",
) -> Cell:
    return Cell(recipe, train, scored or train, captions, encoder, data)

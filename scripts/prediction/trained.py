"""Open the checkpoint of any stage, and turn sentences into what its network reads."""

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.config_values import resolve_path
from common.data.dataset import DepthDataset
from common.data.kept_data import KeptData
from common.data.samples import SplitName
from common.errors import UserError
from common.language.captions import Captions
from common.language.feature_store import FeatureStore
from common.language.features import FeaturePlace, encode_once
from common.language.language import Language, Needs
from common.language.provenance import describe_provenance
from common.programs.assembly import load_split
from common.programs.evaluate import Checkpoint, check_changeable
from common.programs.exported import exported_stage
from common.programs.run_config import RunConfig
from common.programs.stage import Stage, choose_stage
from common.runtime.checkpoints import checkpoint_in, read_checkpoint
from common.runtime.exported_files import is_exported
from common.runtime.processes import Processes
from common.runtime.saved_models import facts_of
from llm_mde.model import LLMDepth
from llm_mde.stage import STAGE as LLM_MDE
from stage1_vae.stage import STAGE as STAGE1
from stage2_sampler.stage import STAGE as STAGE2
from stage3_depth.stage import STAGES as STAGES3

_ROOM = 80  # characters of a sentence
STAGES = (STAGE1, STAGE2, *STAGES3, LLM_MDE)


@dataclass(frozen=True)
class TrainedNetwork:
    """The network of a checkpoint, in evaluation mode, and how it is fed.

    facts: what the checkpoint says beside the weights (`saved_models.FACTS`).
    """

    stage: Stage
    path: Path
    config: RunConfig
    model: nn.Module
    processes: Processes
    facts: dict[str, Any]

    @property
    def labels(self) -> dict[str, str]:
        """What a result file says beside the numbers."""
        labels = {"checkpoint": str(self.path), "recipe": self.stage.recipe}
        return {**labels, "stage": self.stage.name, "encoder": self.config.text.encoder}

    @property
    def reads_words(self) -> bool:
        """Whether sentences can change its answer."""
        if isinstance(self.model, LLMDepth):
            return self.model.reads_prompt and self.model.prompt.config.caption
        return self.text_dim is not None

    @property
    def text_dim(self) -> int | None:
        """Length of the text features that it reads; None: it reads the sentences themselves."""
        return self.stage.needs(self.model).text_dim

    def load_data(self, split: SplitName, with_captions: bool) -> DepthDataset:
        """The images of a split, with what the network needs of them; words come otherwise.

        with_captions: have the images' own captions too, which must then be configured.
        """
        text = replace(self.config.text, control="caption")
        if not with_captions:
            text = replace(text, captions=None)
        elif text.captions is None:
            raise UserError(
                f"{self.path} names no captions of its images; give them with "
                "text.captions=FILE.jsonl"
            )
        # Not the stage's own config type, which may insist on captions.
        own = self.config
        config = RunConfig(
            own.data, output_root=own.output_root, seed=own.seed, text=text, train=own.train
        )
        needs = Needs(image_dim=self.stage.needs(self.model).image_dim)
        kept = KeptData.of(read_checkpoint(self.path), self.path)
        dataset = load_split(config, split, needs, self.processes, kept)
        tell(*dataset.notes)
        return dataset

    def encode(self, sentences: Sequence[str], keep: bool) -> Tensor | None:
        """What the run's own encoder makes of sentences: [N, text_dim]; None: see `text_dim`.

        keep: below the run's output root, as features of captions are; the next call finds them.
        """
        if self.text_dim is None:
            return None
        keys = [f"sentence {number}" for number in range(1, len(sentences) + 1)]
        captions = Captions.of(zip(keys, sentences, strict=True))
        with tempfile.TemporaryDirectory() as folder:
            cache = self.config.output_root / "features" if keep else Path(folder)
            place = FeaturePlace(Path, cache, device=self.processes.device)
            store = encode_once(captions, self.config.text.encoder, place, "text_wordings")
            self._check_dim(store)
            tell(*(line for o in store.provenance for line in describe_provenance(o)))
            return torch.stack([store[key] for key in keys])

    def check_words(self, sentences: Sequence[str], size: tuple[int, int]) -> None:
        """Raise a `UserError` for sentences that the network cannot read; size: of its images."""
        named = Captions.of(
            (f"sentence {number}, '{brief(sentence)}'", sentence)
            for number, sentence in enumerate(sentences, 1)
        )
        self.stage.check_words(self.model, Language(named), size)

    def _check_dim(self, store: FeatureStore) -> None:
        if store.dim != self.text_dim:
            raise UserError(
                f"text.encoder={self.config.text.encoder} gives {store.dim} numbers, "
                f"{self.path} reads {self.text_dim}; name the encoder that made its features with "
                "text.encoder=NAME"
            )


def open_network(
    place: str | Path, overrides: Sequence[str], processes: Processes
) -> TrainedNetwork:
    """The network of a checkpoint file, exported file or run folder.

    overrides: `key=value`, as for eval.py.
    """
    check_changeable(overrides)
    path = find_any_checkpoint(resolve_path(str(place), True))
    content = read_checkpoint(path)
    stage = stage_of(content, path)
    if is_exported(path):
        stage = exported_stage(stage, path)
    config, model = Checkpoint(stage, path, overrides=tuple(overrides)).open(processes)
    return TrainedNetwork(stage, path, config, model.eval(), processes, facts_of(content))


def find_any_checkpoint(place: Path) -> Path:
    """A checkpoint file, or that of the run in a folder; a `UserError` says what was meant."""
    path = checkpoint_in(place)
    if path is not None:
        return path
    inside = sorted(place.glob("*")) if os.path.lexists(place) else []
    runs = [folder for folder in inside if folder.is_dir() and checkpoint_in(folder) is not None]
    if runs:
        raise UserError(f"{place} holds several runs; name one: {' or '.join(map(str, runs))}")
    raise UserError(
        f"no checkpoint in {place}; name a .pt file or the folder of a stage's run, as "
        "runs/demo/stage1"
    )


def stage_of(content: dict[str, Any], path: Path) -> Stage:
    """Which stage (and recipe of it) a checkpoint is of."""
    stages = tuple(stage for stage in STAGES if stage.name == content.get("stage"))
    if not stages:
        raise UserError(f"{path} is a checkpoint of {content.get('stage')}, which no stage here is")
    return choose_stage(stages, str(content.get("recipe")), f"{path}: ")


def tell_wordless(network: TrainedNetwork) -> None:
    """Say so if no training image had words of its own: what it makes of sentences is chance."""
    control = network.config.text.control
    if control in ("none", "empty", "constant"):
        tell(
            f"note: {network.path} was trained with text.control={control}: it never learned from "
            "sentences, so what it makes of these means nothing"
        )


def brief(sentence: str) -> str:
    """Of a long sentence what a table or a message has room for."""
    return sentence if len(sentence) <= _ROOM else f"{sentence[: _ROOM - 4]} ..."


def tell(*notes: str) -> None:
    """On stderr: tables go to stdout."""
    for note in notes:
        print(note, file=sys.stderr)

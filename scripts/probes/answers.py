"""One picture, many sentences: the depth that a network answers with each, and its score."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.data.batch import Batch, Failure, Item, collate_eval
from common.data.dataset import DepthDataset
from common.errors import UserError
from common.evaluation.metrics import sanitize
from common.evaluation.scoring import GIVE_UP_AFTER, predict_batch, score_batch
from common.networks.base_encoder import Encoder
from common.programs.inference import scoring_rule
from common.progress import progress_bar
from llm_mde.vision_encoder import VisionEncoder
from scripts.prediction.trained import TrainedNetwork

IMAGE_ENCODERS = (Encoder, VisionEncoder)


@dataclass(frozen=True)
class Reply:
    """What the network says of one picture with one sentence.

    row: as in the CSV file of eval.py, `pred_median` and `gt_median` included. depth: [H, W] in
    meters, within what is scored (1e-3 m to data.max_depth), in the network's size.
    """

    sentence: str
    row: dict[str, Any]
    depth: np.ndarray

    @property
    def median(self) -> float:
        """Of the prediction over the scored pixels, meters."""
        return self.row["pred_median"]


class Interview:
    """Asks a network about pictures of a data set; what cannot be read or scored is kept apart."""

    def __init__(self, network: TrainedNetwork, dataset: DepthDataset) -> None:
        self.network, self.dataset = network, dataset
        config = network.config
        self.rule = scoring_rule(dataset, config.eval, config.data.max_depth, with_medians=True)
        self.failures: dict[str, Failure] = {}  # by image key
        self._index_of = {key: index for index, key in enumerate(dataset.samples.keys)}

    @property
    def keys(self) -> list[str]:
        """Of the pictures, `eval.max_images` at most."""
        return list(self._index_of)[: self.network.config.eval.max_images]

    def find(self, name: str) -> str:
        """The key of a picture of the split; a `UserError` names the nearest ones."""
        key = name.lstrip("/")
        if key in self._index_of:
            return key
        near = difflib.get_close_matches(key, self._index_of, n=3, cutoff=0)
        raise UserError(
            f"--image {name}: this split has no such image; it is named as in the list, such as "
            f"{' or '.join(near)}"
        )

    def item(self, key: str) -> Item:
        """A picture as the network is given it, without other words than its own."""
        item = self.dataset[self._index_of[key]]
        return replace(item, other_captions=(), other_features=None)

    def ask_all(
        self, sentences_of: Mapping[str, Sequence[str]], keep: bool = True
    ) -> Iterator[tuple[str, list[Reply]]]:
        """Image key -> its sentences; gives each key with its replies, in the order of both.

        keep: see `TrainedNetwork.encode`. A `UserError` where no picture can be asked about.
        """
        distinct = list(dict.fromkeys(text for texts in sentences_of.values() for text in texts))
        self.network.check_words(distinct, self.dataset.largest_size)
        features = self.network.encode(distinct, keep)  # [M, D]
        rows = {text: row for row, text in enumerate(distinct)}
        num_answered, errors = 0, []
        with progress_bar("ask", len(sentences_of), unit="image", stays=False) as bar:
            for key, texts in sentences_of.items():
                own = None if features is None else features[[rows[text] for text in texts]]
                try:
                    replies = self._ask(key, texts, own)
                except UserError as error:
                    errors.append(error)
                    self.failures.setdefault(key, Failure(key, error))
                    if not num_answered and len(errors) in (GIVE_UP_AFTER, len(sentences_of)):
                        raise errors[0] from None
                else:
                    num_answered += 1
                    yield key, replies
                bar.update()

    def _ask(self, key: str, sentences: Sequence[str], features: Tensor | None) -> list[Reply]:
        item = self.item(key)
        asked = [
            replace(item, caption=text, text_feature=None if features is None else features[n])
            for n, text in enumerate(sentences)
        ]
        size = self.network.config.eval.batch_size
        parts = (asked[first : first + size] for first in range(0, len(asked), size))
        return [reply for part in parts for reply in self._ask_batch(collate_eval(part))]

    def _ask_batch(self, batch: Batch) -> list[Reply]:
        depth = predict_batch(self._predict, batch, self.rule.flip)  # [B, 1, H, W]
        rows, failures = score_batch(depth, batch, self.rule)
        for failure in failures[:1]:
            raise failure.error
        if rows[0]["num_pixels"] == 0:
            raise UserError(f"{batch.key[0]}: no pixel of its ground truth can be scored")
        clean = sanitize(depth[:, 0], self.rule.max_depth)[0]
        return list(map(Reply, batch.caption, rows, clean.numpy()))

    @torch.no_grad()
    def _predict(self, batch: Batch) -> Tensor:
        network = self.network
        with picture_seen_once(network.model):
            sent = batch.to(network.processes.device)
            return network.stage.predict(network.model, sent).float().cpu()


@contextmanager
def picture_seen_once(model: nn.Module) -> Iterator[None]:
    """Within the block every batch is one picture repeated: encoders look at the first of it only.

    Their features are then repeated, so that nothing else of the network can tell.
    """
    count = 1

    def keep_first(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        nonlocal count
        count = len(inputs[0])
        return (inputs[0][:1],)

    def repeat(module: nn.Module, inputs: Any, features: Any) -> Any:
        if isinstance(features, Tensor):
            return features.expand(count, *features.shape[1:])
        return tuple(each.expand(count, *each.shape[1:]) for each in features)

    encoders = [module for module in model.modules() if isinstance(module, IMAGE_ENCODERS)]
    hooks = [encoder.register_forward_pre_hook(keep_first) for encoder in encoders]
    hooks += [encoder.register_forward_hook(repeat) for encoder in encoders]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()

"""One picture, many sentences: the depth that a network answers with each, and its score."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from common.data.batch import Batch, collate_eval
from common.data.dataset import DepthDataset
from common.evaluation.scoring import predict_batch, score_batch
from common.networks.swin import SwinEncoder
from common.networks.timm_encoder import TimmEncoder
from common.programs.inference import scoring_rule
from llm_mde.vision_encoder import VisionEncoder
from scripts.probes.trained import TrainedNetwork

IMAGE_ENCODERS = (SwinEncoder, TimmEncoder, VisionEncoder)


@dataclass(frozen=True)
class Reply:
    """What the network says of one picture with one sentence.

    row: as eval.py's CSV has it, with `pred_median` and `gt_median` (meters, scored pixels). depth:
    [H, W] in meters, as the network gives it.
    """

    sentence: str
    row: dict[str, Any]
    depth: Tensor


class Interviewer:
    """Asks a network about the pictures of a data set."""

    def __init__(self, network: TrainedNetwork, dataset: DepthDataset) -> None:
        self.network, self.dataset = network, dataset
        config = network.config
        self.rule = scoring_rule(dataset, config.eval, config.data.max_depth)
        self.index_of = {key: index for index, key in enumerate(dataset.samples.keys)}

    def ask(self, key: str, sentences: Sequence[str], features: Tensor | None) -> list[Reply]:
        """The answers about one picture; features: [K, D], of the K sentences."""
        item = self.dataset[self.index_of[key]]
        asked = [
            replace(item, caption=text, text_feature=None if features is None else features[n])
            for n, text in enumerate(sentences)
        ]
        size, answers = self.network.config.eval.batch_size, []
        for first in range(0, len(asked), size):
            answers += self._ask_batch(collate_eval(asked[first : first + size]))
        return answers

    def _ask_batch(self, batch: Batch) -> list[Reply]:
        depth = self._predict(batch)  # [B, 1, H, W]
        rows, failures = score_batch(depth, batch, self.rule)
        for failure in failures[:1]:
            raise failure.error
        return [
            Reply(text, row, pred[0])
            for text, row, pred in zip(batch.caption, rows, depth, strict=True)
        ]

    @torch.no_grad()
    def _predict(self, batch: Batch) -> Tensor:
        network = self.network

        def predict(part: Batch) -> Tensor:
            with picture_seen_once(network.model):
                sent = part.to(network.processes.device)
                return network.stage.predict(network.model, sent).float().cpu()

        return predict_batch(predict, batch, self.rule.flip)


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

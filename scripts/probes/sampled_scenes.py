"""Scenes that a sentence alone describes: sampled depth, and what of it fits into a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import stage1_vae.eval
from common.data.batch import Batch
from common.errors import UserError
from common.evaluation.results import align_columns
from common.programs.stage import WordsAlone
from common.runtime.checkpoints import checkpoint_in
from common.runtime.randomness import DrawRandom
from scripts.prediction.trained import TrainedNetwork, brief, open_network, tell
from scripts.probes.reports import cells
from stage2_sampler.model import SampledVAE

HEADER = "sentence|mean m|5 %|50 %|95 %|95 % / 5 %"
QUANTILES = (5, 50, 95)
NUM_BINS = 20
_AT_A_TIME = 16  # scenes


def network_of_words(network: TrainedNetwork) -> TrainedNetwork:
    """The network itself, or that of the earlier stage it started from, which words alone drive.

    The staged recipe's stage 3 decodes words together with the picture; what the words alone say
    stands in stage 2, which holds stage 1's text-VAE.
    """
    if not network.reads_words:
        raise UserError(f"{network.path} reads no words; name a run that does")
    if words_alone(network) is not None:
        return network
    earlier, config = network.stage.earlier, network.config
    if earlier is None or not earlier.is_needed(config):
        raise UserError(
            f"{network.path} ({network.stage.recipe}) has no distribution of scenes: its words are "
            "read together with the picture; name a run of stage 1, stage 2 or recipe joint"
        )
    run, named = network.path.parent.parent, earlier.place(config)
    experiments = [name for name in earlier.experiments(config) if name]
    places = [run.parent / earlier.name]
    places += [named] if named else [config.output_root / e / earlier.name for e in experiments]
    path = next(filter(None, map(checkpoint_in, places)), None)
    if path is None:
        raise UserError(
            f"{network.path} reads words together with the picture, and the {earlier.name} it "
            f"started from is not in {' or '.join(map(str, dict.fromkeys(places)))}; name "
            f"{earlier.name}'s or stage1's run with --checkpoint"
        )
    tell(f"{network.stage.name} reads words together with the picture; these are of {path}")
    overrides = (f"text.encoder={config.text.encoder}", f"output_root={config.output_root}")
    return open_network(path, overrides, network.processes)


def words_alone(network: TrainedNetwork) -> tuple[nn.Module, WordsAlone] | None:
    """The part of a network that words alone drive, and how; None: it has none."""
    if isinstance(network.model, SampledVAE):  # stage 2 holds stage 1's network
        return network.model.vae, WordsAlone(stage1_vae.eval.predict, stage1_vae.eval.sample)
    alone = network.stage.words_alone
    return None if alone is None else (network.model, alone)


@torch.no_grad()
def sample_scenes(
    network: TrainedNetwork, sentences: Sequence[str], count: int, seed: int
) -> list[np.ndarray]:
    """Depth [count, H, W] in meters for each sentence, in the size of the run's pictures.

    Scene n of every sentence has the same noise, so that rows differ by the words alone.
    """
    found, features = words_alone(network), network.encode(sentences, keep=False)
    assert found is not None and features is not None
    model, alone = found
    parts = [range(first, min(first + _AT_A_TIME, count)) for first in range(0, count, _AT_A_TIME)]
    samples = []
    for feature in features:
        batches = [(_batch(network, feature, len(part)), part) for part in parts]
        depths = [alone.sample(model, batch, DrawRandom(seed, part, 0)) for batch, part in batches]
        samples.append(torch.cat(depths)[:, 0].float().cpu().numpy())
    if not all(np.isfinite(scenes).all() for scenes in samples):
        raise UserError(f"{network.path}: some of its scenes are not finite; train it anew")
    return samples


def _batch(network: TrainedNetwork, feature: Tensor, count: int) -> Batch:
    """One sentence's feature [D] for `count` pictures, of which only the size is read."""
    batch = Batch(
        image=torch.zeros(count, 3, *network.config.data.size),
        gt_depth=[None] * count,
        text_feature=feature.expand(count, -1),
        image_feature=None,
        caption=[""] * count,
        key=[""] * count,
        position=torch.arange(count),
    )
    return batch.to(network.processes.device)


def describe_scenes(
    sentences: Sequence[str], samples: Sequence[np.ndarray]
) -> list[dict[str, Any]]:
    """For each sentence: mean, spread and histogram of the median depths of its scenes, meters."""
    medians = [np.median(scenes, axis=(1, 2)) for scenes in samples]
    joined = np.concatenate(medians)
    edges = np.histogram_bin_edges(joined, NUM_BINS)
    return [
        {
            "caption": sentence,
            "mean": float(own.mean()),
            **{f"p{q}": float(np.percentile(own, q)) for q in QUANTILES},
            "histogram": np.histogram(own, edges)[0].tolist(),
            "edges": edges.tolist(),
            "medians": own.tolist(),
        }
        for sentence, own in zip(sentences, medians, strict=True)
    ]


def scenes_table(described: Sequence[dict[str, Any]]) -> str:
    """A line for each sentence; median depth of its scenes."""
    lines = [HEADER.split("|")]
    for own in described:
        quantiles = [own[f"p{q}"] for q in QUANTILES]
        lines.append(
            [brief(own["caption"]), *cells(own["mean"], *quantiles, quantiles[2] / quantiles[0])]
        )
    return align_columns(lines)

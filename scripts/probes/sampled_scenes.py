"""Scenes that a sentence alone describes: sampled depth, and what of it fits into a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from common.errors import UserError
from common.evaluation.results import align_table
from common.programs.text_prior import sample_depths
from common.runtime.checkpoints import checkpoint_in
from scripts.probes.findings import cells
from scripts.probes.trained import TrainedNetwork, open_network, tell

HEADER = "sentence|mean m|5 %|50 %|95 %|95 % / 5 %"
QUANTILES = (5, 50, 95)
NUM_BINS = 20


def network_of_words(network: TrainedNetwork) -> TrainedNetwork:
    """The network itself, or that of the earlier stage it started from, which words alone drive.

    The staged recipe's stage 3 decodes words together with the picture; what the words alone say
    stands in stage 2, where stage 1's text-VAE is.
    """
    if not network.reads_words:
        raise UserError(f"{network.path} reads no words; name a run that does")
    if network.stage.text_prior is not None:
        return network
    earlier = network.stage.earlier
    if earlier is None:
        raise UserError(
            f"{network.path} ({network.stage.recipe}) has no distribution of scenes: its words are "
            "read together with the picture; name a run of stage 1, stage 2 or recipe joint"
        )
    config, run = network.config, network.path.parent.parent
    named = [earlier.place(config)] if earlier.place(config) else []
    places = [
        *named,
        run.parent / earlier.name,
        *(config.output_root / name / earlier.name for name in earlier.experiments(config) if name),
    ]
    path = next(filter(None, (checkpoint_in(place) for place in places if place)), None)
    if path is None:
        raise UserError(
            f"{network.path} reads words together with the picture, and the {earlier.name} it "
            f"started from is not in {' or '.join(map(str, dict.fromkeys(places)))}; name "
            f"{earlier.name}'s or stage1's run with --checkpoint"
        )
    tell(f"{network.stage.name} reads words together with the picture; these are of {path}")
    overrides = (f"text.encoder={config.text.encoder}", f"output_root={config.output_root}")
    return open_network(path, overrides, network.processes)


def sample_scenes(
    network: TrainedNetwork, sentences: Sequence[str], count: int, seed: int
) -> list[np.ndarray]:
    """Depth [count, H, W] in meters for each sentence, in the size of the run's pictures.

    Scene n of every sentence has the same noise, so that rows differ by the words alone.
    """
    assert network.stage.text_prior is not None
    prior = network.stage.text_prior(network.model)
    features = network.encode(sentences, keep=False)
    assert features is not None
    seeds = [(seed, number) for number in range(count)]
    size = network.config.data.size
    device = network.processes.device
    return [
        sample_depths(prior, feature.to(device), size, seeds)[:, 0].numpy() for feature in features
    ]


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
        lines.append([own["caption"], *cells(own["mean"], *quantiles, quantiles[2] / quantiles[0])])
    return align_table(lines)

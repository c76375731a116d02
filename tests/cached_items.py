"""Training data sets with a cache of decoded frames, for its tests."""

from dataclasses import replace
from pathlib import Path

import torch
from dataset_trees import plain

from common.data import frames
from common.data.batch import Item
from common.data.data_config import DataConfig
from common.data.dataset import DepthDataset


def cached(data: DataConfig, folder: Path, **options) -> DepthDataset:
    """The training split with augmentation; its cache is in `folder`."""
    return plain(replace(data, cache=folder), augment=True, **options)


def assert_same(item: Item, other: Item) -> None:
    """Every field is equal, bit for bit."""
    for name, value in vars(item).items():
        is_tensor, theirs = isinstance(value, torch.Tensor), getattr(other, name)
        assert torch.equal(value, theirs) if is_tensor else value == theirs, name


def refuse_to_decode(monkeypatch) -> None:
    """From here on, decoding fails the test."""

    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(frames, "read_pair", refuse)


def num_decoded(dataset: DepthDataset, monkeypatch) -> int:
    """How many frames are decoded when all are asked for once."""
    decode, calls = frames.read_pair, []
    with monkeypatch.context() as patch:
        patch.setattr(
            frames, "read_pair", lambda *arguments: calls.append(arguments) or decode(*arguments)
        )
        for index in range(len(dataset)):
            dataset[index, index]
    return len(calls)

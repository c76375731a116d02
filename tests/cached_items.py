"""Training data sets with a cache of decoded frames, for its tests."""

from dataclasses import replace
from pathlib import Path

import torch
from dataset_trees import plain

from common.data import dataset as dataset_module
from common.data.data_config import DataConfig
from common.data.dataset import DepthDataset


def cached(data: DataConfig, folder: Path, **options) -> DepthDataset:
    """The training split with augmentation; its cache is in `folder`."""
    return plain(replace(data, cache=folder), augment=True, **options)


def assert_same(item: dict, other: dict) -> None:
    """Every entry is equal, bit for bit."""
    assert item.keys() == other.keys()
    for name, value in item.items():
        is_tensor = isinstance(value, torch.Tensor)
        assert torch.equal(value, other[name]) if is_tensor else value == other[name], name


def refuse_to_decode(monkeypatch) -> None:
    """From here on, decoding fails the test."""

    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(dataset_module, "read_pair", refuse)


def num_decoded(dataset: DepthDataset, monkeypatch) -> int:
    """How many frames are decoded when all are asked for once."""
    decode, calls = dataset_module.read_pair, []
    with monkeypatch.context() as patch:
        patch.setattr(
            dataset_module, "read_pair", lambda *words: calls.append(words) or decode(*words)
        )
        for index in range(len(dataset)):
            dataset[index, index]
    return len(calls)

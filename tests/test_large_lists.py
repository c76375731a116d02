"""What a list takes grows by a few bytes a pair, and words by the distinct captions."""

import gc
import json
import pickle
import sys
import tracemalloc
from pathlib import Path

import pytest
import torch

import common.language.encoding as encoding
from benchmarks.large_lists import first_step, write_config, write_tree
from common.data.data_config import DataConfig
from common.data.dataset import DepthDataset, build_dataset
from common.data.splits import SplitFinder
from common.language.features import FeaturePlace, TextConfig
from common.language.language import Needs, load_language, read_all_captions
from common.networks.layers import Standardize
from common.programs.assembly import Data

NUM_PAIRS, NUM_CAPTIONS, DIM = 20_000, 997, 16
# Image, depth, key of captions and of features: about 40 bytes each here, and 12 to find them by.
PAIR_BYTES = 300


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """20,000 pairs of 997 captions, and the features of these."""
    root = tmp_path_factory.mktemp("large")
    write_tree(root, NUM_PAIRS)
    return root


class _Tower:
    """Counts what it is asked to encode."""

    facts: dict = {}

    def __init__(self) -> None:
        self.encoded: list[str] = []
        self.limit = type("", (), {"find_cut": staticmethod(lambda captions: [])})

    def encode(self, captions, batch_size, progress) -> torch.Tensor:
        self.encoded += captions
        rows = [[hash(caption) % 97 / 97] * DIM for caption in captions]
        progress(len(captions))
        return torch.tensor(rows)


@pytest.fixture
def tower(monkeypatch) -> _Tower:
    tower = _Tower()
    monkeypatch.setattr(encoding, "text_encoder", lambda *_: tower)
    return tower


def build(root: Path, cache: Path) -> DepthDataset:
    data = DataConfig("nyu", root, 32, 64, max_depth=10.0, train_list="train.txt", val_share=0.1)
    split = SplitFinder(data).find("train")
    text = TextConfig(captions="captions.jsonl", encoder="untrained:0")
    place = FeaturePlace(lambda name: root / name, cache)
    captions = read_all_captions(text, place.resolve)
    language = load_language(text, captions, "train", split.files, Needs(DIM), place)
    return build_dataset(data, split, language)


def test_a_pair_takes_few_bytes_in_the_run_and_in_its_workers(tree, tmp_path, tower):
    build(tree, tmp_path)  # what imports and caches take is not counted
    tracemalloc.start()
    dataset = build(tree, tmp_path)
    gc.collect()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(dataset) == 18_000
    assert kept < PAIR_BYTES * NUM_PAIRS
    assert peak < 2 * PAIR_BYTES * NUM_PAIRS + 10e6  # one chunk of Python strings
    sent = pickle.dumps(dataset)
    assert len(sent) < PAIR_BYTES * NUM_PAIRS
    item, other = dataset[17_000], pickle.loads(sent)[17_000]
    assert (item.key, item.caption) == (other.key, other.caption)
    assert torch.equal(item.text_feature, other.text_feature)


def test_captions_are_encoded_held_and_averaged_once_each(tree, tmp_path, tower):
    dataset = build(tree, tmp_path)
    lines = map(json.loads, (tree / "captions.jsonl").open(encoding="utf-8"))
    words = {line["image"]: line["caption"] for line in lines}
    assert sorted(tower.encoded) == sorted(set(words.values()))
    for index in (0, 12_345):
        key = dataset.samples[index].key
        assert dataset.language.words_of(key)["caption"] == words[key]
    features, rows = Data(dataset, dataset).train_text_features()
    assert len(features) <= NUM_CAPTIONS and len(rows) == 18_000
    each = torch.stack([dataset.language.text_features[s.key] for s in dataset.samples[::500]])
    assert torch.equal(features[rows[::500]].float(), each)


@pytest.mark.parametrize("most_gathered", [10**9, 0])
def test_the_mean_of_shared_rows_is_that_of_all(monkeypatch, most_gathered):
    monkeypatch.setattr("common.networks.layers._MOST_GATHERED", most_gathered)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(50, 8, generator=generator).half()
    rows = torch.randint(50, (5000,), generator=generator)
    fitted, gathered = Standardize(8), features[rows].float()
    fitted.fit(features, rows)
    torch.testing.assert_close(fitted.mean, gathered.mean(0))
    torch.testing.assert_close(fitted.std, gathered.std(0, correction=0))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel for the largest process")
def test_a_million_pairs_in_a_real_start(tmp_path):
    """What the million takes beside imports and network: 0.25 GB where this was written."""
    peaks = []
    for num_pairs in (1000, 10**6):
        root = tmp_path / str(num_pairs)
        write_tree(root / "data", num_pairs)
        config = write_config(root)
        first_step("encodes the captions", config)
        peaks.append(float(first_step("has them", config).facts["GB"]))
    assert 0 < peaks[1] - peaks[0] < 0.4

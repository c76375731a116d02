"""A start reads every list, folder and caption file once, however many splits come from it."""

from collections import Counter
from dataclasses import replace

import pytest
from conftest import train

import common.data.lists
import common.language.language
from common.data.data_config import DataConfig
from common.data.sets import DATA_SETS
from common.data.splits import SplitFinder


@pytest.fixture
def reads(monkeypatch) -> Counter:
    """How often each list and caption file is read."""
    counts: Counter = Counter()
    readers = ((common.data.lists, "read_lines"), (common.language.language, "read_captions"))
    for module, name in readers:
        original = getattr(module, name)

        def counted(path, original=original, **options):
            counts[path.name] += 1
            return original(path, **options)

        monkeypatch.setattr(module, name, counted)
    return counts


@pytest.mark.parametrize("val_list", ["val.txt", "null"])
def test_a_training_start_reads_every_file_once(workspace, tmp_path, reads, val_list):
    overrides = (f"data.val_list={val_list}", "data.val_share=0.3")
    outcome = train("stage1", *workspace.arguments("stage1", tmp_path, *overrides))
    assert outcome.code == 0, outcome.err
    lists = {"train.txt", "val.txt"} if val_list == "val.txt" else {"train.txt"}
    assert reads == dict.fromkeys((*lists, "captions.jsonl"), 1)


def test_a_folder_is_searched_once(tmp_path, monkeypatch):
    counts: Counter = Counter()
    folder = DATA_SETS["folder"]

    def counted(root, gt_root):
        counts[root] += 1
        return folder.find_pairs(root, gt_root)

    for scene in range(4):
        for kind in ("rgb", "depth"):
            place = tmp_path / kind / f"scene_{scene}"
            place.mkdir(parents=True)
            (place / "1.png").touch()
    monkeypatch.setitem(DATA_SETS, "folder", replace(folder, find_pairs=counted))
    data = DataConfig("folder", tmp_path, 32, 64, 10.0, val_share=0.3, test_share=0.3)
    finder = SplitFinder(data)
    keys = [sample.key for name in ("train", "val", "test") for sample in finder.find(name).samples]
    assert len(keys) == len(set(keys)) == 4
    assert counts == {tmp_path: 1}

"""Every input of `damaged_inputs.py`: what training says of it, and that `skip` goes on."""

import os
import re

import pytest
from conftest import train
from damaged_inputs import CASES, DEPTH_PNG, HEIGHT, PNG, WIDTH, Case

from common.config import REPO_ROOT
from common.data.data_config import DataConfig
from common.data.dataset import DepthDataset, build_dataset
from common.data.sampling import StepSampler, epoch_order, train_loader
from common.data.splits import find_split
from common.errors import BadFileError
from common.text_files import to_bytes

NUM_PAIRS, DAMAGED = 4, 1
REFUSED = [name for name, case in CASES.items() if case.said is not None]
USED = [name for name, case in CASES.items() if case.said is None]


def test_there_are_as_many_as_documented():
    text = (REPO_ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    counts = re.search(r"\*\*(\d+) inputs\*\* .*?: (\d+) are refused, (\d+) are odd and used", text)
    assert counts, "docs/reliability.md says how many inputs there are"
    assert [int(count) for count in counts.groups()] == [len(CASES), len(REFUSED), len(USED)]


def make_dataset(root, case: Case, on_error: str) -> tuple[DepthDataset, str]:
    """The data set, found while all was well, and the file that is then damaged."""
    lines = []
    for number in range(NUM_PAIRS + 1):
        place = root / f"room_{number}"
        place.mkdir()
        files = {"image": place / "rgb.png", "depth": place / "depth.png"}
        files["image"].write_bytes(PNG)
        files["depth"].write_bytes(DEPTH_PNG)
        if number == DAMAGED:
            damaged = case.change(files[case.part]) or files[case.part]
            files[case.part] = damaged
        lines.append("\t".join(str(path.relative_to(root)) for path in files.values()))
    (root / "val.txt").write_text(lines.pop())
    (root / "train.txt").write_bytes(to_bytes("\n".join(lines)))
    data = DataConfig(
        "nyu", root, HEIGHT, WIDTH, 10.0, train_list="train.txt", val_list="val.txt",
        on_error=on_error, max_bad_share=0.5, allow_missing=True,
    )  # fmt: skip
    is_gone = not os.path.lexists(damaged)
    if is_gone:
        damaged.touch()
    dataset = build_dataset(data, find_split(data, "train"))
    if is_gone:
        damaged.unlink()
    return dataset, str(damaged)


def batches(dataset, on_bad):
    sampler = StepSampler(NUM_PAIRS, NUM_PAIRS, NUM_PAIRS)
    return list(train_loader(dataset, sampler, on_bad=on_bad))


def not_for_root(name):
    if name.endswith("not allowed") and os.geteuid() == 0:
        pytest.skip("root may read everything")


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_and_what_stands_in_for_it(tmp_path, name):
    not_for_root(name)
    dataset, path = make_dataset(tmp_path, CASES[name], "stop")
    with pytest.raises(BadFileError) as caught:
        batches(dataset, None)
    line = str(caught.value)
    assert path in line and CASES[name].said in line and "\n" not in line
    dataset.max_bad_share, told = 0.5, []
    (batch,) = batches(dataset, told.append)
    assert len(batch) == NUM_PAIRS and dataset.samples[DAMAGED].key not in batch.key
    (failure,) = told
    assert (failure.image, str(failure.error)) == (dataset.samples[DAMAGED].key, line)
    assert failure.error.path in (path, dataset.samples[DAMAGED].image_file)


@pytest.mark.parametrize("name", USED)
def test_what_is_odd_and_used(tmp_path, name):
    dataset, _ = make_dataset(tmp_path, CASES[name], "skip")
    told = []
    (batch,) = batches(dataset, told.append)
    assert not told and dataset.samples[DAMAGED].key in batch.key
    assert batch.image.isfinite().all() and batch.gt_depth.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_whole_runs(workspace, tmp_path, monkeypatch, name):
    """The run stops, saved, with one line and code 2; the same run goes on with `skip`.

    Files that cannot be opened are told before the first step, where there is nothing to save.
    """
    not_for_root(name)
    for constant in ("MOST", "FEWEST"):
        monkeypatch.setattr(f"common.programs.preflight.{constant}", 1)
    _, path = make_dataset(tmp_path, CASES[name], "stop")
    step = epoch_order(NUM_PAIRS, 0, 0).tolist().index(DAMAGED)
    if CASES[name].change.__name__ == "gone":
        pytest.skip("a list's files that are not there are missing pairs, see test_bad_input.py")
    settings = [
        f"data.root={tmp_path}", "data.allow_missing=true",
        "text.features=null", "text.control=none", "text.captions=null", "train.batch_size=1",
        "train.max_steps=4", "eval.every=100",
    ]  # fmt: skip
    words = workspace.arguments("stage1", tmp_path / "runs", *settings)
    line = train("stage1", *words).refusal
    assert path in line and CASES[name].said in line
    is_early = "cannot read" in line
    assert is_early or f"the run is saved at step {step} of 4" in line
    outcome = train("stage1", *words, "data.on_error=skip")
    assert outcome.code == 0, outcome.err
    assert is_early or f"resuming at step {step}" in outcome.err
    assert path in (tmp_path / "runs/tiny/stage1/bad_images.jsonl").read_text()

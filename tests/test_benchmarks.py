"""The benchmarks run and compare like with like: plain forms give the same numbers."""

import argparse
import json
import sys

import numpy as np
import pytest
import torch
from conftest import call, run_process

from benchmarks import (
    data_loading,
    evaluation,
    large_lists,
    measure,
    scaling,
    soak,
    startup,
    text_features,
    train_step,
)
from benchmarks.frames import write_nyu
from benchmarks.launching import Outcome
from benchmarks.networks import NETWORKS, WHAT, make_batch, make_network, make_step
from benchmarks.plain_steps import plain_loss
from benchmarks.tricks import MALLOC, REPLACEMENTS, TRICKS, without
from common.config import REPO_ROOT
from common.data.dataset import build_dataset
from common.data.splits import find_split
from common.engine.optimization import adam
from common.engine.train_config import TrainConfig
from common.evaluation.metrics import METRIC_NAMES
from common.networks.fast import FAST_FORMS, takes_plain
from common.networks.swin import SwinEncoder
from common.runtime.randomness import StepRandom

PROGRAMS = {
    "data_loading": data_loading,
    "evaluation": evaluation,
    "scaling": scaling,
    "soak": soak,
    "large_lists": large_lists,
    "startup": startup,
    "text_features": text_features,
    "train_step": train_step,
}
TINY, SIZE, CPU = NETWORKS["tiny"], (64, 96), torch.device("cpu")
QUICK = argparse.Namespace(
    network="tiny",
    size=SIZE,
    rounds=2,
    batch=2,
    device="cpu",
    threads=1,
    steps=1,
    checkpointing=False,
    compile=False,
)


def loss_and_gradients(what, *left_out):
    """One forward and backward of the stage's own step, float32."""
    torch.manual_seed(0)
    network = make_network(what, TINY, SIZE)
    batch = make_batch(2, SIZE, TINY, CPU)
    with without(*left_out):
        loss = make_step(what)(network, batch, StepRandom(0, 0, 2, 0, 2), {})["total"]
        loss.backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return loss.item(), gradients


@pytest.mark.parametrize("trick", [name for name in TRICKS if name not in ("fused-adam", MALLOC)])
@pytest.mark.parametrize("what", WHAT)
def test_every_trick_equals_its_plain_form(what, trick):
    loss, gradients = loss_and_gradients(what)
    plain, plain_gradients = loss_and_gradients(what, trick)
    assert loss == pytest.approx(plain, rel=1e-5)
    assert gradients.keys() == plain_gradients.keys()
    scale = max(g.abs().max().item() for g in plain_gradients.values())
    for name, ours in gradients.items():
        torch.testing.assert_close(
            ours, plain_gradients[name], rtol=1e-3, atol=1e-5 * scale, msg=name
        )


def test_the_plain_forms_are_really_used():
    """Else the comparison above would say nothing."""
    batch = make_batch(1, SIZE, TINY, CPU)
    for form in FAST_FORMS:
        with without(form):
            assert [takes_plain(name) for name in FAST_FORMS] == [n == form for n in FAST_FORMS]
        assert not takes_plain(form)
    for trick, replacements in REPLACEMENTS.items():
        before = [getattr(owner, name) for owner, name, _ in replacements]
        with without(trick):
            inside = [getattr(owner, name) for owner, name, _ in replacements]
        assert all(a is not b for a, b in zip(before, inside, strict=True)), trick
        assert before == [getattr(owner, name) for owner, name, _ in replacements]
    network, rng = make_network("stage1", TINY, SIZE), StepRandom(0, 0, 1, 0, 1)
    with without("folded-head"), torch.profiler.profile() as profiler:
        make_step("stage1")(network, batch, rng, {})
    with torch.profiler.profile() as folded:
        make_step("stage1")(network, batch, rng, {})
    counts = [{e.key: e.count for e in p.key_averages()} for p in (folded, profiler)]
    assert counts[0]["aten::conv2d"] > counts[1]["aten::conv2d"]  # one for each of its maps


@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
def test_fused_adam_equals_plain_adam(weight_decay):
    def train(*left_out):
        torch.manual_seed(0)
        layer = torch.nn.Linear(6, 5)
        config = TrainConfig(max_steps=6, lr=1e-2, weight_decay=weight_decay)
        with without(*left_out):
            optimizer = adam(list(layer.parameters()), config)
            for _ in range(6):
                optimizer.zero_grad()
                layer(torch.randn(4, 6)).square().sum().backward()
                optimizer.step()
        return [p.detach() for p in layer.parameters()], type(optimizer)

    (ours, fused), (plain, other) = train(), train("fused-adam")
    assert fused is not other
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_checkpointed_activations_change_no_gradient():
    torch.manual_seed(0)
    encoder = SwinEncoder(TINY.encoder, SIZE).train()
    image = torch.randn(1, 3, *SIZE)
    results = []
    for checkpointing in (False, True):
        if checkpointing:
            train_step.checkpoint_activations(encoder)
        assert encoder.config.activation_checkpointing == checkpointing
        encoder.zero_grad()
        sum(x.square().mean() for x in encoder(image)).backward()
        results.append([p.grad.clone() for p in encoder.parameters()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("what", WHAT)
def test_the_plain_step_computes_the_same_loss(what):
    torch.manual_seed(0)
    network = make_network(what, TINY, SIZE)
    batch = make_batch(2, SIZE, TINY, CPU)
    rng = StepRandom(0, 0, 2, 0, 2)
    ours = make_step(what)(network, batch, rng, {})["total"].item()
    theirs = plain_loss(what, network, TINY)[0](batch, rng).item()
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_measuring_gives_one_time_for_each_round():
    for variant, left_out in (("plain", None), ("fp32", None), ("bf16", "fused-adam")):
        found = train_step.measure(QUICK, "stage1", variant, left_out)
        assert len(found["seconds"]) == QUICK.rounds
        assert all(0 < seconds < 60 for seconds in found["seconds"])
        assert 0.1 < found["memory_gb"] < 20


def test_lines_of_the_step_benchmark():
    assert train_step.lines(["plain", "bf16"], ["caches"]) == [
        ("plain", None),
        ("bf16", None),
        ("bf16", "caches"),
    ]
    assert [trick for _, trick in train_step.lines(["fp32"], ["all"])] == [None, *TRICKS]
    assert set(train_step.malloc_settings()) == {
        "MALLOC_ARENA_MAX",
        "MALLOC_MMAP_THRESHOLD_",
        "MALLOC_TRIM_THRESHOLD_",
    }
    assert all(value.isdigit() for value in train_step.malloc_settings().values())
    assert MALLOC not in REPLACEMENTS


def test_train_sh_sets_malloc_only_where_the_user_did_not():
    script = "import os; print(os.environ['MALLOC_ARENA_MAX'], os.environ['NPROC'])"
    path = REPO_ROOT / "scripts" / "launch.sh"
    text = path.read_text(encoding="utf-8").replace(
        'exec "$python"', f'exec "$python" -c "{script}" #'
    )
    for given, expected in ((None, "2"), ("7", "7")):
        variables = {"NPROC": "1", **({"MALLOC_ARENA_MAX": given} if given else {})}
        outcome = run_process("sh", "-c", text, str(path), "stage1_vae/train.py", **variables)
        assert outcome.out.split() == [expected, "1"], outcome.err


def test_generated_frames_are_a_data_set_of_distinct_files(tmp_path):
    data = write_nyu(tmp_path, 250, num_frames=3, size=(96, 128), text_dim=8)
    dataset = build_dataset(data, find_split(data, "train"), augment=True)
    assert len(dataset) == 250
    assert len({sample.image_file for sample in dataset.samples}) == 250
    item = dataset[7, 7]
    assert item.image.shape == (3, 96, 128)
    gt = dataset[7].gt_depth
    assert 0.3 < gt[gt > 0].min() < gt.max() < 10.1
    assert 0.001 < (gt == 0).float().mean() < 0.1


def test_the_plain_preparation_is_the_same_work(tmp_path):
    """Without the random changes it gives what this project's loader gives."""
    data = write_nyu(tmp_path, 1, size=(480, 640), text_dim=8)
    sample = build_dataset(data, find_split(data, "train"))
    ours = sample[0, 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_loading.random, "random", lambda: 0.5)  # no angle, no flip, no color
        image, depth = data_loading.plain_item(sample.samples[0])
    torch.testing.assert_close(image, ours.image, rtol=0, atol=0.02)  # two JPEG decoders
    torch.testing.assert_close(depth, ours.gt_depth)


@pytest.mark.parametrize("protocol", ["nyu_eigen", "kitti_garg_kbcrop", "kitti_eigen_full", "none"])
@pytest.mark.parametrize("flip", [False, True])
def test_plain_scores_equal_this_projects(protocol, flip):
    arguments = argparse.Namespace(
        images=3,
        batch=2,
        protocol=protocol,
        flip=flip,
        max_depth=80.0 if protocol.startswith("kitti") else 10.0,
    )
    stored = evaluation.make_batches(arguments)
    result = evaluation.score(*stored, arguments)
    plain = evaluation.score_plainly(*stored, arguments)
    assert result.num_images == 3
    ours = [result.metrics[name] for name in METRIC_NAMES]
    np.testing.assert_allclose(ours, plain, rtol=1e-6)


def test_tables_and_spread():
    row = measure.Measurement("a", "s", (3.0, 1.0, 2.0), {"GB": 1.5})
    assert row.as_dict() == {
        "name": "a",
        "unit": "s",
        "median": 2.0,
        "lowest": 1.0,
        "highest": 3.0,
        "values": [3.0, 1.0, 2.0],
        "GB": 1.5,
    }
    other = measure.Measurement("b", "s", (1.0,), {"load": "low"})
    table = measure.markdown_table([row, other]).splitlines()
    assert table[0] == "| what | median | lowest | highest | unit | GB | load |"
    assert table[2:] == ["| a | 2 | 1 | 3 | s | 1.5 |  |", "| b | 1 | 1 | 1 | s |  | low |"]


def test_repeats_take_turns_after_a_warm_up():
    calls, ticks = [], iter(range(100))
    actions = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = measure.repeat(actions, 2, scale=10.0, clock=lambda: next(ticks))
    assert "".join(calls) == "ababab"
    assert times == {"a": (10.0, 10.0), "b": (10.0, 10.0)}


def test_images_per_second_leave_out_the_warm_up():
    lines = [{"images_per_s": speed} for speed in (1, 1, 50, 40, 60)]
    assert scaling.images_per_second(Outcome(lines, [], 1.0), 2) == 50


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_shows_an_example(name):
    outcome = call(PROGRAMS[name].main, "--help")
    assert outcome.code == 0
    assert f"python benchmarks/{name}.py" in outcome.out
    assert "--json" in outcome.out


@pytest.mark.parametrize("name", ["data_loading", "evaluation"])
def test_quick_runs_write_their_figures(name, tmp_path):
    path = tmp_path / "new folder" / f"{name}.json"
    outcome = call(PROGRAMS[name].main, "--quick", "--json", str(path))
    assert outcome.code == 0, outcome.err
    content = json.loads(path.read_text())
    assert content["benchmark"] == name
    assert {"machine", "commit", "versions", "threads", "load", "settings"} <= content.keys()
    assert len(content["rows"]) >= 3
    assert all(row["lowest"] <= row["median"] <= row["highest"] for row in content["rows"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["train_step", "scaling", "startup", "text_features", "large_lists"]
)
def test_quick_runs_with_processes_of_their_own(name, tmp_path):
    path = tmp_path / f"{name}.json"
    outcome = run_process(sys.executable, f"benchmarks/{name}.py", "--quick", "--json", str(path))
    assert outcome.code == 0, outcome.err
    rows = json.loads(path.read_text())["rows"]
    assert len(rows) >= 2
    assert all(row["median"] > 0 for row in rows)


def test_a_users_mistakes():
    outcome = call(train_step.main, "--quick", "--device", "cuda")
    if not torch.cuda.is_available():
        assert outcome.code == 2
        assert "no GPU" in outcome.err
    assert call(train_step.main, "--size", "100", "100").code == 2
    assert call(data_loading.main, "--images", "7").code == 2
    assert call(data_loading.main, "--root", "somewhere").code == 2

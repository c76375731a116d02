"""`torch.compile`: one graph without breaks, and the numbers of the step that it compiles."""

import time

import pytest
import torch

from benchmarks.gpu import stalls, steps
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.recipes import RECIPES
from common.networks.layers import conv3x3
from common.runtime.precision import autocast
from common.runtime.processes import Processes, compile_if_possible
from common.runtime.randomness import StepRandom


@pytest.fixture
def bench(tmp_path):
    """Tiny networks and batches of every recipe, on the CPU."""
    device, rows = torch.device("cpu"), tmp_path / "rows.jsonl"
    return Bench(device, True, rows, time.monotonic() + 600, tmp_path / "work")


def test_compiling_stage1_makes_one_graph_without_breaks_or_tables(bench):
    """Masks, matrices and codes are constants: no step computes them."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        compile = torch.compile

        def spy(model, backend):
            def keeping(graph, inputs):
                seen.append(graph)
                return backend(graph, inputs)

            return compile(model, backend=keeping)

        patch.setattr(torch, "compile", spy)
        found = stalls.breaks_of("stage1", bench)
    assert (found["graphs"], found["breaks"], found["recompiled"]) == (1, 0, 0)
    names = {str(node.target) for graph in seen for node in graph.graph.nodes}
    assert any("conv2d" in name for name in names)
    assert not [n for n in names if any(word in n for word in ("linspace", "arange", "argsort"))]


SLOW = [pytest.param(what, marks=pytest.mark.slow) for what in ("stage3", "joint-image", "llm-mde")]


@pytest.mark.parametrize("what", ["stage1", "joint-text", *SLOW])
def test_a_compiled_step_is_the_step(bench, what):
    """Through all that a real compiler does before it writes code: forward and backward graph."""
    results = []
    for is_compiled in (False, True):
        torch._dynamo.reset()
        network, batch = steps.network_of(what, bench), steps.batch_of(what, 2, bench)
        model = torch.compile(network, backend="aot_eager") if is_compiled else network
        loss = steps.step_of(what)(model, batch, StepRandom(0, 0, 2, 0, 2), {})["total"]
        loss.backward()
        grads = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
        results.append({"loss": loss.detach(), **grads})
    assert results[0].keys() == results[1].keys()
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
def test_compiled_borders_are_replicated_in_channels_last(bench):
    """Where the compiler takes the gradient of PyTorch's own for contiguous."""
    torch.manual_seed(0)
    conv = conv3x3(6, 4, replicate=True)
    compiled = compile_if_possible(conv, Processes(0, 1, bench.device), pytest.skip)
    x = torch.randn(2, 6, 5, 7).contiguous(memory_format=torch.channels_last).requires_grad_()
    factors = torch.randn(2, 4, 5, 7)
    results = [
        torch.autograd.grad((form(x.sin()) * factors).sum(), (x, conv.weight))
        for form in (conv, compiled)
    ]
    for ours, eager in zip(*results, strict=True):
        torch.testing.assert_close(ours, eager, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_compiled_code_gives_the_gradients_of_stage3(bench):
    """By the real compiler in bf16, which rounds otherwise where it computes features anew."""
    results = []
    for is_compiled in (False, True):
        torch._dynamo.reset()
        network, batch = steps.network_of("stage3", bench), steps.batch_of("stage3", 2, bench)
        processes = Processes(0, 1, bench.device)
        model = compile_if_possible(network, processes, pytest.skip) if is_compiled else network
        rng = StepRandom(0, 0, 2, 0, 2)
        rng.seed_modules()
        with autocast("bf16", bench.device):
            loss = steps.step_of("stage3")(model, batch, rng, {})["total"]
        loss.backward()
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        assert all(grad.isfinite().all() for grad in grads)
        results.append((loss.item(), torch.cat([grad.flatten() for grad in grads])))
    (loss, grad), (compiled_loss, compiled_grad) = results
    assert compiled_loss == pytest.approx(loss, rel=1e-2)
    assert torch.cosine_similarity(grad, compiled_grad, dim=0) > 0.9  # other random numbers


@pytest.mark.slow
@pytest.mark.parametrize("what", RECIPES)
def test_compiled_graphs_of_every_recipe(bench, what):
    found = stalls.breaks_of(what, bench)
    allowed = 2 if what == "llm-mde" else 0  # the prompt is words
    assert (found["breaks"], found["recompiled"]) == (allowed, 0), found["reasons"]

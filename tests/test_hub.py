"""Model hubs that do not answer: one line in time; what is cached is used at once."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from clip_files import OPENAI, TINY, add_tiny_clip, save_weights, tiny_clip
from conftest import run_process, run_script, train
from hub_servers import free_port, put_in_cache, serve, use_hub
from huggingface_hub import hf_hub_download
from llm_mde_files import write_gpt2
from safetensors.torch import save_file
from text_models import make_bert

from common.config import REPO_ROOT
from common.errors import UserError
from common.language.captioner import CaptionSettings
from common.language.encoders import caption_limit, text_encoder
from common.networks.encoder import EncoderConfig, build_encoder
from common.networks.encoder_weights import start_from
from common.runtime import hub
from common.runtime.hub import load_from_hub, set_hub_timeout
from llm_mde.language_model import LanguageModelConfig
from llm_mde.language_sources import load_language_model
from llm_mde.vision_encoder import VisionConfig, build_vision_body

LIMIT = 1.0  # seconds
SWIN = EncoderConfig(8, (1, 1, 1, 1), (1, 1, 1, 1), 2)


def start_swin() -> None:
    start_from(build_encoder(SWIN, (64, 96)), "timm:swin_tiny_patch4_window7_224", pytest.fail)


def start_timm() -> None:
    encoder = build_encoder(EncoderConfig(name="timm:resnet18"), (64, 96))
    start_from(encoder, "pretrained", pytest.fail)


LOADS: dict[str, Callable[[], object]] = {
    "open_clip": lambda: text_encoder("RN50:openai"),
    "text encoder": lambda: text_encoder("hf:someone/model"),
    "tokenizer": lambda: caption_limit("hf:someone/model"),
    "captioner": lambda: CaptionSettings("someone/captioner").provenance(),
    "language model": lambda: load_language_model(LanguageModelConfig("gpt2"), 0),
    "vision": lambda: build_vision_body(VisionConfig("vit_tiny_patch16_224"), 0),
    "swin": start_swin,
    "timm": start_timm,
}


@pytest.fixture
def silent(tmp_path, monkeypatch):
    """A hub that accepts and says nothing, for one second; gives it and the cache's folder."""
    with serve() as (address, server):
        use_hub(address, tmp_path / "cache", monkeypatch)
        set_hub_timeout(LIMIT)
        yield server, tmp_path / "cache"
        set_hub_timeout(hub.HUB_TIMEOUT)


@pytest.mark.parametrize("name", list(LOADS))
def test_a_silent_hub_ends_a_load_in_one_line(name, silent):
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        LOADS[name]()
    assert time.monotonic() - start < LIMIT + 4  # and what loads without the hub
    message = str(caught.value)
    assert message.startswith("cannot load ")
    assert "127.0.0.1 does not answer (hub_timeout=1 seconds)" in message
    assert "\n" not in message


def test_a_hub_that_falls_silent_in_the_middle_ends_it_too(silent):
    server, _ = silent
    server.num_answered = 2  # it is there, and begins
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        text_encoder("hf:someone/model")
    assert server.num_requests > 2
    assert time.monotonic() - start < 3 * LIMIT + 4
    assert "\n" not in str(caught.value)


def test_a_slow_download_is_not_ended(silent):
    server, cache = silent
    server.num_answered, server.pause = 100, LIMIT / 4
    server.files["weights.bin"] = bytes(range(256)) * 100
    start = time.monotonic()
    path = load_from_hub(
        "weights", "", lambda: hf_hub_download("someone/model", "weights.bin", cache_dir=cache)
    )
    assert time.monotonic() - start > 2 * LIMIT
    assert Path(path).read_bytes() == server.files["weights.bin"]


def test_cached_clip_weights_are_used_at_once(silent, tmp_path, monkeypatch):
    server, cache = silent
    add_tiny_clip(tmp_path, monkeypatch, openai=OPENAI)
    save_file(tiny_clip().state_dict(), tmp_path / "open_clip_model.safetensors")
    put_in_cache(cache, OPENAI["hf_hub"].rstrip("/"), tmp_path / "open_clip_model.safetensors")
    assert text_encoder(f"{TINY}:openai").encode(["A room."]).shape == (1, 24)
    assert server.num_requests == 0


def test_a_cached_text_encoder_is_used_at_once(silent, tmp_path):
    server, cache = silent
    (tmp_path / "bert").mkdir()
    folder = make_bert(tmp_path / "bert")
    put_in_cache(cache, "someone/model", *folder.iterdir(), lacking=("modules.json",))
    expected = text_encoder(f"hf:{folder}").encode(["a kitchen"])
    found = text_encoder("hf:someone/model")
    torch.testing.assert_close(found.encode(["a kitchen"]), expected)
    assert caption_limit("hf:someone/model").longest == found.limit.longest
    assert server.num_requests == 0


def test_a_cached_language_model_is_used_at_once(silent, tmp_path):
    server, cache = silent
    (tmp_path / "gpt2").mkdir()
    put_in_cache(cache, "someone/gpt2", *write_gpt2(tmp_path / "gpt2").iterdir())
    model = load_language_model(LanguageModelConfig("someone/gpt2", num_layers=2), 0)
    assert model.context == 128
    assert server.num_requests == 0


def test_local_files_ask_nobody(silent, tmp_path, monkeypatch):
    server, _ = silent
    add_tiny_clip(tmp_path, monkeypatch, openai=OPENAI)
    text_encoder(f"{TINY}:{save_weights(tmp_path / 'w.pt', tiny_clip())}")
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match="check that .*broken.pt is whole"):
        text_encoder(f"{TINY}:{tmp_path / 'broken.pt'}")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert/config.json").write_text("{}")
    with pytest.raises(UserError, match="cannot load text model"):
        text_encoder(f"hf:{tmp_path / 'bert'}")
    assert server.num_requests == 0


@pytest.mark.parametrize("host", ["nowhere.invalid:80", "127.0.0.1:{port}"])
def test_no_network_is_told_at_once(host, tmp_path, monkeypatch):
    use_hub(f"http://{host.format(port=free_port())}", tmp_path / "cache", monkeypatch)
    with pytest.raises(UserError, match=f"{host.partition(':')[0]} does not answer"):
        text_encoder("RN50:openai")


def test_being_offline_on_purpose_is_told(silent, monkeypatch):
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        text_encoder("RN50:openai")
    assert hub.constants.HF_HUB_OFFLINE
    assert silent[0].num_requests == 0


def test_the_limit_is_a_key_and_an_option(silent, workspace, tmp_path):
    words = ("text.features=null", "text.encoder=RN50:openai", "model.text_dim=1024")
    arguments = workspace.arguments("stage1", tmp_path / "runs", *words)
    refusal = train("stage1", *arguments, "hub_timeout=1").refusal
    assert "cannot load CLIP weights RN50:openai" in refusal
    assert "hub_timeout=1 seconds" in refusal
    assert "hub_timeout: must be above 0" in train("stage1", *arguments, "hub_timeout=0").refusal
    options = ("--encoder", "RN50:openai", "--output", tmp_path / "f.safetensors")
    captions = workspace.data / "captions.jsonl"
    done = run_script("encode_text.py", "--captions", captions, *options, "--hub-timeout", 2)
    assert "hub_timeout=2 seconds" in done.refusal


@pytest.mark.slow
def test_programs_end_in_time(tmp_path, workspace):
    """As a user starts them: the libraries take address and cache from the environment."""
    with serve() as (address, _):
        start = time.monotonic()
        done = run_process(
            "sh", "llm_mde/train.sh", *workspace.arguments("llm_mde", tmp_path / "runs"),
            "model.language.name=gpt2", "model.language.hidden_size=null",
            "model.language.num_heads=null", "hub_timeout=3",
            cwd=REPO_ROOT, HF_ENDPOINT=address, HF_HOME=str(tmp_path / "home"), NPROC="1",
        )  # fmt: skip
        assert "does not answer (hub_timeout=3 seconds)" in done.refusal
        assert time.monotonic() - start < 120

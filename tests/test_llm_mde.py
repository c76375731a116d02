"""LLM-MDE as programs: training, evaluating, checkpoints, merging, and a user's mistakes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from conftest import Outcome, Workspace, call, metrics_of, run_process, write_yaml
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, LlamaConfig, T5Config

import llm_mde.eval
import llm_mde.train
from common.config import load_config
from llm_mde.config import LLMMDEConfig
from llm_mde.model import load_llm_depth
from llm_mde.vision_encoder import VisionConfig, create_vit

MODEL = {
    "vision": {"name": "vit_tiny_patch16_224", "weights": None, "image_size": [64, 96],
               "embed_dim": 24, "depth": 1, "num_heads": 2, "lora_rank": 4},
    "reprogramming": {"num_prototypes": 8, "num_heads": 2},
    "language": {"name": "tiny-gpt2", "num_layers": 1, "hidden_size": 16, "num_heads": 2,
                 "lora_rank": 4},
    "head": {"channels": [8, 8]},
}  # fmt: skip
WORDS = ["a", "room", "photo", "depth", "the", "of", "seen", "from", "A", "Task", "s", ":", "."]


@pytest.fixture(scope="module")
def config(workspace: Workspace) -> Path:
    path = workspace.configs / "llm_mde.yaml"
    prompt = {"depth_class": False, "caption": True}
    write_yaml(path, {"base": "base.yaml", "model": MODEL, "prompt": prompt})
    return path


@pytest.fixture
def train(config, tmp_path):
    """Train into `tmp_path`."""

    def run(*overrides: str) -> Outcome:
        return call(llm_mde.train.main, str(config), f"output_root={tmp_path}", *overrides)

    return run


@pytest.fixture
def refused(train, tmp_path):
    """The one error line of a training that must not start; nothing may be left of it."""

    def refusal(*overrides: str) -> str:
        outcome = train(*overrides)
        assert outcome.code == 2, outcome.err
        assert outcome.err.splitlines() == outcome.errors, outcome.err
        assert not list(tmp_path.rglob("*.pt")) and not list(tmp_path.rglob("config.yaml"))
        return outcome.errors[0].removeprefix("error: ")

    return refusal


def evaluate(*words: str) -> Outcome:
    return call(llm_mde.eval.main, *words)


def score(checkpoint: Path, out: Path, *words: str) -> dict:
    outcome = evaluate("--checkpoint", str(checkpoint), "--json", str(out), *words)
    assert outcome.code == 0, outcome.err
    return json.loads(out.read_text())["metrics"]


def write_tokenizer(folder: Path, ends: str = "") -> None:
    """A tokenizer of whole words, as a model's folder holds one."""
    words = {word: number for number, word in enumerate(["[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    if ends:
        tokenizer.post_processor = TemplateProcessing(
            single=ends, special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


@pytest.fixture
def gpt2_folder(tmp_path) -> Path:
    """A three-layer GPT-2 as `save_pretrained` leaves it, with a tokenizer."""
    folder = tmp_path / "small gpt2"
    torch.manual_seed(0)
    GPT2Model(
        GPT2Config(vocab_size=32, n_positions=128, n_embd=16, n_layer=3, n_head=2)
    ).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def named(folder: Path | str, *more: str) -> tuple[str, ...]:
    return (f"model.language.name={folder}", "model.language.hidden_size=null",
            "model.language.num_heads=null", *more)  # fmt: skip


# Training and evaluating


@pytest.mark.parametrize(
    ("family", "precision"),
    [("gpt2", "fp32"), ("gpt2", "bf16"), ("bert", "bf16"), ("llama", "bf16"),
     pytest.param("bert", "fp32", marks=pytest.mark.slow),
     pytest.param("llama", "fp32", marks=pytest.mark.slow)],
)  # fmt: skip
def test_every_family_trains_two_steps_and_evaluates(train, tmp_path, family, precision):
    outcome = train(f"model.language.name=tiny-{family}", f"train.precision={precision}")
    assert outcome.code == 0, outcome.err
    run = tmp_path / "tiny/llm_mde"
    assert {p.name for p in run.iterdir()} == {
        "checkpoints", "config.yaml", "log.txt", "metrics.jsonl", "panels", "tensorboard"
    }  # fmt: skip
    log = (run / "log.txt").read_text()
    assert "language: 0.8" in log and "all: 1." in log and "% ) trained" not in log
    lines = metrics_of(run, "train")
    assert [line["step"] for line in lines] == [1, 2]
    assert all(line["loss/silog"] > 0 and line["grad_norm"] > 0 for line in lines)
    (val,) = metrics_of(run, "val")
    metrics = score(run / "checkpoints/last.pt", tmp_path / "out.json", "--split", "val")
    assert metrics["abs_rel"] == pytest.approx(val["abs_rel"], rel=1e-6)


def start(config: Path, runs: Path, family: str) -> Outcome:
    words = (str(config), f"output_root={runs}", f"model.language.name=tiny-{family}")
    return run_process("sh", "llm_mde/train.sh", *words, NPROC="2")


@pytest.mark.parametrize(
    "family",
    ["gpt2", pytest.param("bert", marks=pytest.mark.slow),
     pytest.param("llama", marks=pytest.mark.slow)],
)  # fmt: skip
def test_two_processes_train(config, tmp_path, family):
    outcome = start(config, tmp_path, family)
    assert outcome.code == 0, outcome.err
    run = tmp_path / "tiny/llm_mde"
    assert [line["step"] for line in metrics_of(run, "train")] == [1, 2]
    assert "2 process(es)" in (run / "log.txt").read_text()
    score(run, tmp_path / "out.json")


def test_the_loss_falls_on_one_batch(train, workspace, tmp_path):
    lines = (workspace.data / "train.txt").read_text().splitlines()[:4]
    (tmp_path / "four.txt").write_text("\n".join(lines))
    outcome = train(
        f"data.train_list={tmp_path / 'four.txt'}", "data.rotate_degrees=0", "data.flip=false",
        "data.jitter=false", "train.max_steps=30", "train.lr=1e-2", "eval.every=100",
        "eval.max_images=1",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    losses = [line["loss/silog"] for line in metrics_of(tmp_path / "tiny/llm_mde", "train")]
    assert sum(losses[-3:]) / 3 < 0.3 * losses[0]


def test_resumed_is_the_same_as_uninterrupted(train, tmp_path):
    steady = ("train.schedule=constant", "prompt.statistics=true")
    for words in (("train.max_steps=2",), ("train.max_steps=4",)):
        assert train("experiment=parts", *steady, *words).code == 0
    assert train("experiment=whole", *steady, "train.max_steps=4").code == 0
    parts, whole = (
        torch.load(tmp_path / name / "llm_mde/checkpoints/last.pt", weights_only=True)
        for name in ("parts", "whole")
    )
    assert parts["step"] == whole["step"] == 4
    for key, value in whole["model"].items():
        assert torch.equal(value, parts["model"][key]) if torch.is_tensor(value) else (
            value == parts["model"][key]
        ), key  # fmt: skip


def test_the_depth_class_comes_from_clip(train, tmp_path):
    words = ("prompt.depth_class=true", "text.encoder=untrained:0", "text.features=null")
    outcome = train(*words)
    assert outcome.code == 0, outcome.err
    saved = torch.load(tmp_path / "tiny/llm_mde/checkpoints/last.pt", weights_only=True)
    features = saved["model"]["prompt.class_features"]
    assert features.shape == (7, 1024)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(7))
    score(tmp_path / "tiny/llm_mde", tmp_path / "out.json")
    outcome = train(*words, "model.image_dim=512", "experiment=other")
    assert outcome.code == 2
    assert "1024" in outcome.errors[0] and "512" in outcome.errors[0]


# Pretrained models and checkpoints


def test_the_first_layers_of_a_local_model_are_used_with_their_weights(
    train, gpt2_folder, tmp_path
):
    outcome = train(*named(gpt2_folder, "model.language.num_layers=2"))
    assert outcome.code == 0, outcome.err
    path = tmp_path / "tiny/llm_mde/checkpoints/last.pt"
    model = load_llm_depth(torch.load(path, weights_only=True))
    assert len(model.language.body.h) == 2
    source = GPT2Model.from_pretrained(gpt2_folder)
    ours = dict(model.language.body.named_parameters())
    assert torch.equal(ours["h.1.attn.c_attn.base_layer.weight"], source.h[1].attn.c_attn.weight)
    assert torch.equal(ours["wte.weight"], source.wte.weight)
    words = ["A", "room", ".", "seen"]
    expected = [3 + WORDS.index(word) for word in words]
    assert model.language.tokenizer(["A room.", "seen"]) == expected


def test_a_checkpoint_is_small_and_a_complete_one_needs_nothing_else(train, gpt2_folder, tmp_path):
    vit = tmp_path / "vit.pth"
    assert train(*named(gpt2_folder, *vit_file(vit))).code == 0
    run, out = tmp_path / "tiny/llm_mde", tmp_path / "complete.pt"
    before = score(run, tmp_path / "before.json")
    saved = torch.load(run / "checkpoints/best.pt", weights_only=True)
    assert not [key for key in saved["model"] if "base_layer" in key or "wte" in key]
    outcome = evaluate("--checkpoint", str(run), "--merge", str(out))
    assert outcome.code == 0, outcome.err
    assert str(out) in outcome.out
    small, large = ((run / "checkpoints/best.pt").stat().st_size, out.stat().st_size)
    assert small < 2e6 < 20e6 < large
    shutil.rmtree(gpt2_folder)
    outcome = evaluate("--checkpoint", str(run))
    assert outcome.code == 2
    assert len(outcome.errors) == 1 and "small gpt2" in outcome.errors[0]
    vit.unlink()
    again = tmp_path / "again.pt"
    assert evaluate("--checkpoint", str(out), "--merge", str(again)).code == 0
    assert again.stat().st_size == pytest.approx(large, rel=0.01)
    assert score(out, tmp_path / "after.json") == before


@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
def test_a_complete_checkpoint_of_a_tiny_model_predicts_the_same(train, tmp_path, family):
    assert train(f"model.language.name=tiny-{family}", "eval.max_images=1").code == 0
    run, out = tmp_path / "tiny/llm_mde", tmp_path / "complete.pt"
    assert evaluate("--checkpoint", str(run), f"--merge={out}").code == 0
    models = [
        load_llm_depth(torch.load(path, weights_only=True)).eval()
        for path in (run / "checkpoints/best.pt", out)
    ]
    image = torch.randn(1, 3, 64, 96)
    first, second = (model(image, ["A room."]) for model in models)
    assert torch.equal(first, second)


def test_other_frozen_weights_are_refused(train, gpt2_folder, tmp_path):
    assert train(*named(gpt2_folder)).code == 0
    torch.manual_seed(1)
    source = GPT2Model.from_pretrained(gpt2_folder)
    source.h[0].ln_1.weight.data[3] += 1e-3
    source.save_pretrained(gpt2_folder)
    outcome = evaluate("--checkpoint", str(tmp_path / "tiny/llm_mde"))
    assert outcome.code == 2
    assert "frozen weights of language" in outcome.errors[0]
    assert "small gpt2" in outcome.errors[0]
    outcome = train(*named(gpt2_folder, "train.max_steps=4"))  # nor does the run go on with them
    assert outcome.code == 2
    assert "frozen weights of language" in outcome.errors[0]


def test_special_tokens_of_a_bert_folder_stand_around_the_prompt(train, tmp_path):
    folder = tmp_path / "bert"
    BertModel(
        BertConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                   intermediate_size=16)
    ).save_pretrained(folder)  # fmt: skip
    write_tokenizer(folder, ends="[CLS] $A [SEP]")
    assert train(*named(folder), "eval.max_images=1").code == 0
    saved = torch.load(tmp_path / "tiny/llm_mde/checkpoints/last.pt", weights_only=True)
    tokenizer = load_llm_depth(saved).language.tokenizer
    assert tokenizer(["a room"]) == [1, 3 + WORDS.index("a"), 3 + WORDS.index("room"), 2]


# Mistakes


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (named("no-such/model"), ["cannot load the language model no-such/model", "tiny-gpt2"]),
        (named("./nowhere"), ["model.language.name: no folder", "nowhere"]),
        (("model.vision.name=vit_huge_patch1",), ["timm has no model vit_huge_patch1", "vit_"]),
        (("model.vision.name=resnet18", "model.vision.embed_dim=null", "model.vision.depth=null",
          "model.vision.num_heads=null"), ["model.vision", "resnet18", "plain vision transformer"]),
        (("model.language.hidden_size=18", "model.language.num_heads=4"),
         ["model.language.num_heads", "18", "4"]),
        (("model.vision.embed_dim=25",), ["model.vision.num_heads: 2 does not divide", "25"]),
        (("model.vision.embed_dim=25", "model.vision.num_heads=null"), ["cannot build", "25"]),
        (("model.reprogramming.num_heads=5",), ["model.reprogramming.num_heads: 5", "24"]),
        (("model.vision.weights=nowhere.pth", "model.vision.embed_dim=null",
          "model.vision.depth=null", "model.vision.num_heads=null"), ["no file", "nowhere.pth"]),
        (("model.vision.weights=pretrained",), ["model.vision.embed_dim", "weights: null"]),
        (("text.captions=null",), ["prompt.caption", "text.captions"]),
        (("prompt.templates.caption=" + "room " * 1200,), ["tokens does not fit", "1024", "24"]),
        (("model.vision.image_size=[64,8]",), ["model.vision.image_size", "smaller than a patch"]),
        (named("gpt2", "model.language.hidden_size=64"), ["hidden_size and num_heads null"]),
        (("model.vision.image_size=[1024,1024]",), ["tokens does not fit", "1024", "4096"]),
        (('prompt.templates.statistics="{min}"',), ["prompt.templates.statistics", "darkest_x"]),
        (named("gpt2", "model.language.hidden_size=64"), ["hidden_size", "gpt2 has its own"]),
        (("prompt.captoin=true",), ["unknown key 'prompt.captoin'", "prompt.caption"]),
        (("model.language.num_layers=-1",), ["num_layers: must be at least 0"]),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(refused, overrides, parts):
    line = refused(*overrides)
    assert all(part in line for part in parts), line


def test_mistakes_in_a_models_folder(refused, tmp_path, gpt2_folder):
    line = refused(*named(gpt2_folder, "model.language.num_layers=9"))
    assert "model.language.num_layers: 9 is more than the 3 layers" in line
    (gpt2_folder / "tokenizer.json").unlink()
    assert "tokenizer" in refused(*named(gpt2_folder))
    write_tokenizer(gpt2_folder)
    weights = gpt2_folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    assert "cannot load the weights of" in refused(*named(gpt2_folder))
    weights.write_bytes(whole)
    settings = json.loads((gpt2_folder / "config.json").read_text())
    for changes, part in (
        ({"n_head": 3}, "hidden size 16 does not divide into 3 heads"),
        ({"n_embd": 24, "n_layer": 4}, "h.0.attn.c_attn.bias is (48,), config.json asks for (72,)"),
        ({"n_layer": 4}, "lacks 12 weights of its first 4 layers, first h.3."),
    ):
        (gpt2_folder / "config.json").write_text(json.dumps({**settings, **changes}))
        assert part in refused(*named(gpt2_folder, "model.language.num_layers=4"))
    (gpt2_folder / "config.json").write_text("{")
    assert "cannot load the language model" in refused(*named(gpt2_folder))


@pytest.mark.parametrize(
    ("changes", "part"),
    [({"num_attention_heads": 5}, "16) is not a multiple of the number of attention heads (5)"),
     ({"num_key_value_heads": 3}, "4 heads do not divide into 3 groups"),
     ({"num_attention_heads": 0}, "cannot load the language model"),
     ({"hidden_act": "nonsense"}, "nonsense")],
)  # fmt: skip
def test_a_llama_folder_that_makes_no_network_is_one_line(refused, tmp_path, changes, part):
    """transformers checks some of it itself, with exceptions of its own, and some of it not."""
    LlamaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=4,
                intermediate_size=16).save_pretrained(tmp_path)  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    write_tokenizer(tmp_path)
    assert part in refused(*named(tmp_path, "model.language.random_init=true"))


def vit_file(path: Path, name: str = "vit_tiny_patch16_224") -> tuple[str, ...]:
    """Write a ViT's weights; the words that start from them."""
    torch.save(create_vit(VisionConfig(name)).state_dict(), path)
    sizes = [f"model.vision.{size}=null" for size in ("embed_dim", "depth", "num_heads")]
    return (f"model.vision.weights={path}", *sizes)


def test_vision_weights_of_another_network_are_one_line(refused, tmp_path):
    """timm ignores names that do not fit where the classifier is left out."""
    words = vit_file(tmp_path / "vit.pth")
    weights = torch.load(tmp_path / "vit.pth")
    weights["blocks.0.attn.other"] = weights.pop("blocks.0.attn.qkv.weight")
    torch.save(weights, tmp_path / "vit.pth")
    assert "lacks 1 weights of vit_tiny_patch16_224, first blocks.0.attn.qkv" in refused(*words)


def test_a_vit_trained_as_a_whole_is_all_in_the_checkpoint(train, tmp_path):
    assert train(*vit_file(tmp_path / "vit.pth"), "model.vision.train=full").code == 0
    run = tmp_path / "tiny/llm_mde"
    before = score(run, tmp_path / "before.json")
    (tmp_path / "vit.pth").unlink()
    assert score(run, tmp_path / "after.json") == before


@pytest.mark.parametrize("config_type", [GPT2Config, BertConfig, LlamaConfig])
def test_a_missing_tokenizer_is_one_line(refused, tmp_path, config_type):
    """transformers itself makes an empty tokenizer for some of them, in silence."""
    config_type().save_pretrained(tmp_path / "bare")
    line = refused(*named(tmp_path / "bare", "model.language.random_init=true"))
    assert "tokenizer" in line and "bare" in line


def test_a_tokenizer_of_another_model_is_one_line(refused, tmp_path):
    GPT2Model(GPT2Config(vocab_size=8, n_embd=16, n_layer=1, n_head=2)).save_pretrained(
        tmp_path / "mixed"
    )
    write_tokenizer(tmp_path / "mixed")
    line = refused(*named(tmp_path / "mixed"))
    assert "mixed gives token" in line and "the model knows 8" in line


def test_another_kind_of_language_model_is_one_line(refused, tmp_path):
    T5Config().save_pretrained(tmp_path / "t5")
    assert "is a t5; gpt2, bert and llama" in refused(*named(tmp_path / "t5"))


def test_random_init_takes_only_the_architecture(train, gpt2_folder, tmp_path):
    (gpt2_folder / "model.safetensors").unlink()
    outcome = train(*named(gpt2_folder, "model.language.random_init=true"), "eval.max_images=1")
    assert outcome.code == 0, outcome.err
    score(tmp_path / "tiny/llm_mde", tmp_path / "out.json")


def test_the_resolved_config_starts_the_same_run(train, config, tmp_path):
    assert train("eval.max_images=1").code == 0
    path = tmp_path / "tiny/llm_mde/config.yaml"
    words = [f"output_root={tmp_path}", "eval.max_images=1"]
    assert load_config(LLMMDEConfig, path, []) == load_config(LLMMDEConfig, config, words)
    saved = torch.load(path.parent / "checkpoints/last.pt", weights_only=True)
    assert yaml.safe_dump(saved["model_config"])  # plain types


def test_help_explains_both_programs():
    assert "sh llm_mde/train.sh" in call(llm_mde.train.main, "--help").out
    assert "--merge complete.pt" in evaluate("--help").out

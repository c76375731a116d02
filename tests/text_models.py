"""Tiny text models with random weights, in the layouts of the hub and of sentence-transformers."""

import json
from pathlib import Path

import torch
import transformers as hf
from captioning_models import SPECIAL, TOWER, VOCABULARY, word_tokenizer
from torch import nn

SIZES = {**TOWER, "vocab_size": len(VOCABULARY), "max_position_embeddings": 12}
PARTS = "sentence_transformers.models"


def stir(model: nn.Module, seed: int = 0) -> None:
    """Large random weights, with which different sentences give different features."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)


def save_model(model: hf.PreTrainedModel, folder: Path, seed: int = 0) -> Path:
    stir(model, seed)
    model.save_pretrained(folder)
    return folder


def make_bert(folder: Path, seed: int = 0) -> Path:
    """As a plain BERT is published: no word about pooling."""
    save_model(hf.BertModel(hf.BertConfig(**SIZES), add_pooling_layer=False), folder, seed)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    hf.BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


def make_t5(folder: Path) -> Path:
    """Encoder and decoder, both with weights."""
    config = hf.T5Config(vocab_size=len(VOCABULARY), d_model=16, d_kv=8, d_ff=16, num_layers=1,
                         num_heads=2, pad_token_id=0, eos_token_id=3)  # fmt: skip
    save_model(hf.T5Model(config), folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def make_bart(folder: Path) -> Path:
    config = hf.BartConfig(
        vocab_size=len(VOCABULARY), d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, max_position_embeddings=12, pad_token_id=0, eos_token_id=3,
        bos_token_id=5, decoder_start_token_id=3,
    )  # fmt: skip
    save_model(hf.BartModel(config), folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def make_gpt2(folder: Path) -> Path:
    """No padding token, and no token at all for an empty sentence."""
    config = hf.GPT2Config(vocab_size=len(VOCABULARY), n_embd=16, n_layer=1, n_head=2,
                           n_positions=12, bos_token_id=5, eos_token_id=3)  # fmt: skip
    save_model(hf.GPT2Model(config), folder)
    tokenizer = word_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    return folder


def make_roberta(folder: Path) -> Path:
    """Its positions start behind the padding token's: 14 of them are for 11 tokens."""
    sizes = {**SIZES, "max_position_embeddings": 14, "pad_token_id": 2}
    save_model(hf.RobertaModel(hf.RobertaConfig(**sizes), add_pooling_layer=False), folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def clip_config() -> hf.CLIPConfig:
    text = {**SIZES, "eos_token_id": 3, "bos_token_id": 5, "pad_token_id": 0, "projection_dim": 8}
    eye = {**TOWER, "image_size": 32, "patch_size": 16}
    return hf.CLIPConfig(text_config=text, vision_config=eye, projection_dim=8)


def clip_tokenizer() -> hf.PreTrainedTokenizerFast:
    """`[DEC] words [SEP]`, as CLIP's start and end of text."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = word_tokenizer()
    ends = [("[DEC]", SPECIAL.index("[DEC]")), ("[SEP]", SPECIAL.index("[SEP]"))]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[DEC] $A [SEP]", special_tokens=ends
    )
    return tokenizer


def make_clip(folder: Path) -> Path:
    """Text and image tower."""
    save_model(hf.CLIPModel(clip_config()), folder)
    clip_tokenizer().save_pretrained(folder)
    return folder


def make_clip_text(folder: Path) -> Path:
    """The text tower with its projection, without images."""
    save_model(hf.CLIPTextModelWithProjection(clip_config().text_config), folder)
    clip_tokenizer().save_pretrained(folder)
    return folder


def make_siglip(folder: Path) -> Path:
    """Trained on sentences of one padded length, without a mask."""
    text = {**SIZES, "projection_size": 16, "pad_token_id": 0, "bos_token_id": 5, "eos_token_id": 3}
    eye = {**TOWER, "image_size": 32, "patch_size": 16}
    save_model(hf.SiglipModel(hf.SiglipConfig(text_config=text, vision_config=eye)), folder)
    word_tokenizer().save_pretrained(folder)
    return folder


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def add_modules(folder: Path, *kinds: str) -> None:
    """modules.json: `Pooling` lies in 1_Pooling, and so on."""
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"{PARTS}.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    write_json(folder / "modules.json", modules)


def add_pooling(folder: Path, *modes: str, **more: object) -> None:
    """The switches of older files, for the modes given."""
    names = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens",
             "mean_sqrt_len": "mean_sqrt_len_tokens", "weightedmean": "weightedmean_tokens",
             "lasttoken": "lasttoken"}  # fmt: skip
    switches = {f"pooling_mode_{name}": mode in modes for mode, name in names.items()}
    write_json(
        folder / "1_Pooling/config.json", {"word_embedding_dimension": 16, **switches, **more}
    )


def add_dense(folder: Path, activation: str = "torch.nn.modules.activation.Tanh") -> nn.Linear:
    """2_Dense: 16 -> 6, pickled as older files are."""
    torch.manual_seed(3)
    linear = nn.Linear(16, 6)
    config = {"in_features": 16, "out_features": 6, "bias": True, "activation_function": activation}
    write_json(folder / "2_Dense/config.json", config)
    state = {f"linear.{name}": value for name, value in linear.state_dict().items()}
    torch.save(state, folder / "2_Dense/pytorch_model.bin")
    return linear

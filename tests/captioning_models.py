"""Tiny captioning models with random weights, in the layouts of the hub."""

from pathlib import Path

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "<image>"]
VOCABULARY = [*SPECIAL, "user", "a", "photo", "of", "kitchen", "room", "with", "table", "and", "."]
TOWER = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
EYE = {**TOWER, "image_size": 32, "patch_size": 16}
IDS = {"vocab_size": len(VOCABULARY), "bos_token_id": 5, "eos_token_id": 3, "pad_token_id": 0}
SQUARE = {"height": 32, "width": 32}


def save(model: hf.PreTrainedModel, folder: Path, seed: int) -> None:
    """Save the model with large random weights, by a seed with which it tells images apart."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    model.generation_config.update(eos_token_id=3, pad_token_id=0)
    model.save_pretrained(folder)


def word_tokenizer(**special) -> hf.PreTrainedTokenizerFast:
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[DEC]", "eos_token": "[SEP]"}
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, **special)


def make_blip(folder: Path) -> None:
    """Image tower, cross-attending text decoder; repeats its prompt."""
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    tokenizer = hf.BertTokenizer(vocab=str(folder / "vocab.txt"), bos_token="[DEC]")
    text = {
        **TOWER,
        **IDS,
        "encoder_hidden_size": 16,
        "projection_dim": 8,
        "sep_token_id": 3,
        "eos_token_id": 2,
    }
    config = hf.BlipConfig(text_config=text, vision_config={**EYE, "projection_dim": 8})
    save(hf.BlipForConditionalGeneration(config), folder, 7)
    hf.BlipProcessor(hf.BlipImageProcessor(size=SQUARE), tokenizer).save_pretrained(folder)


def make_encoder_decoder(folder: Path) -> None:
    """As `nlpconnect/vit-gpt2-image-captioning`: no processor, an image processor, a tokenizer."""
    words = {k: v for k, v in IDS.items() if k != "vocab_size"}
    text = hf.GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=64, **IDS)
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(hf.ViTConfig(**EYE), text)
    config.update({**words, "decoder_start_token_id": 5})
    model = hf.VisionEncoderDecoderModel(config)
    model.generation_config.decoder_start_token_id = 5
    save(model, folder, 4)
    hf.ViTImageProcessor(size=SQUARE).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)


def make_llava(folder: Path) -> None:
    """A model one talks to: image tokens in the prompt, a chat template."""
    text = hf.LlamaConfig(**TOWER, **IDS, num_key_value_heads=2)
    eye = hf.CLIPVisionConfig(**EYE)
    config = hf.LlavaConfig(
        vision_config=eye, text_config=text, image_token_index=6, vision_feature_layer=-1
    )
    save(hf.LlavaForConditionalGeneration(config), folder, 5)
    template = (
        "{% for m in messages %}{% for c in m.content %}{% if c.type == 'image' %}<image> "
        "{% else %}{{ c.text }}{% endif %}{% endfor %} user {% endfor %}"
    )
    images = hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SQUARE)
    tokenizer = word_tokenizer(extra_special_tokens={"image_token": "<image>"})
    hf.LlavaProcessor(
        images,
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    ).save_pretrained(folder)


def write_models(root: Path) -> Path:
    """Folders `blip`, `encoder_decoder` and `llava` below `root`."""
    for make in (make_blip, make_encoder_decoder, make_llava):
        folder = root / make.__name__.removeprefix("make_")
        folder.mkdir()
        make(folder)
    return root

"""One word names an encoder of words (and mostly of images): `text.encoder`.

    RN50:openai                     a CLIP of open_clip: model and weights, or a file of them
    hf:NAME_OR_FOLDER[@REVISION]    any sentence or text encoder of Hugging Face
    untrained:0                     a seeded random tower that needs no download

open_clip and transformers take seconds to import; ready features need neither.
"""

from pathlib import Path
from typing import Literal

import torch

from common.config_values import resolve_path
from common.errors import UserError
from common.fingerprints import file_sha256
from common.language.caption_length import CaptionLimit
from common.language.towers import ImageEncoder, TextEncoder

EncoderKind = Literal["open_clip", "hf", "untrained"]


def encoder_kind(spec: str) -> EncoderKind:
    """Which of the three kinds a spec names, by what stands before its first colon."""
    match spec.partition(":")[0]:
        case "hf":
            return "hf"
        case "untrained":
            return "untrained"
        case _:
            return "open_clip"


def text_encoder(spec: str, device: str | torch.device = "cpu") -> TextEncoder:
    """Load the text encoder; a `UserError` for a spec that names none."""
    place = torch.device(device)
    match encoder_kind(spec):
        case "hf":
            from common.language.hugging_face import load_hugging_face

            return load_hugging_face(spec, place)
        case "untrained":
            from common.language.untrained import load_untrained_text, parse_seed

            return load_untrained_text(parse_seed(spec), place)
        case "open_clip":
            from common.language.clip import load_clip_text

            return load_clip_text(spec, place)


def caption_limit(spec: str) -> CaptionLimit:
    """How much the text encoder reads of a caption; needs its tokenizer, and no weights."""
    match encoder_kind(spec):
        case "hf":
            from common.language.hugging_face import load_hugging_face_limit

            return load_hugging_face_limit(spec)
        case "untrained":
            from common.language.untrained import load_untrained_limit

            return load_untrained_limit()
        case "open_clip":
            from common.language.clip import load_clip_limit

            return load_clip_limit(spec)


def image_encoder(spec: str, device: str | torch.device = "cpu") -> ImageEncoder:
    """Load the image encoder; a `UserError` for a spec that names none."""
    require_images(spec)
    place = torch.device(device)
    if encoder_kind(spec) == "untrained":
        from common.language.untrained import load_untrained_images, parse_seed

        return load_untrained_images(parse_seed(spec), place)
    from common.language.clip import load_clip_images

    return load_clip_images(spec, place)


def require_images(spec: str) -> None:
    """Raise a `UserError` for an encoder of words only."""
    if encoder_kind(spec) == "hf":
        raise UserError(
            f"encoder '{spec}' reads words only and gives no image features; set "
            "text.image_features to a ready file, or model.evidence=encoder, which needs none"
        )


def encoder_identity(spec: str) -> dict[str, str]:
    """What of an encoder may change while its spec stays: the contents of local files.

    Empty for tags of open_clip, `untrained` and models of the hub, which their names identify, and
    where there are no such files.
    """
    match encoder_kind(spec):
        case "hf":
            from common.language.model_source import find_model, folder_sha256

            model = find_model(spec)
            return {"encoder_sha256": folder_sha256(model.name)} if model.is_folder else {}
        case "open_clip":
            weights = _weights_file(spec)
            return {} if weights is None else {"encoder_sha256": file_sha256(weights)}
        case "untrained":
            return {}


def _weights_file(spec: str) -> Path | None:
    """The file of `<model>:<file>` or `<model>:<tag>=<file>`; None: it names none that is there."""
    weights = spec.partition(":")[2]
    names = filter(None, (weights, weights.partition("=")[2]))
    places = (resolve_path(name, typed_by_hand=True) for name in names)
    return next((place for place in places if place.is_file()), None)

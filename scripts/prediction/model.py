"""Any trained network as one object: a picture and a caption in, depth in meters out.

    model = load("runs/nyu/stage3")
    prediction = model.predict("kitchen.jpg", "A small kitchen with a stove.")
    prediction.depth                # float32 [H, W] of the picture's own size, meters
    model.save_pretrained("my_model")

picture -> what the network reads -> depth of that size -> depth of the picture's size; every step
as in evaluation, so that a picture of a test split gets the depth that eval.py scores.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import ModelCard, ModelHubMixin
from torch import Tensor, nn

from common.data.batch import Batch
from common.errors import UserError
from common.evaluation.scoring import predict_batch
from common.images.transforms import normalize
from common.language.captions import Captions
from common.language.language import Language
from common.programs.run_config import RunConfig
from common.runtime.exported_files import is_exported
from common.runtime.randomness import DrawRandom
from common.runtime.saved_models import describe_average, write_saved_model
from llm_mde.model import complete_checkpoint
from llm_mde.stage import STAGE as LLM_MDE
from scripts.prediction.cameras import check_focal, find_intrinsics, focal_factor
from scripts.prediction.cards import write_card
from scripts.prediction.frames import SeenFrame, describe_frame, make_frame
from scripts.prediction.known import calibrated
from scripts.prediction.pictures import Picture, PictureSource, as_picture
from scripts.prediction.result import PLAIN, Asked, Prediction
from scripts.prediction.trained import TrainedNetwork
from scripts.prediction.words import PictureWords, WordReader


class DepthModel(
    nn.Module,
    ModelHubMixin,
    library_name="langdepth",
    pipeline_tag="depth-estimation",
    license="other",  # that of the data, whatever the code's is
    license_name="see-license-in-the-card",
    tags=["depth-estimation", "monocular-depth", "metric-depth"],
):
    """A trained network of any recipe, with the encoders it needs."""

    _hub_mixin_config: dict[str, Any] = {}  # given, so the mixin makes none of our arguments

    def __init__(self, trained: TrainedNetwork) -> None:
        super().__init__()
        self.trained, self.network = trained, trained.model
        needs = trained.stage.needs(trained.model)
        self.words = WordReader(trained.config.text, needs, trained.reads_words)
        self.eval()

    @property
    def config(self) -> RunConfig:
        """Of the run that trained it."""
        return self.trained.config

    @property
    def device(self) -> torch.device:
        own = next(self.parameters(), None)  # an exported network has none
        return self.trained.processes.device if own is None else own.device

    def forward(self, batch: Batch) -> Tensor:
        """Depth [B, 1, h, w] in meters, of the size of the batch's images."""
        return self.trained.stage.predict(self.network, batch)

    def predict(
        self,
        image: PictureSource | Picture,
        caption: str | None = None,
        focal: float | None = None,
        asked: Asked = PLAIN,
    ) -> Prediction:
        """Depth of one picture: a file, an array uint8 [H, W, 3], a PIL image, a tensor [3, H, W].

        caption: what it shows; `auto`: a captioning model says it, `none`: no words. Models
        without words need none. focal: in pixels of the picture; None: EXIF's, where it is known.
        """
        return self.predict_all([image], [caption], [focal], asked)[0]

    @torch.no_grad()
    def predict_all(
        self,
        images: Sequence[PictureSource | Picture],
        captions: Sequence[str | None] | None = None,
        focals: Sequence[float | None] | None = None,
        asked: Asked = PLAIN,
    ) -> list[Prediction]:
        """`predict` of several pictures, in one batch."""
        if not images:
            return []
        nothing = [None] * len(images)
        _check_given("captions", captions, str, len(images))
        _check_given("focals", focals, (int, float), len(images))
        data = self.config.data
        pictures = [as_picture(image, data.exif_orientation) for image in images]
        focals = [None if f is None else check_focal(f) for f in focals or nothing]
        frames = [make_frame(picture.rgb, data.data_set, data.size) for picture in pictures]
        pixels = [picture.rgb for picture in pictures]
        words = self.words.choose(captions or nothing, pixels, self.device)
        batch = self._batch(pictures, frames, words)
        depths = predict_batch(self._run, batch, self.config.eval.flip)[:, 0]
        samples = self._sample(batch, asked)
        return [
            self._finish(
                depths[n], samples[:, n], pictures[n], frames[n], words[n], focals[n], asked
            )
            for n in range(len(pictures))
        ]

    def _batch(
        self,
        pictures: Sequence[Picture],
        frames: Sequence[SeenFrame],
        words: Sequence[PictureWords],
    ) -> Batch:
        """All frames of a model have one size."""
        image = torch.from_numpy(np.stack([normalize(frame.image) for frame in frames]))
        named = Captions.of((p.name, w.text) for p, w in zip(pictures, words, strict=True))
        size = image.shape[-2], image.shape[-1]
        self.trained.stage.check_words(self.network, Language(named), size)
        return Batch(
            image=image,
            gt_depth=[None] * len(frames),
            text_feature=self.words.text_features(words, self.device),
            image_feature=self.words.image_features([p.rgb for p in pictures], self.device),
            caption=[own.text for own in words],
            key=[picture.name for picture in pictures],
            position=torch.arange(len(frames)),
        )

    def _run(self, batch: Batch) -> Tensor:
        return self(batch.to(self.device)).float().cpu()

    def _sample(self, batch: Batch, asked: Asked) -> Tensor:
        """Depth [N, B, h, w] of the scenes that are asked for; every picture's have the same noise.

        So two captions of one picture differ by their words alone.
        """
        sample = self.trained.stage.sample
        if not asked.samples:
            return torch.empty(0, len(batch), *batch.size)
        if sample is None or not self.trained.reads_words:
            raise UserError(
                f"--samples: {self.trained.stage.recipe} has no distribution of scenes to draw "
                "from here; models of stage 1, 2, 3 (staged), joint and joint-legacy that read "
                "words have one"
            )
        sent, same = batch.to(self.device), [0] * len(batch)
        draws = (DrawRandom(asked.seed, same, number) for number in range(asked.samples))
        return torch.stack([sample(self.network, sent, d)[:, 0].float().cpu() for d in draws])

    def _finish(
        self,
        depth: Tensor,
        samples: Tensor,
        picture: Picture,
        frame: SeenFrame,
        words: PictureWords,
        focal: float | None,
        asked: Asked,
    ) -> Prediction:
        """depth: [h, w]; samples: [N, h, w]; both as the network gives them."""
        data_set = self.config.data.data_set
        intrinsics = find_intrinsics(frame, data_set, focal, picture.film)
        factor, about_camera = focal_factor(asked.focal_rule, intrinsics, data_set, frame)
        own = frame.to_picture(depth)
        sampled, spread = (None, None) if not len(samples) else _summarize(samples, frame, factor)
        notes = (
            about_camera,
            describe_frame(frame),
            words.note,
            self.words.describe_cut(words),
            *self._notes,
            _count_bad(own, frame),
        )
        prediction = Prediction(
            (own * factor).numpy(),
            spread,
            intrinsics,
            tuple(note for note in notes if note),
            words.text,
            words.origin,
            factor,
            sampled,
            (samples * factor).numpy() if asked.keep_scenes and len(samples) else None,
            asked.focal_rule,
        )
        return calibrated(prediction, asked.calibration)

    @property
    def _notes(self) -> tuple[str, ...]:
        """What holds for every picture."""
        stage, control = self.trained.stage, self.config.text.control
        notes = [f"trained for depth up to {self.config.data.max_depth:g} m"]
        if stage.name == "stage1":
            notes.append("stage 1 reads words alone: of the picture only the size is used")
        if (average := describe_average(self.trained.facts)) is not None:
            notes.append(average)
        if self.trained.reads_words and control in ("shuffled", "other_image", "wrong"):
            notes.append(f"trained with the words of other pictures (text.control={control})")
        return tuple(notes)

    def _save_pretrained(self, save_directory: Path) -> None:
        if is_exported(self.trained.path):
            raise UserError(
                f"{self.trained.path} has no weights to save; open the run it was exported from"
            )
        content = {**self.trained.facts, "model": self.network.state_dict()}
        if self.trained.stage is LLM_MDE and "complete" not in content["model_config"]:
            content |= complete_checkpoint(content)  # with the frozen weights in it
        write_saved_model(save_directory, content)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        device: str | torch.device | None = None,
        proxies: Any = None,  # given by older versions of the library
        resume_download: Any = None,
    ) -> "DepthModel":
        from scripts.prediction.load import fetch, open_model  # which needs this class

        options = {"cache_dir": cache_dir, "force_download": force_download, "token": token,
                   "local_files_only": local_files_only}  # fmt: skip
        folder = Path(model_id) if Path(model_id).is_dir() else fetch(model_id, revision, **options)
        return open_model(folder, device)

    def generate_model_card(self, *args: Any, **facts: Any) -> ModelCard:
        """Made from the run; facts: see `write_card`."""
        return write_card(self.trained, self._hub_mixin_info.model_card_data, **facts)


def _check_given(name: str, values: Sequence[Any] | None, kind: Any, wanted: int) -> None:
    """Raise a `ValueError` unless there is one value of the kind, or None, for each picture."""
    if values is None:
        return
    if isinstance(values, str) or len(values) != wanted:
        raise ValueError(f"{name}: give a list of {wanted}, one for each picture")
    for value in values:
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise ValueError(f"{name}: {value!r} is a {type(value).__name__}; see `predict`")


def _summarize(samples: Tensor, frame: SeenFrame, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Geometric mean (meters) and standard deviation of ln depth [H, W] of samples [N, h, w]."""
    logs = samples.log()
    spread, mean = torch.std_mean(logs, dim=0, correction=0)
    return (frame.to_picture(mean.exp()) * factor).numpy(), frame.to_picture(spread).numpy()


def _count_bad(depth: Tensor, frame: SeenFrame) -> str | None:
    seen = depth if frame.window is None else depth[frame.window]
    count = int((~torch.isfinite(seen)).sum())
    return f"{count} pixels of the depth are not finite" if count else None

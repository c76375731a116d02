"""A trained network as one object: the depth of evaluation, words, cameras, scenes, pictures."""

import struct
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from conftest import evaluate
from PIL import Image
from prediction_runs import CAPTION, make_encoder, make_run, open_run, picture

from common.data.sets import DATA_SETS
from common.errors import UserError
from common.images.depth_files import to_stored
from scripts.prediction.cameras import find_intrinsics, focal_factor, focal_of_film
from scripts.prediction.frames import describe_frame, make_frame
from scripts.prediction.load import load
from scripts.prediction.pictures import as_picture
from scripts.prediction.result import Asked
from scripts.prediction.words import given


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def runs(workspace, trained, tmp_path_factory):
    """A run of every stage, by name."""
    one = {
        name: make_run(workspace, stage, tmp_path_factory.mktemp(name), *overrides)
        for name, stage, overrides in (
            ("joint", "joint", ()),
            ("legacy", "joint", ("recipe=joint-legacy", "model.skips=kept")),
            ("llm_mde", "llm_mde", ()),
            ("control", "stage3", ("language.mode=none",)),
            ("wordless", "joint", ("text.control=none",)),
        )
    }
    return {**one, **{name: trained / "tiny" / name for name in ("stage1", "stage2", "stage3")}}


@pytest.fixture(scope="module")
def joint(runs, encoder):
    return open_run(runs["joint"], encoder)


@pytest.mark.parametrize("name", ["stage1", "stage2", "stage3", "joint", "legacy", "llm_mde"])
def test_a_picture_of_the_test_split_gets_the_depth_of_evaluation(
    workspace, runs, encoder, tmp_path, name
):
    stage = {"joint": "stage3", "legacy": "stage3"}.get(name, name)
    words = ("--checkpoint", str(runs[name]), "--save-predictions", str(tmp_path / "depth"))
    outcome = evaluate(stage, *words, "text.features=null", encoder, f"output_root={tmp_path}")
    assert outcome.code == 0, outcome.err
    key = (workspace.data / "test.txt").read_text().split()[0].lstrip("/")
    saved = cv2.imread(str((tmp_path / "depth" / key).with_suffix(".png")), cv2.IMREAD_UNCHANGED)
    model = open_run(runs[name], encoder)
    prediction = model.predict(workspace.data / key, f"A room, seen from {key}.")
    assert prediction.depth.dtype == np.float32
    own = to_stored(prediction.depth, 1000.0)[0].astype(int)
    assert saved.shape == own.shape == (64, 96)
    assert np.abs(own - saved).max() <= 1  # a batch of another size adds in another order
    assert (own == saved).mean() > 0.99


def test_what_clip_sees_of_a_picture_is_encoded_as_for_training(workspace, tmp_path):
    """Stage 2 with evidence `clip`, both features by one encoder."""
    words = ("text.features=null", "text.encoder=untrained:0")
    stage1 = make_run(workspace, "stage1", tmp_path / "1", *words, "model.text_dim=1024")
    own = ("model.evidence=clip", "model.image_dim=1024", f"init.stage1={stage1}")
    stage2 = make_run(workspace, "stage2", tmp_path / "2", *words, *own)
    saved = ("--save-predictions", str(tmp_path / "depth"))
    assert evaluate("stage2", "--checkpoint", str(stage2), *saved).code == 0
    key = (workspace.data / "test.txt").read_text().split()[0].lstrip("/")
    stored = cv2.imread(str((tmp_path / "depth" / key).with_suffix(".png")), cv2.IMREAD_UNCHANGED)
    model = load(stage2, "cpu")
    found = model.predict(workspace.data / key, f"A room, seen from {key}.").depth
    assert np.abs(to_stored(found, 1000.0)[0].astype(int) - stored).max() <= 1
    with pytest.raises(UserError, match="image features of 1024 numbers, this model reads 7"):
        model.words.needs = replace(model.words.needs, image_dim=7)
        model.predict(picture(), CAPTION)


def test_a_picture_of_another_size_keeps_it_and_batches_change_nothing(joint):
    images = [picture(48, 80), picture(30, 40), picture(200, 31)]
    together = joint.predict_all(images, [CAPTION, "a room", "none"])
    assert [p.depth.shape for p in together] == [(48, 80), (30, 40), (200, 31)]
    alone = joint.predict(images[1], "a room")
    np.testing.assert_allclose(together[1].depth, alone.depth, rtol=1e-5)
    assert np.isfinite(together[2].depth).all()
    assert any("of another shape than 64x96" in note for note in together[2].notes)


def test_what_a_picture_may_be_given_as(joint, tmp_path):
    rgb = picture()
    Image.fromarray(rgb).save(tmp_path / "a.png")
    tensor = torch.from_numpy(rgb).permute(2, 0, 1)
    kinds = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        Image.fromarray(rgb),
        tensor,
        tensor / 255,
    ]
    expected = joint.predict(rgb, CAPTION).depth
    for kind in kinds:
        assert np.array_equal(joint.predict(kind, CAPTION).depth, expected), type(kind)
    for bad in (rgb[..., 0], rgb / 255.0, tensor[:1], tensor.float(), rgb[:0]):
        with pytest.raises(ValueError, match="a picture"):
            joint.predict(bad, CAPTION)


def test_words_are_asked_for_and_change_the_answer(joint):
    with pytest.raises(UserError, match=r"--caption TEXT.*--caption auto.*--caption none"):
        joint.predict(picture())
    said, other = joint.predict(picture(), CAPTION), joint.predict(picture(), "a photo of a room")
    none = joint.predict(picture(), "none")
    assert not np.array_equal(said.depth, other.depth)
    assert (said.caption, said.caption_origin) == (CAPTION, "given")
    assert (none.caption, none.caption_origin) == ("", "no words, as asked for")
    features = joint.words.text_features([given("none"), given(CAPTION)], joint.device)
    assert not features[0].any() and features[1].any()


@pytest.mark.parametrize(
    ("caption", "message"),
    [("", "the caption is empty"), (" \n ", "the caption is empty"), ("a \ud83d", "half a char")],
)
def test_captions_that_are_none(joint, caption, message):
    with pytest.raises(UserError, match=message):
        joint.predict(picture(), caption)


def test_a_very_long_caption_is_read_in_part_and_that_is_told(joint, runs, encoder):
    notes = joint.predict(picture(), "a kitchen " * 5000).notes
    assert any("longer than what" in note and "tokens" in note for note in notes)
    with pytest.raises(UserError, match="tokens"):  # a prompt is never cut
        open_run(runs["llm_mde"], encoder).predict(picture(), "a kitchen " * 5000)


def test_models_without_words_need_none_and_say_so(runs, encoder):
    control = open_run(runs["control"], encoder)
    silent, spoken = control.predict(picture()), control.predict(picture(), CAPTION)
    assert np.array_equal(silent.depth, spoken.depth)
    assert "the model reads no words: the caption is not used" in spoken.notes
    assert not any("caption" in note for note in silent.notes)
    wordless = open_run(runs["wordless"], encoder)
    silent, spoken = wordless.predict(picture()), wordless.predict(picture(), CAPTION)
    assert np.array_equal(silent.depth, spoken.depth)
    assert any("text.control=none" in note for note in silent.notes)


def test_another_encoder_than_training_is_refused(runs):
    model = load(runs["joint"], "cpu", ["text.encoder=untrained:0"])
    with pytest.raises(UserError, match="text features of 1024 numbers, this model reads 16"):
        model.predict(picture(), CAPTION)


@pytest.mark.parametrize("name", ["stage1", "stage2", "stage3", "joint", "legacy"])
def test_sampled_scenes_have_a_mean_and_a_spread(runs, encoder, name):
    model = open_run(runs[name], encoder)
    plain = model.predict(picture(), CAPTION)
    found = model.predict(picture(), CAPTION, asked=Asked(samples=3))
    assert np.array_equal(plain.depth, found.depth)
    assert plain.log_depth_std is None and plain.sampled_depth is None
    assert found.log_depth_std.shape == found.sampled_depth.shape == (48, 80)
    assert (found.log_depth_std > 0).mean() > 0.9 and (found.sampled_depth > 0).all()
    again = model.predict(picture(), CAPTION, asked=Asked(samples=3))
    other = model.predict(picture(), CAPTION, asked=Asked(samples=3, seed=1))
    assert np.array_equal(found.log_depth_std, again.log_depth_std)
    assert not np.array_equal(found.log_depth_std, other.log_depth_std)


@pytest.mark.parametrize("name", ["llm_mde", "control"])
def test_models_without_a_distribution_say_so(runs, encoder, name):
    with pytest.raises(UserError, match="--samples: .* has no distribution"):
        open_run(runs[name], encoder).predict(picture(), CAPTION, asked=Asked(samples=3))


def test_the_focal_length_scales_depth_where_asked(joint):
    frame = make_frame(picture(48, 80), DATA_SETS["nyu"], (64, 96))
    own = 518.8579 * 80 / 640  # the training camera's, at this width
    plain = joint.predict(picture(), CAPTION, own)
    double = joint.predict(picture(), CAPTION, 2 * own, Asked("scale"))
    np.testing.assert_allclose(double.depth, 2 * plain.depth, rtol=1e-6)
    assert double.focal_factor == pytest.approx(2)
    assert any("multiplied by 2" in note for note in double.notes)
    untouched = joint.predict(picture(), CAPTION, 2 * own)
    assert np.array_equal(untouched.depth, plain.depth)
    assert any("2 times as long" in note and "--focal-rule" in note for note in untouched.notes)
    unknown = joint.predict(picture(), CAPTION, asked=Asked("scale"))
    assert np.array_equal(unknown.depth, plain.depth) and not unknown.intrinsics.is_known
    assert any("trained for the NYU camera, which is taken" in note for note in unknown.notes)
    assert unknown.intrinsics.fx == pytest.approx(own)
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="focal length"):
            joint.predict(picture(), CAPTION, bad)
    nobody = replace(DATA_SETS["nyu"], camera=None)
    assert find_intrinsics(frame, nobody, None, None) is None
    with pytest.raises(UserError, match="camera of data.name=nyu is not known"):
        focal_factor("scale", None, nobody, frame)


def test_a_picture_seen_through_a_longer_lens_is_told_to_be_farther():
    """Of one scene, the middle half of a picture is a picture of twice the focal length."""
    kitti = DATA_SETS["kitti"]
    for size in ((375, 1242), (1000, 1500)):
        frame = make_frame(picture(*size), kitti, (352, 704))
        known = find_intrinsics(frame, kitti, 2 * 721.5377 / frame.scale, None)
        assert focal_factor("scale", known, kitti, frame)[0] == pytest.approx(2)


def test_kitti_frames_are_cut_as_in_evaluation_and_others_resized():
    kitti = DATA_SETS["kitti"]
    rgb = picture(375, 1242)
    frame = make_frame(rgb, kitti, (352, 704))
    assert np.array_equal(frame.image, rgb[23:, 13:1229])
    depth = frame.to_picture(torch.ones(352, 1216))
    assert depth.shape == (375, 1242) and int(depth.isfinite().sum()) == 352 * 1216
    assert "above there is no depth" in describe_frame(frame)
    other = make_frame(picture(1000, 1500), kitti, (352, 704))
    assert other.image.shape == (352, 1216, 3) and other.window is None
    assert other.to_picture(torch.ones(352, 1216)).isfinite().all()
    assert "not of the training frames' shape" in describe_frame(other)


def test_a_kitti_frame_gets_the_depth_of_evaluation(kitti, runs, encoder, tmp_path):
    data = ("data.name=kitti", f"data.root={kitti.root}", f"data.gt_root={kitti.gt_root}")
    words = (*data, "data.test_list=list.txt", "text.control=none", "text.captions=null")
    saved = ("--save-predictions", str(tmp_path / "depth"))
    outcome = evaluate("stage3", "--checkpoint", str(runs["joint"]), *saved, *words)
    assert outcome.code == 0, outcome.err
    key = (kitti.root / "list.txt").read_text().splitlines()[1].split()[0]
    stored = cv2.imread(str((tmp_path / "depth" / key).with_suffix(".png")), cv2.IMREAD_UNCHANGED)
    depth = open_run(runs["joint"], encoder, *words).predict(kitti.root / key).depth
    assert depth.shape == (375, 1241) and not np.isfinite(depth[:23]).any()
    own = to_stored(depth[23:, 12:1228], 256.0)[0].astype(int)
    assert np.abs(own - stored).max() <= 1 and stored.shape == (352, 1216)


def save_with_exif(path, size=(40, 30), film=26, orientation=1) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0xA405] = film
    Image.fromarray(picture(*size[::-1])).save(path, exif=exif)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_gives_the_focal_length_and_turns_the_picture(joint, tmp_path, suffix):
    path = tmp_path / f"phone.{suffix}"
    save_with_exif(path, orientation=6)
    path.write_bytes(path.read_bytes() + b"\xff\xd8 the film of a phone's motion photo" * 9)
    found = joint.predict(path, CAPTION)
    assert found.depth.shape == (40, 30)
    assert found.intrinsics.fx == pytest.approx(focal_of_film(26, (40, 30)))
    assert "EXIF, 26 mm" in found.intrinsics.source
    assert joint.predict(Image.open(path), CAPTION).intrinsics == found.intrinsics
    assert joint.predict(path, CAPTION, 30.0).intrinsics.source == "given"
    save_with_exif(path, film=0)  # by the standard: not known
    assert not joint.predict(path, CAPTION).intrinsics.is_known


def test_pictures_of_every_kind_and_files_that_are_none(tmp_path, monkeypatch):
    rgb = picture()
    Image.fromarray(rgb).convert("CMYK").save(tmp_path / "cmyk.jpg")
    Image.fromarray(rgb).convert("RGBA").save(tmp_path / "rgba.png")
    Image.fromarray(rgb).convert("L").save(tmp_path / "gray.png")
    cv2.imwrite(str(tmp_path / "gray16.png"), rgb[..., 0].astype(np.uint16) * 257)
    frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    for suffix in ("gif", "webp", "png"):
        frames[0].save(tmp_path / f"moving.{suffix}", save_all=True, append_images=frames[1:])
    for path in sorted(tmp_path.iterdir()):
        try:
            assert as_picture(path).rgb.shape == (48, 80, 3), path.name
        except UserError as error:  # older versions of OpenCV read no GIF, and no moving WebP
            assert path.suffix in (".gif", ".webp") and "not a readable image" in str(error)
    sixteen = as_picture(tmp_path / "gray16.png").rgb
    assert np.abs(sixteen[..., 0].astype(int) - rgb[..., 0]).max() <= 1
    pil = as_picture(Image.open(tmp_path / "gray16.png")).rgb
    assert np.array_equal(pil, sixteen)
    moving = as_picture(tmp_path / "moving.png").rgb
    assert np.array_equal(moving, rgb)  # the first of its pictures
    monkeypatch.setattr("scripts.prediction.pictures.MAX_PIXELS", 48 * 80 - 1)
    with pytest.raises(UserError, match="rgba.png: more than .* million pixels; make it smaller"):
        as_picture(tmp_path / "rgba.png")
    monkeypatch.undo()
    for name, content in (
        ("empty.jpg", b""),
        ("text.png", b"no picture"),
        ("cut.jpg", b"\xff\xd8"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name) as caught:
            as_picture(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_huge_picture_is_refused_by_its_header(tmp_path):
    """20,000 x 20,000: it would need gigabytes."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    parts = [header, b"IDAT", b"IEND"]
    chunks = [struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts]
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    with pytest.raises(UserError, match="huge.png: more than 120 million pixels"):
        as_picture(tmp_path / "huge.png")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "no checkpoint in"),
        ("text.pt", "damaged or not a checkpoint"),
        ("hf://nobody", "expected hf://USER/NAME"),
        ("hf:///", "expected hf://USER/NAME"),
    ],
)
def test_what_is_no_model(tmp_path, place, message):
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(UserError, match=message):
        load(place if place.startswith("hf:") else tmp_path / place)

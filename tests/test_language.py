"""The words of a split: captions and features agree, under every control, and images stay."""

import pickle
import typing

import pytest
import torch

from common.config import build_config
from common.errors import UserError
from common.language import encoding
from common.language.captions import captions_sha256
from common.language.controls import Control, folder_category
from common.language.encoders import text_encoder
from common.language.feature_files import write_features
from common.language.feature_store import FeatureStore, ZeroFeatures
from common.language.features import FeaturePlace, TextConfig
from common.language.language import NO_LANGUAGE, Needs, load_language

KEYS = [f"{room}_000{i}/{i}.jpg" for room in ("kitchen", "office", "bathroom") for i in range(4)]
CAPTIONS = {key: f"A {folder_category(key)} with {i} chairs." for i, key in enumerate(KEYS)}
FEATURES = torch.randn(len(KEYS), 16, generator=torch.Generator().manual_seed(0)).half().float()
CONTROLS = typing.get_args(Control)
LENDING = ("shuffled", "other_image", "wrong")


@pytest.fixture
def place(tmp_path):
    return FeaturePlace(lambda name: tmp_path / name, tmp_path / "cache")


@pytest.fixture
def files(tmp_path):
    """Key -> a file of each image, and the packed features beside them."""
    write_features(tmp_path / "text.safetensors", KEYS, FEATURES, {"encoder": "untrained:0"})
    write_features(tmp_path / "image.safetensors", KEYS, FEATURES[:, :12], {})
    return {key: tmp_path / key for key in KEYS}


def read(files, place, needs=None, captions=CAPTIONS, **text):
    text = TextConfig(**{"encoder": "untrained:0", **text})
    return load_language(text, captions, "val", files, needs or Needs(1024), place)


def feature_of(sentence):
    return text_encoder("untrained:0").encode([sentence])[0]


def owner_of(feature):
    """The key whose packed feature this is."""
    return KEYS[int((FEATURES - feature).abs().sum(1).argmin())]


@pytest.mark.parametrize("control", CONTROLS)
def test_features_are_those_of_the_captions(files, place, control):
    language = read(files, place, control=control)
    assert list(language.captions) == KEYS
    for key in KEYS[::3]:
        expected = torch.zeros(1024) if control == "none" else feature_of(language.captions[key])
        torch.testing.assert_close(language.text_features[key], expected, atol=1e-3, rtol=0)
    assert not language.text_features.missing(KEYS)
    assert (language.captions == CAPTIONS) == (control == "caption")
    assert len(language.notes) == (control != "caption")
    assert all(note.startswith(f"val: text.control={control}: ") for note in language.notes)


@pytest.mark.parametrize("control", CONTROLS)
def test_image_features_and_their_keys_are_never_touched(files, place, control):
    needs = Needs(image_dim=12)
    language = read(files, place, needs, control=control, image_features="image.safetensors")
    assert language.text_features is None
    for key, feature in zip(KEYS, FEATURES, strict=True):
        assert torch.equal(language.image_features[key], feature[:12])


@pytest.mark.parametrize("control", LENDING)
@pytest.mark.parametrize("captions", [CAPTIONS, None])
def test_ready_features_are_lent_with_their_captions(files, place, control, captions):
    language = read(files, place, Needs(16), captions, control=control, features="text.safetensors")
    for key in KEYS:
        owner = owner_of(language.text_features[key])
        assert owner != key
        assert (folder_category(owner) == folder_category(key)) or control != "other_image"
        assert (folder_category(owner) != folder_category(key)) or control != "wrong"
        assert torch.equal(language.text_features[key], FEATURES[KEYS.index(owner)])
        if captions:
            assert language.captions[key] == CAPTIONS[owner]
    assert bool(language.captions) == bool(captions)
    assert not list(place.cache_dir.glob("*"))


def test_the_same_words_with_and_without_features_and_in_any_order(files, place):
    one = read(files, place, Needs(), control="shuffled").captions
    assert one == read(files, place, control="shuffled").captions
    backwards = dict(reversed(files.items()))
    assert read(backwards, place, Needs(), control="shuffled").captions == one
    assert read(files, place, Needs(), control="shuffled", control_seed=1).captions != one


def test_equal_ready_features_count_as_equal_words(files, place, tmp_path):
    write_features(tmp_path / "same.safetensors", KEYS, torch.ones(12, 16), {})
    options = {"captions": None, "features": "same.safetensors"}
    language = read(files, place, Needs(16), control="shuffled", **options)
    assert "0 of 12 images" in language.notes[0]


def test_stores_of_controls_are_small_to_send_to_workers(files, place):
    lent = read(files, place, Needs(16), features="text.safetensors", control="wrong").text_features
    again = pickle.loads(pickle.dumps(lent))
    assert len(pickle.dumps(lent)) < 2000
    assert all(torch.equal(again[key], lent[key]) for key in KEYS)
    assert "kitchen_9/1.jpg" not in again
    assert again.missing([KEYS[0], "x"]) == ["x"]
    zeros = pickle.loads(pickle.dumps(ZeroFeatures(5)))
    assert (zeros.dim, zeros["x"].tolist(), "x" in zeros) == (5, [0.0] * 5, True)
    with pytest.raises(KeyError):
        lent["x"]


def test_ready_features_and_new_sentences_need_the_same_encoder(files, place, tmp_path):
    wide = torch.randn(len(KEYS), 1024)
    write_features(tmp_path / "wide.safetensors", KEYS, wide, {"encoder": "untrained:0"})
    options = {"captions": None, "features": "wide.safetensors"}
    language = read(files, place, control="category", **options)
    expected = feature_of("a kitchen")
    torch.testing.assert_close(language.text_features[KEYS[0]], expected, atol=1e-3, rtol=0)
    with pytest.raises(UserError, match="made with encoder untrained:0, the config asks for untr"):
        read(files, place, control="category", encoder="untrained:1", **options)
    with pytest.raises(UserError, match="have 1024 numbers, the model reads 16"):
        read(files, place, Needs(16), control="empty")


def test_without_control_the_cached_file_keeps_its_name(files, place):
    read(files, place)
    (cached,) = place.cache_dir.glob("*")
    assert cached.name == f"text_val_untrained-0_{captions_sha256(CAPTIONS)[:16]}.safetensors"
    read(files, place, control="wrong")
    assert list(place.cache_dir.glob("*")) == [cached]
    read(files, place, control="constant")
    assert len(list(place.cache_dir.glob("text_val_untrained-0_*"))) == 2


def test_cached_features_of_a_folder_go_with_its_contents(files, place, tmp_path):
    from text_models import make_bert

    folder = make_bert(tmp_path / "a deep folder" / ("x" * 100) / "bert")
    options = {"needs": Needs(16), "encoder": f"hf:{folder}"}
    read(files, place, **options)
    read(files, place, **options)
    assert len(list(place.cache_dir.glob("text_val_*"))) == 1
    store = read(files, place, **options).text_features
    make_bert(folder, seed=1)
    other = read(files, place, **options).text_features
    assert not torch.allclose(store[KEYS[0]], other[KEYS[0]], atol=0.1)
    ready = {**options, "features": "ready.safetensors"}
    encoding.encode_captions(tmp_path / "ready.safetensors", CAPTIONS, f"hf:{folder}")
    read(files, place, **ready)
    make_bert(folder, seed=2)
    with pytest.raises(UserError, match="made with other files of hf:"):
        read(files, place, **ready)
    folder.rename(tmp_path / "elsewhere")  # ready features do not need the model
    assert read(files, place, **ready).text_features.dim == 16


def test_captions_that_were_cut_are_told_once_made_or_found(files, place):
    long = {key: f"{caption} {'and a chair ' * 20}" for key, caption in CAPTIONS.items()}
    for _ in range(2):
        (note,) = read(files, place, captions=long).notes
        assert note.startswith("val: 12 distinct captions are longer than what untrained:0 reads")


def test_what_is_missing_is_one_line(files, place, tmp_path):
    few = {key: CAPTIONS[key] for key in KEYS[:5]}
    for control in ("caption", "wrong"):
        with pytest.raises(UserError, match="7 of 12 images have no caption, first office_0001/1"):
            read(files, place, captions=few, control=control)
    assert read(files, place, captions=few, control="constant").captions[KEYS[-1]] == "A photo."
    assert read(files, place, Needs(), None, control="wrong") == NO_LANGUAGE  # nobody reads any
    write_features(tmp_path / "few.safetensors", KEYS[:5], FEATURES[:5], {})
    for control in ("caption", "shuffled"):
        with pytest.raises(UserError, match="7 of 12 images have no text feature"):
            read(files, place, Needs(16), None, features="few.safetensors", control=control)
    with pytest.raises(UserError, match="no text features are configured"):
        read(files, place, captions=None)
    with pytest.raises(UserError, match="the text features have 16 numbers, the model reads 1024"):
        read(files, place, captions=None, features="text.safetensors")
    with pytest.raises(UserError, match="the image features have 12 numbers, the model reads 9"):
        read(files, place, Needs(image_dim=9), image_features="image.safetensors")
    with pytest.raises(UserError, match="no image features; set text.image_features"):
        read(files, place, Needs(image_dim=9), encoder="hf:someone/model")


def test_without_words_nothing_has_to_be_configured(files, place):
    language = read(files, place, captions=None, control="none")
    assert set(language.captions.values()) == {""}
    assert isinstance(language.text_features, FeatureStore)


def test_bad_settings_are_refused():
    with pytest.raises(UserError, match="control must be one of caption, none, shuffled"):
        build_config(TextConfig, {"control": "scrambled"})
    with pytest.raises(UserError, match="control_seed: must be at least 0"):
        build_config(TextConfig, {"control_seed": -1})

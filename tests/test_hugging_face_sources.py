"""Where an `hf:` model comes from, and when its features are no longer what they were."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
import transformers as hf
from conftest import run_process, run_script
from safetensors.torch import load_file, save_file
from text_models import make_bert, stir

from common.language.encoders import encoder_identity, text_encoder
from common.language.feature_store import FeatureStore

LONG = "a photo of a kitchen with a table and a room with a table"


@pytest.fixture
def bert(tmp_path) -> Path:
    """A BERT folder to change."""
    return make_bert(tmp_path / "bert")


def test_identity_of_a_folder_is_its_contents(bert, tmp_path):
    spec, before = f"hf:{bert}", encoder_identity(f"hf:{bert}")
    (bert / "README.md").write_text("words about it")
    os.utime(bert / "config.json", ns=(1, 1))
    assert encoder_identity(spec) == before
    assert encoder_identity(f"hf:{shutil.copytree(bert, tmp_path / 'copy')}") == before
    state = load_file(bert / "model.safetensors")
    save_file({k: v + 1 for k, v in state.items()}, bert / "model.safetensors", {"format": "pt"})
    assert encoder_identity(spec) != before
    assert encoder_identity("RN50:openai") == encoder_identity("untrained:0") == {}
    assert encoder_identity("hf:someone/model@v1") == {}  # its name says it


def test_replaced_weights_are_not_already_there(bert, tmp_path):
    captions = tmp_path / "captions.jsonl"
    lines = [{"image": "a.jpg", "caption": LONG}, {"image": "b.jpg", "caption": "a kitchen"}]
    captions.write_text("\n".join(map(json.dumps, lines)))
    output = tmp_path / "text.safetensors"
    words = ("--captions", captions, "--encoder", f"hf:{bert}", "--output", output)
    outcome = run_script("encode_text.py", *words)
    assert outcome.code == 0, outcome.err
    assert "2 distinct features of 16 numbers" in outcome.out
    assert "1 distinct captions are longer" in outcome.out
    origin = FeatureStore.open(output).provenance[0]
    assert (origin["encoder"], origin["num_cut"]) == (f"hf:{bert}", 1)
    assert "already there" in run_script("encode_text.py", *words).out
    before = FeatureStore.open(output)["b.jpg"]
    model = hf.BertModel.from_pretrained(bert, add_pooling_layer=False)
    stir(model, seed=1)
    model.save_pretrained(bert)
    assert "made anew" in run_script("encode_text.py", *words).out
    assert not torch.allclose(FeatureStore.open(output)["b.jpg"], before, atol=0.1)


COMMIT = "0123456789012345678901234567890123456789"
CACHED = """
from common.language.encoders import text_encoder
encoder = text_encoder("hf:someone/model")
print(encoder.facts["encoder_commit"], encoder.encode(["a kitchen"]).tolist())
"""


def put_into_cache(model, folder):
    """`someone/model` in the local cache of `HF_HOME=folder`, as the hub's library keeps it."""
    repo = folder / "hub/models--someone--model"
    shutil.copytree(model, repo / "snapshots" / COMMIT)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(COMMIT)
    return repo


def test_a_model_of_the_hub_is_read_from_the_local_cache(bert, tmp_path):
    """Offline; a file of which the cache does not say whether it exists is not passed over."""
    repo = put_into_cache(bert, tmp_path)
    command = (sys.executable, "-c", CACHED)
    outcome = run_process(*command, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert "modules.json is not in the local cache" in outcome.err
    (repo / ".no_exist" / COMMIT).mkdir(parents=True)
    (repo / ".no_exist" / COMMIT / "modules.json").touch()
    outcome = run_process(*command, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert outcome.code == 0, outcome.err
    found, _, numbers = outcome.out.strip().partition(" ")
    assert found == COMMIT
    expected = text_encoder(f"hf:{bert}").encode(["a kitchen"])
    torch.testing.assert_close(torch.tensor(json.loads(numbers)), expected, atol=1e-5, rtol=0)


def test_caption_files_say_which_commit_made_them(bert, tmp_path):
    put_into_cache(bert, tmp_path)
    code = (
        "from common.language.captioner import CaptionSettings\n"
        "print(CaptionSettings('someone/model').provenance()['revision'])"
    )
    outcome = run_process(sys.executable, "-c", code, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    assert (outcome.code, outcome.out.strip()) == (0, COMMIT), outcome.err


def test_ready_features_import_no_encoder():
    code = (
        "import sys, common.language.language, common.language.encoders, "
        "common.programs.assembly; print(sorted({'open_clip', 'transformers'} & set(sys.modules)))"
    )
    outcome = run_process(sys.executable, "-c", code)
    assert (outcome.code, outcome.out.strip()) == (0, "[]"), outcome.err

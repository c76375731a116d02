"""Files of any content: every reader gives what it reads, or one clean line; never a traceback.

    FUZZ_EXAMPLES=2000 sh scripts/test.sh tests/test_fuzz.py      a long search

Contents are arbitrary bytes, arbitrary trees of the file's own kind, and whole files with some
bytes changed, taken out or put in.
"""

import io
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save

pytest.importorskip("hypothesis")
from fuzzing import archive, clean, contents, fuzzed, leaves, put, trees, words  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from common.config import load_config  # noqa: E402
from common.data.lists import read_noted_list  # noqa: E402
from common.evaluation.known_distance import read_calibration  # noqa: E402
from common.language.captions import read_captions, sift_entries  # noqa: E402
from common.language.feature_files import open_table, read_pictures, write_features  # noqa: E402
from common.programs.step_dumps import StepDump  # noqa: E402
from common.runtime.checkpoints import FORMAT_VERSION, read_checkpoint  # noqa: E402
from common.runtime.saved_models import CONFIG, WEIGHTS  # noqa: E402
from stage1_vae.config import Stage1Config  # noqa: E402


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def load_yaml(path):
    return load_config(Stage1Config, path, [])


YAML = b"data: {name: nyu, root: /x, height: 64, width: 96}\ntrain:\n  max_steps: 3\n  lr: 1e-3\n"
yaml_words = st.lists(
    st.sampled_from(
        [
            "data",
            "train",
            "lr",
            "base",
            "replace",
            "max_steps",
            ":",
            ": ",
            "\n",
            "\n  ",
            "- ",
            "[",
            "]",
            "{",
            "}",
            "&a ",
            "*a",
            "<<",
            "!!int ",
            "!!float ",
            "!!bool ",
            "!!timestamp ",
            "!!binary ",
            "!!set ",
            "!!omap ",
            "!!python/object/apply:os.system ",
            "? ",
            "|",
            ">",
            "'",
            '"',
            "#",
            "1",
            "x",
            "~",
            "%YAML",
            "---",
            "...",
        ]  # fmt: skip
    ),
    max_size=25,
).map(lambda parts: "".join(parts).encode())


@fuzzed
@given(content=st.one_of(contents(YAML), yaml_words))
def test_configs(place, content):
    clean(load_yaml, put(place / "c.yaml", content))


@fuzzed
@given(tree=st.dictionaries(st.sampled_from(["data", "train", "text", "eval", "model", "seed"]),
                            trees, max_size=4))  # fmt: skip
def test_config_trees(place, tree):
    clean(load_yaml, put(place / "t.yaml", json.dumps(tree).encode()))


@fuzzed
@given(
    value=st.one_of(words, trees.map(lambda tree: json.dumps(tree))),
    key=st.sampled_from(
        [
            "train.lr",
            "data.root",
            "text.captions",
            "model.hidden_dims",
            "train",
            "seed",
            "eval.flip",
        ]
    ),
)
def test_config_arguments(value, key):
    clean(load_config, Stage1Config, None, ["data.name=nyu", "train.max_steps=1", f"{key}={value}"])


LIST = b"/a/1.jpg /a/1.png 518.8\n# x\nb/2.jpg\tb/2.png\n'c d.jpg', 'c d.png'\n"


@fuzzed
@given(content=st.one_of(contents(LIST), words.map(str.encode)))
def test_lists(place, content):
    clean(read_noted_list, put(place / "list.txt", content))


CAPTIONS = b'{"image": "a/1.jpg", "caption": "A room."}\n{"image": "b", "captions": ["x", "y"]}\n'
entries = st.lists(
    st.one_of(trees, st.fixed_dictionaries({"image": leaves, "caption": trees})), max_size=4
).map(lambda rows: "\n".join(map(json.dumps, rows)).encode())


@fuzzed
@given(content=st.one_of(contents(CAPTIONS), entries))
@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".txt"])
def test_captions(place, content, suffix):
    path = put(place / f"captions{suffix}", content)
    clean(read_captions, path)
    clean(sift_entries, path)


def packed(folder):
    write_features(folder / "f.safetensors", ["a", "b"], torch.ones(2, 3), {"kind": "text"})
    return (folder / "f.safetensors").read_bytes()


NPZ = archive(image=np.array(["a", "b"]), feature=np.ones((2, 3), np.float16))


@fuzzed
@given(data=st.data())
def test_packed_features(place, data):
    path = put(place / "x.safetensors", data.draw(contents(packed(place))))
    clean(open_table, path)
    clean(read_pictures, path)


@fuzzed
@given(content=contents(NPZ, archive(image=np.array([1, 2]), feature=np.array([None, {}]))))
def test_npz_features(place, content):
    clean(open_table, put(place / "x.npz", content))


def checkpoint(content):
    data = io.BytesIO()
    torch.save(content, data)
    return data.getvalue()


CHECKPOINT = checkpoint(
    {"format_version": FORMAT_VERSION, "stage": "s", "model": {"w": torch.ones(3)}}
)


@pytest.mark.filterwarnings("ignore")
@fuzzed
@given(content=contents(CHECKPOINT))
def test_checkpoints(place, content):
    path = put(place / "x.pt", content)
    clean(read_checkpoint, path)
    clean(StepDump, path)


@pytest.mark.filterwarnings("ignore")
@fuzzed
@given(step=trees, version=st.one_of(leaves, st.just(FORMAT_VERSION)))
def test_dumps_of_any_plain_content(place, step, version):
    content = checkpoint({"format_version": version, "broken_step": step})
    clean(StepDump, put(place / "d.pt", content))


@fuzzed
@given(
    content=contents(save({"w": torch.ones(3)})),
    config=st.one_of(trees.map(lambda tree: json.dumps(tree).encode()), st.binary(max_size=30)),
)
def test_saved_models(place, content, config):
    put(place / WEIGHTS, content)
    put(place / CONFIG, config)
    clean(read_checkpoint, place / WEIGHTS)


@fuzzed
@given(content=st.one_of(st.binary(max_size=50), trees.map(lambda tree: json.dumps(tree).encode())))
def test_calibrations(place, content):
    clean(read_calibration, put(place / "c.json", content))


NESTED = 100_000


@pytest.mark.parametrize("opening", ["[", '{"a":', "{a: ", "- "])
def test_trees_too_deep_to_read(place, opening):
    deep = (opening * NESTED).encode()
    clean(load_yaml, put(place / "deep.yaml", deep[:20_000]))
    for name in ("deep.jsonl", "deep.json"):
        clean(read_captions, put(place / name, b'{"image": "a", "caption": ' + deep))
    clean(read_calibration, put(place / "deep.json", deep))
    put(place / WEIGHTS, save({"w": torch.ones(3)}))
    put(place / CONFIG, deep)
    clean(read_checkpoint, place / WEIGHTS)


def test_yaml_that_grows_or_turns_in_a_circle(place):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    clean(load_yaml, put(place / "bomb.yaml", "\n".join(lines).encode()))
    clean(load_yaml, put(place / "used.yaml", "\n".join([*lines, "text: *a11"]).encode()))
    bomb = [*lines, "model: {hidden_dims: *a11}"]
    clean(load_yaml, put(place / "typed.yaml", "\n".join(bomb).encode()))
    for text in ("train: &a {lr: *a}", "&a [*a]", "train: &a\n  <<: *a", "base: &a [*a]",
                 "model: &a {hidden_dims: [*a]}"):  # fmt: skip
        clean(load_yaml, put(place / "circle.yaml", text.encode()))

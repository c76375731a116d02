"""scripts/import_captions.py: published folders of text files become one caption file."""

import json

import pytest
from conftest import run_script

from common.language.captions import read_captions

RSA = {
    "nyu/train/kitchen_0028b/rgb_00045": "A kitchen. \n\nA kitchen with a stove. \nA room.\n",
    "nyu/test/bathroom/rgb_00045": "A bathroom.\r\nA small bathroom.\r\n",
    "kitti/test/2011_09_26/drive_0002_sync/image_02/data/0000000069": "A street. \nÖde Straße.",
}


def write_texts(root, texts):
    for stem, text in texts.items():
        path = root / f"{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return root


@pytest.fixture(params=[".", "text"])
def folder(request, tmp_path):
    """As RSA and as WorDepth lay it out."""
    write_texts(tmp_path / "published" / request.param, RSA)
    return tmp_path / "published"


def run(folder, output, *arguments):
    return run_script("import_captions.py", folder, "--output", output, *arguments)


def test_every_line_is_a_caption_of_its_image(folder, tmp_path):
    output = tmp_path / "new/captions.jsonl"
    outcome = run(folder, output)
    assert outcome.code == 0, outcome.err
    assert "3 images with 2 to 3 captions, 7 distinct ones" in outcome.out
    captions = read_captions(output)
    assert {key: captions.all_of(key) for key in captions} == {
        "kitchen_0028b/rgb_00045.jpg": ("A kitchen.", "A kitchen with a stove.", "A room."),
        "bathroom/rgb_00045.jpg": ("A bathroom.", "A small bathroom."),
        "2011_09_26/drive_0002_sync/image_02/data/0000000069.png": ("A street.", "Öde Straße."),
    }
    assert "is there already; name another --output" in run(folder, output).refusal


def test_one_line_is_a_plain_caption(tmp_path):
    write_texts(tmp_path, {"nyu/test/bathroom/rgb_00045": "A bathroom."})
    assert run(tmp_path, tmp_path / "c.jsonl").code == 0
    line = json.loads((tmp_path / "c.jsonl").read_text())
    assert line["caption"] == "A bathroom." and "captions" not in line


def test_only_the_images_of_a_list_with_their_names(folder, tmp_path):
    (tmp_path / "list.txt").write_text(
        "test/bathroom/rgb_00045.png test/bathroom/d.png 518.8\n/kitchen_0028b/rgb_1.jpg d.png\n"
    )
    outcome = run(folder, tmp_path / "c.jsonl", "--list", tmp_path / "list.txt")
    assert outcome.code == 0, outcome.err
    assert "1 of 2 images of the lists have captions" in outcome.out
    assert list(read_captions(tmp_path / "c.jsonl")) == ["test/bathroom/rgb_00045.png"]


def test_what_cannot_be_used_is_one_line(folder, tmp_path):
    output = tmp_path / "c.jsonl"
    assert "no <dataset>/<split>/<image>.txt for nyu" in run(tmp_path / "no", output).refusal
    assert "must end in .jsonl" in run(folder, tmp_path / "c.txt").refusal
    place = next(folder.rglob("nyu/test/bathroom"))
    (place / "rgb_00046.txt").write_text(" \n\n")
    (place / "rgb_00047.txt").write_bytes(b"A caf\xe9.")
    refusal = run(folder, output, "--dataset", "nyu").refusal
    assert "2 of 4 text files cannot be used" in refusal and "rgb_00046.txt is empty" in refusal
    assert not output.exists()
    outcome = run(folder, output, "--skip-damaged")  # "leave these images out"
    assert outcome.code == 0 and "2 text files were left out" in outcome.err
    assert len(read_captions(output)) == 3

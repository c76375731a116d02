"""How wrong scales are, from CSV files of evaluations with known errors."""

import csv
import runpy

import numpy as np
import pytest
from conftest import call

from common.config import REPO_ROOT
from common.evaluation.mixture import mix

IMAGES = [f"test/kitchen/rgb_{10 * scene + k:05d}.jpg" for scene in range(60) for k in range(2)]


def write(path, errors):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_path", "abs_rel", "log_ratio"])
        writer.writerows(zip(IMAGES, np.abs(errors), errors, strict=True))
    return path


def run(*arguments):
    program = str(REPO_ROOT / "scripts" / "scale_errors.py")
    return call(lambda: runpy.run_path(program, run_name="__main__"), *arguments)


def independent(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, len(IMAGES)))


def test_independent_errors_mix_to_less_than_either():
    a, b = 0.2 * independent(2)
    weights, mixed = mix(a, b, [image[:-5] for image in IMAGES])
    assert 0.4 < weights.mean() < 0.6
    assert mixed.std() == pytest.approx(0.2 / np.sqrt(2), rel=0.15)


def test_what_knows_nothing_more_is_given_no_weight():
    a, noise = 0.2 * independent(2)
    weights, mixed = mix(a, a + noise, [image[:-5] for image in IMAGES])
    assert abs(weights).max() < 0.15
    assert mixed.std() == pytest.approx(a.std(), rel=0.03)


def test_a_weight_is_not_chosen_on_the_scene_it_is_for():
    a, b = 0.1 * independent(2)
    b[:2] = 50.0  # a scene that would turn the weight
    scenes = [str(number // 2) for number in range(len(IMAGES))]
    weights, _ = mix(a, b, scenes)
    assert weights[0] > 0.3 and abs(weights[2:]).max() < 0.05


def test_the_tables_are_those_of_the_files(tmp_path):
    a, b, c = independent(3)
    files = [
        write(tmp_path / f"{n}.csv", e) for n, e in zip("abc", (0.1 * a, 0.3 * a, c), strict=True)
    ]
    outcome = run(f"picture={files[0]} {files[1]}", f"words={files[2]}")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0] == "120 images of 60 scenes"
    spread = (0.1 + 0.3) / 2 * a.std()
    assert lines[2].split() == ["picture", f"{0.2 * a.mean():+.3f}", f"{spread:.3f}"]
    correlation = np.corrcoef(a, c)[0, 1]
    assert lines[5].split()[:3] == ["picture,", "words", f"{correlation:.2f}"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["picture"], "not of the form NAME=FILE.csv"),
        (["a={tmp}/a.csv", "a={tmp}/a.csv"], "two NAMEs are the same"),
        (["picture=nowhere.csv"], "cannot read nowhere.csv"),
        (["picture={tmp}/other.csv"], "has no columns image_path and log_ratio"),
        (["a={tmp}/a.csv {tmp}/a.csv", "b={tmp}/a.csv {tmp}/a.csv {tmp}/a.csv"], "2 and 3 files"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, arguments, message):
    write(tmp_path / "a.csv", independent(1)[0])
    (tmp_path / "other.csv").write_text("image_path,abs_rel\nx,1\n")
    outcome = run(*(text.format(tmp=tmp_path) for text in arguments))
    assert message in outcome.refusal


def test_a_table_that_another_program_has_saved_is_read(tmp_path):
    write(tmp_path / "a.csv", independent(1)[0])
    text = (tmp_path / "a.csv").read_text().replace("\n", "\r\n")
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    outcome = run(f"a={tmp_path}/a.csv", f"b={tmp_path}/b.csv")
    assert outcome.code == 0, outcome.err

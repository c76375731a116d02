"""What a study's report computes: rows, references, common seeds, folds, families of p values."""

import csv
import io
from dataclasses import astuple, replace

import numpy as np
import pytest
from made_up_scores import IMAGES, STUDY, MadeUp, cell

from common.evaluation.comparison import compare, holm
from common.evaluation.metrics import METRIC_NAMES
from scripts.reporting.study_numbers import compute_numbers, find_reference
from scripts.reporting.study_text import answer, differences_csv, markdown, means_csv, text_table


@pytest.fixture
def made_up(tmp_path):
    return MadeUp(tmp_path)


def numbers_of(*rows):
    return compute_numbers(STUDY, [score for row in rows for score in row])


def table_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_rows_are_means_over_seeds_and_differences_are_those_of_comparison(made_up):
    ours = made_up.row(cell(), -0.02)
    theirs = made_up.row(cell(train="none"), 0.0)
    numbers = numbers_of(ours, theirs)
    values = [np.array([[r["abs_rel"] for r in s.images] for s in row]) for row in (ours, theirs)]
    (difference,) = numbers.answers
    scenes = np.arange(len(IMAGES)) // 3
    expected = compare(*values, scenes)
    assert astuple(difference.estimates["abs_rel"]) == pytest.approx(astuple(expected))
    assert difference.means("abs_rel") == pytest.approx((values[0].mean(), values[1].mean()))
    row = numbers.rows[0].estimates["abs_rel"]
    assert row.seed_std == pytest.approx(values[0].mean(1).std(ddof=1))
    assert (row.num_seeds, row.num_images, row.num_scenes) == (3, 24, 8)


def test_answers_say_whether_words_help_hurt_or_nobody_knows(made_up):
    numbers = numbers_of(
        made_up.row(cell("good"), -0.05),
        made_up.row(cell("good", "none"), 0),
        made_up.row(cell("bad"), 0.05),
        made_up.row(cell("bad", "none"), 0),
        made_up.row(cell("idle"), 0.0, noise=0.05),
        made_up.row(cell("idle", "none"), 0, noise=0.05),
    )
    good, bad, idle = map(answer, numbers.answers)
    assert (good.verdict, bad.verdict, idle.verdict) == ("better", "worse", "unknown")
    assert "the words are worth 0.049 [0.0" in good.text
    assert "after correction for 3 comparisons" in good.text
    assert "the words cost 0.0" in bad.text
    assert "worth" not in bad.text
    assert "cannot tell" in idle.text
    found = numbers.answers[2].estimates["abs_rel"]
    assert f"difference of {found.detectable:.3f} would be found" in idle.text


def test_a_system_that_reads_no_words_is_the_same_with_them(made_up):
    caption = made_up.row(cell("constant"), 0.0)
    none = [replace(score, cell=cell("constant", "none")) for score in caption]
    (found,) = numbers_of(caption, none).answers
    assert answer(found).verdict == "same"
    assert answer(found).text.endswith(": every image has the same scores.")


def test_a_correction_can_undo_an_answer(made_up):
    """The verdict is that of the corrected p value."""
    rows = [made_up.row(cell(), -0.05), made_up.row(cell(train="none"), 0.0)]
    (found,) = numbers_of(*rows).answers
    assert answer(found).verdict == "better"
    undone = replace(found, corrected={**found.corrected, "abs_rel": 0.2}, family=30)
    assert answer(undone).verdict == "unknown"
    assert "p = 0.2 after correction for 30 comparisons" in answer(undone).text


def test_one_seed_and_one_scene_are_told(made_up):
    single = numbers_of(made_up.row(cell(), -0.05, [0]), made_up.row(cell(train="none"), 0, [0]))
    assert "One seed: what another training would give" in answer(single.answers[0]).text
    small = replace(made_up, images=IMAGES[:3])
    alone = numbers_of(small.row(cell(), -0.05), small.row(cell(train="none"), 0.0))
    text = answer(alone.answers[0]).text
    assert "are worth 0.05" in text
    assert "all test images are of one scene" in text
    assert "[" not in text
    assert "nan" not in text_table(STUDY, alone) + markdown(STUDY, alone, "")


def test_seeds_that_only_one_row_has_are_not_compared(made_up):
    numbers = numbers_of(
        made_up.row(cell(), -0.05, [0, 1, 2, 3]), made_up.row(cell(train="none"), 0.0, [1, 3, 5])
    )
    assert numbers.answers[0].aligned.seeds == [1, 3]
    assert numbers.rows[0].estimates["abs_rel"].num_seeds == 4
    apart = numbers_of(made_up.row(cell(), 0, [0]), made_up.row(cell(train="none"), 0, [1]))
    assert apart.answers == []


def test_images_without_a_finite_score_are_left_out_of_both(made_up):
    ours, theirs = made_up.row(cell(), -0.05), made_up.row(cell(train="none"), 0.0)
    ours[0].images[0]["abs_rel"] = float("nan")
    theirs[1].images[1] = {"image_path": theirs[1].images[1]["image_path"]}
    theirs[2].images[2]["rmse"] = ""
    numbers = numbers_of(ours, theirs)
    assert numbers.answers[0].estimates["abs_rel"].num_images == len(IMAGES) - 3
    assert [row.num_left_out for row in numbers.rows] == [1, 2]
    for image in ours[0].images:
        image["d1"] = float("inf")
    assert numbers_of(ours, theirs).answers == []
    assert numbers_of(ours).rows[0].estimates == {}


def test_folds_are_put_together_and_unfinished_seeds_wait(made_up):
    ours = made_up.row(cell(), -0.05, folds=4)
    theirs = made_up.row(cell(train="none"), 0.0, folds=4)
    whole = numbers_of(ours, theirs).answers[0]
    assert whole.aligned.seeds == [0, 1, 2]
    assert sorted(whole.aligned.images) == sorted(IMAGES)
    part = numbers_of(ours, theirs[:-1]).answers[0]  # the last fold of the last seed is missing
    assert part.aligned.seeds == [0, 1]
    assert len(part.aligned.images) == len(IMAGES)


def test_folds_and_the_own_split_are_different_rows(made_up):
    numbers = numbers_of(made_up.row(cell(), 0), made_up.row(cell(), 0, folds=4))
    assert [row.key.is_folded for row in numbers.rows] == [False, True]
    assert [group.title for group in numbers.groups] == [
        "nyu, short, minilm",
        "nyu, short, minilm, cross-validation over scenes",
    ]


def test_a_reference_without_words_serves_all_kinds_of_captions(made_up):
    numbers = numbers_of(
        made_up.row(cell(), -0.02),
        made_up.row(cell(captions="detailed"), -0.03),
        made_up.row(cell(train="none"), 0.0),
        made_up.row(cell("joint", captions="detailed"), -0.03),
    )
    theirs = {each.ours.cell: each.theirs.cell for each in numbers.answers}
    assert theirs == dict.fromkeys([cell(), cell(captions="detailed")], cell(train="none"))
    lent = [*numbers.rows[:1], *numbers_of(made_up.row(cell(train="shuffled"), 0)).rows]
    other = replace(lent[0], key=lent[0].key._replace(cell=cell(captions="detailed")))
    assert find_reference(lent[0], lent, "shuffled") is lent[1]
    assert find_reference(other, lent, "shuffled") is None


def test_every_kind_of_comparison_is_a_family_of_its_own(made_up):
    numbers = numbers_of(
        *(made_up.row(cell(recipe), -0.004) for recipe in ("staged", "joint")),
        *(made_up.row(cell(recipe, "none"), 0.0) for recipe in ("staged", "joint")),
        made_up.row(cell("staged", "shuffled"), 0.0),
        made_up.row(cell("staged", "caption", "wrong"), 0.06),
    )
    kinds = [each.kind for each in numbers.differences]
    assert sorted(kinds) == sorted(
        ["captions"] * 2 + ["control"] * 2 + ["test words"] + ["recipe"] * 2
    )
    raw = [each.estimates["abs_rel"].p for each in numbers.answers]
    assert [each.corrected["abs_rel"] for each in numbers.answers] == holm(raw)
    (test_words,) = numbers.test_words.values()
    assert test_words.theirs.cell == cell()
    assert test_words.estimates["abs_rel"].low > 0.05
    assert {each.theirs.cell.recipe for each in numbers.recipes.values()} == {"staged"}
    assert numbers.rows[3].cell.recipe == "staged", "rows of a recipe stand together"


def test_types_of_scenes(made_up):
    numbers = numbers_of(made_up.row(cell(), -0.02), made_up.row(cell(train="none"), 0.0))
    kitchen, living_room = numbers.answers[0].by_type()
    assert (kitchen.name, living_room.name) == ("kitchen", "living room")
    assert (kitchen.estimate.num_images, kitchen.estimate.num_scenes) == (12, 4)
    both = (kitchen.estimate.mean + living_room.estimate.mean) / 2
    assert both == pytest.approx(numbers.answers[0].estimates["abs_rel"].mean)


def test_csv_files_hold_all_nine_metrics(made_up):
    numbers = numbers_of(
        made_up.row(cell("a, <b>"), -0.02, [0]), made_up.row(cell("a, <b>", "none"), 0.0, [0])
    )
    means, differences = table_of(means_csv(numbers)), table_of(differences_csv(numbers))
    assert [line["metric"] for line in means] == [*METRIC_NAMES, *METRIC_NAMES]
    assert [line["metric"] for line in differences] == list(METRIC_NAMES)
    first = differences[0]
    assert first["recipe"] == "a, <b>"
    assert (first["train_control"], first["reference_train_control"]) == ("caption", "none")
    assert float(first["ours"]) - float(first["reference"]) == pytest.approx(float(first["mean"]))
    assert first["seed_std"] == ""
    assert float(first["low"]) < float(first["mean"]) < float(first["high"])
    assert means_csv(numbers_of()) == differences_csv(numbers_of()) == ""


def test_markdown_is_a_table_whose_names_mean_nothing_else(made_up):
    numbers = numbers_of(
        made_up.row(cell("a|b *c*"), -0.02), made_up.row(cell("a|b *c*", "none"), 0.0)
    )
    text = markdown(STUDY, numbers, "python scripts/study.py x.yaml")
    assert text.startswith("```sh\npython scripts/study.py x.yaml\n```\n\n- a\\|b \\*c\\*: with")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert len(table) == 4
    assert "Nyu, short, minilm, 24 images of 8 scenes:" in text


def test_the_text_table_is_aligned(made_up):
    numbers = numbers_of(made_up.row(cell(), -0.02), made_up.row(cell(train="none"), 0.0, [0]))
    first, title, *table = text_table(STUDY, numbers).replace("\n\n", "\n").splitlines()
    assert first.startswith("staged: with captions AbsRel is 0.1")
    assert title == "nyu, short, minilm"
    assert len({len(line) for line in table}) == 1


def calibration(shift):
    coverage = {"50": 0.5 + shift, "80": 0.8, "90": 0.9, "95": 0.95}
    return {"r2": None, "nll": 0.1 + shift, "crps": 0.2, "coverage": coverage, "width": {"90": 1.0}}


def test_rows_with_a_calibration_have_a_table_of_it(made_up):
    """The folds of a seed are averaged before the seeds; without any there is no table."""
    rows = made_up.row(cell("stage1"), 0.0, [0, 1], folds=2)
    assert "NLL" not in text_table(STUDY, numbers_of(rows))
    for score, shift in zip(rows, (0.0, 0.02, 0.04, 0.06), strict=True):
        score.result["calibration"] = calibration(shift)
    numbers = numbers_of(rows, made_up.row(cell("joint"), 0.0))
    head, line = text_table(STUDY, numbers).splitlines()[-2:]
    assert head.split("  ")[0] == "log median depth from words"
    assert "stage1, caption" in line
    assert "joint" not in line
    assert "0.130 ± 0.028" in line, "NLL: 0.11 and 0.15"
    assert "53.0 ± 2.8" in line
    assert "80.0 ± 0.0" in line
    assert line.split("caption")[1].split()[0] == "-", "no R2"
    assert "53.0 ± 2.8" in markdown(STUDY, numbers, "")


def test_where_pixels_have_a_limit_rows_are_told_as_shares_of_it(made_up):
    numbers = numbers_of(
        made_up.row(cell(), -0.1, noise=0.0),
        made_up.row(cell("joint"), 0.0, noise=0.0),
        made_up.row(cell(train="none"), 0.2, noise=0.0),
        made_up.row(cell(train="shuffled"), 0.3, noise=0.0),
    )
    means = {row.label: row.estimates["abs_rel"].mean for row in numbers.rows}
    limited = replace(STUDY, bounds={"nyu": 0.375})
    for text in (text_table(limited, numbers), markdown(limited, numbers, "")):
        line = next(line for line in text.splitlines() if line.startswith("Pixels alone"))
        for label in ("staged, caption", "joint, caption", "staged, none"):
            share = f"{label} {means[label]:.3f} ({100 * means[label] / 0.375:.0f} % of it)"
            assert share in line, label
        assert "shuffled" not in line, "another row is lower"
    other = replace(STUDY, bounds={"demo": 0.375})
    assert "Pixels alone" not in text_table(other, numbers)


def test_a_baseline_that_trains_nothing_is_compared_with_every_seed(made_up):
    linear, trained = made_up.row(cell("linear"), 0.0, [0]), made_up.row(cell("stage1"), -0.02)
    assert numbers_of(linear, trained).differences[0].estimates["abs_rel"].num_seeds == 1
    for score in linear:
        score.result["stage"] = "text_baseline"
    numbers = numbers_of(linear, trained)
    (found,) = numbers.differences
    assert found.estimates["abs_rel"].num_seeds == 3
    assert numbers.rows[0].estimates["abs_rel"].num_seeds == 1, "alone it is as it was scored"
    alone = [score for score in trained if score.seed == 2]
    assert numbers_of(linear, alone).differences[0].estimates["abs_rel"].num_seeds == 1


def test_words_that_a_seed_lends_are_of_that_seed_alone(made_up):
    lent = made_up.row(cell("linear", "shuffled", "shuffled"), 0.0, [0])
    for score in lent:
        score.result["stage"] = "text_baseline"
    numbers = numbers_of(lent, made_up.row(cell("stage1", "shuffled", "shuffled"), -0.02))
    assert numbers.differences[0].estimates["abs_rel"].num_seeds == 1

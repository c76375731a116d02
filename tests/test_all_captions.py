"""`eval.captions=all`: a prediction for each caption, their geometric mean, and how far they go."""

import csv
import json

import pytest
import torch
from batches import make_batch
from caption_files import write_file
from conftest import evaluate, train

from common.data.batch import Item, collate_eval
from common.evaluation.all_captions import average_captions, caption_spread
from common.language.captions import read_captions

WORDS = ("A", "One small", "Some very large")


def item(position, depths):
    """An image with as many captions; its feature, and the prediction below, is the depth."""
    features = torch.tensor(depths)[:, None]
    others = {"other_captions": tuple(map(str, depths[1:])), "other_features": features[1:]}
    plain = {"text_feature": features[0], "image_feature": None, "gt_depth": torch.ones(1, 4, 4)}
    return Item(
        image=torch.full((3, 4, 4), float(position)),
        caption=str(depths[0]),
        key=f"{position}",
        position=position,
        **plain,
        **(others if len(depths) > 1 else {}),
    )


def predict(batch):
    assert [float(caption) for caption in batch.caption] == batch.text_feature[:, 0].tolist()
    return batch.text_feature[:, :, None, None].expand(-1, 1, 4, 4)


def test_each_image_has_the_geometric_mean_of_its_captions():
    batch = collate_eval([item(0, [2.0, 8.0]), item(1, [3.0]), item(2, [1.0, 1.0, 8.0])])
    sizes = [(rows, len(part)) for rows, part in batch.rewordings()]
    assert sizes == [([0, 2], 2), ([2], 1)]
    depth, medians = average_captions(predict, batch, 10.0)
    torch.testing.assert_close(depth[:, 0, 0, 0], torch.tensor([4.0, 3.0, 2.0]))
    assert depth[1, 0, 0, 0] == 3.0  # to the bit
    assert medians == [[2.0, 8.0], [3.0], [1.0, 1.0, 8.0]]
    assert [caption_spread(own) for own in medians] == [4.0, 1.0, 8.0]


@pytest.mark.parametrize("bad", [0.0, -1.0, float("inf"), float("nan")])
def test_bad_predictions_stay_countable(bad):
    batch = collate_eval([item(0, [2.0, 8.0])])

    def broken(part):
        return torch.full((1, 1, 4, 4), bad) if part.caption == ["8.0"] else predict(part)

    depth, ((_, second),) = average_captions(broken, batch, 10.0)
    assert 1e-3 <= second <= 10.0
    assert bool(depth.isfinite().all()) == (bad in (0.0, -1.0))


def test_a_batch_without_more_words_is_predicted_once():
    batch = make_batch(torch.zeros(2, 3, 4, 4), [torch.ones(1, 4, 4)] * 2, torch.ones(2, 1))
    calls = []
    average_captions(lambda part: calls.append(part) or torch.ones(2, 1, 4, 4), batch, 10.0)
    assert len(calls) == 1 and calls[0] is batch


@pytest.fixture(scope="module")
def worded(workspace, tmp_path_factory):
    """Captions of every image in one file per wording and in one of all; a trained stage 1."""
    root = tmp_path_factory.mktemp("worded")
    keys = list(read_captions(workspace.data / "captions.jsonl"))
    for number, word in enumerate(WORDS):
        write_file(root / f"{number}.jsonl", {key: f"{word} room of {key}." for key in keys})
    write_file(root / "all.jsonl", {key: [f"{w} room of {key}." for w in WORDS] for key in keys})
    own = [f"text.captions={root}/all.jsonl", "text.features=null", "text.encoder=untrained:0"]
    for stage, more in (("stage1", ["model.text_dim=1024"]), ("llm_mde", [])):
        words = workspace.arguments(stage, root, *own, *more, "train.max_steps=4", "train.lr=3e-2")
        outcome = train(stage, *words)
        assert outcome.code == 0, outcome.err
    return root


def score(worded, stage, tmp_path, *words):
    run, out = worded / "tiny" / stage, (tmp_path / "out.json", tmp_path / "out.csv")
    files = ("--json", str(out[0]), "--csv", str(out[1]))
    outcome = evaluate(stage, "--checkpoint", str(run), *files, *words)
    assert outcome.code == 0, outcome.err
    return outcome, json.loads(out[0].read_text()), list(csv.DictReader(out[1].open()))


@pytest.mark.parametrize("stage", ["stage1", "llm_mde"])
def test_all_captions_are_scored_and_their_spread_is_told(worded, tmp_path, stage):
    first, alone = (
        score(worded, stage, tmp_path, *words)[1:]
        for words in ((), (f"text.captions={worded}/0.jsonl",))
    )
    assert first[0]["metrics"] == alone[0]["metrics"] and "caption_spread" not in first[0]
    outcome, result, rows = score(worded, stage, tmp_path, "eval.captions=all", "--flip")
    assert result["captions"] == "all" and result["metrics"] != first[0]["metrics"]
    assert "geometric mean of the predictions is scored" in outcome.out
    spreads = [float(row["caption_spread"]) for row in rows]
    assert {row["num_captions"] for row in rows} == {"3"} and min(spreads) > 1
    assert result["caption_spread"]["largest"] == max(spreads)
    assert result["caption_spread"]["mean"] == pytest.approx(sum(spreads) / len(spreads))


def test_the_log_ratio_of_all_is_the_mean_of_the_log_ratios(worded, tmp_path):
    """Where nothing is clamped: the mean of log depth is what is scored."""
    ratios = [
        [float(row["log_ratio"]) for row in rows]
        for number in range(len(WORDS))
        for rows in [score(worded, "stage1", tmp_path, f"text.captions={worded}/{number}.jsonl")[2]]
    ]
    files = ", ".join(f"{worded}/{number}.jsonl" for number in range(len(WORDS)))
    joined = (f"text.captions=[{files}]", "text.join_captions=true", "eval.captions=all")
    rows = score(worded, "stage1", tmp_path, *joined)[2]
    means = [sum(image) / len(WORDS) for image in zip(*ratios, strict=True)]
    assert [float(row["log_ratio"]) for row in rows] == pytest.approx(means, abs=1e-5)


def test_images_with_one_caption_or_no_words_have_no_spread(worded, tmp_path):
    one = (f"text.captions={worded}/1.jsonl", "eval.captions=all")
    assert {row["caption_spread"] for row in score(worded, "stage1", tmp_path, *one)[2]} == {"1.0"}
    none = ("text.control=none", "eval.captions=all")
    assert {row["num_captions"] for row in score(worded, "stage1", tmp_path, *none)[2]} == {"1"}


def test_another_choice_is_refused(worded):
    words = ("--checkpoint", str(worded / "tiny/stage1"), "eval.captions=last")
    assert "eval.captions must be one of first, all" in evaluate("stage1", *words).refusal

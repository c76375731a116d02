"""The report of an evaluation: errors by depth and place against plain numpy, and the page."""

import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from batches import make_batch
from html_pages import Page

from common.evaluation.report import cases, images_table
from common.evaluation.report.document import REPORT_FILES, Origin, write_report
from common.evaluation.report.gathered import MAX_CAPTION, Gathered
from common.evaluation.report.pixel_errors import COLUMNS, EDGES, ROWS
from common.evaluation.report.sections import warnings_section
from common.evaluation.scoring import ScoringRule, evaluate_depth
from common.evaluation.watchers import Watchers

SIZE = (48, 64)
NASTY = "<script>alert(\"a\" & 'b')</script> http://example.org"
CARD = {"stage": "stage 9 <b>", "data": 'a"b', "split": "test"}


def make_depths(count, seed=0):
    """Ground truth with holes, and predictions, meters: [count, 1, H, W] each."""
    rng = np.random.default_rng(seed)
    gt = np.exp(rng.uniform(np.log(0.2), np.log(9.9), (count, 1, *SIZE)))
    gt[rng.random(gt.shape) < 0.2] = 0
    factor = np.exp(rng.normal(0, 0.3, (count, 1, 1, 1)) + rng.normal(0, 0.1, gt.shape))
    pred = np.where(gt > 0, gt, 1.0) * factor
    return torch.tensor(gt, dtype=torch.float32), torch.tensor(pred, dtype=torch.float32)


def batches_of(gt, size=4, **changes):
    image = torch.rand((len(gt), 3, *SIZE), generator=torch.Generator().manual_seed(0))
    for start in range(0, len(gt), size):
        part = slice(start, start + size)
        yield replace(make_batch(image[part], list(gt[part]), first=start), **changes)


def gather(gt, pred, numbers=None, protocol="none", max_depth=10.0):
    """The result and what is gathered of some of the images."""
    gathered = Gathered()
    chosen = list(batches_of(gt, 1))
    result = evaluate_depth(
        lambda batch: pred[batch.position],
        [chosen[n] for n in (range(len(gt)) if numbers is None else numbers)],
        ScoringRule(protocol, max_depth, with_medians=True),
        watchers=Watchers(on_scored=gathered.add),
    )
    return result, gathered


def write(folder, result, gathered, **labels):
    origin = Origin({**CARD, **labels}, {"commit": "c<1>"}, "python x.py <y>", 10.0)
    source = write_report(folder, result, gathered, origin).read_text(encoding="utf-8")
    page = Page(source)
    assert page.open_tags == []
    return source, page


def test_errors_by_depth_are_those_of_plain_numpy():
    gt, pred = make_depths(3)
    _, gathered = gather(gt, pred, max_depth=8.0)
    g, p = gt.numpy().astype(float), pred.numpy().astype(float)
    valid = (g > 1e-3) & (g < 8)
    p = p.clip(1e-3, 8)
    bins = gathered.pixels.depth_bins()
    assert sum(each.num_pixels for each in bins) == valid.sum()
    assert sum(each.share for each in bins) == pytest.approx(1)
    assert len(bins) > 10
    for each in bins:
        inside = valid & (g >= each.low) & (g < each.high)
        relative = (p[inside] - g[inside]) / g[inside]
        assert each.num_pixels == inside.sum()
        assert each.num_images == inside.any((1, 2, 3)).sum()
        assert each.abs_rel == pytest.approx(np.abs(relative).mean())
        assert each.bias == pytest.approx(relative.mean())
        assert each.bias_m == pytest.approx((p[inside] - g[inside]).mean())


def test_a_depth_at_an_edge_is_in_the_bin_above():
    gt = torch.tensor([1.0, 1.25, 2.0, 1.9999]).reshape(1, 1, 2, 2)
    bins = {each.low: each for each in gather_small(gt, 2 * gt).pixels.depth_bins()}
    assert {low: each.num_pixels for low, each in bins.items()} == {1: 1, 1.25: 1, 1.6: 1, 2: 1}
    assert bins[1.0].abs_rel == bins[1.0].bias == pytest.approx(1)
    assert bins[1.0].high == 1.25
    assert list(EDGES) == sorted(set(EDGES))


def gather_small(gt, pred):
    gathered = Gathered()
    batch = make_batch(torch.zeros(1, 3, *gt.shape[-2:]), list(gt))
    evaluate_depth(
        lambda _: pred, [batch], ScoringRule("none", 10.0), watchers=Watchers(None, gathered.add)
    )
    return gathered


def test_errors_by_place_are_those_of_plain_numpy():
    gt, pred = make_depths(2)
    _, gathered = gather(gt, pred)
    g, p = gt.numpy().astype(float)[:, 0], pred.numpy().astype(float)[:, 0].clip(1e-3, 10)
    places = gathered.pixels.places()
    height, width = SIZE[0] // ROWS, SIZE[1] // COLUMNS
    for row, column in ((0, 0), (ROWS - 1, COLUMNS - 1), (5, 20)):
        cell = np.s_[:, row * height :, column * width :]
        g_cell, p_cell = (x[cell][:, :height, :width] for x in (g, p))
        valid = g_cell > 0
        relative = (p_cell - g_cell)[valid] / g_cell[valid]
        assert places.abs_rel[row, column] == pytest.approx(np.abs(relative).mean())
        assert places.bias[row, column] == pytest.approx(relative.mean())
    assert places.share.sum() == pytest.approx(1)
    assert gathered.pixels.aspect == SIZE[0] / SIZE[1]


def test_cells_outside_the_crop_are_empty():
    gt = torch.full((1, 1, 480, 640), 2.0)
    gathered = Gathered()
    batch = make_batch(torch.zeros(1, 3, 48, 64), [gt[0]])
    evaluate_depth(
        lambda _: torch.full((1, 1, 48, 64), 3.0),
        [batch],
        ScoringRule("nyu_eigen", 10.0),
        watchers=Watchers(None, gathered.add),
    )
    places = gathered.pixels.places()
    assert np.isnan(places.abs_rel[0]).all() and np.isnan(places.abs_rel[:, -1]).all()
    assert np.nanmin(places.abs_rel) == np.nanmax(places.abs_rel) == pytest.approx(0.5)


def test_being_watched_changes_no_number():
    gt, pred = make_depths(6)
    watched, _ = gather(gt, pred)
    rule = ScoringRule("none", 10.0, with_medians=True)
    alone = evaluate_depth(lambda batch: pred[batch.position], batches_of(gt), rule)
    assert watched == alone


def test_parts_of_several_processes_make_the_same_report(tmp_path):
    gt, pred = make_depths(50)
    result, whole = gather(gt, pred)
    parts = [gather(gt, pred, range(rank, 50, 3))[1] for rank in range(3)]
    merged = Gathered.merge(parts)
    np.testing.assert_allclose(merged.pixels.by_depth, whole.pixels.by_depth, rtol=1e-12)
    np.testing.assert_allclose(merged.pixels.by_place, whole.pixels.by_place, rtol=1e-12)
    keys = [row["image_path"] for row in result.per_image]
    for kind in ("worst", "best"):
        assert getattr(merged, kind).shown(keys) == getattr(whole, kind).shown(keys)
    assert merged.captions == whole.captions
    one, other = (
        write(tmp_path / n, result, part) for n, part in zip("ab", (whole, merged), strict=True)
    )
    assert without_time(one[0]) == without_time(other[0])


def without_time(source):
    return re.sub(r"<time>.*?</time>", "", source)


def test_the_most_extreme_images_are_kept_and_no_more():
    gt, pred = make_depths(80)
    result, gathered = gather(gt, pred)
    by_error = sorted(result.per_image, key=lambda row: row["abs_rel"])
    order = [row["image_path"] for row in by_error]
    best = sorted(gathered.best.kept, reverse=True)
    worst = sorted(gathered.worst.kept, reverse=True)
    assert [case.key for case in best] == order[: cases.NUM_KEPT]
    assert [case.key for case in worst] == order[::-1][: cases.NUM_KEPT]


def test_pictures_are_of_different_scenes_where_there_are_enough():
    keys = [f"kitchen_{n // 3:04d}/rgb_{n}.jpg" for n in range(30)]
    found = cases.Extremes(1)
    found.merge(cases.ExtremeImage(1.0 - 0.01 * n, -n, key, b"") for n, key in enumerate(keys[:20]))
    shown = [case.key for case in found.shown(keys)]
    seven_scenes_and_one_more = [keys[n] for n in (0, 1, 3, 6, 9, 12, 15, 18)]
    assert shown == seven_scenes_and_one_more
    assert len(shown) == cases.NUM_SHOWN


def test_the_page_says_what_the_result_says(tmp_path):
    gt, pred = make_depths(12)
    result, gathered = gather(gt, pred)
    source, page = write(tmp_path, result, gathered)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(REPORT_FILES)
    for text in (
        f"{result.metrics['abs_rel']:.4f}",
        f"{result.micro['rmse']:.4f}",
        "12 images",
        "By true depth",
        "By place in the image",
        "Worst",
        "Best",
        "The room of image 7.",
        "python x.py <y>",
        "c<1>",
    ):
        assert text in page.text, text
    assert page.tags.count("figure") == 2 + 1 + 2 + 12, "charts, and each image once"
    rows = list(csv.DictReader((tmp_path / "images.csv").open()))
    assert [float(row["abs_rel"]) for row in rows] == [r["abs_rel"] for r in result.per_image]
    bins = list(csv.DictReader((tmp_path / "depth_bins.csv").open()))
    num_pixels = sum(row["num_pixels"] for row in result.per_image)
    assert sum(int(row["num_pixels"]) for row in bins) == num_pixels
    assert json.loads((tmp_path / "metrics.json").read_text())["metrics"] == result.metrics
    assert not re.search(r"[\"> ]nan\b", source.partition("<script>")[0])


def test_text_is_escaped_and_nothing_is_loaded(tmp_path):
    gt, pred = make_depths(2)
    gathered = Gathered()
    key = 'a"<i>/b&c.jpg'
    batch = replace(next(batches_of(gt)), caption=[NASTY, "x" * 5000], key=[key, "d.jpg"])
    result = evaluate_depth(
        lambda batch: pred[batch.position],
        [batch],
        ScoringRule("none", 10.0),
        watchers=Watchers(on_scored=gathered.add),
    )
    source, page = write(tmp_path, result, gathered, checkpoint="<u>.pt", control="<em>")
    assert page.tags.count("script") == 1
    assert not {"u", "em"} & set(page.tags) and "<i>" not in source
    assert NASTY in page.text and key in page.text
    assert "x" * (MAX_CAPTION - 1) + "…" in page.text and "x" * (MAX_CAPTION + 1) not in page.text
    addresses = [value for name, value in page.attributes if name in ("src", "href")]
    assert addresses
    for address in addresses:
        assert address.startswith(("data:image/jpeg;base64,", "#")) or address == "images.csv"
    style = source.partition("<style>")[2].partition("</style>")[0]
    script = source.partition("<script>\n")[2].partition("</script>")[0]
    for code in (style, script):
        assert code and not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp", code)


def test_links_lead_to_places_of_the_page(tmp_path):
    gt, pred = make_depths(30)
    source, page = write(tmp_path, *gather(gt, pred))
    places = {value for name, value in page.attributes if name == "id"}
    links = {v[1:] for name, v in page.attributes if name == "href" and v.startswith("#")}
    assert links and links <= places
    assert sum(link.startswith("picture") for link in links) == 2 * cases.NUM_SHOWN


def test_a_long_list_has_a_table_of_its_worst_images(tmp_path, monkeypatch):
    monkeypatch.setattr(images_table, "MAX_ROWS", 5)
    gt, pred = make_depths(9)
    result, gathered = gather(gt, pred)
    source, page = write(tmp_path, result, gathered)
    assert "4 more are in images.csv" in page.text
    table = source.partition("data-filter")[2].partition("</table>")[0]
    worst = sorted(result.per_image, key=lambda row: -row["abs_rel"])
    assert re.findall(r"scene/rgb_\d+\.jpg", table) == [row["image_path"] for row in worst[:5]]


@pytest.mark.parametrize("what", ["one image", "equal", "perfect", "infinite"])
def test_results_at_their_limits_make_a_page(tmp_path, what):
    gt = torch.full((1 if what == "one image" else 3, 1, *SIZE), 2.0)
    pred = {
        "one image": gt * 1.1,
        "equal": gt * 1.1,
        "perfect": gt,
        "infinite": torch.full_like(gt, float("inf")),
    }[what]
    source, page = write(tmp_path, *gather(gt, pred))
    assert "By true depth" in page.text
    if what == "infinite":
        assert "prediction that is not finite" in page.text


def test_other_words_and_what_is_left_out_are_told():
    gt, pred = make_depths(2)
    result, _ = gather(gt, pred, max_depth=2.0)
    told = Page(warnings_section(result, {"control": "wrong", "calibrated": "x 2"}, 2.0)).text
    assert "“wrong”" in told and "calibrated before: x 2" in told
    assert "data.max_depth=2" in told and "warning" not in told
    whole, _ = gather(gt, pred)
    assert warnings_section(whole, {}, 10.0) == ""


def test_a_kitti_picture_lies_where_its_prediction_lies():
    """The crop of 352x1216 is pasted into the frame at the bottom, centered."""
    seen = []
    gt = torch.full((1, 375, 1242), 20.0)
    batch = make_batch(torch.ones(1, 3, 352, 1216), [gt])
    evaluate_depth(
        lambda _: torch.full((1, 1, 352, 1216), 21.0),
        [batch],
        ScoringRule("kitti_garg_full", 80.0, is_cropped=True),
        watchers=Watchers(on_scored=seen.append),
    )
    image = seen[0].image_in_frame()
    assert image.shape == (3, 375, 1242)
    assert torch.equal(image[0] > 0, seen[0].pred_depth > 0)
    assert image[:, 23:, 13:1229].min() == 1 and image[:, :23].max() == 0
    assert cases.draw_case(seen[0]).startswith(b"\xff\xd8"), "a JPEG"

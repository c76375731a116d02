"""The unit of depth maps: the doctor names the true one, and asserts none that is not certain."""

import doctor_trees as trees
import numpy as np
import pytest

from scripts.doctor_checks.units import (
    ROTATED,
    UNITS,
    Stored,
    fitting_units,
    is_on_grid,
    millimeter_shares,
)

SCALES = [unit.scale for unit in UNITS if unit.largest > 255]  # 25.5 is of 8-bit maps
SHOWN = "healthy, but only you can say if the unit of depth is right: training will accept"


def write_rooms(root, scale, in_millimeters=False):
    """Six pairs at `scale` stored units a meter; depth of a real sensor is in whole millimeters."""
    trees.write_folder(root)
    for path in sorted((root / "depth").iterdir()):
        meters = trees.read_stored(path) / 1000
        if not in_millimeters:
            noise = np.random.default_rng(0).uniform(0, 0.001, meters.shape)
            meters = np.where(meters > 0, meters + noise, 0)
        trees.write_depth(path, meters, scale)


def examine(root, *arguments):
    return trees.examine("folder", root, "--root", str(root), "text.captions=null", *arguments)


def unit_findings(health):
    return [f for f in health.content["findings"] if f["code"] in ("wrong_unit", "depth_unit")]


@pytest.mark.parametrize("in_millimeters", [False, True])
@pytest.mark.parametrize("scale", SCALES)
def test_the_true_unit_is_named_and_no_other_is_asserted(tmp_path, scale, in_millimeters):
    write_rooms(tmp_path, scale, in_millimeters)
    true = f"data.depth_scale={scale:g}"
    health = examine(tmp_path)
    findings = unit_findings(health)
    if scale == 1000:
        assert [f["level"] for f in findings] == ["note"]
        assert SHOWN in health.outcome.out
        return
    assert findings
    for finding in findings:
        assert finding["fix"]["settings"] in ([], [true])
        assert true in finding["mend"]
    # What was advised is followed: training accepts it, and certain is only what was asserted.
    health = examine(tmp_path, true)
    assert not {"wrong_unit", "beyond_max_depth"} & set(health.codes())
    if not findings[0]["fix"]["settings"] and not in_millimeters:
        assert SHOWN in health.outcome.out


@pytest.mark.parametrize("scale", [4000, 5000, 6553.5])
def test_whole_millimeters_prove_a_finer_unit(tmp_path, scale):
    write_rooms(tmp_path, scale, in_millimeters=True)
    true = f"data.depth_scale={scale:g}"
    findings = unit_findings(examine(tmp_path))
    assert all(true in f["mend"] for f in findings)
    assert not unit_findings(examine(tmp_path, true))


@pytest.mark.parametrize("scale", [10, 100, 0.1])
def test_float_maps_in_another_unit(tmp_path, scale):
    trees.write_folder(tmp_path)
    for path in sorted((tmp_path / "depth").iterdir()):
        meters = trees.read_stored(path).astype(np.float32) / 1000
        np.save(path.with_suffix(".npy"), meters * scale)
        path.unlink()
    fix = examine(tmp_path).finding("wrong_unit")["fix"]
    assert fix["settings"] == [f"data.float_depth_scale={scale:g}"]
    assert examine(tmp_path, *fix["settings"]).codes() == []


def test_a_unit_that_nobody_uses(tmp_path):
    write_rooms(tmp_path, 3)
    finding = examine(tmp_path).finding("wrong_unit")
    assert "no usual unit gives a plausible median" in finding["cause"]
    assert finding["fix"]["settings"] == []
    health = examine(tmp_path, "data.depth_scale=3")
    assert health.codes() == []
    assert SHOWN in health.outcome.out


@pytest.mark.parametrize(
    ("sky", "share"), [(1e10, 0.7), (1e4, 0.1), (np.finfo(np.float32).max, 0.3)]
)
def test_a_placeholder_for_the_sky_is_no_depth(tmp_path, sky, share):
    """Renderers write one huge number where nothing is hit; training does not use it."""
    trees.write_folder(tmp_path)
    for path in sorted((tmp_path / "depth").iterdir()):
        meters = trees.read_stored(path).astype(np.float32) / 1000
        meters[: int(share * len(meters))] = sky
        np.save(path.with_suffix(".npy"), meters)
        path.unlink()
    health = examine(tmp_path)
    assert health.codes() == []
    assert health.finding("placeholder_depth")["level"] == "note"
    assert "max_depth=" not in health.outcome.out


def turned(stored):
    """SUN RGB-D's bits."""
    return (stored << 3) | (stored >> 13)


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("max_depth", [10, 80])
def test_turned_bits_in_a_plain_folder(tmp_path, far, max_depth):
    """Beyond 8 m a turned value starts again from 0: with a hall the median is no unit's."""
    trees.write_folder(tmp_path)
    maps = sorted((tmp_path / "depth").iterdir())
    if far:
        beyond = np.where(np.arange(64) < 20, 6000, 0).astype(np.uint16)
        trees.rewrite(maps, lambda d: d + beyond * (d > 0))
    trees.rewrite(maps, turned)
    arguments = (f"data.max_depth={max_depth}",)
    findings = unit_findings(examine(tmp_path, *arguments))
    assert "data.rotated_bits=true" in findings[0]["mend"]
    if far or max_depth == 10:
        assert findings[0]["fix"]["settings"] == ["data.rotated_bits=true"]
    health = examine(tmp_path, *arguments, "data.rotated_bits=true")
    assert "wrong_unit" not in health.codes()


def test_coarse_millimeters_are_not_taken_for_turned_ones(tmp_path):
    trees.write_folder(tmp_path)
    maps = sorted((tmp_path / "depth").iterdir())
    trees.rewrite(maps, lambda d: d // 8 * 8)
    assert "rotated" not in examine(tmp_path).outcome.out


def test_units_that_fit_a_median():
    def scales(median, largest, typical=2.6, **more):
        return [u.scale for u in fitting_units(Stored(median, largest, **more), typical)]

    assert scales(660, 1500) == [256]
    assert scales(66, 200) == [25.5, 39.37]
    assert scales(66, 300) == [39.37]
    assert scales(2600, 5000) == [1000, 1310.7]
    assert scales(17000, 40000) == [6553.5, 5000, 10000, 4000]
    assert scales(3490, 9000, typical=10) == [256]
    assert scales(0.26, 1.0, is_float=True) == [0.1]
    assert scales(20000, 60000, common_factor=8, bits_are_rotated=True) == [ROTATED.scale]


def test_whole_millimeters_are_seen_in_finer_units_only():
    millimeters = np.arange(700, 5000, 3)
    for scale in (1310.7, 4000, 5000, 6553.5, 10000):
        for change in (np.round, np.floor):
            shares = millimeter_shares(change(millimeters * scale / 1000).astype(int))
            stored = Stored(1, 1, millimeter_shares=shares)
            exact = {s for s in shares if is_on_grid(s, stored)}
            assert exact == {scale} | {10000: {5000}, 6553.5: {1310.7}}.get(scale, set())
    anything = np.random.default_rng(0).choice(60000, 3000, replace=False)
    assert max(millimeter_shares(np.sort(anything)).values()) < 0.85
    assert millimeter_shares(np.arange(10)) == {}

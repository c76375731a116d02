"""Findings of a decoded sample that concern the files: readable, 16 bits, one size, in order."""

from collections import Counter
from collections.abc import Sequence

from common.data.data_config import DataConfig
from common.data.data_set import DataSet
from common.data.samples import SplitName
from scripts.doctor_checks.findings import (
    Finding,
    Fix,
    advice,
    fine,
    note,
    problem,
    quoted,
    settings,
)
from scripts.doctor_checks.lists import editable_list
from scripts.doctor_checks.pixels import Probe, Size


def judge_files(name: SplitName, probes: Sequence[Probe], data: DataConfig) -> list[Finding]:
    """Everything about the files of list `name` but the depth values themselves."""
    swapped = [p for p in probes if _is_swapped(p)]
    others = [p for p in probes if p not in swapped]
    findings = [
        *_swapped(name, swapped, len(probes), data),
        *_wrong_bits(name, others),
        *_unreadable(name, others),
        *_sizes(name, others, data),
        *_turned(name, others, data),
        *_images(name, others, data),
    ]
    if not any(f.level == "problem" for f in findings):
        sizes = Counter(p.image_size for p in probes if p.image_size)
        listed = ", ".join(_text(size) for size, _ in sizes.most_common(3))
        more = f" and {len(sizes) - 3} more sizes" if len(sizes) > 3 else ""
        findings.insert(0, fine("files", f"{name}: {len(probes)} pairs decoded, {listed}{more}"))
    return findings


def _is_swapped(probe: Probe) -> bool:
    has_8_bit_depth = probe.depth is None and probe.depth_kind.startswith("8-bit")
    return has_8_bit_depth and probe.image is not None and probe.image.is_depth_like


def _swapped(name: SplitName, swapped: list[Probe], total: int, data: DataConfig) -> list[Finding]:
    if not swapped:
        return []
    text = f"{name}: in {len(swapped)} of {total} pairs the image and the depth map are exchanged"
    cases = [p.sample.key for p in swapped]
    return [problem("swapped_columns", text, cases, *_why_swapped(name, data))]


def _why_swapped(name: SplitName, data: DataConfig) -> tuple[str, Fix]:
    """Cause and fix; the pairs come from a list file, or from the folders rgb/ and depth/."""
    listed = editable_list(data, name)
    if listed is not None:
        cause = "the list's columns are swapped: its first one names 16-bit depth maps"
        return cause, listed.with_columns_exchanged()
    cause, root = "rgb/ holds the depth maps", data.root
    if data.gt_root is not None or not all((root / kind).is_dir() for kind in ("rgb", "depth")):
        return cause, advice("images belong below rgb/ and depth maps below depth/")
    copy = root.resolve().with_name(f"{root.resolve().name}_exchanged")
    links = [
        f"ln -s {quoted((root / kind).resolve())} {quoted(copy / other)}"
        for kind, other in (("rgb", "depth"), ("depth", "rgb"))
    ]
    return cause, Fix(" && ".join((f"mkdir {quoted(copy)}", *links)), (f"data.root={copy}",))


def _wrong_bits(name: str, probes: list[Probe]) -> list[Finding]:
    wrong = [p for p in probes if _has_wrong_bits(p)]
    if not wrong:
        return []
    kinds = Counter(p.depth_kind for p in wrong)
    kind = kinds.most_common(1)[0][0]
    text = f"{name}: {len(wrong)} of {len(probes)} depth maps are {kind}, not 16-bit with 1 channel"
    is_color = "1 channel" not in kind
    cause = "colored images of depth, or the list names the images twice"
    if not is_color:
        cause = "depth saved as an ordinary gray image; its meters are lost"
    fix = advice(
        "write the maps anew as 16-bit PNG with one channel, or unpack the original ones again"
    )
    cases = [p.sample.depth_file for p in wrong]
    return [problem("eight_bit_depth", text, cases, cause, fix)]


def _has_wrong_bits(probe: Probe) -> bool:
    return (
        probe.depth is None
        and probe.depth_size is not None
        and (probe.depth_kind.startswith("8-bit") or "1 channel" not in probe.depth_kind)
    )


def _unreadable(name: str, probes: list[Probe]) -> list[Finding]:
    lines = [
        error
        for p in probes
        for error in p.errors
        if not (_has_wrong_bits(p) and error.startswith(p.sample.depth_file))
    ]
    if not lines:
        return []
    text = f"{name}: {len(lines)} files of {len(probes)} pairs cannot be read"
    remedy = Counter(line.rpartition("; ")[2] for line in lines).most_common(1)[0][0]
    cause, fix = "", advice(f"of the first: {remedy}")
    if remedy == "copy it again":
        cause = "a copy, a download or an unpacking that was interrupted"
        fix = advice("copy or unpack these files again")
    return [problem("unreadable", text, lines, cause, fix)]


def _sizes(name: str, probes: list[Probe], data: DataConfig) -> list[Finding]:
    both = [p for p in probes if p.image_size and p.depth_size and not _has_wrong_bits(p)]
    unequal = [p for p in both if p.image_size != p.depth_size]
    findings = []
    if unequal:
        text = f"{name}: {len(unequal)} of {len(both)} images and depth maps differ in size"
        cause = "one of the two was resized or cropped"
        fix = advice("take image and depth map from the same release, neither of them resized")
        if all(_is_turned(p) for p in unequal):
            cause = "one of the two was turned by 90 degrees"
        if all(_is_turned(p) and p.orientation > 4 for p in unequal):
            cause = f"the depth maps fit the pictures {_other_way(data)} (EXIF orientation)"
            fix = settings(_other_key(data))
        cases = [_pair_text(p) for p in unequal]
        findings.append(problem("size_mismatch", text, cases, cause, fix))
    if data.data_set.crop_size is not None:
        findings += _too_small(name, probes, data.data_set)
    return findings


def _other_way(data: DataConfig) -> str:
    return "as stored" if data.exif_orientation else "turned upright"


def _other_key(data: DataConfig) -> str:
    return f"data.exif_orientation={str(not data.exif_orientation).lower()}"


def _turned(name: str, probes: list[Probe], data: DataConfig) -> list[Finding]:
    """Pictures that a viewer turns: their depth must have been made the way they are read."""
    turned = [p for p in probes if p.orientation > 1]
    if not turned:
        return []
    counts = Counter(p.orientation for p in turned)
    kinds = ", ".join(f"{count} of orientation {kind}" for kind, count in sorted(counts.items()))
    way = "turned upright, as every viewer does" if data.exif_orientation else "taken as stored"
    text = f"{name}: EXIF turns {len(turned)} of {len(probes)} images ({kinds}): they are {way}"
    cause = "a camera that was held sideways or upside down; the depth must have been made so too"
    fix = advice(f"where depth fits the pictures {_other_way(data)}: {_other_key(data)}")
    return [note("turned_images", text, [p.sample.key for p in turned], cause, fix)]


def _too_small(name: str, probes: list[Probe], data_set: DataSet) -> list[Finding]:
    height, width = data_set.crop_size or (0, 0)
    small = [
        p for p in probes if p.image_size and (p.image_size[0] < height or p.image_size[1] < width)
    ]
    if not small:
        return []
    text = f"{name}: {len(small)} of {len(probes)} images are below {height}x{width}"
    cause = f"resized images, or not of {data_set.name}: training cuts every frame to this size"
    fix = advice(f"unpack the original frames: {data_set.name} is cut, never resized")
    return [problem("image_too_small", text, [_pair_text(p) for p in small], cause, fix)]


def _is_turned(probe: Probe) -> bool:
    assert probe.image_size and probe.depth_size
    return probe.image_size == probe.depth_size[::-1]


def _pair_text(probe: Probe) -> str:
    image, depth = probe.image_size, probe.depth_size
    text = f"{probe.sample.key} {_text(image)}" if image else probe.sample.key
    return f"{text}, depth {_text(depth)}" if depth and depth != image else text


def _text(size: Size | None) -> str:
    return f"{size[0]}x{size[1]}" if size else "unreadable"


def _images(name: SplitName, probes: list[Probe], data: DataConfig) -> list[Finding]:
    seen = [p for p in probes if p.image is not None]
    flat = [p.sample.key for p in seen if p.image and p.image.is_one_color]
    depth_like = [p.sample.key for p in seen if p.image and p.image.is_depth_like]
    gray = [
        p.sample.key
        for p in seen
        if p.image and p.image.is_gray and not p.image.is_one_color and not p.image.is_depth_like
    ]
    findings = []
    if flat:
        text = f"{name}: {len(flat)} of {len(seen)} images have one color only"
        fix = advice("unpack these images again, or take their lines off the list")
        findings.append(problem("constant_image", text, flat, "black or empty frames", fix))
    if depth_like:
        text = f"{name}: {len(depth_like)} of {len(seen)} images are 16-bit with one channel"
        findings.append(problem("swapped_columns", text, depth_like, *_why_swapped(name, data)))
    if gray:
        text = f"{name}: {len(gray)} of {len(seen)} images are gray, without any color"
        cause = "a gray camera (KITTI's image_00 and image_01), or converted images"
        findings.append(note("rgb_gray", text, gray, cause, advice("use the color images")))
    return findings

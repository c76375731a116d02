"""List files: what is tolerated, what is refused, and validation carved by scene."""

import pytest

from common.data.lists import Pair, carve_by_scene, find_file, read_list, read_noted_list, scene_of
from common.errors import UserError


def write(path, text):
    path.write_bytes(text.encode())
    return path


def test_reads_published_spellings(tmp_path):
    path = write(
        tmp_path / "list.txt",
        "# a comment\r\n"
        "/kitchen_0028b/rgb_00045.jpg /kitchen_0028b/sync_depth_00045.png 518.8579\r\n"
        "\r\n"
        "a/b.png None 721.5377\n"
        "c/d.png  e/f.png",
    )
    assert read_list(path) == [
        Pair("kitchen_0028b/rgb_00045.jpg", "kitchen_0028b/sync_depth_00045.png"),
        Pair("a/b.png", None),
        Pair("c/d.png", "e/f.png"),
    ]


def test_byte_order_mark_is_not_part_of_the_first_path(tmp_path):
    path = write(tmp_path / "list.txt", "\ufeffa.jpg b.png\n")
    assert read_list(path)[0].image == "a.jpg"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("my room/a 1.jpg\tmy room/a 1.png\t518.8", Pair("my room/a 1.jpg", "my room/a 1.png")),
        ("my room/a.jpg, my room/a.png, 518.8", Pair("my room/a.jpg", "my room/a.png")),
        ("my room/a.jpg,None", Pair("my room/a.jpg", None)),
        ("a.jpg\tb.png", Pair("a.jpg", "b.png")),
        ("a.jpg b.png\t518.8579", Pair("a.jpg", "b.png")),  # a tab that is only a wide space
        ("a,1.jpg b,1.png 518", Pair("a,1.jpg", "b,1.png")),
        ("a,1.jpg b.png", Pair("a,1.jpg", "b.png")),
        ("a.jpg b.png -1", Pair("a.jpg", "b.png")),  # nothing reads the focal length
        ("a.jpg;my room/b.png;518,86", Pair("a.jpg", "my room/b.png")),
        ('"my room/a.jpg" "my room/b.png" 518', Pair("my room/a.jpg", "my room/b.png")),
        ("'my room/a.jpg' b.png", Pair("my room/a.jpg", "b.png")),
        ('"rooms, old/a.jpg","rooms, old/b.png",518', Pair("rooms, old/a.jpg", "rooms, old/b.png")),
        ('"/a 1.jpg"\t"/b 1.png"', Pair("a 1.jpg", "b 1.png")),
        ("dad's/a.jpg dad's/b.png 518", Pair("dad's/a.jpg", "dad's/b.png")),
        ("dad's room/a.jpg\tmum's room/b.png", Pair("dad's room/a.jpg", "mum's room/b.png")),
        ("a.jpg b.png 518.8 519.4 325.5 253.7", Pair("a.jpg", "b.png")),
        ("17.5 rgb/17.5.png 17.6 depth/17.6.png", Pair("rgb/17.5.png", "depth/17.6.png")),
        ("0,a.jpg,b.png", Pair("a.jpg", "b.png")),  # numbered rows
        ("a.jpg b.tiff c.png", Pair("a.jpg", "b.tiff")),
        ("a.jpg None c.png", Pair("a.jpg", None)),
        ("a.jpg\tb.png\tkitchen\tday", Pair("a.jpg", "b.png")),
        ("a.jpg\tb.png 518.8", Pair("a.jpg", "b.png")),  # tabs and spaces mixed
        ("a 1.jpg \t b 1.png 518.8 519.4", Pair("a 1.jpg", "b 1.png")),
        ("a.jpg b.png,", Pair("a.jpg", "b.png")),  # a last column that is empty
        ("a.jpg;b.png;;", Pair("a.jpg", "b.png")),
        ("kitchen, a.jpg, b.png, dense/b.png", Pair("a.jpg", "b.png")),  # the scene comes first
    ],
)
def test_tabs_and_commas_allow_spaces_in_paths(tmp_path, line, expected):
    assert read_list(write(tmp_path / "list.txt", f"{line}\r\n")) == [expected]


def test_an_absolute_path_that_exists_is_kept(tmp_path):
    image = write(tmp_path / "a.jpg", "")
    (pair,) = read_list(write(tmp_path / "list.txt", f"{image} /nowhere/a.png 500"))
    assert pair == Pair(str(image), "nowhere/a.png")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("only_one.jpg", "found 1 columns"),
        ("a b c d", "found 4 columns"),
        ("my room/a.jpg b.png", "found 3 columns"),
        ("my room/a.jpg my room/b.png 518", "found 5 columns"),
        ("a.jpg my room/b.png 518", "found 4 columns"),
        ("518.8 240 320", "found 3 columns"),
        ("a.jpg,,518", "found 1 columns"),
        ("a.jpg / 518", "empty"),
    ],
)
def test_malformed_line_names_file_and_line_and_shows_the_right_form(tmp_path, line, problem):
    path = write(tmp_path / "list.txt", f"a.jpg b.png 518\n\n{line}\n")
    with pytest.raises(UserError) as caught:
        read_list(path)
    text = str(caught.value)
    assert f"{path}:3: " in text
    assert problem in text
    assert "like 'kitchen/rgb_1.jpg kitchen/depth_1.png 518.86'" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "header",
    [
        "image depth focal",
        "rgb,depth",
        ",image,depth",
        "image_path\tdepth_path",
        '"image";"depth"',
        "# comment\nfile gt",
        "rgb.path,depth.path",
        "RGB image,Depth map (16-bit)",
        "% rgb depth",
    ],
)
def test_a_header_is_passed_over_and_named(tmp_path, header):
    path = write(tmp_path / "list.txt", f"\ufeff{header}\r\na.jpg b.png 518\r\nc.jpg d.png\r\n")
    pairs, notes = read_noted_list(path)
    assert pairs == [Pair("a.jpg", "b.png"), Pair("c.jpg", "d.png")]
    words = header.rpartition("\n")[2]
    assert notes == [f"{path}: the first line, '{words}', names columns and is not read"]


def test_only_words_above_files_are_a_header(tmp_path):
    """Files without suffixes are rare, and are read."""
    path = write(tmp_path / "list.txt", "image depth\nimage_b depth_b\n")
    assert [pair.image for pair in read_list(path)] == ["image", "image_b"]
    with pytest.raises(UserError, match="found 3 columns"):
        read_list(write(path, "a.jpg b.png\nimage depth focal\nc.jpg d.png"))


def test_columns_that_are_not_read_are_counted(tmp_path):
    """The published NYU list of 36,253 lines has filled-in depth in its third column."""
    path = write(
        tmp_path / "list.txt", "a.jpg b.png 518\na.jpg b.png c.png\nd.jpg e.png f.png 518\n"
    )
    pairs, notes = read_noted_list(path)
    assert len(pairs) == 3
    (text,) = notes
    assert text.startswith(f"{path}: 2 lines have more columns than image and depth map")
    assert "first 'c.png' in line 2" in text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_lists_of_windows(tmp_path, encoding):
    path = tmp_path / "list.txt"
    path.write_bytes("küche/a.jpg küche/b.png 518\r\n".encode(encoding))
    assert read_list(path) == [Pair("küche/a.jpg", "küche/b.png")]


def test_missing_empty_and_binary_lists(tmp_path):
    with pytest.raises(UserError, match="no list file .*nowhere.txt"):
        read_list(tmp_path / "nowhere.txt")
    with pytest.raises(UserError, match="no images"):
        read_list(write(tmp_path / "empty.txt", "# nothing\n"))
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(UserError, match="cannot read"):
        read_list(tmp_path / "binary.txt")


def test_find_file_prefers_the_root(tmp_path, monkeypatch):
    root = tmp_path / "root"
    root.mkdir()
    here = write(tmp_path / "list.txt", "")
    monkeypatch.chdir(tmp_path)
    assert find_file("list.txt", root).resolve() == here
    assert find_file("list.txt", root) != root / "list.txt"
    write(root / "list.txt", "")
    assert find_file("list.txt", root) == root / "list.txt"
    assert find_file("README-not-there", root).name == "README-not-there"


def test_scene_of_known_layouts():
    drive = "2011_09_26/2011_09_26_drive_0002_sync"
    assert scene_of(f"{drive}/image_02/data/0000000069.png") == drive
    assert scene_of(f"{drive}/image_03/data/0000000001.png") == drive
    assert scene_of("kitchen_0028a/rgb_1.jpg") == scene_of("kitchen_0028b/rgb_7.jpg")
    assert scene_of("kitchen_0028/rgb_1.jpg") == "kitchen_0028"
    assert scene_of("kitchen_0029/rgb_1.jpg") != scene_of("kitchen_0028/rgb_1.jpg")
    assert scene_of("train/basement/rgb_1.jpg") == "train/basement"


def scenes(counts):
    return [Pair(f"room_{s:04d}/{i}.jpg", "d") for s, n in enumerate(counts) for i in range(n)]


def test_carved_validation_shares_no_scene_and_keeps_every_pair():
    pairs = scenes([10] * 40 + [50, 70])
    train, val = carve_by_scene(pairs, 0.1, seed=3)
    assert sorted(p.image for p in train + val) == sorted(p.image for p in pairs)
    assert not {scene_of(p.image) for p in train} & {scene_of(p.image) for p in val}
    assert 0.08 * len(pairs) <= len(val) <= 0.1 * len(pairs)


def test_carving_depends_on_the_seed_and_not_on_list_order():
    pairs = scenes([5] * 30)
    first = {p.image for p in carve_by_scene(pairs, 0.2, seed=0)[1]}
    assert first == {p.image for p in carve_by_scene(pairs[::-1], 0.2, seed=0)[1]}
    assert first != {p.image for p in carve_by_scene(pairs, 0.2, seed=1)[1]}


def test_carving_edge_cases():
    pairs = scenes([30, 20, 40])
    train, val = carve_by_scene(pairs, 0.01, seed=0)  # no scene fits: the smallest
    assert len(val) == 20
    assert len(train) == 70
    assert carve_by_scene(pairs, 0.0, seed=0) == (pairs, [])
    with pytest.raises(UserError, match="one scene"):
        carve_by_scene(scenes([30]), 0.1, seed=0)

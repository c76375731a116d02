"""Lists with the paths of another machine: the error shows the line that corrects them."""

import re
import subprocess
from dataclasses import replace

import pytest
from dataset_trees import one_line, plain, write_kitti, write_nyu

from common.errors import UserError


def follow(data, message: str, split="train"):
    """Do what the message says: run its command, set its key."""
    found = re.search(r"set (data\.(\w+_list)=(.+)): (sed .*)$", message)
    assert found, message
    subprocess.run(["sh", "-c", found[4]], check=True)
    return replace(data, **{found[2]: found[3]})


def refused(data, split="train") -> str:
    with pytest.raises(UserError) as caught:
        plain(data, split)
    return one_line(caught)


def rewrite(path, change) -> None:
    path.write_text("".join(map(change, path.read_text().splitlines(keepends=True))))


@pytest.mark.parametrize(
    "prefix",
    [
        "/mnt/storage/author/nyu",
        "/home/some one/d+ta [1]/(nyu)",
        "D/nyu$v2.0",
        "/data/nyu_depth_v2/sync",
        "sync",
    ],
)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_one_prefix_of_both_columns(tmp_path, prefix, split):
    data = write_nyu(tmp_path)
    keys = [sample.key for sample in plain(data, split).samples]

    def prefixed(line: str) -> str:
        image, depth, focal = line.split()
        return f'"{prefix}{image}" "{prefix}{depth}" {focal}\n'

    rewrite(tmp_path / f"{split}.txt", prefixed)
    message = refused(data, split)
    assert f"start with {prefix.strip('/')}, not as they do here" in message
    corrected = follow(data, message)
    assert [sample.key for sample in plain(corrected, split).samples] == keys
    assert f'"{prefix}/' in (tmp_path / f"{split}.txt").read_text()  # which stays as it was


def test_a_prefix_for_each_column_in_a_file_of_windows(tmp_path):
    data = write_kitti(tmp_path)
    keys = [sample.key for sample in plain(data).samples]
    path = data.root / "list.txt"

    def prefixed(line: str) -> str:
        image, depth, focal = line.split()
        depth = depth if depth == "None" else f"/disk/kitti/annotated/train/{depth}"
        return f"/disk/kitti/raw/{image},{depth},{focal}\r\n"

    rewrite(path, prefixed)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    corrected = follow(data, refused(data))
    assert [sample.key for sample in plain(corrected).samples] == keys


def test_files_that_are_nowhere_have_no_prefix(tmp_path):
    data = write_nyu(tmp_path)
    rewrite(tmp_path / "train.txt", lambda line: line.replace("rgb_", "a_").replace("sync_", "b_"))
    assert "check data.root, data.train_dir" in refused(data)
    rewrite(tmp_path / "train.txt", lambda line: line.replace("/kitchen", "/mnt/x/kitchen"))
    assert "sed" not in refused(data)

"""scripts/pack.py: what it writes, what it refuses, and what an interruption leaves."""

import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from dataset_trees import one_line
from packs import make_small_shards, members, pack_of, run_pack, tars

from common import shards
from common.data.splits import find_split
from common.errors import UserError
from common.shards import INDEX, Shards, read_stored, stored_facts
from scripts.packing import writer
from scripts.packing.plan import make_plan

pytest_plugins = ["packs"]


def test_a_pack_holds_the_files_byte_for_byte_as_plain_tar(workspace, packed, tmp_path):
    assert len(tars(packed)) > 2
    for path in tars(packed):
        with tarfile.open(path) as tar:
            tar.extractall(tmp_path / "out", filter="data")
    names = [str(p.relative_to(workspace.data)) for p in workspace.data.rglob("*.png")]
    assert len(names) == 2 * (12 + 4 + 4)
    for name in names:
        content = (workspace.data / name).read_bytes()
        assert (tmp_path / "out" / name).read_bytes() == content
        assert read_stored(packed / name) == content
        facts = (workspace.data / name).stat()
        assert stored_facts(packed / name)[:2] == (facts.st_size, facts.st_mtime_ns)
    assert run_pack("--check", packed).code == 0


def test_a_pair_is_in_one_shard_and_a_file_in_one_place(packed):
    index = Shards(str(packed))
    of = {name: index._columns["shard"][index.find(name)] for name in members(packed)}
    images = [name for name in of if "rgb_" in name]
    assert images
    assert all(of[n] == of[n.replace("rgb_", "sync_depth_")] for n in images)
    assert len(of) == index.num_files == 40


@pytest.mark.parametrize(
    "line", ["sync/../secret.png", "../{outside.name}/secret.png", "{outside}/secret.png"]
)
def test_paths_that_leave_the_root_are_not_packed(nyu, tmp_path, line):
    secret = tmp_path.parent / f"{tmp_path.name}_outside"
    secret.mkdir()
    for place in (secret, nyu.root):
        shutil.copy(find_split(nyu, "train").samples[0].depth_file, place / "secret.png")
    first = find_split(nyu, "train").samples[0].image_file.removeprefix(f"{nyu.root}/")
    (nyu.root / "odd.txt").write_text(f"{first} {line.format(outside=secret)}\n")
    data = replace(nyu, train_list="odd.txt", val_share=0, train_dir="")
    split = find_split(data, "train")
    with pytest.raises(UserError) as caught:
        make_plan(data, [split], 10**6)
    assert "a pack holds files by their place below data.root" in one_line(caught)


def test_interrupted_packing_goes_on_and_leaves_nothing_half(workspace, tmp_path, monkeypatch):
    output, config = tmp_path / "pack", workspace.configs / "stage1.yaml"
    whole = pack_of(workspace, tmp_path / "whole")
    write, read = writer._write_shard, []

    def interrupted(part, plan, number, files):
        if number == 2:
            raise KeyboardInterrupt
        write(part, plan, number, files)

    make_small_shards(monkeypatch)
    monkeypatch.setattr(writer, "_write_shard", interrupted)
    assert run_pack(config, "--output", output).code == 130
    assert not output.exists()
    part = tmp_path / "pack.part"
    assert len(tars(part)) == 2
    (part / "00001.npz").unlink()  # as if it had ended between the two files of a shard
    monkeypatch.setattr(writer, "_write_shard", lambda *a: (read.append(a[2]), write(*a)))
    assert run_pack(config, "--output", output).code == 0
    assert read == list(range(1, len(tars(output))))
    assert not part.exists()
    for path in sorted(whole.iterdir()):
        assert (output / path.name).read_bytes() == path.read_bytes(), path.name
    again = run_pack(config, "--output", output)
    assert again.code == 0
    assert "packed already" in again.out
    refusal = run_pack(config, "--output", output, "data.val_list=null", "data.val_share=0").err
    assert "holds a pack of other files" in refusal


def test_a_full_disk_shows_before_it_packs(workspace, tmp_path, monkeypatch):
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("common.files.shutil.disk_usage", lambda path: full)
    outcome = run_pack(workspace.configs / "stage1.yaml", "--output", tmp_path / "pack")
    assert outcome.code == 2
    assert "the pack of 40 files needs" in outcome.err
    assert not tars(tmp_path / "pack.part")


def test_a_source_that_changes_while_it_is_packed(nyu, tmp_path):
    split = find_split(nyu, "train")
    plan = make_plan(nyu, [split], 10**6)
    with Path(split.samples[0].image_file).open("ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match="has changed while it was packed"):
        writer.write_pack(plan, tmp_path / "pack", {}, {}, lambda line: None)
    assert not (tmp_path / "pack").exists()


def test_an_index_takes_36_bytes_a_file(packed):
    assert (packed / INDEX).stat().st_size == 36 * 40
    assert shards.ROW_BYTES == 36

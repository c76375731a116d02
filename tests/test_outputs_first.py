"""Programs that write at the end of long work try the place first, and leave no trace."""

import runpy
from pathlib import Path

import pytest
from conftest import call, run_script

from benchmarks.measure import benchmark_parser
from common import config_values, files
from common.config import REPO_ROOT
from common.errors import UserError
from common.files import check_folder, check_output, check_space, make_folder, whole_file


@pytest.fixture
def blocked(tmp_path) -> Path:
    """A file where a folder would have to be."""
    (tmp_path / "file").touch()
    return tmp_path / "file/below"


def program(name, *arguments):
    """A script whose work must not begin: what it works with is not there."""
    return run_script(name, *arguments).refusal


def test_captions(blocked, workspace):
    line = program("caption_images.py", "--images", workspace.data, "--model", "no/such-model",
                   "--output", blocked / "captions.jsonl")  # fmt: skip
    assert "cannot write" in line and str(blocked) in line


def test_features_of_text_and_images(blocked, workspace):
    for source in (["--captions", workspace.data / "captions.jsonl"], ["--images", workspace.data]):
        line = program("encode_text.py", *source, "--encoder", "no-such-model:x",
                       "--output", blocked / "text.safetensors")  # fmt: skip
        assert "cannot write" in line and str(blocked) in line


def test_converted_checkpoints(blocked):
    line = program("convert_checkpoint.py", "--dataset", "nyu", "--from", "nowhere.pt",
                   "--output", blocked / "nyu.pt")  # fmt: skip
    assert "cannot write" in line and str(blocked) in line


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("prepare_nyu.py", "--root"),
        ("prepare_kitti.py", "--output"),
        ("prepare_sun_rgbd.py", "--output"),
    ],
)
def test_prepared_data(blocked, name, option):
    line = program(name, option, blocked)
    assert f"cannot write to {blocked}: " in line


def test_the_findings_of_the_doctor(blocked):
    line = program("doctor.py", "nyu", "--root", "/nowhere", "--json", blocked / "out.json")
    assert "cannot write" in line and str(blocked) in line


def test_few_shot_results(blocked, workspace):
    line = program("few_shot.py", "--recipe", "joint", "--data", workspace.configs, "--images", 2,
                   "--seeds", 0, "--output", blocked)  # fmt: skip
    assert "cannot write" in line and str(blocked) in line


def test_results_of_studies(blocked):
    line = program("study.py", "configs/studies/demo_scale.yaml", "--output", blocked)
    assert "cannot write" in line and str(blocked) in line


def test_figures_of_benchmarks(blocked):
    parser = benchmark_parser("", rounds=1)
    with pytest.raises(UserError, match="cannot write"):
        parser.parse_args(["--json", str(blocked)])


def test_the_quickstart_before_it_trains(tmp_path, monkeypatch):
    main = runpy.run_path(str(REPO_ROOT / "scripts/quickstart.py"))["main"]
    monkeypatch.setitem(main.__globals__, "ROOT", tmp_path)
    (tmp_path / "runs").touch()
    monkeypatch.setitem(main.__globals__, "run_command", None)
    assert "cannot write" in call(main, "--rehearsal").refusal


@pytest.mark.parametrize("check", [check_output, check_folder])
def test_a_trial_leaves_no_trace(tmp_path, check):
    check(tmp_path / "new/deep/place")
    assert not list(tmp_path.iterdir())


def test_what_is_there_stays(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("before")
    check_output(path)
    check_output(path, appends=True)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["/dev/null", "/proc/nowhere/x", "/proc/x", "n" * 300])
def test_no_place_for_a_file(place):
    with pytest.raises(UserError, match="cannot write"):
        check_output(Path(place))


def test_a_device_is_not_replaced():
    """A superuser's result would take the place of /dev/null."""
    with (
        pytest.raises(UserError, match="no plain file"),
        whole_file(Path("/dev/null")) as temporary,
    ):
        temporary.write_text("x")
    assert Path("/dev/null").is_char_device()


def test_a_full_disk_shows_at_once(tmp_path, monkeypatch):
    class Full:
        def __enter__(self):
            raise OSError(28, "No space left on device")

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(files.tempfile, "TemporaryFile", lambda dir: Full())
    for check in (check_output, check_folder, make_folder):
        with pytest.raises(UserError, match="No space left on device"):
            check(tmp_path / "out")


def test_space_at_a_folder_that_is_to_come(tmp_path):
    check_space(tmp_path / "new/deep", 1, "this")
    with pytest.raises(UserError, match=r"this needs 1000000000\.0 GB in .*make room or move"):
        check_space(tmp_path / "new/deep", 1e18, "this", "move")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """The current folder, while the repository holds files of the names that are typed."""
    repository, here = tmp_path / "repository", tmp_path / "here"
    for folder in (repository, here):
        folder.mkdir()
    for name in ("text.safetensors", "report.json"):
        (repository / name).write_text("of the repository")
    monkeypatch.setattr(config_values, "REPO_ROOT", repository)
    monkeypatch.chdir(here)
    return here


@pytest.mark.parametrize("name", ["text.safetensors", "report.json"])
def test_an_output_lies_where_it_was_typed(elsewhere, workspace, name):
    if name == "report.json":
        outcome = run_script("doctor.py", "folder", "--root", workspace.data, "--json", name)
        assert outcome.code in (0, 1, None), outcome.err
    else:
        captions = workspace.data / "captions.jsonl"
        outcome = run_script("encode_text.py", "--captions", captions, "--encoder", "untrained:0",
                             "--output", name)  # fmt: skip
        assert outcome.code == 0, outcome.err
    assert (elsewhere / name).is_file()
    assert (elsewhere.parent / "repository" / name).read_text() == "of the repository"

"""Where the files of NYU Depth V2 can be had, and how to tell that they are the right ones.

The checksums are those other projects recorded of the originals; of `sync.zip` none is known. No
address could be tried while this was written. Google Drive refuses large files that many people
fetched: then get `sync.zip` with a browser and name it with `--sync`.
"""

from dataclasses import dataclass

_NYU = "horatio.cs.nyu.edu/mit/silberman"
_BTS = "https://raw.githubusercontent.com/cleinc/bts"
_BTS_COMMIT = "5e3406b35d1497b2e55d2dd600524d1f4efacaed"
_SYNC_ID = "1AysroWpfISmm-yRFGBgFTrLy6FjQwvwP"


@dataclass(frozen=True)
class DownloadSource:
    """A file to download: its name here, its addresses, and its checksum if one is known."""

    file: str
    urls: tuple[str, ...]
    sha256: str | None


def _bts_list(file: str, sha256: str) -> DownloadSource:
    return DownloadSource(
        file,
        (
            f"{_BTS}/{_BTS_COMMIT}/train_test_inputs/{file}",
            f"{_BTS}/master/train_test_inputs/{file}",
        ),
        sha256,
    )


LABELED = DownloadSource(
    "nyu_depth_v2_labeled.mat",  # 2,972,037,809 bytes
    (
        f"http://{_NYU}/nyu_depth_v2/nyu_depth_v2_labeled.mat",
        f"https://{_NYU}/nyu_depth_v2/nyu_depth_v2_labeled.mat",
    ),
    "2d724b0c0ab358aa1ce5df855e5bd14a2279ab7202efe22f32a30d612dcb86aa",
)
SPLITS = DownloadSource(
    "splits.mat",  # 2,626 bytes
    (
        f"http://{_NYU}/indoor_seg_sup/splits.mat",
        f"https://{_NYU}/indoor_seg_sup/splits.mat",
        f"{_BTS}/master/utils/splits.mat",
        "https://raw.githubusercontent.com/ankurhanda/nyuv2-meta-data/master/splits.mat",
    ),
    "6e081404491a8bfba2f066beaa9713ef6046f9007aa5f799f2a350506a580cee",
)
SYNC = DownloadSource(
    "sync.zip",
    (
        f"https://drive.usercontent.google.com/download?id={_SYNC_ID}&export=download&confirm=t",
        f"https://drive.google.com/uc?id={_SYNC_ID}&export=download&confirm=t",
    ),
    None,
)
TRAIN_LIST = _bts_list(
    "nyudepthv2_train_files_with_gt.txt",
    "66e2beb718a58c5c946c169f6e70cc6ae166ddd19f5618266fff52ff7443e0e9",
)
TEST_LIST = _bts_list(
    "nyudepthv2_test_files_with_gt.txt",
    "e92c191d5835a22589b843c11b80cd7235d5bd0d4136e42a6debcea4511bf906",
)

"""KITTI (Uhrig et al., 3DV 2017) as the Eigen lists lay it out.

    ROOT/2011_09_26/2011_09_26_drive_0002_sync/image_02/data/0000000069.png
    GT_ROOT/[train/ or val/]2011_09_26_drive_0002_sync/proj_depth/groundtruth/image_02/...png

Depth is a 16-bit PNG in meters * 256, 0 = no measurement; KITTI's archive unzips it into two
folders, `train` and `val`, and the lists name neither. Images are cut to the "KB crop".
"""

from common.data.data_set import DataSet, DepthRange, ListFile, PublishedSplit, TrainingCamera
from common.images.crops import KB_SIZE

_EIGEN_TRAIN = ListFile("eigen_train_files_with_gt.txt", 23158, 23158, "3655308ee4a0")


def _category(key: str) -> str:
    """Every KITTI image shows a street; its paths name drives, not kinds of scenes."""
    return "street"


DATA_SET = DataSet(
    name="kitti",
    config="configs/kitti/data.yaml",
    prepared_by="python scripts/prepare_kitti.py --output {parent} --download",
    depth_scale=256.0,
    mean_log_depth=2.54,  # as WorDepth's released code has it
    depth_range=DepthRange(10.0, 6.0, 28.0, 2.0, 65.0, "streets"),
    # P_rect_02 of most drives (2011_09_26); those of other days differ by at most 2 %.
    camera=TrainingCamera("KITTI", (375, 1242), 721.5377, 721.5377, 609.5593, 172.854),
    depth_dirs=("", "train", "val"),
    splits=(
        PublishedSplit(
            "kitti_eigen",
            _EIGEN_TRAIN,
            ListFile("eigen_test_files_with_gt.txt", 652, 652, "63893f0e7bca"),
        ),
        PublishedSplit(
            "kitti_eigen697",
            _EIGEN_TRAIN,
            ListFile("eigen_test_697_files_with_gt.txt", 697, 652, "8d0499af9ab4"),
        ),
    ),
    category_of=_category,
    brightness=(0.9, 1.1),
    crop_size=KB_SIZE,
    needs_captions=True,
    has_benchmark=True,
)

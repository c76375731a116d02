"""KITTI as the Eigen lists lay it out.

    ROOT/2011_09_26/2011_09_26_drive_0002_sync/image_02/data/0000000069.png
    GT_ROOT/[train/ or val/]2011_09_26_drive_0002_sync/proj_depth/groundtruth/image_02/...png

Depth is a 16-bit PNG in meters * 256, 0 = no measurement; KITTI's archive unzips it into two
folders, `train` and `val`, and the lists name neither. Images are cut to the "KB crop".
"""

from common.data.layout import Layout

LAYOUT = Layout(
    depth_scale=256.0,
    brightness=(0.9, 1.1),
    kb_crop=True,
    depth_dirs=("", "train", "val"),
)

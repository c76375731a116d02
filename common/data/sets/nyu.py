"""NYU Depth V2 (Silberman et al., ECCV 2012) as the published lists lay it out.

    ROOT/sync/kitchen_0028b/rgb_00045.jpg  sync_depth_00045.png      training
    ROOT/official_splits/test/bathroom/rgb_00045.jpg  ...            test

Depth is a 16-bit PNG in millimeters, 0 = no measurement. The projected depth is unreliable at the
image border, so training ignores it outside rows 45:472 and columns 43:608 (BTS).
"""

from common.data.data_set import DataSet, DepthRange, ListFile, PublishedSplit, TrainingCamera

_TEST = ListFile("nyudepthv2_test_files_with_gt.txt", 654, 654, "e92c191d5835")

DATA_SET = DataSet(
    name="nyu",
    config="configs/nyu/data.yaml",
    prepared_by="python scripts/prepare_nyu.py --root {root} --download",
    depth_scale=1000.0,
    mean_log_depth=1.54,  # as WorDepth's released code has it
    depth_range=DepthRange(2.6, 1.0, 7.0, 0.25, 9.9, "rooms"),
    # The Kinect's color camera, by the data set's toolbox (camera_params.m); the demo's rooms are
    # rendered with its focal length.
    camera=TrainingCamera("NYU", (480, 640), 518.8579, 519.4696, 325.5824, 253.7362),
    splits=(
        PublishedSplit(
            "nyu_bts24k",
            ListFile("nyudepthv2_train_files_with_gt.txt", 24231, 24231, "66e2beb718a5"),
            _TEST,
        ),
        PublishedSplit(
            "nyu_labeled795", ListFile("nyu_labeled_train_files_with_gt.txt", 795, 795), _TEST
        ),
        PublishedSplit(
            "nyu_dense36k", ListFile("nyu_dense_train_files_with_gt.txt", 36253, 36253), _TEST
        ),
    ),
    border_rows=(45, 472),
    border_cols=(43, 608),
    border_size=(480, 640),
    needs_captions=True,
)

"""NYU Depth V2 as the published lists lay it out.

    ROOT/sync/kitchen_0028b/rgb_00045.jpg  sync_depth_00045.png      training
    ROOT/official_splits/test/bathroom/rgb_00045.jpg  ...            test

Depth is a 16-bit PNG in millimeters, 0 = no measurement. The projected depth is unreliable at the
image border, so training ignores it outside rows 45:472 and columns 43:608.
"""

from common.data.layout import Layout

LAYOUT = Layout(
    depth_scale=1000.0,
    brightness=(0.75, 1.25),
    border_rows=(45, 472),
    border_cols=(43, 608),
    border_size=(480, 640),
)

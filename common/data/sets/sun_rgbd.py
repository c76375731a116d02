"""SUN RGB-D as its archive unzips, for zero-shot evaluation on the 5,050 test images.

    ROOT/SUNRGBD/kv1/NYUdata/NYU0001/image/NYU0001.jpg  depth/NYU0001.png

Depth is a 16-bit PNG whose bits are turned by three: millimeters = (v >> 3) | (v << 13), cut to 16
bits; 0 = no measurement. The list, `sun_rgbd_test.txt`, comes from `scripts/prepare_sun_rgbd.py`.
"""

from common.data.data_set import DataSet, DepthRange


def _category(key: str) -> str:
    """Paths name sensors and frames, not kinds of rooms."""
    return "room"


DATA_SET = DataSet(
    name="sun_rgbd",
    config="configs/zero_shot/sun_rgbd.yaml",
    prepared_by="python scripts/prepare_sun_rgbd.py --output {root} --download",
    depth_scale=1000.0,
    mean_log_depth=1.54,  # NYU's: rooms as well, and nobody trains on this set
    depth_range=DepthRange(2.4, 1.0, 7.0, 0.25, 20.0, "rooms"),  # some of them halls
    rotated_bits=True,
    category_of=_category,
    caption_pattern="**/image/*.jpg",
)

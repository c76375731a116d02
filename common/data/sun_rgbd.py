"""SUN RGB-D as its archive unzips, for zero-shot evaluation on the 5,050 test images.

    ROOT/SUNRGBD/kv1/NYUdata/NYU0001/image/NYU0001.jpg  depth/NYU0001.png

Depth is a 16-bit PNG whose bits are turned by three: millimeters = (v >> 3) | (v << 13), cut to 16
bits; 0 = no measurement. The list, `sun_rgbd_test.txt`, comes from `scripts/prepare_sun_rgbd.py`.
"""

from common.data.layout import Layout

LAYOUT = Layout(depth_scale=1000.0, brightness=(0.75, 1.25), rotated_bits=True)

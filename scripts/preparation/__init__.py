"""Real data brought into place; what `prepare_*.py`, `caption_images.py`, `encode_text.py` use.

Any data set:  download, archives, links, image_sets (which images a program is about)
NYU:           nyu_sources, nyu_labeled, nyu_official, nyu_captions, nyu_sync, nyu_lists, hdf5
KITTI:         kitti_frames, eigen (its split), kitti_archives, kitti_tree, velodyne, kitti_lists
SUN RGB-D:     sun_rgbd_files
Captions:      caption_parts, published_text (the authors' captions and features)
"""

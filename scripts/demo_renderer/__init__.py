"""What `scripts/make_demo_data.py` draws: rooms in NYU's layout and streets in KITTI's.

Solids and light:  renderer (rays), shading, textures
Things:            pieces (of what they are made), furniture, fixtures, finishes
Rooms:             piece_layout (nothing overlaps), homes, public_rooms, rooms, captions, other_words (unseen
                   sentences, one bit), scale_pairs (twins, what pixels alone can tell), room_files
Streets:           streets, street_files
On disk:           writer
"""

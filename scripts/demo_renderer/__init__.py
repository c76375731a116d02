"""What `scripts/make_demo_data.py` draws: rooms in NYU's layout and streets in KITTI's.

Solids and light:  renderer (rays), shading, textures
Things:            pieces (of what they are made), furniture, fixtures, finishes
Rooms:             piece_layout (nothing overlaps), homes, public_rooms, rooms, room_files
Words:             captions, other_words (unseen sentences, one bit)
Twins:             scale_pairs (what pixels alone can tell)
Streets:           streets, street_files
On disk:           writer
"""

"""What `demo_rooms.py` and `demo_streets.py` are drawn with, and how their files are written."""

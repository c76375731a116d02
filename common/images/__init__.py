"""Reading pictures and depth maps, their geometry and color, and writing depth files."""

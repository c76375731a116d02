"""The frames that papers cut images and scores to, each said once."""

NYU_SIZE = (480, 640)
KB_SIZE = (352, 1216)  # KITTI's benchmark: bottom, centered horizontally
KB_HEIGHT, KB_WIDTH = KB_SIZE


def bottom_window(
    height: int, width: int, size: tuple[int, int] = KB_SIZE
) -> tuple[slice, slice] | None:
    """Rows and columns of a window at the bottom, centered horizontally; None: it does not fit.

    An odd rest goes to the right, as in KITTI's benchmark.
    """
    top, left = height - size[0], int((width - size[1]) / 2)
    if top < 0 or width < size[1]:
        return None
    return slice(top, height), slice(left, left + size[1])

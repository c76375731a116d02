"""Symbolic links that arrange data in one folder without copying it."""

from pathlib import Path

from common.errors import UserError


def link(source: Path, target: Path) -> None:
    """Make `target` a link to `source`; an older link gives way, a real file or folder stays."""
    if target.exists() and not target.is_symlink():
        return
    try:
        if target.is_symlink():
            if target.resolve() == source.resolve():
                return
            target.unlink()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source.resolve(), target_is_directory=source.is_dir())
    except OSError as error:
        raise UserError(
            f"cannot link {target} to {source}: {error.strerror}; name another --output"
        ) from error

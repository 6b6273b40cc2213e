"""A small file that others replace while we run: read again when it has changed, at the cost of one `stat`."""

from __future__ import annotations

from pathlib import Path


class WatchedFile:
    """Notices that a file was replaced, written or removed. None is a file that is never there."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.seen: tuple[int, int, int] | None = None

    def changed(self) -> bool:
        """Whether it is another one than at the last call that said so; a file that was never there has not changed."""
        stamp = self._stamp()
        if stamp == self.seen:
            return False
        self.seen = stamp
        return True

    def _stamp(self) -> tuple[int, int, int] | None:
        """Changes with every replacement of the file; None while there is none."""
        try:
            status = self.path.stat() if self.path else None
        except OSError:
            return None
        return (status.st_ino, status.st_mtime_ns, status.st_size) if status else None

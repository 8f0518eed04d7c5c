"""Files on disk: names that are safe to show, and writes that either finish or leave nothing behind."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from advdm.errors import AdvDMError

StrPath = str | os.PathLike[str]


def clean(name: str) -> str:
    """`name` without what cannot be printed, and with _ for what file systems forbid and web pages read."""
    return "".join("_" if c in '<>:"/\\|?*' else c for c in name if c.isprintable())


def shown(path: StrPath) -> str:
    """The file's own name, never its folder, in at most 60 characters that are fit for a sentence."""
    name = clean(os.path.basename(path)) or "The file"
    return name if len(name) <= 60 else f"{name[:40]}…{name[-19:]}"


def reason(error: OSError) -> str:
    """What the system says is wrong, in words that continue a sentence."""
    return (error.strerror or "the system refuses it").lower()


@contextmanager
def atomic_path(path: StrPath, error: type[AdvDMError] = AdvDMError) -> Iterator[Path]:
    """A temporary path that replaces `path` if the block ends well, and is removed if it does not.

    Raises `error` if the system refuses (no such folder, read-only, disk full); other errors pass.
    """
    path = Path(path)
    # In the same folder, because os.replace cannot cross file systems. Not from tempfile, whose files are
    # private (0600) whatever the umask says.
    temporary = path.parent / f".{secrets.token_hex(8)}{path.suffix}"
    try:
        yield temporary
        os.replace(temporary, path)
    except FileNotFoundError as e:
        raise error(f"{shown(path)} cannot be written: its folder does not exist.") from e
    except OSError as e:
        raise error(f"{shown(path)} cannot be written: {reason(e)}.") from e
    finally:
        with suppress(OSError):
            temporary.unlink()


def check_folder(folder: Path) -> None:
    """Refuse, before the long work, a folder that can be neither written to nor made."""
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path)).resolve()
    if not there.is_dir():
        raise AdvDMError(f"{shown(there)} is a file, not a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise AdvDMError(f"The folder {shown(there)} cannot be written to.")


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AdvDMError(f"The folder {shown(folder)} cannot be made: {reason(error)}.") from error

"""Compiled contracts on disk.

Loading such a file runs what is in it. So the directory belongs to the user and is closed to everybody else, a file
that is not the user's own is never used, and one whose checksum is wrong is removed. A checksum guards against damage,
not against a forger: that is what the ownership is for.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import stat
import sys
import time
from pathlib import Path
from typing import Final

from blake3 import blake3
from piecrust.vm.errors import UnsafeCacheDirectory

FILE_BYTES_MAX: Final = 1 << 29
_CHECKSUM_BYTES = 32
_SUFFIX, _UNFINISHED = ".code", ".unfinished"
_STALE_SECONDS = 3600  # an unfinished file of this age was left by a process that died
_KEPT_AFTER_TRIM = 3 / 4


def default_directory() -> Path:
    """Where this platform keeps what a user's programs can make again; from the password database."""
    home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "piecrust" / "code"


class CodeFiles:
    """A directory of compiled contracts, at most `bytes_max` of them; the least recently used ones go first.

    Safe to share between threads and processes. When the disk is full, or the directory cannot be made, nothing is
    kept: `failure` is the last reason.

    Raises:
        UnsafeCacheDirectory: it is somebody else's, or others may write to it.
    """

    __slots__ = ("bytes_max", "directory", "failure")

    def __init__(self, directory: Path, *, bytes_max: int) -> None:
        self.directory = directory
        self.bytes_max = bytes_max
        self.failure: OSError | None = None
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(self._open_directory())
        except OSError as error:
            self.failure = error

    def read(self, name: str) -> bytes | None:
        """What was written under a name; None if there is nothing whole."""
        try:
            directory = self._open_directory()
        except OSError as error:
            self.failure = error
            return None
        try:
            content = self._read(directory, name + _SUFFIX)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.failure = error
            return None
        finally:
            os.close(directory)
        if content is None:
            self.remove(name)
        return content

    def write(self, name: str, content: bytes) -> None:
        """Keeps content under a name, whole or not at all."""
        unfinished = f"{name}.{os.getpid()}.{secrets.token_hex(8)}{_UNFINISHED}"
        try:
            directory = self._open_directory()
        except OSError as error:
            self.failure = error
            return
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(unfinished, flags, 0o600, dir_fd=directory), "wb") as file:
                file.write(blake3(content).digest())
                file.write(content)
            os.replace(unfinished, name + _SUFFIX, src_dir_fd=directory, dst_dir_fd=directory)
            self._trim(directory)
        except OSError as error:
            self.failure = error
            with contextlib.suppress(OSError):
                os.unlink(unfinished, dir_fd=directory)
        finally:
            os.close(directory)

    def remove(self, name: str) -> None:
        """Forgets what was written under a name."""
        try:
            (self.directory / (name + _SUFFIX)).unlink(missing_ok=True)
        except OSError as error:
            self.failure = error

    def _open_directory(self) -> int:
        """The directory, checked to be the user's alone: a path could be exchanged between check and use."""
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        status = os.fstat(directory)
        if status.st_uid != os.geteuid():
            reason = "it belongs to another user"
        elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            reason = "other users may write to it"
        else:
            if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                os.fchmod(directory, 0o700)
            return directory
        os.close(directory)
        raise UnsafeCacheDirectory(self.directory, reason)

    def _read(self, directory: int, file_name: str) -> bytes | None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(file_name, flags, dir_fd=directory), "rb") as file:
            status = os.fstat(file.fileno())
            own = status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if not (own and stat.S_ISREG(status.st_mode) and _CHECKSUM_BYTES < status.st_size <= FILE_BYTES_MAX):
                return None
            checksum = file.read(_CHECKSUM_BYTES)
            content = file.read(status.st_size - _CHECKSUM_BYTES)
            if blake3(content).digest() != checksum:
                return None
            os.utime(file.fileno())
        return content

    def _trim(self, directory: int) -> None:
        """Removes the least recently used files beyond the limit, and what died processes left."""
        files = []
        with os.scandir(directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # another process trims, too
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(_SUFFIX):
                        files.append((status.st_mtime, status.st_size, entry.name))
                    elif entry.name.endswith(_UNFINISHED) and status.st_mtime < time.time() - _STALE_SECONDS:
                        os.unlink(entry.name, dir_fd=directory)
        total = sum(size for _, size, _ in files)
        if total <= self.bytes_max:
            return
        for _, size, name in sorted(files):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
            total -= size
            if total <= self.bytes_max * _KEPT_AFTER_TRIM:
                return

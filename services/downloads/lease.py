"""Who writes to a partial file, for everyone who shares the volume.

A file beside it, made only if there is none yet, and touched every few seconds. flock(2) would do within one machine;
between two it succeeds for both on some network file systems. That of a process of this pod that has died is free at
once; that of another pod when it was not touched for a while.
"""

import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from services.pod import is_alive

BEAT_SECONDS = 4.0
# By the clock of the volume.
STALE_SECONDS = 15.0


class Holder(Struct, frozen=True):
    """`mark`: of the process, as services/pod.py makes it. `token`: what no other holder has."""

    pod: str
    mark: str
    token: str


@dataclass
class LeaseHeld(Exception):
    """`beat_at`: when its holder last touched it, in nanoseconds. `here`: it is another process of this pod."""

    beat_at: int
    here: bool


class Lease:
    """The right to write to one partial file. Take it, and `renew` it every BEAT_SECONDS."""

    def __init__(self, path: Path, pod: str, mark: str) -> None:
        self._path = path
        self._me = Holder(pod, mark, secrets.token_hex(8))

    def take(self) -> None:
        """Raises LeaseHeld, OSError."""
        if self._make():
            return
        found = self._found()
        if found is not None:
            holder, beat_at = found
            here = holder is not None and holder.pod == self._me.pod
            if here and holder is not None:
                is_free = not is_alive(holder.mark)
            else:
                is_free = self._now() - beat_at > STALE_SECONDS * 1e9
            if not is_free or not self._remove(holder):
                raise LeaseHeld(beat_at, here)
        if not self._make():
            raise LeaseHeld(0, here=False)

    def renew(self) -> None:
        """Also by whoever holds it no longer: that costs the other nothing. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._path)

    def is_ours(self) -> bool:
        """Whether nobody took it over: we may have been asleep for long. Raises OSError."""
        found = self._found()
        return found is not None and found[0] == self._me

    def release(self) -> None:
        if self.is_ours():
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    def _make(self) -> bool:
        """The file appears with all that is in it, if there is none."""
        new = self._path.with_name(f".{self._me.token}.lease")
        new.write_bytes(msgspec.json.encode(self._me))
        try:
            os.link(new, self._path)
        except FileExistsError:
            return False
        except OSError:
            # Not every file system has links: then it is empty for a moment, and whoever looks then takes it for held.
            return self._make_without_link()
        finally:
            new.unlink()
        return True

    def _make_without_link(self) -> bool:
        try:
            with self._path.open("xb") as file:
                file.write(msgspec.json.encode(self._me))
        except FileExistsError:
            return False
        return True

    def _found(self) -> tuple[Holder | None, int] | None:
        """(who holds it, when it was last touched); None when nobody does."""
        try:
            beat_at = self._path.stat().st_mtime_ns
            return msgspec.json.decode(self._path.read_bytes(), type=Holder), beat_at
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None, beat_at

    def _now(self) -> int:
        """By the clock that stamps the lease."""
        probe = self._path.with_name(f".{self._me.token}.now")
        try:
            probe.touch()
            return probe.stat().st_mtime_ns
        finally:
            probe.unlink(missing_ok=True)

    def _remove(self, holder: Holder | None) -> bool:
        """Takes away the lease of `holder`, if it is still that one: renaming succeeds for one of all who try."""
        old = self._path.with_name(f".{self._me.token}.old")
        try:
            os.rename(self._path, old)
        except FileNotFoundError:
            return True
        try:
            try:
                found: Holder | None = msgspec.json.decode(old.read_bytes(), type=Holder)
            except (msgspec.DecodeError, UnicodeDecodeError):
                found = None
            if found == holder:
                return True
            # Someone was faster, and this is the new one.
            with contextlib.suppress(FileExistsError):
                os.link(old, self._path)
            return False
        finally:
            old.unlink(missing_ok=True)

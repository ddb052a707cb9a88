"""Folders on volumes with something wrong, and hosts that answer byte for byte what they are told."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.faulty_volume import MountedVolume, mounted
from tests.services.raw_host import RawHost


@pytest.fixture
def faulty_volume(tmp_path: Path) -> Iterator[MountedVolume]:
    """A volume that works until `fault` says otherwise."""
    folder = tmp_path / "faulty"
    folder.mkdir()
    with mounted(folder) as volume:
        yield volume


@pytest.fixture
def folder_without_inodes(faulty_volume: MountedVolume) -> Path:
    """A folder in which nothing new can be made: there is no space left for it."""
    faulty_volume.fault("full")
    return faulty_volume.root


@pytest.fixture
def full_folder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder that holds the file `old` and has no room for another. As root a file can still be made there, and the
    first byte is too many; who may not mount gets one that refuses the file as well."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    is_tmpfs = subprocess.run(mount, check=False, capture_output=True).returncode == 0
    if not is_tmpfs:
        volume: MountedVolume = request.getfixturevalue("faulty_volume")
        (volume.root / "old").write_bytes(b"old")
        volume.fault("full")
        yield volume.root
        return
    try:
        (folder / "old").write_bytes(b"old")
        with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def raw_host() -> Iterator[Callable[..., RawHost]]:
    """Makes hosts; each argument is the whole answer to one connection, the last one to every further."""
    hosts: list[RawHost] = []

    def make(*answers: bytes) -> RawHost:
        hosts.append(RawHost(*answers))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()

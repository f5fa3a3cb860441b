"""Files that are followed: what can't be read at first is read once it can be, and is told of until then."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import pytest

from tests.support.waiting import eventually
from watcher.core.errors import SettingError
from watcher.relay.common.watched_files import WatchedFile

pytestmark = pytest.mark.anyio


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """As in a process whose connections have taken all that there are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path("/dev/null").open() as probe:
        next_one = probe.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Reader:
    """Reads a file of one word; ``no`` is none."""

    def __init__(self, path: Path, *, repeat: float = 60.0) -> None:
        self.path = path
        self.followed = WatchedFile("claims", [str(path)], "it stays as it was", look=0.02, repeat=repeat)
        self.taken = [path.read_text()]
        self.tried = 0

    def has_tried(self, times: int) -> bool:
        return self.tried >= times

    def is_fresh(self) -> bool:
        return not self.followed.stale

    async def take(self) -> None:
        self.tried += 1
        try:
            text = self.path.read_text()
        except OSError as error:
            raise SettingError("WATCHER_CLAIMS", str(self.path), f"it can't be read: {error.strerror}") from None
        if text == "no":
            raise SettingError("WATCHER_CLAIMS", str(self.path), "it says no")
        self.taken.append(text)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self.followed.run, self.take)
            yield
            group.cancel_scope.cancel()


async def test_watched_file_is_reread_once_descriptors_are_free(tmp_path: Path) -> None:
    """The file doesn't change any more when there are descriptors again: nothing but trying finds out."""
    path = tmp_path / "file"
    path.write_text("one")
    reader = Reader(path)
    async with reader.running():
        path.write_text("two")
        with no_descriptor_left():
            await eventually(lambda: reader.tried >= 3, what="it to be tried, and again")
            assert reader.followed.stale
            assert reader.taken == ["one"]
        await eventually(lambda: reader.taken == ["one", "two"], what="the file to be read")
        assert not reader.followed.stale


def swapped(folder: Path, to: str) -> None:
    """As Kubernetes renews what it mounts: a link to a folder is replaced by one to another."""
    fresh = folder / "..data_tmp"
    fresh.symlink_to(to)
    fresh.replace(folder / "..data")


async def test_watched_file_follows_kubernetes_symlink_swaps(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "file").symlink_to("..data/file")
    reader = Reader(tmp_path / "file")
    async with reader.running():
        swapped(tmp_path, "nowhere")
        await eventually(lambda: reader.followed.stale, what="it to be missed")
        swapped(tmp_path, "second")
        await eventually(lambda: reader.taken == ["first", "second"], what="the next one to be read")
        swapped(tmp_path, "nowhere")
        await eventually(lambda: reader.followed.stale, what="it to be missed again")
        swapped(tmp_path, "second")  # the very same file
        await eventually(lambda: not reader.followed.stale, what="the file to be found again")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_file_whose_rights_are_put_right_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    reader = Reader(path)
    async with reader.running():
        path.write_text("two")
        path.chmod(0)
        await eventually(lambda: reader.followed.stale, what="it to be unreadable")
        path.chmod(0o600)
        await eventually(lambda: reader.taken == ["one", "two"], what="the file to be read")


async def test_a_pipe_in_its_place_is_not_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    reader = Reader(path)
    with caplog.at_level(logging.WARNING, "watcher"):
        async with reader.running():
            path.unlink()
            os.mkfifo(path)
            await eventually(lambda: reader.followed.stale, what="it to be told")
            path.unlink()
            path.write_text("after")
            await eventually(lambda: reader.taken[-1] == "after", what="the file to be read")
    assert "no longer a regular file" in caplog.text
    assert reader.is_fresh()


def by_rename(path: Path, text: str) -> None:
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    fresh.replace(path)


def as_before(path: Path, text: str) -> None:
    """In place, of the same length, and with the time of the one before, as some that copy files keep it."""
    status = path.stat()
    path.write_text(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("write", [Path.write_text, by_rename, as_before])
async def test_however_it_is_written_it_is_seen(tmp_path: Path, write: Callable[[Path, str], None]) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    reader = Reader(path)
    async with reader.running():
        write(path, "two")
        await eventually(lambda: reader.taken == ["one", "two"], what="the file to be read")


async def test_the_log_says_so_at_once_and_then_now_and_then(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    for repeat, most in ((3600.0, 1), (0.0, 100)):
        caplog.clear()
        reader = Reader(path, repeat=repeat)
        with caplog.at_level(logging.INFO, "watcher.relay.common.watched_files"):
            async with reader.running():
                by_rename(path, "no")
                await eventually(functools.partial(reader.has_tried, 5), what="it to be tried")
                told = [each.getMessage() for each in caplog.records]
                assert {*told} == {f"it stays as it was: WATCHER_CLAIMS={str(path)!r} is not accepted: it says no"}
                assert (len(told) == 1) is (most == 1)
                by_rename(path, "one")
                await eventually(reader.is_fresh, what="it to be taken")
        assert "WATCHER_CLAIMS can be read again" in caplog.text

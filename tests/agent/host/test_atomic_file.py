"""A file is replaced as a whole or not at all, and what is no file stays what it is."""

import errno
import itertools
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.special_files import SPECIAL, reading, snapshot

import agent.host.atomic_file
from agent.host.atomic_file import replace_file, replace_folder, replacing


@pytest.fixture(params=["without a name", "with a name"], autouse=True)
def _staged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to stage: some file systems know no file without a name."""
    if request.param == "with a name":
        real = os.open

        def refusing(path: object, flags: int, *more: object, **rest: object) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            return real(path, flags, *more, **rest)

        monkeypatch.setattr(os, "open", refusing)


@pytest.mark.parametrize("old", [None, b"old"])
def test_the_new_content_takes_the_place_of_the_old(tmp_path, old):
    file = tmp_path / "a"
    if old is not None:
        file.write_bytes(old)
    with replacing(file) as output:
        output.write(b"new")
        output.flush()
        assert (file.read_bytes() if file.exists() else None) == old, "until it is whole"
    assert file.read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]


def test_a_name_may_be_as_long_as_any_and_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x" * 255, "ä" * 127, os.fsdecode(b"\xff" * 250)):
        replace_file(name, b"new", sync=True)
        assert Path(name).read_bytes() == b"new"


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o755])
def test_the_permissions_of_what_is_replaced_stay(tmp_path, bits):
    file = tmp_path / "a"
    file.write_bytes(b"old")
    file.chmod(bits)
    replace_file(file, b"new")
    assert stat.S_IMODE(file.stat().st_mode) == bits


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_what_is_replaced_stays_its_owners(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"old")
    os.chown(file, 12, 34)
    replace_file(file, b"new")
    assert (file.stat().st_uid, file.stat().st_gid) == (12, 34)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_new_file_has_what_the_umask_leaves_unless_said_otherwise(tmp_path, umask):
    before = os.umask(umask)
    try:
        replace_file(tmp_path / "a", b"new")
        replace_file(tmp_path / "b", b"new", mode=0o644)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o644


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_stays_what_it_is(tmp_path, kind):
    target = SPECIAL[kind](tmp_path)
    before = snapshot(tmp_path)
    with reading(target) as read:
        replace_file(target, b"new")
    assert read() in (b"new", None) and snapshot(tmp_path) == before


def test_a_link_may_lead_to_another_file_system(tmp_path):
    with open(f"/dev/shm/oddline-test-{os.getpid()}", "wb") as other:
        os.symlink(other.name, tmp_path / "a")
    try:
        replace_file(tmp_path / "a", b"new")
        assert (tmp_path / "a").is_symlink() and Path(other.name).read_bytes() == b"new"
    finally:
        os.unlink(other.name)


def test_an_open_descriptor_is_written_to_where_it_stands(tmp_path):
    with (tmp_path / "a").open("wb", buffering=0) as file:
        file.write(b"before ")
        replace_file(f"/dev/fd/{file.fileno()}", b"new")
        file.write(b" after")
    assert (tmp_path / "a").read_bytes() == b"before new after"


@pytest.mark.parametrize("redirected", ["> out", "| cat > out"])
def test_standard_output_by_its_name_is_written_to(tmp_path, redirected):
    code = "from agent.host.atomic_file import replace_file; replace_file('/dev/stdout', b'new')"
    script = f'{{ echo before; "{sys.executable}" -c "$0"; echo after; }} {redirected}'
    subprocess.run(["sh", "-c", script, code], check=True, cwd=tmp_path)
    assert (tmp_path / "out").read_bytes() == b"before\nnewafter\n" and os.listdir(tmp_path) == ["out"]


def test_what_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        before = snapshot(tmp_path)
        for name, wanted in (
            ("folder", errno.EISDIR),
            ("loop", errno.ELOOP),
            ("socket", errno.ENXIO),
            ("pipe", errno.ENXIO),  # that nobody reads
            ("nowhere/a", errno.ENOENT),
            ("/dev/fd/999", errno.EBADF),
        ):
            with pytest.raises(OSError) as told:
                replace_file(tmp_path / name, b"new", wait=False)
            assert told.value.errno == wanted
        assert snapshot(tmp_path) == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("old", [None, b"old"])
def test_where_the_writing_ends_with_an_error_nothing_is_changed(tmp_path, error, old):
    file = tmp_path / "a"
    if old is not None:
        file.write_bytes(old)
    before = snapshot(tmp_path)
    with pytest.raises(error), replacing(file) as output:
        output.write(b"half of it")
        raise error
    assert snapshot(tmp_path) == before and (old is None or file.read_bytes() == old)


@pytest.mark.parametrize("step", ["replace", "fchmod", "fsync"])
def test_where_the_last_step_fails_nothing_is_changed(tmp_path, monkeypatch, step):
    (tmp_path / "a").write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="Input/output error"):
        replace_file(tmp_path / "a", b"new", sync=True)
    assert (tmp_path / "a").read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting a file system is not permitted here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_leaves_the_old_file(small_disk):
    (small_disk / "a").write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"):
        replace_file(small_disk / "a", bytes(100_000))
    assert (small_disk / "a").read_bytes() == b"old" and os.listdir(small_disk) == ["a"]


def test_of_two_errors_the_first_is_told(small_disk):
    """What is still in hand when the writer gives up does not fit either."""
    with pytest.raises(ValueError, match="first"), replacing(small_disk / "a") as output:
        output.write(bytes(60_000))
        output.flush()
        output.write(bytes(6_000))
        raise ValueError("first")
    assert os.listdir(small_disk) == []


def test_a_disk_that_may_only_be_read_is_told(small_disk):
    (small_disk / "a").write_bytes(b"old")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(OSError, match="Read-only file system"):
        replace_file(small_disk / "a", b"new")
    assert (small_disk / "a").read_bytes() == b"old"


def test_a_folder_that_vanishes_meanwhile_is_told(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "folder" / "a") as output:
        output.write(b"new")
        for left in (tmp_path / "folder").iterdir():
            left.unlink()
        (tmp_path / "folder").rmdir()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_leaves_the_old_file_and_nothing_beside_it(tmp_path, number):
    (tmp_path / "a").write_bytes(b"old")
    code = (
        "import sys, time; from agent.host.atomic_file import replacing\n"
        "with replacing('a') as output:\n"
        "    output.write(b'half'); output.flush(); print('writing', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as writer:
        assert writer.stdout.readline() == b"writing\n"
        writer.send_signal(number)
        assert writer.wait(30) != 0
    assert (tmp_path / "a").read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_what_a_killed_process_of_the_same_number_left_is_no_hindrance(tmp_path, monkeypatch):
    monkeypatch.setattr(agent.host.atomic_file, "_NUMBERS", itertools.count(7))
    (tmp_path / f".a.{os.getpid()}-7.part").write_bytes(b"half of it")
    replace_file(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]


def test_several_threads_replace_one_file_each_as_a_whole(tmp_path):
    contents = [bytes([65 + number]) * 50_000 for number in range(4)]

    def again(content: bytes) -> None:
        for _ in range(20):
            replace_file(tmp_path / "a", content)
            assert (tmp_path / "a").read_bytes() in contents

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(again, contents))
    assert (tmp_path / "a").read_bytes() in contents and os.listdir(tmp_path) == ["a"]


def test_a_folder_is_replaced_and_the_link_to_it_stays(tmp_path):
    for name in ("old", "staged"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    (tmp_path / "link").symlink_to("old")
    replace_folder(tmp_path / "staged", tmp_path / "link")
    assert sorted(os.listdir(tmp_path)) == ["link", "old"] and (tmp_path / "link").is_symlink()
    assert os.listdir(tmp_path / "old") == ["staged"]
    (tmp_path / "other").mkdir()
    replace_folder(tmp_path / "other", tmp_path / "new")
    assert sorted(os.listdir(tmp_path)) == ["link", "new", "old"]

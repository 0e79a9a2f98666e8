"""What another user could change, or lead elsewhere, is refused; what root or this user made is their choice."""

import os
import stat
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.host.atomic_file import replace_file
from agent.host.trust import open_to_append, real_path, require_appendable
from agent.state.store import FILE, LOCK, State

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
NOBODY = 65534


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    (tmp_path / "victim").write_bytes(b"precious")
    return tmp_path / "victim"


def place(tmp_path: Path, mode: int, owner: int = 0) -> Path:
    folder = tmp_path / "place"
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, owner, -1)
    return folder


FOLDERS = [(0o755, NOBODY, 0), (0o777, 0, 0), (0o755, 0, NOBODY), (0o1777, 0, NOBODY), (0o1777, NOBODY, 0)]


@pytest.mark.parametrize(("mode", "owner", "maker"), FOLDERS)
@pytest.mark.parametrize("inner", [False, True])
def test_a_link_that_another_user_may_have_made_is_not_followed(tmp_path, victim, mode, owner, maker, inner):
    """Neither as the file nor as a folder on the way to it."""
    link = place(tmp_path, mode, owner) / "link"
    link.symlink_to(tmp_path if inner else victim)
    os.chown(link, maker, -1, follow_symlinks=False)
    path = str(link / "victim" if inner else link)
    for write in (lambda: replace_file(path, b"x"), lambda: open_to_append(path), lambda: require_appendable(path)):
        with pytest.raises(PermissionError, match="symbolic link that another user may have made"):
            write()
    assert victim.read_bytes() == b"precious" and link.is_symlink()


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o775, 0o1777])
def test_a_link_of_root_or_this_user_is_followed(tmp_path, victim, mode):
    link = place(tmp_path, mode) / "link"
    link.symlink_to("../victim")
    os.close(open_to_append(str(link)))
    replace_file(link, b"new")
    assert link.is_symlink() and victim.read_bytes() == b"new"


def test_paths_lead_where_the_system_says(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "up").symlink_to("a/b/..")
    (tmp_path / "far").symlink_to(tmp_path / "up" / "b")
    monkeypatch.chdir(tmp_path / "a")
    for path in (
        "b",
        "../far/none",
        "b/../../up/./x",
        str(tmp_path / "far" / ".." / "y"),
        "/dev/null",
        ".",
        "//tmp//x",
    ):
        assert real_path(path) == os.path.realpath(path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="Too many levels"):
        real_path(str(tmp_path / "loop"))


@pytest.mark.parametrize(
    ("mode", "owner", "taken"), [(0o644, 0, True), (0o664, 0, True), (0o666, 0, False), (0o600, NOBODY, False)]
)
def test_a_file_that_another_user_can_write_is_not_appended_to(tmp_path, victim, mode, owner, taken):
    victim.chmod(mode)
    os.chown(victim, owner, -1)
    if taken:
        os.close(open_to_append(str(victim)))
        require_appendable(str(victim))
        return
    for check in (open_to_append, require_appendable):
        with pytest.raises(PermissionError, match="another user can write to it"):
            check(str(victim))
    assert victim.read_bytes() == b"precious"


def test_a_new_file_is_for_its_owner_and_group(tmp_path):
    before = os.umask(0)
    try:
        os.close(open_to_append(str(tmp_path / "new")))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_a_pipe_of_another_user_where_everybody_can_make_one_is_refused(tmp_path):
    pipe = place(tmp_path, 0o1777) / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.close(open_to_append(str(pipe), wait=False))
        os.chown(pipe, NOBODY, -1)
        with pytest.raises(PermissionError, match="another user can write to it"):
            open_to_append(str(pipe), wait=False)
    finally:
        os.close(reader)


NAMES = [
    LOCK,
    *(FILE + end for end in ("", "-wal", "-shm", "-journal", ".new", ".new-wal", ".new-shm", ".new-journal")),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["link", "dangling", "writable", "of another"])
def test_what_has_no_place_in_a_state_folder_is_refused_and_left_alone(tmp_path, victim, name, kind):
    folder = place(tmp_path, 0o700)
    if kind in ("link", "dangling"):
        (folder / name).symlink_to(victim if kind == "link" else tmp_path / "none")
    else:
        (folder / name).write_bytes(b"precious")
        (folder / name).chmod(0o666 if kind == "writable" else 0o600)
        os.chown(folder / name, NOBODY if kind == "of another" else 0, -1)
    reason = "it is a symbolic link" if kind in ("link", "dangling") else "another user can write to it"
    with pytest.raises(ConfigError, match=reason) as caught:
        State(folder)
    assert "\n" not in str(caught.value) and victim.read_bytes() == b"precious" and not (tmp_path / "none").exists()
    assert set(os.listdir(folder)) <= {name, LOCK}


CHANGEABLE = [(0o777, 0, 0o755, 0), (0o775, 0, 0o755, 0), (0o1777, 0, 0o755, 0), (0o700, NOBODY, 0o755, 0)]
CHANGEABLE += [(0o700, 0, 0o777, 0), (0o700, 0, 0o755, NOBODY)]


@pytest.mark.parametrize(("mode", "owner", "above", "owner_above"), CHANGEABLE)
def test_a_state_folder_that_another_user_can_change_is_refused(tmp_path, mode, owner, above, owner_above):
    folder = place(tmp_path, above, owner_above) / "state"
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, owner, -1)
    with pytest.raises(ConfigError, match="another user can"):
        State(folder)
    assert os.listdir(folder) == []


def test_a_state_folder_may_be_in_a_folder_like_tmp_and_behind_a_link_of_root(tmp_path):
    (tmp_path / "link").symlink_to("place/deep/state")
    before = os.umask(0)
    try:
        State(place(tmp_path, 0o1777) / "deep" / "state").close()
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "place").rglob("*") if path.is_dir()}
    assert modes == {"deep": 0o755, "state": 0o700}
    State(tmp_path / "link").close()
    os.chown(tmp_path / "link", NOBODY, -1, follow_symlinks=False)
    with pytest.raises(ConfigError, match="symbolic link that another user may have made"):
        State(tmp_path / "link")

"""Files are written whole or not at all: names, links, permissions, and what killed processes leave."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edge_wsd import files
from edge_wsd.files import replacing, scratch_file, scratch_folder, write_atomically

WRITES_AND_WAITS = """
import sys, time
from pathlib import Path
from edge_wsd.files import replacing, scratch_folder
with replacing(Path(sys.argv[1])) as file, scratch_folder(Path(sys.argv[1]).parent) as folder:
    file.write(b"half"), file.flush()
    (folder / "inside").write_bytes(b"more")
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.fixture
def writer(tmp_path):
    """A process in the middle of writing `target`."""
    command = [sys.executable, "-c", WRITES_AND_WAITS, str(tmp_path / "target")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o000])
def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path, umask, mask):
    """They were 0600 whatever the umask, so that nobody else could use a shared store."""
    umask(mask)
    write_atomically(tmp_path / "new", b"data")
    assert mode(tmp_path / "new") == 0o666 & ~mask


@pytest.mark.parametrize("before", [0o600, 0o640, 0o664, 0o444, 0o755])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, umask, before):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(before)
    with replacing(path) as file:
        assert not mode(tmp_path / file.name) & 0o077 & ~before, "readable by others while it is written"
        file.write(b"new")
    assert (path.read_bytes(), mode(path)) == (b"new", before)


def test_a_link_stays_and_what_it_points_to_is_written(tmp_path):
    """Links were replaced by files."""
    (tmp_path / "folder").mkdir()
    real = tmp_path / "folder" / "real"
    real.write_bytes(b"old")
    (tmp_path / "first").symlink_to("folder/real")
    (tmp_path / "second").symlink_to("first")
    write_atomically(tmp_path / "second", b"new")
    assert real.read_bytes() == b"new"
    assert (tmp_path / "second").is_symlink() and (tmp_path / "first").is_symlink() and not real.is_symlink()
    assert names(tmp_path / "folder") == ["real"]


def test_a_link_to_nothing_yet_makes_the_file_that_it_names(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("real")
    write_atomically(link, b"new")
    assert link.is_symlink() and (tmp_path / "real").read_bytes() == b"new"


def test_a_link_into_a_folder_that_is_not_there_is_told_by_its_name(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("nowhere/real")
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(link, b"new")
    assert caught.value.filename == str(link)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "circle"])
def test_what_is_no_file_is_never_replaced(tmp_path, kind):
    path = tmp_path / "path"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to(os.devnull)
    else:
        path.symlink_to("path")
    with pytest.raises(OSError) as caught:
        write_atomically(path, b"data")
    assert caught.value.filename == str(path)
    assert names(tmp_path) == ["path"]
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="only there a descriptor has a path")
def test_a_descriptor_of_a_pipe_is_told_as_what_it_is():
    """`convert ... /dev/stdout | cat` told that /proc/1/fd/pipe:[2] does not exist."""
    read_end, write_end = os.pipe()
    with open(read_end, "rb"), open(write_end, "wb"), pytest.raises(OSError, match="a device or a pipe"):
        write_atomically(Path(f"/dev/fd/{write_end}"), b"data")


@pytest.mark.parametrize("name", ["a\0b", "half \ud800"])
def test_what_can_be_no_name_is_an_error_of_the_file(tmp_path, name):
    with pytest.raises(OSError, match="cannot be a file name"):
        write_atomically(tmp_path / name, b"data")


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    """Hidden names were made of the target's and a suffix: 245 bytes were too many."""
    longest = tmp_path / ("ä" * 127 + "n")
    assert len(os.fsencode(longest.name)) == 255
    write_atomically(longest, b"data")
    assert names(tmp_path) == [longest.name]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), replacing(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_two_that_write_one_target_at_once_both_write_it_whole(tmp_path):
    """Names held the process id alone, which is the same in two containers: one wrote into the other's file."""
    path = tmp_path / "file"
    with replacing(path) as first:
        first.write(b"1" * 100)
        with replacing(path) as second:
            second.write(b"2" * 50)
        assert path.read_bytes() == b"2" * 50
        first.write(b"1" * 100)
    assert path.read_bytes() == b"1" * 200


def test_a_name_that_is_taken_is_not_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_new_name", lambda: ".edge-wsd-guessed.partial")
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (tmp_path / ".edge-wsd-guessed.partial").symlink_to(precious)
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "file", b"data")
    assert precious.read_bytes() == b"precious"


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, writer):
    """A file of floats of a whole model lay there for good."""
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(names(tmp_path)) == 2
    write_atomically(tmp_path / "other", b"data")
    assert names(tmp_path) == ["other"]


def test_what_is_being_written_is_not_removed(tmp_path, writer):
    before = names(tmp_path)
    write_atomically(tmp_path / "other", b"data")
    assert names(tmp_path) == sorted([*before, "other"])
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert (folder / "inside").read_bytes() == b"more"


def test_where_there_are_no_locks_files_are_written_and_none_is_removed(tmp_path, monkeypatch):
    def refuse(_descriptor, _operation):
        raise OSError(errno.ENOLCK, "no locks")

    with scratch_file(tmp_path) as file:
        monkeypatch.setattr(fcntl, "flock", refuse)
        write_atomically(tmp_path / "file", b"data")
        assert names(tmp_path) == sorted([os.path.basename(file.name), "file"])


def test_a_file_taken_for_abandoned_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    """Between its making and its lock another process may find it."""
    taken = []
    lock = files.lock

    def late(descriptor):
        if not taken:
            files.remove_abandoned(tmp_path)
            taken.append(descriptor)
        return lock(descriptor)

    monkeypatch.setattr(files, "lock", late)
    write_atomically(tmp_path / "file", b"data")
    assert taken and (tmp_path / "file").read_bytes() == b"data"


def test_a_link_that_looks_abandoned_is_left_with_what_it_points_to(tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / ".edge-wsd-1.partial").symlink_to("precious")
    os.mkfifo(tmp_path / ".edge-wsd-2.partial")
    files.remove_abandoned(tmp_path)
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_scratch_file_and_folder_are_gone_afterwards(tmp_path):
    with scratch_file(tmp_path) as file, scratch_folder(tmp_path) as folder:
        assert os.path.samefile(os.path.dirname(file.name), folder.parent)
        (folder / "inside").mkdir()
    assert names(tmp_path) == []

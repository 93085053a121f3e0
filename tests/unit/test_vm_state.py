import os
import subprocess
from pathlib import Path

import pytest

from ostler.errors import NotFoundError
from ostler.vm.errors import NotRunningError, VmError
from ostler.vm.qemu import VmRequest, free_port, run_detached, ssh_command, stop
from ostler.vm.state import clear_state, read_state, write_state


def test_the_recorded_machine_is_found_again(tmp_path: Path) -> None:
    written = write_state(tmp_path, os.getpid(), 2222, tmp_path / "web.raw")
    assert read_state(tmp_path) == written
    assert ssh_command(tmp_path, user="admin", key=Path("/k"))[-3:] == ["-o", "IdentitiesOnly=yes", "admin@127.0.0.1"]
    clear_state(tmp_path)
    with pytest.raises(NotRunningError):
        read_state(tmp_path)


def test_several_words_reach_the_guests_shell_as_they_are(tmp_path: Path) -> None:
    write_state(tmp_path, os.getpid(), 2222, tmp_path / "web.raw")
    assert ssh_command(tmp_path, words=["echo", "a  b"])[-1] == "echo 'a  b'"
    assert ssh_command(tmp_path, words=["uptime; id"])[-1] == "uptime; id"


def test_a_machine_whose_process_has_ended_is_not_running(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "60"])
    write_state(tmp_path, process.pid, 2222, tmp_path / "web.raw")
    read_state(tmp_path)
    process.kill()
    process.wait()
    with pytest.raises(NotRunningError) as caught:
        stop(tmp_path)
    assert "ostler run" in (caught.value.hint or "")


def test_another_process_with_the_same_number_is_not_the_machine(tmp_path: Path) -> None:
    state = write_state(tmp_path, os.getpid(), 2222, tmp_path / "web.raw")
    text = (tmp_path / "vm.json").read_text()
    (tmp_path / "vm.json").write_text(text.replace(str(state.started), str(state.started + 1)))
    with pytest.raises(NotRunningError):
        read_state(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pid": "x"}', "nonsense"])
def test_a_damaged_state_file_means_no_machine(tmp_path: Path, content: str) -> None:
    (tmp_path / "vm.json").write_text(content)
    with pytest.raises(NotRunningError):
        read_state(tmp_path)


def test_only_one_machine_runs_from_a_folder(tmp_path: Path) -> None:
    write_state(tmp_path, os.getpid(), 2222, tmp_path / "web.raw")
    with pytest.raises(VmError, match="already runs"):
        run_detached(VmRequest(tmp_path / "web.raw"), tmp_path)


def test_a_missing_disk_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"web\.raw"):
        run_detached(VmRequest(tmp_path / "web.raw"), tmp_path)


def test_free_ports_are_unprivileged() -> None:
    assert free_port() >= 1024

import subprocess
import sys
from pathlib import Path

import pytest

from ostler import __version__
from ostler.cli.completion import bash, fish
from ostler.cli.console import human_bytes, human_seconds, table
from ostler.cli.main import main
from ostler.cli.tree import commands
from ostler.errors import ExitCode

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "ostler.cli", *arguments], capture_output=True, text=True, check=False)


def test_every_command_has_help_that_says_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands():
        if command.words == ("ostler", "ostree"):  # prints the help of that program
            continue
        with pytest.raises(SystemExit) as stopped:
            main([*command.words[1:], "--help"])
        assert stopped.value.code == 0
        assert command.words == ("ostler",) or command.help
        assert "usage:" in capsys.readouterr().out


def test_the_version_is_printed() -> None:
    assert run("--version").stdout == f"ostler {__version__}\n"


def test_a_wrong_command_line_exits_with_the_usage_code_and_points_to_the_help() -> None:
    done = run("build", "--no-such-option")
    assert done.returncode == ExitCode.USAGE
    assert "--help" in done.stderr


def test_an_error_is_one_message_with_a_hint_and_no_traceback(tmp_path: Path) -> None:
    done = run("repo", "--repo", str(tmp_path / "none"), "refs")
    assert done.returncode == ExitCode.NOT_FOUND
    assert done.stderr.startswith("error:")
    assert "Traceback" not in done.stderr


def test_on_a_system_without_deployments_status_says_so() -> None:
    done = run("status")
    assert done.returncode == ExitCode.FAILURE
    assert "OSTree" in done.stderr


def test_the_bash_completion_is_valid_and_completes_commands(tmp_path: Path) -> None:
    script = tmp_path / "ostler.bash"
    script.write_text(bash())
    asked = f'source {script}; COMP_WORDS=(ostler repo l); COMP_CWORD=2; _ostler; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert set(done.stdout.split()) == {"log", "ls"}


def test_the_fish_completion_has_a_line_for_every_command() -> None:
    script = fish()
    for command in commands():
        assert command.words == ("ostler",) or f"-a {command.words[-1]} " in script


@pytest.mark.parametrize("generator", ["generate_man.py", "generate_reference.py"])
def test_generated_pages_are_up_to_date(generator: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / generator, "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_numbers_are_shown_with_the_digits_that_matter() -> None:
    assert [human_bytes(n) for n in (0, 999, 1500, 19_600_000)] == ["0 B", "999 B", "1.5 kB", "19.6 MB"]
    assert [human_seconds(n) for n in (0.84, 125)] == ["0.8 s", "2 min 05 s"]


def test_tables_align_numbers_to_the_right() -> None:
    assert table([("a", "5"), ("bb", "10")], header=("x", "n")) == "x    n\na    5\nbb  10"


def test_the_host_side_starts_without_importing_the_builder(tmp_path: Path) -> None:
    asked = (
        "import sys; from ostler.cli.parser import build_parser, HOST_GROUPS; build_parser(HOST_GROUPS);"
        "import ostler.host.status; print([m for m in sys.modules if m.startswith('ostler.')])"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    for package in ("compose", "disk", "vm", "publish", "definition", "workflow"):
        assert f"'ostler.{package}" not in done.stdout

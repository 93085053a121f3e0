import re
from pathlib import Path

from ostler.errors import ExitCode

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "exit-codes.md"


def test_the_reference_page_lists_every_exit_code_and_no_other() -> None:
    rows = re.findall(r"^\| (\d+) \| ([a-z-]+) \|", PAGE.read_text(), flags=re.MULTILINE)
    assert {(int(code), name) for code, name in rows} == {
        (code.value, code.name.lower().replace("_", "-")) for code in ExitCode
    }

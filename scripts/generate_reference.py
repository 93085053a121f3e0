#!/usr/bin/env python3
"""Writes docs/reference/ostler-toml.md and docs/reference/ostler-toml.schema.json from the table of keys.

generate_reference.py [--check]      with --check nothing is written; exits with 1 if a file is stale
"""

import argparse
import sys
from pathlib import Path

from ostler.definition.jsonschema import schema_text
from ostler.definition.reference import reference_page

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"


def contents() -> dict[Path, str]:
    return {
        REFERENCE / "ostler-toml.md": reference_page(),
        REFERENCE / "ostler-toml.schema.json": schema_text(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not up to date")
    options = parser.parse_args()
    stale = [path for path, text in contents().items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        shown = path.relative_to(REFERENCE.parent.parent)
        if options.check:
            print(f"{shown} is stale: run scripts/generate_reference.py", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(contents()[path])
            print(f"wrote {shown}")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

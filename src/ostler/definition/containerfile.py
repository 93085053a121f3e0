"""The one thing Ostler needs to know of a Containerfile: that its last stage is derived from `base`.

buildah runs it and has the last word on everything else. Only stages, `ARG` before the first of them, comments,
continuation lines, the `escape` directive and here-documents are understood.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ostler.definition.errors import Findings, nearest

BASE = "base"
INSTRUCTIONS = (
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER",
    "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
)  # fmt: skip
_ESCAPE = re.compile(r"#\s*escape\s*=\s*(\S)\s*$", re.IGNORECASE)
_DIRECTIVE = re.compile(r"#\s*[a-z]+\s*=", re.IGNORECASE)
_HEREDOC = re.compile(r"<<-?([\"']?)([A-Za-z_][A-Za-z0-9_]*)\1")
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)(?::?(?P<operator>[-+])(?P<other>[^}]*))?\}|(?P<plain>\w+))", re.ASCII)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its name in upper case, the rest of it on one line, and the line on which it begins."""

    name: str
    rest: str
    line: int


@dataclass(frozen=True, slots=True)
class Stage:
    """A build stage: the image it is from (variables replaced), its own name, and whether `base` is below it."""

    image: str
    name: str | None
    line: int
    from_base: bool


def check_containerfile(text: str, shown: str, findings: Findings) -> bool:
    """Note what keeps a Containerfile from deriving from `base`; returns whether there is anything in it."""
    instructions = list(parse_instructions(text))
    if not instructions:
        return False
    known = [instruction for instruction in instructions if instruction.name in INSTRUCTIONS]
    for instruction in instructions:
        if instruction not in known:
            close = nearest(instruction.name, INSTRUCTIONS)
            hint = f"did you mean `{close}`?" if close else None
            findings.error(shown, instruction.line, f"`{instruction.name}` is not an instruction", hint)
    first = next((one for one in known if one.name != "ARG"), None)
    if known == instructions and (first is None or first.name != "FROM"):
        wrong = first or instructions[0]
        findings.error(shown, wrong.line, f"`{wrong.name}` without a FROM before it", f"begin with `FROM {BASE}`")
    stages = _stages(instructions, shown, findings)
    if stages and not stages[-1].from_base:
        last = stages[-1]
        hint = f"write `FROM {BASE}`; what it is stands in ostler.toml"
        message = f"the last stage is from `{last.image}`, so the machine would not be derived from its base"
        findings.error(shown, last.line, message, hint)
    return True


def _stages(instructions: list[Instruction], shown: str, findings: Findings) -> list[Stage]:
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for instruction in instructions:
        if instruction.name == "ARG" and not stages:
            for word in instruction.rest.split():
                name, equals, value = word.partition("=")
                if equals:
                    arguments[name] = _substitute(value.strip("\"'"), arguments)
        elif instruction.name == "FROM":
            stage = _stage(instruction, arguments, stages, shown, findings)
            if stage is not None:
                stages.append(stage)
    return stages


def _stage(
    instruction: Instruction, arguments: Mapping[str, str], stages: list[Stage], shown: str, findings: Findings
) -> Stage | None:
    words = [word for word in instruction.rest.split() if not word.startswith("--")]
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        hint = f"write `FROM {BASE}` or `FROM IMAGE AS NAME`"
        findings.error(shown, instruction.line, f"`FROM {instruction.rest}` is not understood", hint)
        return None
    image = _substitute(words[0].strip("\"'"), arguments)
    name = words[2].lower() if len(words) == 3 else None
    if name == BASE:
        hint = "give the stage another name"
        findings.error(shown, instruction.line, f"a stage named `{BASE}` hides the machine's base", hint)
    if not image:
        hint = "give the variable a value: ARG NAME=value before the first FROM"
        findings.error(shown, instruction.line, f"`{words[0]}` has no value here", hint)
        return None
    earlier = next((stage for stage in reversed(stages) if stage.name == image.lower()), None)
    return Stage(image, name, instruction.line, image == BASE if earlier is None else earlier.from_base)


def _substitute(text: str, arguments: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        found = arguments.get(match["braced"] or match["plain"], "")
        if match["operator"] == "-":
            return found or match["other"]
        if match["operator"] == "+":
            return match["other"] if found else ""
        return found

    return _VARIABLE.sub(value, text)


def parse_instructions(text: str) -> Iterator[Instruction]:
    """The instructions of a Containerfile; bodies of here-documents and comments are left out."""
    lines = text.replace("\r\n", "\n").split("\n")
    escape = _escape_character(lines)
    at = 0
    while at < len(lines):
        begin = at
        parts: list[str] = []
        while at < len(lines):
            line = lines[at]
            at += 1
            if line.lstrip().startswith("#") or (parts and not line.strip()):
                if parts:
                    continue
                break
            stripped = line.rstrip(" \t")
            if not stripped.endswith(escape):
                parts.append(stripped)
                break
            parts.append(stripped[:-1])
        name, _, rest = " ".join(part.strip() for part in parts).strip().partition(" ")
        if name:
            yield Instruction(name.upper(), rest.strip(), begin + 1)
        if name.upper() in ("RUN", "COPY", "ADD"):
            for match in _HEREDOC.finditer(rest):
                at = _end_of_heredoc(lines, at, match[2], tabs=match[0].startswith("<<-"))


def _end_of_heredoc(lines: list[str], at: int, word: str, *, tabs: bool) -> int:
    """The line after the end of a here-document; where it began if it does not end (then it was none)."""
    for number in range(at, len(lines)):
        if (lines[number].lstrip("\t") if tabs else lines[number]) == word:
            return number + 1
    return at


def _escape_character(lines: list[str]) -> str:
    for line in lines:
        match = _ESCAPE.match(line.strip())
        if match:
            return match[1]
        if not _DIRECTIVE.match(line.strip()):
            break
    return "\\"

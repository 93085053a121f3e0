"""Path patterns: `*`, `?`, `[…]` within one part of a path, `**` over any number of directories."""

import functools
import re

_WILDCARD = re.compile(r"[*?\[]")


def has_wildcard(pattern: str) -> bool:
    """Whether the pattern may stand for more than one path."""
    return _WILDCARD.search(pattern) is not None


def specificity(pattern: str) -> int:
    """How exactly a pattern says what it means: the number of characters that are not wildcards; most without any."""
    if not has_wildcard(pattern):
        return 1_000_000
    return len(re.sub(r"\[[^\]]*\]|[*?]", "", pattern))


@functools.lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A regular expression that matches whole paths (relative, `/` between parts). Raises `re.error` for a bad one."""
    out = []
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at) and (at == 0 or pattern[at - 1] == "/"):
            out.append("(?:[^/]+/)*")
            at += 3
        elif pattern.startswith("**", at):
            out.append(".*")
            at += 2
        else:
            piece, at = _piece(pattern, at)
            out.append(piece)
    return re.compile("".join(out) + r"\Z", re.DOTALL)


def _piece(pattern: str, at: int) -> tuple[str, int]:
    """The expression for what stands at `at`, and where the next thing begins."""
    character = pattern[at]
    if character == "*":
        return "[^/]*", at + 1
    if character == "?":
        return "[^/]", at + 1
    if character == "\\" and at + 1 < len(pattern):
        return re.escape(pattern[at + 1]), at + 2
    if character == "[":
        end = pattern.find("]", at + 2)
        if end < 0:
            raise re.error("a `[` is not closed", pattern, at)
        inside = pattern[at + 1 : end]
        negated = inside[:1] in ("^", "!")
        inside = inside[1:] if negated else inside
        body = re.sub(r"([\\\[\]&|~^])", r"\\\1", inside)
        return (f"[^/{body}]" if negated else f"(?!/)[{body}]"), end + 1
    return re.escape(character), at + 1


class IgnoreRules:
    """Patterns of a `.containerignore`: matches and what is below them are left out, `!` takes back; the last wins."""

    def __init__(self, text: str) -> None:
        self._rules: list[tuple[bool, re.Pattern[str]]] = []
        for line in text.split("\n"):
            pattern = line.strip()
            if not pattern or line.startswith("#"):
                continue
            kept = pattern.startswith("!")
            parts = [part for part in pattern.lstrip("!").strip().split("/") if part not in ("", ".")]
            if parts:
                self._rules.append((kept, compile_pattern("/".join(parts))))

    @property
    def takes_back(self) -> bool:
        """Whether something below an excluded directory might be kept."""
        return any(kept for kept, _pattern in self._rules)

    def excludes(self, path: str) -> bool:
        """Whether the path (relative, without a slash at either end) is left out."""
        excluded = False
        parts = path.split("/")
        above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        for kept, pattern in self._rules:
            if excluded == kept and any(pattern.match(candidate) for candidate in above):
                excluded = not kept
        return excluded

"""What a build will do, step by step, and why: computed from inputs and what the cache holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ostler.compose.digests import Inputs, step_key

SHOWN_CHANGES = 3


@dataclass(frozen=True, slots=True)
class Step:
    """A step with what it depends on. `cached`: its result is there; `reason`: why it must run or need not."""

    name: str
    inputs: Inputs
    cached: bool
    reason: str

    @property
    def key(self) -> str:
        """Equal inputs give equal keys, and equal keys equal results."""
        return step_key(self.name, self.inputs)


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """The steps as far as they can be known: behind the first that must run, `later` are decided by its result."""

    steps: tuple[Step, ...] = ()
    later: tuple[str, ...] = field(default=())

    @property
    def up_to_date(self) -> bool:
        """Whether nothing would run."""
        return not self.later and all(step.cached for step in self.steps)


def plan_step(name: str, inputs: Inputs, *, cached: bool, before: Mapping[str, str] | None) -> Step:
    """The step, with a reason that compares its inputs with those of the last build of the same folder (`before`)."""
    return Step(name, inputs, cached, explain(inputs, before, cached=cached))


def explain(inputs: Inputs, before: Mapping[str, str] | None, *, cached: bool) -> str:
    """Why a step runs, or why it does not, for people."""
    changes = [] if before is None else changed_inputs(inputs, before)
    if cached:
        return "nothing it depends on changed" if not changes else "the same was built before"
    if before is None:
        return "built for the first time"
    if not changes:
        return "its result is not in the cache any more"
    shown = ", ".join(changes[:SHOWN_CHANGES])
    more = len(changes) - SHOWN_CHANGES
    return shown + (f" and {more} more" if more > 0 else "")


def changed_inputs(inputs: Inputs, before: Mapping[str, str]) -> list[str]:
    """What differs, in words: `overlay/etc/motd changed`, `package htop is new`."""
    words = []
    for name in sorted({*inputs, *before}):
        if name not in before:
            words.append(f"{name} is new")
        elif name not in inputs:
            words.append(f"{name} is gone")
        elif inputs[name] != before[name]:
            words.append(f"{name} changed")
    return words

"""`ostree fsck`."""

from typing import TYPE_CHECKING

from ostler.cli.ostree.call import Call, Verb
from ostler.cli.ostree.options import Failure, flag
from ostler.formats.objects import ObjectType

if TYPE_CHECKING:
    from ostler.store.fsck import FsckResult
    from ostler.store.needs import Problem


def run(call: Call) -> None:
    """Check the repository; tell what is wrong, and fail if something is."""
    from ostler.store.fsck import FsckOptions, examine

    _say(call, "Validating refs...")
    options = FsckOptions(
        reachable_only=True,
        mark_partial=True,
        delete=call.flag("delete"),
        verify_bindings=call.flag("verify-bindings") or call.flag("verify-back-refs"),
        verify_back_refs=call.flag("verify-back-refs"),
        add_tombstones=call.flag("add-tombstones"),
    )
    _print(call, examine(call.repo, options))


def _say(call: Call, text: str) -> None:
    if not call.flag("quiet"):
        call.out(text)


def _print(call: Call, result: "FsckResult") -> None:
    """What libostree says, in its order: it looks at refs first, then at commits, then at all that these need."""
    from ostler.store.needs import Reason

    own = call.repo.refs()
    refs = [problem for problem in result.problems if problem.ref is not None]
    _fail_at_ref([problem for problem in refs if problem.ref in own], call)
    _say(call, "Validating refs in collections...")
    _fail_at_ref([problem for problem in refs if problem.ref not in own], call)
    problems = [problem for problem in result.problems if problem.reason in (Reason.MISSING, Reason.DAMAGED)]
    _say(call, "Enumerating commits...")
    for problem in result.problems:
        if problem.reason is Reason.BACK_REFERENCE:
            raise Failure(problem.message)
    _say(call, f"Verifying content integrity of {result.commits} commit objects...")
    for problem in problems:
        _print_problem(call, problem)
    for commit in result.marked:
        call.err(f"Marking commit as partial: {commit}")
    for commit in result.tombstones:
        call.out(f"Adding tombstone for commit {commit}")
    if result.partial and not call.flag("add-tombstones"):
        call.out(f"{result.partial} partial commits not verified")
    if problems:
        raise Failure("Repository corruption encountered")
    if result.broken:
        raise Failure(f"{result.broken} partial commits from fsck-detected corruption")
    call.out(f"object fsck of {result.commits} commits completed successfully - no errors found.")


def _fail_at_ref(problems: "list[Problem]", call: Call) -> None:
    """Raise `Failure` for the first of the problems with refs, if there are any."""
    from ostler.store.needs import Reason

    for problem in problems:
        if problem.reason is Reason.BINDING:
            raise Failure(problem.message)
        ref = problem.ref or ""
        if ref not in call.repo.refs():
            ref = f"({', '.join(ref.split('/', 1))})"
        call.err(f"Object missing: {problem.checksum}.commit")
        raise Failure(f"Loading commit for ref {ref}: No such metadata object {problem.checksum}.commit")


def _print_problem(call: Call, problem: "Problem") -> None:
    """Raises `Failure` for damage, unless it is dealt with or everything wrong is to be told."""
    from ostler.store.needs import Reason

    commits = ", ".join(problem.commits)
    if problem.reason is Reason.MISSING:
        call.err(f"Object missing in commits {commits}: {problem.checksum}.{problem.kind.extension}")
        return
    message = f"In commits {commits}: fsck {_damage(problem)}"
    if not (call.flag("delete") or call.flag("all")):
        raise Failure(message)
    call.err(message)


def _damage(problem: "Problem") -> str:
    content = problem.kind is ObjectType.FILE
    name = f"content object {problem.checksum}" if content else f"{problem.checksum}.{problem.kind.extension}"
    damage = problem.damage
    if damage is None or damage.actual is None:
        return f"{name}: {damage.message if damage else problem.message}"
    return (
        f"{name}: Corrupted {problem.kind.extension} object; "
        f"checksum expected='{problem.checksum}' actual='{damage.actual}'"
    )


VERB = Verb(
    run,
    "",
    (
        flag("add-tombstones", "Put tombstones in the place of commits whose parents are missing"),
        flag("quiet", "Print only what is wrong", "q"),
        flag("all", "Go on after the first damaged object", "a"),
        flag("delete", "Remove damaged objects"),
        flag("verify-bindings", "Check that commits are meant for the refs that point at them"),
        flag("verify-back-refs", "And that the refs they are meant for point at them"),
    ),
)

"""`ostree init`."""

from ostler.cli.ostree.call import Call, Use, Verb
from ostler.cli.ostree.options import text
from ostler.cli.ostree.repository import default_path


def run(call: Call) -> None:
    """Make a repository; where there is one already nothing happens."""
    from ostler.store.repo import Repo, RepoMode

    mode = RepoMode.parse(call.text("mode") or "bare")
    path = call.repo_path or default_path()
    if (path / "objects").is_dir():
        return
    collection = call.text("collection-id")
    Repo.create(path, mode, settings={} if collection is None else {"collection-id": collection})


VERB = Verb(
    run,
    "",
    (
        text("mode", "", "What the repository is for: bare, bare-user, bare-user-only or archive (default: bare)"),
        text("collection-id", "COLLECTION-ID", "The globally unique name of the collection that its refs belong to"),
    ),
    Use.PATH,
)

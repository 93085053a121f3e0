"""What every verb that talks to a remote takes from the command line and the environment."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ostler.cli.ostree.call import Call
from ostler.cli.ostree.help import COMPATIBLE
from ostler.cli.ostree.places import places
from ostler.errors import OstlerError

if TYPE_CHECKING:
    from ostler.store.pull_options import PullOptions


def connecting_options(call: Call, remote: str) -> "PullOptions":
    """The options of `ostler.store.pull` that say how to reach a remote, not what to fetch."""
    from ostler.store.pull_options import PullOptions

    cache_dir = call.text("cache-dir")
    return PullOptions(
        user_agent=f"libostree/{COMPATIBLE}",
        proxy=_proxy(call, remote),
        cache_dir=None if cache_dir is None else Path(cache_dir),
        refuse_stale_cache="invalid-cache" in os.environ.get("OSTREE_REPO_TEST_ERROR", ""),
        places=places(),
    )


def _proxy(call: Call, remote: str) -> str | None:
    """The proxy that the environment names, as curl reads it; None if the remote has one of its own."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.parse import urlsplit

    from ostler.store.remotes import remote_option

    try:
        if remote_option(call.repo, remote, "proxy"):
            return None
        url = urlsplit(call.text("url") or remote_option(call.repo, remote, "url") or "")
    except OstlerError:  # reported by whoever looks the remote up
        return None
    host = url.hostname or ""
    for name in os.environ.get("no_proxy", "").replace(" ", "").split(","):
        if name == "*" or (name and (host == name.lstrip(".") or host.endswith("." + name.lstrip(".")))):
            return None
    names = (f"{url.scheme}_proxy", "all_proxy", *(("HTTPS_PROXY",) if url.scheme == "https" else ()), "ALL_PROXY")
    return next((os.environ[name] for name in names if os.environ.get(name)), None)

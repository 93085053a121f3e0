"""Where keys are looked for, as the environment says."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ostler.store.signing.places import Places


def places(keys_dir: str | None = None) -> "Places":
    """The places of keys: those of the system; `keys_dir` in place of its folders, `$OSTREE_GPG_HOME` of its keyrings.

    `$OSTREE_DUMMY_SIGN_ENABLED` admits the signatures of libostree's tests.
    """
    from ostler.store.signing.places import USUAL, Places

    keyrings = os.environ.get("OSTREE_GPG_HOME")
    return Places(
        root=USUAL.root,
        folders=USUAL.folders if keys_dir is None else (Path(keys_dir),),
        keyrings=Path(keyrings) if keyrings else USUAL.keyrings,
        dummy=os.environ.get("OSTREE_DUMMY_SIGN_ENABLED") == "1",
    )

"""Errors of static deltas."""

from ostler.formats.gvariant import FormatError
from ostler.store.errors import StoreError


class DeltaError(StoreError):
    """A delta cannot be made, or not be applied here."""


class BadPartError(FormatError):
    """A part of a delta does not hold what its superblock says, or is no part at all."""

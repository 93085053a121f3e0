"""Ostler: a folder of plain files becomes a bootable Linux machine that updates atomically and can always go back."""

__version__ = "0.1.0"

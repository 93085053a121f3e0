"""What `ostree` prints while and after commits come from elsewhere."""

import sys
from typing import TYPE_CHECKING

from ostler.cli.ostree.call import Call
from ostler.cli.ostree.sizes import format_size

if TYPE_CHECKING:
    from ostler.io.progress import Event, Reporter
    from ostler.store.pull import PullStatistics

_CLEAR = "\r\033[K"


def reporter() -> "Reporter":
    """What draws the progress of a transfer: one line on a terminal, nothing elsewhere."""
    from ostler.io.progress import Progress, silent

    if not sys.stdout.isatty():
        return silent

    def draw(event: "Event") -> None:
        if isinstance(event, Progress):
            done = format_size(event.done) if event.unit == "bytes" else str(event.done)
            of = "" if event.total is None else f"/{event.total}"
            sys.stdout.write(f"{_CLEAR}Receiving {event.unit}: {done}{of}")
            sys.stdout.flush()

    return draw


def print_status(call: Call, done: "PullStatistics") -> None:
    """The line that sums a pull up."""
    if done.local:
        what = f"{done.metadata_imported} metadata, {done.content_imported} content objects imported"
    elif done.delta_parts:
        what = f"{done.delta_parts} delta parts, {done.metadata_fetched + done.content_fetched} loose fetched"
    else:
        what = f"{done.metadata_fetched} metadata, {done.content_fetched} content objects fetched"
    if not done.local and (done.metadata_imported or done.content_imported):
        what += f" ({done.metadata_imported} meta, {done.content_imported} content local)"
    received = done.bytes_transferred
    if received:
        amount = f"{received} B" if received < 1024 else f"{received // 1024} KiB"
        what += f"; {amount} transferred in {int(done.seconds)} seconds"
    what += f"; {format_size(done.content_bytes_written)} content written"
    call.out((_CLEAR if sys.stdout.isatty() else "") + what)


def print_dry_run(call: Call, done: "PullStatistics") -> None:
    """The line that says what a pull would fetch."""
    call.out(
        f"Delta update: {done.parts_fetched}/{done.parts_total} parts, "
        f"{format_size(done.fetched_size)}/{format_size(done.total_size)}, "
        f"{format_size(done.total_usize)} total uncompressed"
    )

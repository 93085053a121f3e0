"""The body of an answer: bounded in size and in slowness, resumed when a connection breaks."""

import time
from collections.abc import Callable

from ostler.io.http_connection import CHUNK, Answer, ProtocolError
from ostler.io.http_errors import NetworkError, PassingError, transfer_error

BROKEN = (OSError, ProtocolError)
"""What the methods of connections and answers raise when the other side fails."""


class AnswerBody:
    """A `Body` over an `Answer`; when the connection breaks, `resume` may bring the rest on another one."""

    def __init__(
        self,
        answer: Answer,
        shown: str,
        limit: int,
        resume: "Callable[[int, AnswerBody], Answer | None]",
        low_speed: tuple[int, float],
    ) -> None:
        self.answer = answer
        self.received = 0
        self._shown = shown
        self._limit = limit
        self._resume = resume
        self._low_bytes, self._low_seconds = low_speed
        self._since = time.monotonic() if self._low_bytes else 0.0
        self._since_bytes = 0
        self.check_limit()

    def header(self, name: str, /) -> str | None:
        """See `Body`."""
        return self.answer.headers.get(name.lower())

    @property
    def finished(self) -> bool:
        """Whether all of it was read."""
        return self.answer.ended

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; all that remain if negative."""
        if size < 0:
            parts = []
            while part := self.read(CHUNK):
                parts.append(part)
            return b"".join(parts) if len(parts) != 1 else parts[0]
        if size == 0:
            return b""
        while True:
            try:
                data = self.answer.read(size)
                break
            except BROKEN as error:
                answer = self._resume(self.received, self) if self.received else None
                if answer is None:
                    raise PassingError(transfer_error(self._shown, error)) from error
                self.answer = answer
        self.received += len(data)
        if self.received > self._limit:
            raise self._too_long()
        if self._low_bytes:
            self._check_speed()
        return data

    def check_limit(self) -> None:
        """Refuse an answer whose announced length is beyond what it may have."""
        left = self.answer.left
        if left is not None and left + self.received > self._limit:
            raise self._too_long()

    def _check_speed(self) -> None:
        passed = time.monotonic() - self._since
        if passed < self._low_seconds:
            return
        if self.received - self._since_bytes < self._low_bytes * passed:
            slow = NetworkError(
                f"{self._shown}: the server sends less than {self._low_bytes} bytes a second",
                hint="try again later; what has arrived is kept",
            )
            raise PassingError(slow)
        self._since += passed
        self._since_bytes = self.received

    def _too_long(self) -> NetworkError:
        return NetworkError(
            f"{self._shown}: the answer is longer than the {self._limit} bytes that it may have"
            " (exceeded maximum size)",
            hint="the server sends something else than what was asked for; look at the address in a browser",
        )

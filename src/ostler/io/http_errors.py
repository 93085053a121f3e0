"""What goes wrong between here and a server, in plain words."""

import socket
from collections.abc import Mapping
from types import MappingProxyType

from ostler.errors import ExitCode, OstlerError

MAX_RETRY_AFTER_SECONDS = 30.0
PASSING = frozenset({408, 429, 500, 502, 503, 504})  # answers that may be different in a moment
ABSENT = frozenset({403, 404, 410})  # S3 says 403 for a missing key unless the reader may list the bucket
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_NAME_NOT_KNOWN = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class NetworkError(OstlerError):
    """A server could not be reached, or what it said was not what was asked for."""

    exit_code = ExitCode.NETWORK


class HttpStatusError(NetworkError):
    """The server answered with an error status; `status` and `url` say which."""

    def __init__(self, message: str, *, status: int, url: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.url = url

    @property
    def absent(self) -> bool:
        """Whether the answer means that nothing is there (403, 404, 410)."""
        return self.status in ABSENT


class PassingError(Exception):
    """A failure worth another attempt; `error` is what to raise if that was the last one."""

    def __init__(self, error: NetworkError, wait_seconds: float | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.wait_seconds = wait_seconds


def status_error(status: int, reason: str, headers: Mapping[str, str], shown: str) -> Exception:
    """The error for an answer that is neither success nor redirect, wrapped if another attempt may help."""
    hints = {
        401: "the server wants a user name and password: https://USER:PASSWORD@HOST/…",
        403: "the server forbids reading this, or nothing is there",
        404: "nothing is there: check the address",
        407: "the proxy wants a user name and password: http://USER:PASSWORD@HOST:PORT",
    }
    error = HttpStatusError(
        f"{shown}: the server answered {status} {reason}".rstrip(),
        status=status,
        url=shown,
        hint=hints.get(status),
    )
    if status not in PASSING:
        return error
    error.hint = "the server has trouble of its own; try again later"
    try:
        wait = min(float(headers.get("retry-after", "")), MAX_RETRY_AFTER_SECONDS)
    except ValueError:
        return PassingError(error)
    return PassingError(error, max(wait, 0.0))


def connection_error(shown: str, host: str, origin: str, error: Exception) -> Exception:
    """The failure to reach a server in plain words, as a `NetworkError` if final, else wrapped for another attempt."""
    if isinstance(error, socket.gaierror):
        failure = NetworkError(
            f"{shown}: the name {host} cannot be resolved ({error.strerror})",
            hint=f"check the address and this machine's network (`getent hosts {host}`)",
        )
        return failure if error.errno in _NAME_NOT_KNOWN else PassingError(failure)
    if isinstance(error, ConnectionRefusedError):
        failure = NetworkError(
            f"{shown}: nothing answers at {origin} (connection refused)",
            hint=f"is the server running, and the address right? `curl -I {shown}` should answer",
        )
        return PassingError(failure)
    if isinstance(error, TimeoutError):
        failure = NetworkError(
            f"{shown}: {origin} did not answer in time",
            hint="check that the server is up and that no firewall lies between",
        )
        return PassingError(failure)
    if type(error).__name__ == "SSLCertVerificationError":
        return NetworkError(
            f"{shown}: the certificate of {origin} cannot be trusted ({getattr(error, 'verify_message', error)})",
            hint="check this machine's clock; for a certificate authority of your own, set `tls-ca-path` of the remote",
        )
    return PassingError(transfer_error(shown, error))


def transfer_error(shown: str, error: Exception) -> NetworkError:
    """The error for a connection that broke while a body came."""
    reason = str(error) or type(error).__name__
    return NetworkError(f"{shown}: the connection broke ({reason})", hint="try again; what has arrived is kept")

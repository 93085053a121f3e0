"""The few requests to an S3-compatible server that publishing needs: get, put, delete, list, look.

A client may be used from many threads; each has a connection of its own, which is kept.
"""

import hashlib
import http.client
import io
import random
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from ostler import __version__
from ostler.io.http import NetworkError
from ostler.publish.sigv4 import Credentials, canonical_path, canonical_query, signed_headers

ATTEMPTS = 5
BACKOFF_SECONDS = 0.5
TIMEOUT_SECONDS = 60.0
CONNECT_SECONDS = 15.0
HURRIED_SECONDS = 3.0
PASSING = frozenset({408, 429, 500, 502, 503, 504})
LARGEST_ANSWER = 256 * 1024 * 1024
_LARGEST_LISTING = 16 * 1024 * 1024
_CHUNK = 1 << 20
_EMPTY = hashlib.sha256(b"").hexdigest()
_BROKEN = (OSError, http.client.HTTPException)


class S3Error(NetworkError):
    """The server refused a request; `code` is its word for why ("AccessDenied"), `status` the HTTP status."""

    def __init__(self, message: str, *, status: int, code: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class S3Options:
    """Where and who. `endpoint` None: AWS itself. Requests name the bucket in the path if there is an endpoint."""

    credentials: Credentials
    region: str = "us-east-1"
    endpoint: str | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class S3Client:
    """One bucket of a server."""

    def __init__(self, bucket: str, options: S3Options) -> None:
        self._options = options
        if options.endpoint is None:
            url = f"https://{bucket}.s3.{options.region}.amazonaws.com"
            if "." in bucket:  # no certificate fits such a host name
                url = f"https://s3.{options.region}.amazonaws.com/{bucket}"
        else:
            url = f"{options.endpoint.rstrip('/')}/{bucket}"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise NetworkError(
                f"{options.endpoint!r} is no address of an S3 server: {error}",
                hint="write https://HOST:PORT, in [publish] endpoint or AWS_ENDPOINT_URL",
            ) from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NetworkError(f"{options.endpoint!r} is no http:// or https:// address of an S3 server")
        self._bucket = bucket
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = port
        self._netloc = parts.netloc
        self._base = parts.path
        self._local = threading.local()
        self._opened: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._hurried = threading.Event()

    def close(self) -> None:
        """End all connections, and with them requests that are still waited for."""
        self.give_up()
        with self._lock:
            for connection in self._opened:
                connection.close()
            self._opened.clear()

    def give_up(self) -> None:
        """Break off all requests; each later one gets a single, short attempt."""
        self._hurried.set()
        with self._lock:
            for connection in self._opened:
                if connection.sock is not None:
                    with suppress(OSError):
                        connection.sock.shutdown(socket.SHUT_RDWR)  # closing would not wake who waits for an answer

    def get(self, key: str) -> bytes | None:
        """The content of an object, or None if there is none."""
        answer = self._ask("GET", key)
        return None if answer.status == 404 else answer.body

    def has(self, key: str) -> bool:
        """Whether there is such an object."""
        return self._ask("HEAD", key).status != 404

    def put(self, key: str, content: bytes | Path, headers: Mapping[str, str]) -> None:
        """Store an object: readers see the old one or all of the new one."""
        self._ask("PUT", key, content=content, headers=headers)

    def delete(self, key: str) -> None:
        """Remove an object, or nothing."""
        self._ask("DELETE", key)

    def list(self, prefix: str) -> Iterator[str]:
        """The keys that begin with `prefix`."""
        query = {"list-type": "2", "prefix": prefix}
        while True:
            answer = self._ask("GET", "", query=query, limit=_LARGEST_LISTING)
            keys, token = _parse_listing(answer.body, self._where(prefix))
            yield from keys
            if token is None:
                return
            query["continuation-token"] = token

    def _where(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"

    def _ask(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        content: bytes | Path | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int = LARGEST_ANSWER,
    ) -> _Answer:
        digest, size = _measure(content)
        wait = BACKOFF_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            failure: NetworkError
            try:
                with _Opened(content) as body:
                    answer = self._send(method, key, query or {}, body, size, digest, headers or {}, limit)
                if answer.status in (200, 204) or (answer.status == 404 and method != "PUT" and not query):
                    return answer
                failure = _refusal(answer, self._where(key), self._options.region)
                if answer.status not in PASSING:
                    raise failure
            except _BROKEN as error:
                self._drop()
                failure = self._broken(key, error)
                if isinstance(error, socket.gaierror | ConnectionRefusedError) and attempt > 1:
                    raise failure from error
            if attempt == ATTEMPTS or self._hurried.wait(wait * random.uniform(0.75, 1.25)):
                raise failure
            wait *= 2
        raise AssertionError("at least one attempt is made")

    def _send(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        body: BinaryIO | None,
        size: int,
        digest: str,
        headers: Mapping[str, str],
        limit: int,
    ) -> _Answer:
        path = f"{self._base}/{key}" if key else self._base or "/"
        sent = signed_headers(
            method,
            self._netloc,
            path,
            query,
            headers,
            digest,
            credentials=self._options.credentials,
            region=self._options.region,
            moment=datetime.now(UTC),
        )
        sent |= {"User-Agent": f"ostler/{__version__}", "Accept-Encoding": "identity"}  # which proxies may change
        if body is not None:
            sent["Content-Length"] = str(size)
        target = canonical_path(path) + (f"?{canonical_query(query)}" if query else "")
        connection = self._connection()
        connection.request(method, target, body=body, headers=sent)
        response = connection.getresponse()
        data = response.read(limit + 1)
        if len(data) > limit:
            self._drop()
            raise NetworkError(f"{self._where(key)}: the answer is longer than the {limit} bytes that it may have")
        if response.will_close:
            self._drop()
        return _Answer(response.status, dict(response.headers.items()), data)

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            patience = HURRIED_SECONDS if self._hurried.is_set() else TIMEOUT_SECONDS
            first = min(patience, CONNECT_SECONDS)
            if self._secure:
                import ssl

                ca_file = str(self._options.ca_file) if self._options.ca_file else None
                context = ssl.create_default_context(cafile=ca_file)
                connection = http.client.HTTPSConnection(self._host, self._port, timeout=first, context=context)
            else:
                connection = http.client.HTTPConnection(self._host, self._port, timeout=first)
            connection.connect()
            connection.sock.settimeout(patience)
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._local.connection = connection
            with self._lock:
                self._opened.append(connection)
        return connection

    def _drop(self) -> None:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _broken(self, key: str, error: Exception) -> NetworkError:
        place = f"{self._host}:{self._port}" if self._port else self._host
        return NetworkError(
            f"{self._where(key)}: {place} cannot be reached ({error or type(error).__name__})",
            hint="check the endpoint and this machine's network",
        )


def _measure(content: bytes | Path | None) -> tuple[str, int]:
    """(SHA-256, size in bytes) of what is sent."""
    if content is None:
        return _EMPTY, 0
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), len(content)
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), content.stat().st_size


class _Opened:
    """What is sent as a stream; None for nothing."""

    def __init__(self, content: bytes | Path | None) -> None:
        self._content = content
        self._stream: BinaryIO | None = None

    def __enter__(self) -> BinaryIO | None:
        if isinstance(self._content, Path):
            self._stream = self._content.open("rb")
        elif self._content is not None:
            self._stream = io.BytesIO(self._content)
        return self._stream

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()


_HINTS: Mapping[str, str] = {
    "NoSuchBucket": "make the bucket first; Ostler makes none",
    "AccessDenied": "the key may not do this; it needs to list, read, write and delete in the bucket",
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID, or the profile in ~/.aws/credentials",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY, or the profile in ~/.aws/credentials",
    "RequestTimeTooSkewed": "set this machine's clock",
    "ExpiredToken": "get new temporary credentials",
}


def _refusal(answer: _Answer, where: str, region: str) -> S3Error:
    code, said = _parse_error(answer.body)
    code = code or str(answer.status)
    hint = _HINTS.get(code)
    if answer.status in (301, 307, 400) and (actual := _header(answer, "x-amz-bucket-region")):
        hint = f'the bucket is in the region {actual}, not {region}: set region = "{actual}" in [publish]'
    elif answer.status == 403 and hint is None:
        hint = _HINTS["AccessDenied"]
    elif answer.status in PASSING:
        hint = "the server has trouble of its own; try again later"
    return S3Error(
        f"{where}: the server answered {answer.status} {code}{': ' + said if said else ''}",
        status=answer.status,
        code=code,
        hint=hint,
    )


def _header(answer: _Answer, name: str) -> str | None:
    return next((value for key, value in answer.headers.items() if key.lower() == name), None)


def _parse_error(body: bytes) -> tuple[str, str]:
    found = _parse(body[:65536])
    if found is None:
        return "", ""
    texts = {name: text for name, text in found("")}
    return texts.get("Code", ""), texts.get("Message", "")


def _parse_listing(body: bytes, where: str) -> tuple[list[str], str | None]:
    """(keys, token for the next part or None) of an answer to ListObjectsV2."""
    found = _parse(body)
    if found is None:
        raise NetworkError(f"{where}: the server's listing cannot be read", hint="is this an S3-compatible server?")
    keys = [text for name, text in found("Contents") if name == "Key"]
    texts = dict(found(""))
    if texts.get("IsTruncated", "").strip().lower() != "true":
        return keys, None
    token = texts.get("NextContinuationToken")
    if not token:  # the rest would be taken for missing
        raise NetworkError(
            f"{where}: the server lists a part of what it has, and gives no way to ask for the rest",
            hint="is this an S3-compatible server, with ListObjectsV2?",
        )
    return keys, token


def _parse(body: bytes) -> Callable[[str], Iterator[tuple[str, str]]] | None:
    """A function that gives (name, text) of the elements directly in each element of a name ("": in the document)."""
    from xml.etree import ElementTree

    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        return None
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        return None

    def inside(name: str) -> Iterator[tuple[str, str]]:
        parents = [root] if not name else [child for child in root if _local_name(child.tag) == name]
        for parent in parents:
            for child in parent:
                yield _local_name(child.tag), child.text or ""

    return inside


def _local_name(tag: str) -> str:
    return tag.rpartition("}")[2]

"""AWS Signature Version 4: how requests to S3 and its likes are signed. Pure: no clock, no network."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; `session_token` belongs to temporary ones. The secret is kept out of `repr`."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def canonical_query(query: Mapping[str, str]) -> str:
    """The query string as it is signed, and can be sent: sorted, everything else than letters, digits, -._~ escaped."""
    return "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in sorted(query.items()))


def canonical_path(path: str) -> str:
    """The path as it is signed, and can be sent."""
    return quote(path, safe="/-._~")


def signed_headers(
    method: str,
    host: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    payload_sha256: str,
    *,
    credentials: Credentials,
    region: str,
    moment: datetime,
    service: str = "s3",
) -> dict[str, str]:
    """`headers` with those added that sign the request. `moment` is the time in UTC, `path` not yet escaped."""
    stamp = moment.strftime("%Y%m%dT%H%M%SZ")
    complete = {
        **headers,
        "Host": host,
        "X-Amz-Date": stamp,
        "X-Amz-Content-Sha256": payload_sha256,
    }
    if credentials.session_token:
        complete["X-Amz-Security-Token"] = credentials.session_token
    by_name = {name.lower(): " ".join(value.split()) for name, value in complete.items()}
    names = ";".join(sorted(by_name))
    request = "\n".join(
        (
            method,
            canonical_path(path),
            canonical_query(query),
            *(f"{name}:{by_name[name]}" for name in sorted(by_name)),
            "",
            names,
            payload_sha256,
        )
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join((_ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (stamp[:8], region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    complete["Authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return complete

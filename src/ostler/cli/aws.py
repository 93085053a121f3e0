"""Access to S3-compatible servers, from the variables and files that all programs for them read."""

import os
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import Path

from ostler.errors import OstlerError
from ostler.publish.s3_client import S3Options
from ostler.publish.sigv4 import Credentials

DEFAULT_REGION = "us-east-1"


def s3_options(endpoint: str | None, region: str | None) -> S3Options:
    """Credentials, region and endpoint; the arguments, what a machine folder says, come before everything else.

    Raises `OstlerError` if there is no access key.
    """
    profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"
    secrets = _section(_file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), profile)
    config = _section(_file("AWS_CONFIG_FILE", "config"), profile if profile == "default" else f"profile {profile}")
    ca_bundle = os.environ.get("AWS_CA_BUNDLE") or config.get("ca_bundle")
    return S3Options(
        _credentials({**config, **secrets}, profile),
        region
        or os.environ.get("AWS_REGION")
        or os.environ.get("AWS_DEFAULT_REGION")
        or config.get("region")
        or DEFAULT_REGION,
        endpoint
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
        or config.get("endpoint_url"),
        Path(ca_bundle) if ca_bundle else None,
    )


def _credentials(settings: Mapping[str, str], profile: str) -> Credentials:
    key, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if key and secret:
        return Credentials(key, secret, os.environ.get("AWS_SESSION_TOKEN"))
    if "aws_access_key_id" in settings and "aws_secret_access_key" in settings:
        token = settings.get("aws_session_token")
        return Credentials(settings["aws_access_key_id"], settings["aws_secret_access_key"], token)
    raise OstlerError(
        f"there is no access key for the bucket (looked in the environment, and for the profile {profile} in ~/.aws)",
        hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    )


def _file(variable: str, name: str) -> Path:
    named = os.environ.get(variable)
    return Path(named).expanduser() if named else Path.home() / ".aws" / name


def _section(path: Path, name: str) -> dict[str, str]:
    """The settings of one section of a file; none if there is no such file or section."""
    parser = ConfigParser(interpolation=None, strict=False, default_section="\0")
    try:
        parser.read_string(path.read_text())
    except (OSError, UnicodeDecodeError, ConfigError):
        return {}
    return dict(parser[name]) if parser.has_section(name) else {}

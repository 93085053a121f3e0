"""Points in time as people write them."""

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostler.cli.ostree.dates import parse_date

NOW = int(datetime(2024, 2, 29, 12, 30, 15, tzinfo=UTC).timestamp())


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def moment(text: str) -> str:
    return datetime.fromtimestamp(parse_date(text, now=NOW), UTC).strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@1234567890", "2009-02-13 23:31:30"),
        ("@1234567890.9", "2009-02-13 23:31:30"),
        ("2005-10-29 12:43:29 +0000", "2005-10-29 12:43:29"),
        ("2005-10-29T12:43:29+02:00", "2005-10-29 10:43:29"),
        ("2005-10-29T12:43:29Z", "2005-10-29 12:43:29"),
        ("2005-10-29 12:43", "2005-10-29 12:43:00"),
        ("20051029", "2005-10-29 00:00:00"),
        ("0", "2024-02-29 00:00:00"),
        ("17", "2024-02-29 17:00:00"),
        ("1230", "2024-02-29 12:30:00"),
        ("10/29/2005", "2005-10-29 00:00:00"),
        ("October 25 1985", "1985-10-25 00:00:00"),
        ("October 25, 1985 5pm", "1985-10-25 17:00:00"),
        ("November 05 1955", "1955-11-05 00:00:00"),
        ("25 oct 1985", "1985-10-25 00:00:00"),
        ("25-Oct-85", "1985-10-25 00:00:00"),
        ("Fri, 25 Oct 1985 01:20:00 -0700", "1985-10-25 08:20:00"),
        ("Fri Oct 25 01:20:00 UTC 1985", "1985-10-25 01:20:00"),
        ("Fri Oct 25 01:20:00 PDT 1985", "1985-10-25 08:20:00"),
        ("now", "2024-02-29 12:30:15"),
        ("", "2024-02-29 12:30:15"),
        ("1 week ago", "2024-02-22 12:30:15"),
        ("4 days ago", "2024-02-25 12:30:15"),
        ("yesterday", "2024-02-28 12:30:15"),
        ("tomorrow 6:00", "2024-03-01 06:00:00"),
        ("last month", "2024-01-29 12:30:15"),
        ("1 year ago", "2023-03-01 12:30:15"),
        ("-2 hours", "2024-02-29 10:30:15"),
        ("90 seconds ago", "2024-02-29 12:28:45"),
        ("2024-02-29 + 2 days", "2024-03-02 00:00:00"),
        ("monday", "2024-03-04 00:00:00"),
    ],
)
def test_forms_of_dates(text: str, expected: str) -> None:
    assert moment(text) == expected


@pytest.mark.parametrize("text", ["soon", "2005-13-45", "12:00:00:00 foo", "@", "October", "+0200", "1 parsec ago"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_date(text, now=NOW)


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)), st.sampled_from(["%c", "%F %T", "%d %b %Y %T", "%FT%T"])
)
def test_usual_forms_of_any_time_are_read(when: datetime, form: str) -> None:
    when = when.replace(microsecond=0)
    assert parse_date(when.strftime(form) + " +0000", now=NOW) == int(when.replace(tzinfo=UTC).timestamp())


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse_date(text, now=NOW)

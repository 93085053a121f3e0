"""Points in time as people write them: `@1700000000`, `2023-11-14 22:13:20 +0000`, `Nov 14 2023`, `4 days ago`.

The forms that GNU's `date --date` takes, as far as scripts use them. What is not said is taken from now: without a time
of day a date means its midnight, without a zone the local one. Words may stand in any order.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SECONDS = {"sec": 1, "second": 1, "min": 60, "minute": 60, "hour": 3600}
_DAY_UNITS = {"day": 1, "week": 7, "fortnight": 14}
_WORDS = {"yesterday": -1, "today": 0, "now": 0, "tomorrow": 1}
_ZONES = {"utc": 0, "gmt": 0, "z": 0, "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8}
_ZONES |= {"pdt": -7, "cet": 1, "cest": 2, "bst": 1, "eet": 2, "eest": 3, "jst": 9}
_COUNTS = {"last": -1, "next": 1, "a": 1, "an": 1}


@dataclass(slots=True)
class _Moment:
    """What was said so far."""

    date: tuple[int, int, int] | None = None
    clock: tuple[int, int, int] | None = None
    zone: tzinfo | None = None
    weekday: int | None = None
    months: int = 0
    days: int = 0
    seconds: int = 0
    relative: list[str] = field(default_factory=list)


def parse_date(text: str, *, now: float | None = None) -> int:
    """Seconds since 1970 of a point in time; raises `ValueError` if it cannot be told. `now` is for relative ones."""
    text = text.strip().lower()
    if re.fullmatch(r"@[+-]?\d+(\.\d+)?", text):
        return int(float(text[1:]) // 1)
    moment = _Moment()
    rest = text.replace(",", " ")
    while rest := rest.strip():
        for pattern, take in _FORMS:
            match = pattern.match(rest)
            if match and take(moment, match):
                rest = rest[match.end() :]
                break
        else:
            raise ValueError(f"`{text}` is no date")
    try:
        return _resolve(moment, time.time() if now is None else now)
    except OverflowError as error:
        raise ValueError(f"`{text}` lies too far from now") from error


def _resolve(moment: _Moment, now: float) -> int:
    """Raises `ValueError` for a day or time that does not exist."""
    today = datetime.fromtimestamp(now, moment.zone) if moment.zone else datetime.fromtimestamp(now).astimezone()
    named = moment.date is not None or moment.weekday is not None
    date = datetime(*moment.date) if moment.date else today
    hour, minute, second = moment.clock or ((0, 0, 0) if named else (today.hour, today.minute, today.second))
    month0 = date.year * 12 + date.month - 1 + moment.months
    found = datetime(month0 // 12, month0 % 12 + 1, 1, hour, minute, second) + timedelta(date.day - 1 + moment.days)
    if moment.weekday is not None and moment.date is None:
        found += timedelta((moment.weekday - found.weekday()) % 7)
    zoned = found.replace(tzinfo=moment.zone) if moment.zone else found.astimezone()
    return int(zoned.timestamp()) + moment.seconds


def _iso_date(moment: _Moment, match: re.Match[str]) -> bool:
    year, month, day = (int(part) for part in match.groups())
    moment.date = (year, month, day)
    return True


def _american_date(moment: _Moment, match: re.Match[str]) -> bool:
    month, day, year = match.groups()
    moment.date = (_year(year), int(month), int(day))
    return True


def _year(text: str | None) -> int:
    if text is None:
        return datetime.now().astimezone().year
    return int(text) + (0 if len(text) > 2 else 2000 if int(text) < 69 else 1900)


def _named_month(name: str) -> int:
    return _MONTHS.index(name[:3]) + 1


def _month_day(moment: _Moment, match: re.Match[str]) -> bool:
    name, day, year = match.groups()
    moment.date = (_year(year), _named_month(name), int(day))
    return True


def _day_month(moment: _Moment, match: re.Match[str]) -> bool:
    day, name, year = match.groups()
    moment.date = (_year(year), _named_month(name), int(day))
    return True


def _year_alone(moment: _Moment, match: re.Match[str]) -> bool:
    """The year behind the time of day, as `date` itself prints it."""
    if moment.date is None or moment.clock is None:
        return False
    moment.date = (int(match[1]), *moment.date[1:])
    return True


def _clock(moment: _Moment, match: re.Match[str]) -> bool:
    hour, minute, second, half = int(match[1]), int(match[2] or 0), int(match[3] or 0), match[4]
    if half:
        hour = hour % 12 + (12 if half[0] == "p" else 0)
    moment.clock = (hour, minute, second)
    return True


def _hour(moment: _Moment, match: re.Match[str]) -> bool:
    """A number alone is an hour, or with three digits or more hour and minute."""
    if moment.clock is not None:
        return False
    number = int(match[1])
    moment.clock = (number, 0, 0) if len(match[1]) < 3 else (number // 100, number % 100, 0)
    return True


def _offset(moment: _Moment, match: re.Match[str]) -> bool:
    if moment.clock is None:
        return False
    sign = -1 if match[1] == "-" else 1
    moment.zone = timezone(sign * timedelta(hours=int(match[2]), minutes=int(match[3] or 0)))
    return True


def _zone(moment: _Moment, match: re.Match[str]) -> bool:
    moment.zone = UTC if _ZONES[match[1]] == 0 else timezone(timedelta(hours=_ZONES[match[1]]))
    return True


def _weekday(moment: _Moment, match: re.Match[str]) -> bool:
    moment.weekday = _DAYS.index(match[1][:3])
    return True


def _word(moment: _Moment, match: re.Match[str]) -> bool:
    moment.days += _WORDS[match[1]]
    return True


def _relative(moment: _Moment, match: re.Match[str]) -> bool:
    sign, count, word, unit, ago = match.groups()
    number = int(count) if count else _COUNTS.get(word or "", 1)
    if sign == "-":
        number = -number
    if ago:
        number = -number
    if unit in _SECONDS:
        moment.seconds += number * _SECONDS[unit]
    elif unit in _DAY_UNITS:
        moment.days += number * _DAY_UNITS[unit]
    else:
        moment.months += number * (12 if unit == "year" else 1)
    return True


_MONTH = rf"({'|'.join(_MONTHS)})[a-z]*\.?"
_UNIT = "sec|second|min|minute|hour|day|week|fortnight|month|year"
_Form = tuple[re.Pattern[str], Callable[[_Moment, re.Match[str]], bool]]
_FORMS: tuple[_Form, ...] = (
    (re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:t(?=\d)|(?!\d))"), _iso_date),
    (re.compile(r"(\d{4})(\d{2})(\d{2})(?:t(?=\d)|(?![\d:]))"), _iso_date),
    (re.compile(r"(\d{1,2})/(\d{1,2})(?:/(\d{2,4}))?(?!\d)"), _american_date),
    (re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?\s*([ap]\.?m\.?)?(?![\d:])"), _clock),
    (re.compile(r"(\d{1,2})()()\s*([ap]\.?m\.?)\b"), _clock),
    (re.compile(rf"([+-]?)\s*(?:(\d+)|({'|'.join(_COUNTS)})\b)?\s*({_UNIT})s?\b(?:\s*(ago)\b)?"), _relative),
    (re.compile(rf"(\d{{1,2}})(?:st|nd|rd|th)?[ -]?{_MONTH}[ -]?(\d{{4}}|\d{{2}}(?![\d:]))?"), _day_month),
    (re.compile(rf"{_MONTH}\s*(\d{{1,2}})(?![\d:])(?:st|nd|rd|th)?(?:\s+(\d{{4}})(?![\d:]))?"), _month_day),
    (re.compile(r"([+-])(\d{2}):?(\d{2})?(?!\d)"), _offset),
    (re.compile(rf"({'|'.join(sorted(_ZONES, key=len, reverse=True))})\b"), _zone),
    (re.compile(rf"({'|'.join(_WORDS)})\b"), _word),
    (re.compile(rf"({'|'.join(_DAYS)})[a-z]*\.?"), _weekday),
    (re.compile(r"(\d{4})(?!\d)"), _year_alone),
    (re.compile(r"(\d{1,4})(?![\d:])"), _hour),
)

"""Which times are taken as such: those of the years 1 to 9999 of UTC, so that all can be shown and compared."""

import re
from datetime import UTC, datetime, tzinfo

FIRST, END = datetime.min.replace(tzinfo=UTC).timestamp(), datetime.max.replace(tzinfo=UTC).timestamp()
"""In seconds since 1970; END is the first moment of the year 10,000."""
_LEAP_SECOND = re.compile(r"(?<=:\d\d):60(?!\d)")


def iso_time(text: str, zone: tzinfo | None = UTC) -> datetime | None:
    """A time in ISO 8601, aware, in `zone` where it names none; a leap second is the one before it.

    None where it is none, or lies before or after these years.
    """
    try:
        time = datetime.fromisoformat(_LEAP_SECOND.sub(":59", text))
    except ValueError:
        return None
    time = time if time.tzinfo else time.replace(tzinfo=zone)
    return time if FIRST <= time.timestamp() < END else None

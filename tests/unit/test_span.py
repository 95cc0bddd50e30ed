"""Which part of the log is meant."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from service.errors import MediamirrorError
from service.replay.span import BadTimeError, EndBeforeStartError, FutureTimeError, Span, WhichSpanError, read_time

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31 12:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=2)))),
        ("90s", NOW - timedelta(seconds=90)),
        ("30m", NOW - timedelta(minutes=30)),
        (" 2h ago ", NOW - timedelta(hours=2)),
        ("7d", NOW - timedelta(days=7)),
        ("2 w", NOW - timedelta(weeks=2)),
        ("0s", NOW),
    ],
)
def test_times_are_absolute_or_relative(text: str, moment: datetime) -> None:
    assert read_time(text, NOW) == moment


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2h30", "-2h", "1.5h", "2026-13-01", "1769860800", "9" * 30 + "d", "99999999d"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BadTimeError, match="ISO 8601"):
        read_time(text, NOW)


def test_the_future_is_refused() -> None:
    with pytest.raises(FutureTimeError, match="2026-03-01T12:00:01Z is in the future; it is 2026-03-01 12:00:00"):
        read_time("2026-03-01T12:00:01Z", NOW)


@pytest.mark.parametrize(
    ("options", "span"),
    [
        ({"from_beginning": True}, Span()),
        ({"from_beginning": True, "partition": 2}, Span(2)),
        ({"from_beginning": True, "partition": 2, "to_offset": 7}, Span(2, None, 7)),
        ({"partition": 0, "from_offset": 0}, Span(0, 0)),
        ({"partition": 1, "from_offset": 5, "to_offset": 5}, Span(1, 5, 5)),
        ({"from_time": "2026-01-01"}, Span(None, datetime(2026, 1, 1, tzinfo=UTC))),
        (
            {"from_time": "2026-01-01", "to_time": "2026-01-02"},
            Span(None, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
        ),
    ],
)
def test_a_span_is_what_the_options_say(options: dict[str, Any], span: Span) -> None:
    assert Span.of(**options) == span


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, WhichSpanError),
        ({"partition": 1}, WhichSpanError),
        ({"from_offset": 1}, WhichSpanError),
        ({"from_beginning": True, "from_time": "2h"}, WhichSpanError),
        ({"from_beginning": True, "to_offset": 2}, WhichSpanError),
        ({"partition": 1, "from_offset": 1, "to_offset": 2, "to_time": "2h"}, WhichSpanError),
        ({"partition": 1, "from_offset": 2, "to_offset": 1}, EndBeforeStartError),
        ({"from_time": "1h", "to_time": "2h"}, EndBeforeStartError),
        ({"from_time": "soon"}, BadTimeError),
        ({"from_beginning": True, "to_time": "2999-01-01"}, FutureTimeError),
    ],
)
def test_options_that_make_no_span_are_refused(options: dict[str, Any], error: type[MediamirrorError]) -> None:
    with pytest.raises(error) as refused:
        Span.of(**options)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)

"""Whether events reach Kafka."""

from collections.abc import Iterator

from service.doctor.finding import Finding, Level
from service.events.backlog import COUNTED, Backlog

_LOOK = "`mediamirror outbox list` tells why; `mediamirror outbox retry` sends them after all, `… drop` gives them up."
_RELAY = "Does a relay run, and what does its log say? A backlog of many events takes its time; mediamirror_events should grow."


def outbox_findings(backlog: Backlog) -> Iterator[Finding]:
    """Tell how many events wait and for how long, and what can't be sent."""
    if backlog.waiting:
        level = Level.WARN if backlog.is_late else Level.OK
        said = f"{_number(backlog.waiting)} wait{'s' * (backlog.waiting == 1)}, the oldest for {backlog.oldest:,.0f} s"
        yield Finding("outbox", level, said, todo=_RELAY if backlog.is_late else None)
    else:
        yield Finding("outbox", Level.OK, "no event waits")
    if backlog.aside:
        behind = backlog.aside - backlog.unsendable
        said = f"{_number(backlog.unsendable)} can't be sent, and {_number(behind)} of their assets wait behind them"
        yield Finding("outbox", Level.FAIL, said, todo=_LOOK)


def _number(events: int) -> str:
    return f"{events:,} event{'s' * (events != 1)}" if events < COUNTED else f"{events:,} events or more"

from service.doctor.finding import Level
from service.doctor.outbox import outbox_findings
from service.events.backlog import Backlog


def told(backlog: Backlog) -> list[tuple[Level, str]]:
    return [(finding.level, finding.said) for finding in outbox_findings(backlog)]


def test_an_outbox_that_flows_is_well() -> None:
    assert told(Backlog(0, 0, 0, 0)) == [(Level.OK, "no event waits")]
    assert told(Backlog(2000, 0.4, 0, 0)) == [(Level.OK, "2,000 events wait, the oldest for 0 s")]


def test_events_that_wait_long_are_a_warning_with_their_age() -> None:
    assert told(Backlog(1, 3600.0, 0, 0)) == [(Level.WARN, "1 event waits, the oldest for 3,600 s")]


def test_events_set_aside_are_a_failure_whatever_else_flows() -> None:
    (_, _), (level, said) = told(Backlog(0, 0, 3, 1))
    assert (level, said) == (Level.FAIL, "1 event can't be sent, and 2 events of their assets wait behind them")
    (_, _), (_, many) = told(Backlog(0, 0, 10_000, 10_000))
    assert many.startswith("10,000 events or more can't be sent")

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from service.gateway.refusals import Refusals
from service.gateway.signature import Reason
from service.telemetry import Metrics


class Given:
    def __init__(self) -> None:
        self.now = 0.0
        self.metrics = Metrics(CollectorRegistry())
        self.refusals = Refusals(self.metrics, ["acme", "umbrella"], lambda: self.now)

    def gauge(self, cloud: str = "acme") -> float | None:
        return self.metrics.registry.get_sample_value("mediamirror_signatures_refused", {"cloud": cloud})


def test_a_cloud_is_told_of_once_all_of_some_webhooks_were_refused() -> None:
    given = Given()
    with capture_logs() as logged:
        for _ in range(2):
            given.refusals.refused("acme", Reason.MISMATCH)
        assert (given.refusals.warnings(), given.gauge(), logged) == ([], 0, [])
        given.refusals.refused("acme", Reason.UNKNOWN_KEY)
    assert given.refusals.warnings() == ["signature: every webhook of cloud acme is refused (2 × mismatch, 1 × unknown_key)"]
    assert (given.gauge(), given.gauge("umbrella")) == (1, 0)
    assert [(line["log_level"], line["cloud"], line["refused"]) for line in logged] == [("error", "acme", 3)]


def test_one_that_is_accepted_ends_it() -> None:
    given = Given()
    for _ in range(5):
        given.refusals.refused("acme", Reason.MISMATCH)
    given.refusals.accepted("acme")
    assert (given.refusals.warnings(), given.gauge()) == ([], 0)
    given.refusals.refused("acme", Reason.MISMATCH)
    assert given.gauge() == 0


def test_it_ends_by_itself_when_nothing_comes_any_more() -> None:
    given = Given()
    for _ in range(5):
        given.refusals.refused("acme", Reason.MISMATCH)
    given.now = 3601
    assert (given.refusals.warnings(), given.gauge()) == ([], 0)
    given.refusals.refused("acme", Reason.MISMATCH)
    assert given.gauge() == 0


def test_the_log_says_so_once_in_a_while_and_not_for_each() -> None:
    given = Given()
    with capture_logs() as logged:
        for second in range(1201):
            given.now = float(second)
            given.refusals.refused("acme", Reason.TOO_OLD)
    assert len(logged) == 2


def test_what_anybody_may_send_is_no_webhook_of_the_cloud() -> None:
    given = Given()
    for reason in (Reason.MISSING, Reason.BAD_FORM, Reason.BAD_TIMESTAMP) * 5:
        given.refusals.refused("acme", reason)
    assert (given.refusals.warnings(), given.gauge()) == ([], 0)

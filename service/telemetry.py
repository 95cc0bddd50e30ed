"""Logs (structlog) and metrics (Prometheus), and where both are decided."""

import logging
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, TextIO

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from service.terminal import Unfailing, dump_json, printable, printable_traceback

_LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_NO_TEXT = frozenset({"exc_info", "stack_info", "_record", "_from_structlog"})  # the renderer's own


def configure_logging(level: str, form: Literal["auto", "console", "json"]) -> None:
    """Log to standard error: for a person on a terminal, else one JSON object a line."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    console = sys.stderr.isatty() if form == "auto" else form == "console"
    out: Any = Unfailing(sys.stderr)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
    ]
    if console:
        structlog.configure(
            processors=[*shared, _printable, _for_a_person()],
            wrapper_class=structlog.make_filtering_bound_logger(threshold),
            logger_factory=structlog.WriteLoggerFactory(out),
        )
    else:
        structlog.configure(
            processors=[
                *shared,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(serializer=lambda event, **_: dump_json(event, repr)),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(threshold),
            logger_factory=structlog.BytesLoggerFactory(out),
            cache_logger_on_first_use=True,
        )
    # The libraries' own logs, in the same form; theirs of level info say nothing that ours don't.
    for_a_person: list[structlog.typing.Processor] = [_printable, _for_a_person()]
    for_a_machine: list[structlog.typing.Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=lambda event, **_: dump_json(event, repr).decode()),
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(for_a_person if console else for_a_machine),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
    # It repeats every failed connection of an outage; we say once that there is one.
    logging.getLogger("aiokafka").setLevel(logging.WARNING if level == "debug" else logging.CRITICAL)


def _for_a_person() -> structlog.dev.ConsoleRenderer:
    # The usual tracebacks show local variables, and with them secrets.
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_traceback)


def _traceback(out: TextIO, trace: structlog.typing.ExcInfo) -> None:
    out.write(f"\n{printable_traceback(trace[1])}")


def _printable(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Make harmless what others have written; what is no text is shown as Python writes it, which may hold text."""
    return {
        name: value
        if name in _NO_TEXT or isinstance(value, (int, float))
        else printable(value if isinstance(value, str) else repr(value))
        for name, value in event.items()
    }


class Metrics:
    """Every metric, each with its labels; one object a process, passed to whoever counts."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        # What /readyz tells beside its checks, by name: states that an operator should know, and that no restart would mend.
        self.states: dict[str, Callable[[], Mapping[str, object]]] = {}
        self.webhooks = Counter(
            "mediamirror_webhooks",
            "Webhooks answered, by cloud (empty when it is none of ours), outcome and reason.",
            ("cloud", "outcome", "reason"),
            registry=registry,
        )
        self.webhook_seconds = Histogram(
            "mediamirror_webhook_seconds", "Webhook read to answer, accepted ones.", buckets=_LATENCIES, registry=registry
        )
        self.signatures_refused = Gauge(
            "mediamirror_signatures_refused",
            "1 while every webhook of a cloud is refused for its signature.",
            ("cloud",),
            registry=registry,
        )
        self.connections_ended = Counter(
            "mediamirror_connections_ended",
            "Connections to the gateway refused, or ended before their time, by reason.",
            ("reason",),
            registry=registry,
        )
        self.unverified_bytes = Gauge(
            "mediamirror_unverified_bytes", "Bytes of bodies on their way in, that nobody has proven yet.", registry=registry
        )
        self.pending_bytes = Gauge("mediamirror_pending_bytes", "Bytes of webhooks that wait for Kafka's ack.", registry=registry)
        self.producer_renewals = Counter(
            "mediamirror_producer_renewals", "Producers replaced because Kafka's acks stayed away.", registry=registry
        )
        self.notifications = Counter(
            "mediamirror_notifications",
            "Sync-log lines written, by notification type and outcome.",
            ("cloud", "type", "outcome"),
            registry=registry,
        )
        self.dead_letters = Counter(
            "mediamirror_dead_letters",
            "Records that could not be processed and went to the dead-letter topic, by exception.",
            ("exception",),
            registry=registry,
        )
        self.batches = Histogram(
            "mediamirror_batch_seconds", "Batch read to commit in PostgreSQL.", buckets=_LATENCIES, registry=registry
        )
        self.position = Gauge("mediamirror_position", "Next offset to apply.", ("topic", "partition"), registry=registry)
        self.lag = Gauge("mediamirror_lag", "Notifications not yet applied.", ("topic", "partition"), registry=registry)
        self.events = Counter("mediamirror_events", "Media events that Kafka has acked.", registry=registry)
        self.outbox = Gauge(
            "mediamirror_outbox",
            "Media events that wait for Kafka, without those set aside; about, beyond 10,000. NaN where nobody looks.",
            registry=registry,
        )
        self.outbox_oldest = Gauge(
            "mediamirror_outbox_oldest_seconds", "How long the oldest of them has waited; 0: none waits.", registry=registry
        )
        self.outbox_aside = Gauge(
            "mediamirror_outbox_set_aside",
            "Media events that can't be sent, and those of their assets that wait behind them; 10,000 at the most.",
            registry=registry,
        )
        for gauge in (self.outbox, self.outbox_oldest, self.outbox_aside):
            gauge.set(math.nan)  # of a process that does not relay
        self.cloudinary_calls = Counter(
            "mediamirror_cloudinary_calls",
            "Calls of Cloudinary's APIs, by function of the SDK and outcome: ok, or the error's class.",
            ("cloud", "function", "outcome"),
            registry=registry,
        )
        self.budget_remaining = Gauge(
            "mediamirror_budget_remaining",
            "Calls of the Admin API left in this hour, as Cloudinary last told.",
            ("cloud",),
            registry=registry,
        )
        self.polled = Counter(
            "mediamirror_polled",
            "Messages taken from a poll:// channel, by outcome (accepted, refused, undurable) and reason.",
            ("cloud", "outcome", "reason"),
            registry=registry,
        )
        self.drift = Gauge(
            "mediamirror_drift",
            "Assets that differed, of each kind, in the last complete sweep.",
            ("cloud", "kind"),
            registry=registry,
        )
        self.swept_at = Gauge(
            "mediamirror_swept_timestamp_seconds", "When the last complete sweep ended.", ("cloud",), registry=registry
        )
        self.refetches = Counter(
            "mediamirror_refetches",
            "Questions of the mirror's answered, by answer: snapshot or missing.",
            ("cloud", "answer"),
            registry=registry,
        )
        self.operations = Counter(
            "mediamirror_operations",
            "Tries of operations at Cloudinary, by what came of them; pending: to be tried again.",
            ("cloud", "kind", "status"),
            registry=registry,
        )
        self.consumer_renewals = Counter(
            "mediamirror_consumer_renewals", "Consumers replaced because they stood still.", registry=registry
        )

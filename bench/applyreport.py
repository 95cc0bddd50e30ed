"""What `apply` has found, as tables, ratios and plots."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bench import debezium, limit, mirrors, stripe
from bench.measured import COLUMNS, Measured, best
from bench.result import Bars, Cell, Ratio, Result, Table
from bench.workload import Workload

_LIMIT_GOAL: Final = 0.6
_DEBEZIUM_GOAL: Final = 1.0
_MEMORY_GOAL: Final = 0.25
_STRIPE_GOAL: Final = 2.0
_STALE_GOAL: Final = 2.0


@dataclass(frozen=True)
class Plan:
    """How much is measured: numbers of notifications, and Debezium's settings by round."""

    notifications: int
    sink_records: int
    webhooks: int
    settings: Sequence[Sequence[debezium.Setting]]


@dataclass
class Findings:
    """What a run has measured so far, by workload, and why a peer was not run."""

    plan: Plan
    measured: dict[Workload, list[Measured]] = field(default_factory=lambda: {workload: [] for workload in Workload})
    not_run: dict[str, str] = field(default_factory=dict)


def report(findings: Findings) -> Result:
    """Make the result."""
    return Result(
        name="apply",
        title="Apply: from Kafka into PostgreSQL",
        about=_ABOUT,
        tables=[_table(findings, workload) for workload in Workload],
        ratios=[*_of_the_limit(findings), *_of_debezium(findings), *_of_stripe(findings), _stale(findings)],
        plots=[_plot(findings, workload) for workload in Workload],
        notes=_NOTES,
    )


def _table(findings: Findings, workload: Workload) -> Table:
    rows: list[list[Cell]] = [measured.row() for measured in findings.measured[workload]]
    rows += [[f"{name}: not run: {reason}", *[None] * (len(COLUMNS) - 1)] for name, reason in findings.not_run.items()]
    return Table(str(workload).capitalize(), COLUMNS, rows)


def _plot(findings: Findings, workload: Workload) -> Bars:
    """Show the best of each contestant's tries."""
    measured = findings.measured[workload]
    names = dict.fromkeys(one.contestant for one in measured)
    tries = [best(measured, name) for name in names]
    bars = [(one.contestant, one.rate) for one in tries if one is not None]
    return Bars(str(workload).capitalize(), "notifications a second", sorted(bars, key=lambda bar: -bar[1]))


def _of_the_limit(findings: Findings) -> list[Ratio]:
    return [
        _rates(
            f"{workload}: 1 mirror process / the limit", _mirror(findings, workload, 1), _limit(findings, workload), _LIMIT_GOAL
        )
        for workload in Workload
    ]


def _of_debezium(findings: Findings) -> list[Ratio]:
    ratios: list[Ratio] = []
    for workload in (Workload.INSERTS, Workload.MIX):
        one, both = _mirror(findings, workload, 1), _mirror(findings, workload, 1, 2)
        ratios += [
            _rates(f"{workload}: 1 mirror process / Debezium, 1 task", one, _debezium(findings, workload, 1), _DEBEZIUM_GOAL),
            _rates(
                f"{workload}: mirror at its best / Debezium at its best",
                both,
                _debezium(findings, workload, 1, 2),
                _DEBEZIUM_GOAL,
            ),
        ]
    for workload in (Workload.INSERTS, Workload.MIX):
        ratios.append(_memory(f"{workload}: peak memory of 1 mirror process / Debezium, 1 task", findings, workload))
    return ratios


def _of_stripe(findings: Findings) -> list[Ratio]:
    return [
        _rates(
            f"{workload}: 1 mirror process / {stripe.NAME} at its best",
            _mirror(findings, workload, 1),
            best(findings.measured[workload], *(stripe.contestant_name(many) for many in stripe.CONCURRENCIES)),
            _STRIPE_GOAL,
        )
        for workload in (Workload.INSERTS, Workload.UPDATES)
    ]


def _stale(findings: Findings) -> Ratio:
    stale, fresh = _mirror(findings, Workload.STALE, 1), _mirror(findings, Workload.INSERTS, 1)
    return _rates("1 mirror process: stale duplicates / inserts", stale, fresh, _STALE_GOAL)


def _mirror(findings: Findings, workload: Workload, *processes: int) -> Measured | None:
    return best(findings.measured[workload], *map(mirrors.contestant_name, processes))


def _limit(findings: Findings, workload: Workload) -> Measured | None:
    return best(findings.measured[workload], *map(limit.contestant_name, limit.IN_FLIGHT))


def _debezium(findings: Findings, workload: Workload, *tasks: int) -> Measured | None:
    return best(findings.measured[workload], *_settings(findings, *tasks))


def _settings(findings: Findings, *tasks: int) -> list[str]:
    return [str(setting) for settings in findings.plan.settings for setting in settings if setting.tasks in tasks]


def _rates(claim: str, ours: Measured | None, theirs: Measured | None, goal: float) -> Ratio:
    if ours is None or theirs is None:
        return Ratio(claim, None, goal)
    note = f"{ours.rate:,.0f}/s ({ours.contestant}) / {theirs.rate:,.0f}/s ({theirs.contestant})"
    return Ratio(claim, ours.rate / theirs.rate, goal, note=note)


def _memory(claim: str, findings: Findings, workload: Workload) -> Ratio:
    """Divide the most that our runs took by the least that theirs did."""
    measured = findings.measured[workload]
    ours = [one for one in measured if one.contestant == mirrors.contestant_name(1)]
    theirs = [one for one in measured if one.contestant in _settings(findings, 1)]
    if not (ours and theirs):
        return Ratio(claim, None, _MEMORY_GOAL, at_most=True)
    most, least = max(ours, key=_peak), min(theirs, key=_peak)
    note = f"{_peak(most) / 1e6:,.0f} MB ({most.contestant}) / {_peak(least) / 1e6:,.0f} MB ({least.contestant})"
    return Ratio(claim, _peak(most) / _peak(least), _MEMORY_GOAL, at_most=True, note=note)


def _peak(measured: Measured) -> int:
    return measured.own.peak_rss


_ABOUT: Final = """\
**The mirror** is `mediamirror mirror`, as a process or two, on a topic that is full before it starts. The clock runs from the
first change of its offsets in PostgreSQL to the last, all with fsync; the relay does not run. *Inserts* are uploads of new
assets, *updates* a later upload of each, *stale duplicates* the updates' notifications once more, to the byte, which change
nothing but the sync log, and the *mix* has four editions of an asset each, in the order of their time but shuffled among the
others' (on a new table).

**The limit** is a process which does nothing but write what the mirror has written, read back from its database beforehand: the
rows by the mirror's own `INSERT … SELECT unnest … ON CONFLICT`, the lines of the sync log and of the outbox by COPY, the
offsets, all in one transaction for as many notifications as a mirror's batch. It has everything in memory in the form that
asyncpg takes when the clock starts, and one batch or three in flight. In the mix, each batch writes its distinct assets, as
they are in the end: rows of the same number and size.

**Debezium's JDBC sink**, in Kafka Connect standalone, upserts the same columns but for the mirror's own (clocks, revision,
assigned folder, time of the update) into a table with the same types, primary key and index on names. It writes no log, no
outbox, no offsets (Connect keeps those in Kafka), and folds nothing: its records are rows already. It is at its best: the
records' schema is told once instead of with each record, and pgjdbc makes statements of many rows (`reWriteBatchedInserts`,
`use.reduction.buffer`). The first fifth, in which Java warms up, is not counted.

**stripe-sync-engine** is handed webhooks of the same size, signed beforehand, without HTTP; its pool has ten connections."""
_NOTES: Final = (
    "Ratios divide each contestant's best rates in this run, and our highest peak of memory by Debezium's lowest with one task.",
    "CPU seconds are those of all threads and children. Kafka's are what it takes to be read: the topics were full before.",
    (
        "Peak memory is the resident set of a process, summed over two mirrors, and of PostgreSQL the proportional set of all its"
        " processes, with shared buffers. The limit's own is left out, since it holds all that it writes; stripe-sync-engine's"
        " has the webhooks in it that wait."
    ),
)

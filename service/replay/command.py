"""`mediamirror replay` and `mediamirror history`: the log, read again."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import orjson
import typer

from schemas.asset import Asset
from service import supervisor
from service.database import connect, reachable, require_schema
from service.kafka import require_kafka
from service.mirror.entry import LogLine
from service.options import DATA_DIR, DataDir, Json, command_settings
from service.printing import Lines, print_json, print_rows
from service.replay.history import FIELDS, Moment, read_failures, state_at
from service.replay.history import history as read_history
from service.replay.meter import metered
from service.replay.replay import Replay, Selection
from service.replay.span import Span, read_time
from service.replay.subject import find_subject, find_subjects, require_cloud
from service.rights import Group
from service.settings import Settings
from service.signatures import check_of
from service.terminal import say

_LONGEST = 80
_TIME = "a time, or how long ago: 2h"
Cloud = Annotated[str | None, typer.Option(help="Only this cloud.")]


def replay(
    *,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="From the first notification that Kafka has.")] = False,
    from_time: Annotated[str | None, typer.Option(metavar="T", help=f"From what came then ({_TIME}).")] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="Only this partition.")] = None,
    from_offset: Annotated[int | None, typer.Option(min=0, help="With --partition: from there.")] = None,
    to_time: Annotated[str | None, typer.Option(metavar="T", help="Up to, and without, what came then; default: now.")] = None,
    to_offset: Annotated[int | None, typer.Option(min=0, help="With --partition: up to, and without, that.")] = None,
    cloud: Cloud = None,
    asset: Annotated[str | None, typer.Option(metavar="ID", help="Only this asset id or public id.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Apply notifications again, while the mirror works. Always safe: what the mirror knows already changes nothing.

    It brings back what the mirror has missed, or did not understand then. What was changed in the tables by hand is put right by
    `rebuild`.
    """
    span = Span.of(
        from_beginning=from_beginning,
        from_time=from_time,
        partition=partition,
        from_offset=from_offset,
        to_time=to_time,
        to_offset=to_offset,
    )
    settings = command_settings(data_dir)
    require_kafka(settings)
    require_cloud(settings, cloud)
    supervisor.run(_replay(settings, span, cloud, asset, dry_run=dry_run, as_json=json))


async def _replay(settings: Settings, span: Span, cloud: str | None, asset: str | None, *, dry_run: bool, as_json: bool) -> None:
    async with connect(settings) as pool:
        with reachable():
            await require_schema(pool, Group.OPERATOR)
        ranges = await span.ranges(settings, settings.notifications_topic)
        subjects = None if asset is None else await find_subjects(pool, asset, cloud)

        def tell(line: LogLine) -> None:
            if dry_run:
                _print_change(line, as_json=as_json)

        replay = Replay(settings, pool, Selection(cloud, subjects, check_of(settings)), rehearsing=dry_run, tell=tell)
        try:
            with metered("replaying", quiet=as_json) as meter:
                meter.expect(sum((end or start) - start for start, end in ranges.values()))
                await replay.run(ranges, meter.advance)
        finally:
            # told to stop, too, it says how far it has come
            _print_summary(replay, dry_run=dry_run, as_json=as_json)


def _print_change(line: LogLine, *, as_json: bool) -> None:
    if as_json:
        print_json(line._asdict())
        return
    subject = line.asset_id or line.reason
    where = f"{line.kafka_partition}:{line.kafka_offset}"
    say(f"{line.cloud}  {subject}  {', '.join(line.changed)}  by {line.notification_type} {where}")


def _print_summary(replay: Replay, *, dry_run: bool, as_json: bool) -> None:
    summary, seconds = replay.summary, replay.seconds
    rate = summary.read / seconds
    if as_json:
        print_json(asdict(summary) | {"dry_run": dry_run, "seconds": round(seconds, 3), "rate": round(rate)})
        return
    words = f"{summary.read:,} read, {summary.applied:,} {'would be applied' if dry_run else 'applied'}"
    words += f", {summary.unchanged:,} unchanged, {summary.failed:,} failed"
    if summary.skipped:
        words += f", {summary.skipped:,} about others"
    words += f", in {seconds:.1f} s ({rate:,.0f}/s)"
    say(words if summary.complete else f"{words}; stopped before its end")


def history(
    asset: Annotated[str, typer.Argument(help="An asset id, or a public id of now.")],
    *,
    at: Annotated[str | None, typer.Option(metavar="T", help=f"Its state as of then ({_TIME}), instead.")] = None,
    cloud: Cloud = None,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Print what each notification about an asset has changed, in the order in which things happened, or its state as of a time.

    Read from the log, from its beginning.
    """
    moment = None if at is None else read_time(at, datetime.now(UTC))
    settings = command_settings(data_dir)
    require_kafka(settings)
    require_cloud(settings, cloud)
    supervisor.run(_history(settings, asset, cloud, moment, as_json=json))


async def _history(settings: Settings, asset: str, cloud: str | None, at: datetime | None, *, as_json: bool) -> None:
    async with connect(settings, size=1) as pool:
        with reachable():
            await require_schema(pool)
        subject = await find_subject(pool, asset, cloud)
        failures = await read_failures(settings, pool, subject)
    with metered("reading the log", quiet=as_json) as meter:
        moments = await read_history(settings, subject, failures, progress=meter.advance, expect=meter.expect)
    if at is None:
        _print_moments(moments, as_json=as_json)
    else:
        _print_state(state_at(subject.asset_id, moments, at), as_json=as_json)


def _print_moments(moments: Sequence[Moment], *, as_json: bool) -> None:
    rows = []
    for moment in moments:
        occasion, record = moment.told.occasion, moment.told.entry.record
        changed = {name: {"from": _printable(old), "to": _printable(new)} for name, (old, new) in moment.changed.items()}
        rows.append(
            {
                "event_time": occasion.event_time,
                "type": moment.told.type,
                "triggered_by": occasion.triggered_by,
                "changed": changed if as_json else Lines(_in_words(moment)),
                "reason": moment.reason,
                "failed": moment.has_failed,
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "record": f"{record.partition}:{record.offset}",
            }
        )
    print_rows(rows, ("event_time", "type", "triggered_by", "changed", "record"), as_json=as_json)


def _in_words(moment: Moment) -> list[str]:
    if moment.has_failed:
        return [f"(failed: {moment.reason})"]
    asked = [f"(asks the account: {moment.reason})"] if moment.reason else []
    words = [f"{name}: {_short(old)} → {_short(new)}" for name, (old, new) in moment.changed.items()]
    return [*words, *asked] or ["-"]


def _print_state(asset: Asset, *, as_json: bool) -> None:
    state = {name: _printable(getattr(asset, name)) for name in ("cloud", "asset_id", *FIELDS)}
    if as_json:
        print_json(state)
    else:
        rows = [{"field": name, "value": _text(value)} for name, value in state.items() if value not in (None, [], {})]
        print_rows(rows, ("field", "value"), as_json=False)


def _short(value: object) -> str:
    text = _text(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(sep=" ").removesuffix("+00:00")
    if value is None or value in ([], {}, ""):
        return "-"
    return value if isinstance(value, str) else orjson.dumps(_printable(value)).decode()


def _printable(value: object) -> object:
    """Give a value as it is, or in words if JSON can't be made of it: what the mirror could not store, the log still has."""
    try:
        orjson.dumps(value)
    except TypeError as error:
        return f"(can't be shown: {error})"
    return value

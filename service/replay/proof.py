"""`mediamirror verify` and `mediamirror rebuild`: prove that the mirror equals the log, or make it so."""

import dataclasses
import sys
from typing import Annotated

import typer

from service import supervisor
from service.database import connect, migrate, reachable
from service.kafka import require_kafka
from service.options import DATA_DIR, DataDir, Json, command_settings
from service.printing import print_json
from service.replay.compare import Difference
from service.replay.meter import metered
from service.replay.rebuild import Rebuilt
from service.replay.rebuild import rebuild as rebuild_mirror
from service.replay.signed import Unproven, prove_log
from service.replay.verify import Verdict
from service.replay.verify import verify as verify_mirror
from service.settings import Settings
from service.signatures import Proof
from service.terminal import say


def verify(
    *,
    signatures: Annotated[bool, typer.Option("--signatures", help="Prove each record's signature again, instead.")] = False,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Fold the log aside and compare every row with the mirror. Exits with 1 when one differs, or is not proven."""
    settings = command_settings(data_dir)
    supervisor.run(_verify_signatures(settings, as_json=json) if signatures else _verify(settings, as_json=json))


def rebuild(
    *,
    swap: Annotated[bool, typer.Option("--swap", help="Put right what differs; else only say what that would be.")] = False,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Fold the log aside, and make the mirror what it says, in one transaction, while the mirror works."""
    settings = command_settings(data_dir)
    supervisor.run(_rebuild(settings, as_json=json) if swap else _verify(settings, as_json=json, would=True))


async def _verify(settings: Settings, *, as_json: bool, would: bool = False) -> None:
    require_kafka(settings)
    report = _Report(as_json=as_json)
    with reachable(), metered("folding the log", quiet=as_json) as progress:
        async with connect(settings) as pool:
            verdict = await verify_mirror(settings, pool, report.tell, progress=progress.advance, expect=progress.expect)
    report.sum_up(verdict, _verdict_in_words(verdict))
    if would and verdict.found and not as_json:
        say("nothing was changed; --swap puts it right")
    if verdict.found:
        sys.exit(1)


async def _rebuild(settings: Settings, *, as_json: bool) -> None:
    require_kafka(settings)
    report = _Report(as_json=as_json)
    with reachable(), metered("folding the log", quiet=as_json) as progress:
        async with connect(settings) as pool:
            await migrate(pool)
            rebuilt = await rebuild_mirror(settings, pool, report.tell, progress=progress.advance, expect=progress.expect)
    report.sum_up(rebuilt, _rebuilt_in_words(rebuilt))


async def _verify_signatures(settings: Settings, *, as_json: bool) -> None:
    require_kafka(settings)

    def tell(record: Unproven) -> None:
        if as_json:
            print_json(dataclasses.asdict(record))
        else:
            say(f"{record.partition}:{record.offset}  {record.cloud!r}, key {record.key_id!r}: {record.proof}")

    with metered("proving signatures", quiet=as_json) as progress:
        counts = await prove_log(settings, tell, progress=progress.advance, expect=progress.expect)
    total = counts.total()
    if as_json:
        print_json({"read": total} | {proof.value: counts[proof] for proof in Proof})
    else:
        words = ", ".join(f"{counts[proof]:,} {proof.in_words}" for proof in Proof if counts[proof] or proof is Proof.PROVEN)
        say(f"{total:,} records read: {words}")
    if counts[Proof.PROVEN] < total:
        sys.exit(1)


def _verdict_in_words(verdict: Verdict) -> str:
    words = f"{verdict.read:,} notifications read: "
    words += f"{verdict.found:,} differences" if verdict.found else "the mirror equals the log"
    if verdict.in_flight:
        words += f"; {verdict.in_flight:,} notifications are still in flight, and were left out"
    if verdict.failed:
        words += f"; {verdict.failed:,} can't be processed, and were left out: `mediamirror dlq list`"
    if verdict.deleted:
        words += f"; {verdict.deleted:,} rows were deleted by SQL, and were left out"
    for partition, offset in sorted(verdict.begins.items()):
        words += f"\npartition {partition} of the log begins at {offset:,}: what came before can't be proven"
    return words


def _rebuilt_in_words(rebuilt: Rebuilt) -> str:
    words = (
        f"{rebuilt.read:,} notifications read: {rebuilt.changed:,} rows put right, {rebuilt.restored:,} restored,"
        f" {rebuilt.removed:,} removed, {rebuilt.folders:,} folders, {rebuilt.events:,} events"
    )
    if rebuilt.failed:
        words += f"; {rebuilt.failed:,} can't be processed, and were left out: `mediamirror dlq list`"
    return words


class _Report:
    """Prints differences as they are found."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def tell(self, difference: Difference) -> None:
        if self._as_json:
            print_json(dataclasses.asdict(difference))
            return
        about = f"{difference.cloud}  {difference.kind} {difference.subject}"
        if difference.what != "different":
            say(f"{about}: {difference.what}")
        for name, (here, by_log) in difference.fields.items():
            say(f"{about}: {name} is {here!r}, by the log {by_log!r}")

    def sum_up(self, summary: Verdict | Rebuilt, words: str) -> None:
        if self._as_json:
            print_json(dataclasses.asdict(summary))
        else:
            say(*words.split("\n"))

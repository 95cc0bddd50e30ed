"""What the commands print: for a person a table or a line, for a machine one JSON object a line."""

import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

from pydantic import SecretStr
from rich.table import Table
from rich.text import Text

from service.sender import Answer
from service.settings import PREFIX, Settings
from service.terminal import complain, console, dump_json, printable, say
from service.up import Site, nearest


class Lines(list[str]):
    """A cell of several lines, each of which is made printable by itself."""


def print_json(row: Mapping[str, object]) -> None:
    """Print one JSON object on a line of its own."""
    sys.stdout.buffer.write(dump_json(dict(row)) + b"\n")


def print_log_line(line: Mapping[str, object], *, as_json: bool) -> None:
    """Print a line of the sync log at once, for whoever follows it."""
    if as_json:
        print_json(line)
    else:
        parts = ("applied_at", "cloud", "notification_type", "public_id", "asset_id", "outcome")
        why = line["reason"] or line["changed"]
        say("  ".join([*(_cell(line[part]) or "-" for part in parts), _cell(why)]).rstrip())
    sys.stdout.flush()


def print_rows(rows: Iterable[Mapping[str, object]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows: all of their fields as JSON, or `columns` as a table."""
    if as_json:
        for row in rows:
            print_json(row)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(printable(column), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row[column])) for column in columns))
    console().print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Lines):
        return "\n".join(map(printable, value))
    if isinstance(value, list):
        return printable(", ".join(map(str, value)))
    if hasattr(value, "isoformat"):
        return str(value.isoformat(sep=" ", timespec="milliseconds")).removesuffix("+00:00")
    return printable(str(value))


def print_answers(answers: Sequence[Answer], seconds: float, *, as_json: bool) -> None:
    """Print how a gateway answered what was sent to it."""
    statuses = Counter(answer.status for answer in answers)
    accepted = statuses[HTTPStatus.OK]
    if as_json:
        summary = {
            "sent": len(answers),
            "accepted": accepted,
            "statuses": {str(status): count for status, count in sorted(statuses.items())},
            "seconds": round(seconds, 3),
        }
        print_json(summary)
        return
    for answer in answers:
        if not answer.accepted:
            complain(f"{answer.webhook.name}: {answer.status or answer.error}")
    rate = len(answers) / seconds if seconds else 0
    say(f"{accepted:,} of {len(answers):,} accepted in {seconds:.2f} s ({rate:,.0f}/s)")


def print_settings(settings: Settings, *, as_json: bool) -> None:
    """Print every setting with its meaning; secrets as asterisks."""
    rows = [
        {
            "variable": f"{PREFIX}{name}".upper(),
            "value": _shown(getattr(settings, name)),
            "set": name in settings.model_fields_set,
            "meaning": field.description,
        }
        for name, field in Settings.model_fields.items()
    ]
    print_rows(rows, ("variable", "value", "meaning"), as_json=as_json)


def _shown(value: object) -> str | None:
    if value is None or value == {}:
        return None
    if isinstance(value, SecretStr):
        return str(value)
    if isinstance(value, frozenset):
        return ", ".join(sorted(value))
    if isinstance(value, dict):
        return "; ".join(f"{name}: {', '.join(f'{key}=**********' for key in cloud.keys)}" for name, cloud in value.items())
    return str(value)


def print_site(site: Site, data_dir: Path, version: str) -> None:
    """Print how to reach everything, and how to point it at an account."""
    folder = os.path.relpath(data_dir)
    lines = [f"mediamirror {version} is up", ""]
    lines += [f"  webhooks   {site.gateway}/webhooks/cloudinary/{cloud}" for cloud in sorted(site.settings.clouds)]
    lines += [
        *([f"  metrics    {site.admin}/metrics"] if site.admin else []),
        f"  database   psql {shlex.quote(site.psql_url)}",
        f"  kafka      {site.settings.kafka_bootstrap}, topic {site.settings.notifications_topic}",
        *([f"             clients: {nearest(site.kafka_client)}"] if site.kafka_client else []),
        f"  data, logs {folder}/",
        "",
        f"In another terminal: {sys.argv[0]} assets, … log --follow, … events --follow, … send FILE",
    ]
    if site.is_demo:
        lines += [
            "",
            "This is a stand-in for Cloudinary, with a small library that changes by itself. For your own account:",
            f"  CLOUDINARY_URL=cloudinary://API_KEY:API_SECRET@CLOUD {sys.argv[0]} up",
            f"  then, in another terminal, {sys.argv[0]} doctor: it says how notifications come here.",
        ]
    say(*lines, "")
    sys.stdout.flush()

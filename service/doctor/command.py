"""`mediamirror doctor`: is everything there that an installation needs?"""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from service import supervisor
from service.doctor.doctor import Doctor
from service.doctor.finding import Finding, Level
from service.options import DATA_DIR, DataDir, Json, command_settings
from service.printing import print_json
from service.running import admin_of, gateway_of
from service.terminal import console, printable

_MARKS = {Level.OK: ("✓", "green"), Level.WARN: ("!", "yellow"), Level.FAIL: ("✗", "red")}


def doctor(
    *,
    fix: Annotated[bool, typer.Option("--fix", help="Set the notification triggers right, instead of saying how.")] = False,
    poll: Annotated[bool, typer.Option("--poll", help="Notifications should come through a poll:// channel.")] = False,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Check settings, PostgreSQL, Kafka, and of every cloud credentials, clock, triggers. Exits with 1 unless all is well."""
    settings = command_settings(data_dir)
    settings.require_clouds()
    findings: list[Finding] = []
    here = Doctor(settings, fix=fix, poll=poll, gateway=gateway_of(data_dir), admin=admin_of(data_dir))
    supervisor.run(_examine(here, findings, as_json=json))
    if any(finding.level is not Level.OK for finding in findings):
        raise typer.Exit(1)


async def _examine(doctor: Doctor, findings: list[Finding], *, as_json: bool) -> None:
    out = console()
    async for finding in doctor.findings():
        findings.append(finding)
        if as_json:
            print_json(asdict(finding))
            continue
        mark, style = _MARKS[finding.level]
        where = f"{finding.cloud}: " if finding.cloud else ""
        out.print(Text.assemble((mark, style), printable(f" {finding.check:<12}  {where}{finding.said}")), soft_wrap=True)
        if finding.todo:
            out.print(Text(printable(f"{'':<16}{finding.todo}"), style="dim"), soft_wrap=True)

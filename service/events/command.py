"""`mediamirror events`: what subscribers see."""

import sys
from contextlib import aclosing
from typing import Annotated

import typer

from schemas.event import EventType
from service import supervisor
from service.events.tail import Event, read_events
from service.kafka import require_kafka
from service.options import DATA_DIR, DataDir, Json, command_settings
from service.printing import print_json
from service.settings import Settings
from service.terminal import nobody_listens, say


def events(
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Those that come, until Ctrl-C, instead of those there are.")] = False,
    types: Annotated[list[EventType] | None, typer.Option("--type", help="Only of this type; may be repeated.")] = None,
    asset: Annotated[str | None, typer.Option(metavar="ID", help="Only of this asset id or public id.")] = None,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Print media events: those of an asset in the order of its revisions. With --json, in CloudEvents' JSON format."""
    settings = command_settings(data_dir)
    require_kafka(settings)
    supervisor.run(_events(settings, types, asset, follow=follow, as_json=json))


async def _events(settings: Settings, types: list[EventType] | None, asset: str | None, *, follow: bool, as_json: bool) -> None:
    async with aclosing(read_events(settings, follow=follow)) as events:
        try:
            async for event in events:
                if (not types or event.type in types) and (asset is None or event.is_about(asset)):
                    if as_json:
                        print_json(event.as_json())
                    else:
                        say(_in_words(event))
                    if follow:
                        sys.stdout.flush()
            sys.stdout.flush()
        except BrokenPipeError:
            # whoever read along has had enough; without this, Python would try to write the rest at exit
            nobody_listens()


def _in_words(event: Event) -> str:
    attributes, data = event.attributes, event.data
    asset = data.get("asset") or {}
    parts = [attributes.get("time"), event.type, attributes.get("source"), attributes.get("subject")]
    parts += [f"r{attributes['revision']}" if "revision" in attributes else None, asset.get("public_id")]
    if moved_to := (data.get("folder") or {}).get("to_path"):
        parts.append(f"to {moved_to}")
    parts += [", ".join(data.get("changed") or ()), f"by {(data.get('cause') or {}).get('notification_type')}"]
    return "  ".join(str(part) for part in parts if part)

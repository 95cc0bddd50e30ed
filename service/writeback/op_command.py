"""`mediamirror op`: have something done at Cloudinary."""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer

from schemas.asset import AssetName
from service import supervisor
from service.database import Pool, connect, reachable, require_schema
from service.errors import MediamirrorError
from service.options import DATA_DIR, DataDir, Json, command_settings
from service.printing import print_json
from service.settings import Settings
from service.sql import query
from service.terminal import complain, say
from service.writeback.checks import UPLOADED_FROM, url_fault
from service.writeback.op_arguments import BIGINT_MAX, UnusableArgumentError, access_control_of, filled, list_or_text, pairs_of
from service.writeback.operations import Kind, Origin, Request, Status
from service.writeback.store import enqueue

app = typer.Typer(
    help="Have something done at Cloudinary: it is queued, and `mediamirror writeback` does it.", no_args_is_help=True
)

_WAIT_SECONDS = 0.1
_PATIENCE_SECONDS = 5.0


class NoSuchAssetError(MediamirrorError):
    """The mirror knows no asset {asset}{where}. `mediamirror assets` lists what it knows."""

    exit_code = 2


class SeveralAssetsError(MediamirrorError):
    """{asset} may be any of {assets}. Say which by its asset id, or with --cloud."""

    exit_code = 2


class ResourceType(StrEnum):
    """Cloudinary's."""

    IMAGE = "image"
    VIDEO = "video"
    RAW = "raw"


Asset = Annotated[str, typer.Argument(metavar="ASSET", help="Asset id, or public id as the mirror knows it.")]
Cloud = Annotated[str | None, typer.Option(help="The cloud, when several know it.")]
IfVersion = Annotated[
    int | None, typer.Option(min=0, max=BIGINT_MAX, metavar="V", help="Only if its content is still of this version.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Until it is done; exits with 1 if it was not.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@app.command()
def destroy(
    assets: Annotated[list[str], typer.Argument(metavar="ASSET…", help="Asset ids, or public ids as the mirror knows them.")],
    *,
    cloud: Cloud = None,
    if_version: IfVersion = None,
    wait: Wait = False,
    dry_run: DryRun = False,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Delete assets at Cloudinary."""
    _do(_Asked(assets, cloud, if_version, data_dir, wait, dry_run, json), Kind.DESTROY, {})


@app.command()
def rename(
    asset: Asset,
    to: Annotated[str, typer.Argument(metavar="PUBLIC_ID", help="Its new public id.")],
    *,
    to_type: Annotated[str | None, typer.Option(help="Its new delivery type, such as private.")] = None,
    cloud: Cloud = None,
    if_version: IfVersion = None,
    wait: Wait = False,
    dry_run: DryRun = False,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Give an asset another public id. Fails if another asset has it."""
    arguments = {"to": filled("PUBLIC_ID", to)} | ({"to_type": to_type} if to_type else {})
    _do(_Asked([asset], cloud, if_version, data_dir, wait, dry_run, json), Kind.RENAME, arguments)


@app.command()
def tags(
    asset: Asset,
    *,
    add: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    only: Annotated[list[str] | None, typer.Option("--set", help="These instead of all there are; may be repeated.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all.")] = False,
    cloud: Cloud = None,
    if_version: IfVersion = None,
    wait: Wait = False,
    dry_run: DryRun = False,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Add, remove or set an asset's tags."""
    whole = bool(only) or clear
    if whole == bool(add or remove) or (only and clear):
        raise UnusableArgumentError(argument="this combination", reason="say --add and --remove, or --set, or --clear")
    for tag in [*(add or ()), *(remove or ()), *(only or ())]:
        if "," in tag or not tag.strip():
            raise UnusableArgumentError(argument=f"the tag '{tag}'", reason="a tag is not empty, and has no comma in it")
    arguments = {"set": only or []} if whole else {"add": add or [], "remove": remove or []}
    _do(_Asked([asset], cloud, if_version, data_dir, wait, dry_run, json), Kind.TAGS, arguments)


@app.command()
def context(
    asset: Asset,
    pairs: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="What to set.")] = None,
    *,
    remove: Annotated[list[str] | None, typer.Option(metavar="KEY", help="May be repeated.")] = None,
    cloud: Cloud = None,
    if_version: IfVersion = None,
    wait: Wait = False,
    dry_run: DryRun = False,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Set or remove an asset's contextual metadata."""
    if not (pairs or remove):
        raise UnusableArgumentError(argument="no KEY=VALUE and no --remove", reason="there is nothing to do")
    arguments = {"set": pairs_of(pairs or ()), "remove": remove or []}
    _do(_Asked([asset], cloud, if_version, data_dir, wait, dry_run, json), Kind.CONTEXT, arguments)


@app.command()
def metadata(
    asset: Asset,
    pairs: Annotated[
        list[str], typer.Argument(metavar="FIELD=VALUE…", help="What to set, by the fields' external ids; a JSON list for a set.")
    ],
    *,
    cloud: Cloud = None,
    if_version: IfVersion = None,
    wait: Wait = False,
    dry_run: DryRun = False,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Set an asset's structured metadata."""
    values = {key: list_or_text(value) for key, value in pairs_of(pairs).items()}
    _do(_Asked([asset], cloud, if_version, data_dir, wait, dry_run, json), Kind.METADATA, {"set": values})


@app.command(name="display-name")
def display_name(
    asset: Asset,
    to: Annotated[str, typer.Argument(metavar="NAME", help="Its new display name.")],
    *,
    cloud: Cloud = None,
    if_version: IfVersion = None,
    wait: Wait = False,
    dry_run: DryRun = False,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Give an asset another display name."""
    arguments = {"to": filled("NAME", to)}
    _do(_Asked([asset], cloud, if_version, data_dir, wait, dry_run, json), Kind.DISPLAY_NAME, arguments)


@app.command()
def folder(
    asset: Asset,
    to: Annotated[str, typer.Argument(metavar="FOLDER", help="The asset folder.")],
    *,
    cloud: Cloud = None,
    if_version: IfVersion = None,
    wait: Wait = False,
    dry_run: DryRun = False,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Move an asset to another asset folder."""
    arguments = {"to": filled("FOLDER", to.strip("/"))}
    _do(_Asked([asset], cloud, if_version, data_dir, wait, dry_run, json), Kind.FOLDER, arguments)


@app.command()
def access(
    asset: Asset,
    to: Annotated[str, typer.Argument(metavar="ACCESS", help="`public`, `token`, or Cloudinary's access_control as JSON.")],
    *,
    cloud: Cloud = None,
    if_version: IfVersion = None,
    wait: Wait = False,
    dry_run: DryRun = False,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Say who may see an asset."""
    arguments = {"to": access_control_of(to)}
    _do(_Asked([asset], cloud, if_version, data_dir, wait, dry_run, json), Kind.ACCESS, arguments)


@app.command()
def upload(
    url: Annotated[str, typer.Argument(metavar="URL", help=f"Where Cloudinary gets the file: {UPLOADED_FROM}.")],
    *,
    public_id: Annotated[
        str | None, typer.Option(help="Default: a random one. An asset of this name is never overwritten.")
    ] = None,
    resource_type: Annotated[ResourceType, typer.Option(help="What it is.")] = ResourceType.IMAGE,
    delivery_type: Annotated[str, typer.Option("--type", help="Delivery type.")] = "upload",
    tag: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    to_folder: Annotated[str | None, typer.Option("--folder", help="Asset folder.")] = None,
    display: Annotated[str | None, typer.Option("--display-name", help="Display name.")] = None,
    cloud: Cloud = None,
    wait: Wait = False,
    dry_run: DryRun = False,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Have Cloudinary upload a file from a URL. If it can't be mirrored, it is destroyed again."""
    if reason := url_fault(url):
        raise UnusableArgumentError(argument=url[:200], reason=reason)
    settings = command_settings(data_dir)
    name = settings.cloud_called(cloud)
    options = {"tags": tag, "asset_folder": to_folder, "display_name": display}
    request = Request(
        name,
        Kind.UPLOAD,
        {"url": url, "token": uuid4().hex, "options": {key: value for key, value in options.items() if value}},
        name=AssetName(resource_type.value, delivery_type, public_id or uuid4().hex),
    )
    supervisor.run(_ask(settings, [request], wait=wait, dry_run=dry_run, as_json=json))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What all of these commands are told."""

    assets: Sequence[str]
    cloud: str | None
    if_version: int | None
    data_dir: Path
    wait: bool
    dry_run: bool
    as_json: bool


def _do(asked: _Asked, kind: Kind, arguments: Mapping[str, Any]) -> None:
    supervisor.run(_find_and_ask(command_settings(asked.data_dir), asked, kind, arguments))


async def _find_and_ask(settings: Settings, asked: _Asked, kind: Kind, arguments: Mapping[str, Any]) -> None:
    async with connect(settings, size=1) as pool:
        await require_schema(pool)
        found = [await _find(pool, asset, asked.cloud) for asset in asked.assets]
    requests = [Request(cloud, kind, arguments, asset_id, name, asked.if_version) for cloud, asset_id, name in found]
    await _ask(settings, requests, wait=asked.wait, dry_run=asked.dry_run, as_json=asked.as_json)


async def _find(pool: Pool, asset: str, cloud: str | None) -> tuple[str, str, AssetName | None]:
    rows = await pool.fetch(query("operations", "asset"), cloud, asset)
    rows = [row for row in rows if row["asset_id"] == asset] or [row for row in rows if row["deleted_at"] is None] or rows[:1]
    if not rows:
        raise NoSuchAssetError(asset=asset, where=f" in {cloud}" if cloud else "")
    if len(rows) > 1:
        several = ", ".join(f"{row['asset_id']} ({row['cloud']}, {row['resource_type']}/{row['type']})" for row in rows)
        raise SeveralAssetsError(asset=asset, assets=several)
    (row,) = rows
    name = AssetName(row["resource_type"], row["type"], row["public_id"]) if row["public_id"] is not None else None
    return row["cloud"], row["asset_id"], name


async def _ask(settings: Settings, requests: Sequence[Request], *, wait: bool, dry_run: bool, as_json: bool) -> None:
    if dry_run:
        for request in requests:
            _say(None, request, "would be queued", as_json=as_json)
        return
    async with connect(settings, size=1) as pool:
        with reachable():
            await require_schema(pool)
            ids = await enqueue(pool, requests, Origin.CLI)
        if not wait:
            for id_, request in zip(ids, requests, strict=True):
                _say(id_, request, Status.PENDING, as_json=as_json)
            return
        with reachable():
            ended = [await _ended(pool, id_) for id_ in ids]
    for (status, error), id_, request in zip(ended, ids, requests, strict=True):
        _say(id_, request, status, error, as_json=as_json)
    if any(status is not Status.COMPLETED for status, _ in ended):
        sys.exit(1)


async def _ended(pool: Pool, id_: int) -> tuple[Status, str | None]:
    """Wait until an operation has come to its end; says so if nobody takes it up."""
    said, deadline = False, time.monotonic() + _PATIENCE_SECONDS
    while True:
        (row,) = await pool.fetch(query("operations", "list"), None, None, None, None, [id_], 1)
        status = Status(row["status"])
        if status.is_final:
            return status, row["error"]
        if not said and row["status"] == Status.PENDING and time.monotonic() > deadline:
            said = True
            why = row["error"] or f"is `mediamirror writeback` running, with the keys of {row['cloud']}? It goes on waiting"
            complain(f"operation {id_} is still pending after {row['attempts']} tries: {why}")
        await asyncio.sleep(_WAIT_SECONDS)


def _say(id_: int | None, request: Request, status: str, error: str | None = None, *, as_json: bool) -> None:
    public_id = request.name.public_id if request.name else None
    if as_json:
        row = {"id": id_, "cloud": request.cloud, "kind": request.kind, "asset_id": request.asset_id, "public_id": public_id}
        print_json(row | {"status": status, "error": error})
        return
    parts = [str(id_) if id_ is not None else None, request.kind, request.cloud, request.asset_id, public_id, status, error]
    say("  ".join(part for part in parts if part))

"""`python -m standin`: a Cloudinary account on this machine."""

import argparse
import asyncio
import json
import signal
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from standin.dialect import dialect_of
from standin.server import Options, Standin, run_standin


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; 1 when the port is taken, or the folder can't be used."""
    arguments = _arguments(argv)
    options = Options(
        data_dir=arguments.data_dir,
        cloud=arguments.cloud,
        key=arguments.key,
        secret=arguments.secret_file.read_text().strip() if arguments.secret_file else arguments.secret,
        host=arguments.host,
        port=arguments.port,
        hourly_limit=arguments.hourly_limit,
        retry_unit=arguments.retry_unit,
        backup=arguments.backup,
        metadata_fields=dict(arguments.metadata_field),
        dialect=arguments.dialect,
    )
    try:
        asyncio.run(_serve(options, arguments.ready_file, demo=arguments.demo))
    except (OSError, sqlite3.Error) as error:
        sys.stderr.write(f"The stand-in can't start on {options.host}:{options.port}, data in {options.data_dir}: {error}\n")
        return 1
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="standin", description="A Cloudinary account on this machine.")
    parser.add_argument("--data-dir", type=Path, help="where it keeps everything; without it, in memory")
    parser.add_argument("--host", default=Options.host, help="where it listens (default: %(default)s)")
    parser.add_argument("--port", type=int, default=Options.port, help="where it listens; 0: any that is free")
    parser.add_argument("--cloud", default=Options.cloud, help="its name (default: %(default)s)")
    parser.add_argument("--key", default=Options.key, help="its API key (default: %(default)s)")
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument("--secret", default=Options.secret, help="its API secret")
    secret.add_argument("--secret-file", type=Path, help="read it from a file, where `ps` does not show it")
    parser.add_argument("--hourly-limit", type=int, default=Options.hourly_limit, help="calls of the Admin API in an hour")
    parser.add_argument("--retry-unit", type=float, default=Options.retry_unit, help="seconds, instead of Cloudinary's 60")
    parser.add_argument("--backup", action="store_true", help="back up files, so that what was deleted can be restored")
    parser.add_argument("--ready-file", type=Path, help="written as JSON once it listens: url, cloud, key, secret")
    parser.add_argument("--demo", action="store_true", help="live a small library of pictures that changes all the time")
    parser.add_argument("--metadata-field", type=_field, action="append", default=[], metavar="ID:TYPE", help="define a field")
    parser.add_argument("--dialect", action="append", default=[], metavar="SWITCH=VALUE", help="speak so where sources disagree")
    arguments = parser.parse_args(argv)
    try:
        arguments.dialect = dialect_of(arguments.dialect)
    except ValueError as error:
        parser.error(f"argument --dialect: {error}")
    return arguments


def _field(text: str) -> tuple[str, str]:
    external_id, _, type_ = text.partition(":")
    return external_id, type_ or "string"


async def _serve(options: Options, ready_file: Path | None, *, demo: bool) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        standin = await stack.enter_async_context(run_standin(options))
        if demo:
            await _live(stack, standin)
        sys.stdout.write(f"{standin.url}\n")
        if ready_file:
            _announce(ready_file, standin)
        else:
            sys.stdout.write(f"CLOUDINARY_URL={standin.cloudinary_url}\n")
        sys.stdout.flush()
        await stopped.wait()


async def _live(stack: AsyncExitStack, standin: Standin) -> None:
    from standin.library import Library  # noqa: PLC0415  # only a demo needs it

    await stack.enter_async_context(Library(standin.account))


def _announce(ready_file: Path, standin: Standin) -> None:
    """Write it whole or not at all, for its owner alone."""
    said = {"url": standin.url, "cloud": standin.cloud, "key": standin.key, "secret": standin.secret}
    partial = ready_file.with_name(f"{ready_file.name}.partial")
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(said))
    partial.replace(ready_file)


if __name__ == "__main__":
    sys.exit(main())

"""What several commands have in common: options, and the settings they lead to."""

from pathlib import Path
from typing import Annotated

import typer

from service.running import joined
from service.settings import Settings, load_settings
from service.telemetry import configure_logging

DATA_DIR = Path(".mediamirror")

DataDir = Annotated[Path, typer.Option(help="Where `up` keeps its Kafka and PostgreSQL.", file_okay=False)]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")]
Limit = Annotated[int, typer.Option(min=1, help="At most so many lines.")]


def command_settings(data_dir: Path) -> Settings:
    """Give the settings of a command that looks at an installation, which may be an `up` that runs in `data_dir`."""
    settings = load_settings()
    configure_logging("warning", settings.log_format)
    return joined(settings, data_dir)

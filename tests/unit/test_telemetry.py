import subprocess
import sys

import pytest

RAISING = """
import logging, structlog
from service.telemetry import configure_logging

def call(api_secret):
    raise ValueError("no")

configure_logging("info", {form!r})
for log in (structlog.get_logger(), logging.getLogger("a library")):
    try:
        call("".join(("hush", "hush")))
    except ValueError:
        log.exception("call failed")
"""


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_shows_no_variables_which_may_be_secrets(form: str) -> None:
    script = RAISING.format(form=form)
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stderr
    assert said.count("ValueError: no") == 2
    assert "hushhush" not in said

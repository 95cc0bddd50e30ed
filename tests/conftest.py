"""What every test may rely on."""

import os

import pytest

from tests.bodies import PAYLOADS


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("MEDIAMIRROR_", "CLOUDINARY_")):
            monkeypatch.delenv(name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "payload" in metafunc.fixturenames:
        files = sorted(PAYLOADS.rglob("*.json"))
        metafunc.parametrize("payload", [file.read_bytes() for file in files], ids=[file.stem for file in files])

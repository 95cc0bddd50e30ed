from pathlib import Path

import pytest

from service.printing import print_site
from service.settings import load_settings
from service.up import Site


def banner_of(capsys: pytest.CaptureFixture[str], database_url: str, **more: Path) -> str:
    settings = load_settings(
        database_url=database_url, kafka_bootstrap="127.0.0.1:9092", clouds={"acme": {"keys": {"1": "secret-of-acme"}}}
    )
    pool = None  # nothing is asked of it
    print_site(Site("http://127.0.0.1:8080", settings, pool, is_demo=False, **more), Path(".mediamirror"), "1")  # type: ignore[arg-type]
    return capsys.readouterr().out


@pytest.mark.parametrize("host", ["127.0.0.1:5432", "localhost", "[::1]", "db.example:5432", "a:1,b:2"])
def test_no_password_is_in_the_banner_whatever_the_host(capsys: pytest.CaptureFixture[str], host: str) -> None:
    banner = banner_of(capsys, f"postgresql://mirror:hunter2@{host}/media?sslpassword=hunter2")
    assert f"postgresql://mirror@{host}/media" in banner
    assert "hunter2" not in banner
    assert "secret-of-acme" not in banner


def test_the_line_for_psql_names_the_file_with_the_password(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "a folder"
    banner = banner_of(
        capsys,
        "postgresql://us:hunter2@127.0.0.1:5432/media",
        passfile=folder / "pgpass",
        kafka_client=folder / "client.properties",
    )
    assert "psql 'postgresql://us@127.0.0.1:5432/media?passfile=a%20folder/pgpass'\n" in banner
    assert "clients: a folder/client.properties\n" in banner
    assert "hunter2" not in banner

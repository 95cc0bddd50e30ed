import io
import os
from pathlib import Path

import pytest

from service.sender import given_secret
from service.settings import InvalidSettingsError


def test_the_secret_comes_from_an_argument_a_file_standard_input_or_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "secret"
    file.write_text("of the file\n")
    assert given_secret(None, None) is None
    monkeypatch.setenv("MEDIAMIRROR_SEND_SECRET_FILE", os.fspath(file))
    assert given_secret(None, None) == "of the file"
    monkeypatch.setenv("MEDIAMIRROR_SEND_SECRET", "of the environment")
    assert given_secret(None, None) == "of the environment"
    assert given_secret(None, file) == "of the file"
    monkeypatch.setattr("sys.stdin", io.StringIO("of standard input\n"))
    assert given_secret(None, Path("-")) == "of standard input"
    assert capsys.readouterr().err == ""
    assert given_secret("of the argument", file) == "of the argument"
    assert "--secret-file" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_secret_signs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str) -> None:
    file = tmp_path / "secret"
    file.write_text(content)
    monkeypatch.setattr("sys.stdin", io.StringIO(content))
    for argument, given in ((content, None), (None, file), (None, Path("-"))):
        with pytest.raises(InvalidSettingsError, match="empty"):
            given_secret(argument, given)
    with pytest.raises(InvalidSettingsError, match="--secret-file names a file that can't be read"):
        given_secret(None, tmp_path / "none")

from pathlib import Path

import pytest

from service.settings import InvalidSettingsError, NoCloudError, UnknownCloudError, WhichCloudError, load_settings


def secrets_of(cloud: str) -> dict[str, str]:
    return {key: secret.get_secret_value() for key, secret in load_settings().clouds[cloud].keys.items()}


def test_clouds_come_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIAMIRROR_CLOUDS", '{"acme": {"keys": {"1": "one", "2": "two"}}, "umbrella": {"keys": {"3": "three"}}}')
    assert secrets_of("acme") == {"1": "one", "2": "two"}
    assert sorted(load_settings().require_clouds()) == ["acme", "umbrella"]


def test_one_cloud_comes_as_cloudinarys_own_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDINARY_URL", "cloudinary://123:a%2Fb@Acme-Media?upload_prefix=http://127.0.0.1:1")
    assert secrets_of("Acme-Media") == {"123": "a/b"}


def test_secrets_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "clouds").write_text('{"acme": {"keys": {"1": "one"}}}\n')
    (tmp_path / "dsn").write_text("postgresql://u:p@h/d\n")
    monkeypatch.setenv("MEDIAMIRROR_CLOUDS_FILE", str(tmp_path / "clouds"))
    monkeypatch.setenv("MEDIAMIRROR_DATABASE_URL_FILE", str(tmp_path / "dsn"))
    assert secrets_of("acme") == {"1": "one"}
    url = load_settings().database_url
    assert url is not None
    assert url.get_secret_value() == "postgresql://u:p@h/d"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MEDIAMIRROR_CLOUDS", "no json"),
        ("MEDIAMIRROR_CLOUDS", '{"acme": {"keys": {}}}'),
        ("MEDIAMIRROR_CLOUDS", '{"acme": {"keys": {"1": ""}}}'),
        ("MEDIAMIRROR_CLOUDS", '{"acme": {"secret": "hunter2"}}'),
        ("MEDIAMIRROR_GATEWAY_PORT", "hunter2"),
        ("MEDIAMIRROR_GATEWAY_ACK_TIMEOUT", "20"),
        ("MEDIAMIRROR_DATABASE_URL_FILE", "/nowhere/at/all"),
        ("CLOUDINARY_URL", "cloudinary://hunter2"),
        ("CLOUDINARY_URL", "cloudinary://key:@acme"),
        ("CLOUDINARY_URL", "cloudinary://key:hunter2@[acme"),
    ],
)
def test_a_bad_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSettingsError) as error:
        load_settings()
    assert variable in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_setting_and_its_file_variant_exclude_each_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text("x")
    monkeypatch.setenv("MEDIAMIRROR_DATABASE_URL", "y")
    monkeypatch.setenv("MEDIAMIRROR_DATABASE_URL_FILE", str(tmp_path / "dsn"))
    with pytest.raises(InvalidSettingsError, match="both set"):
        load_settings()


def test_no_cloud_is_an_error_for_whoever_needs_one() -> None:
    with pytest.raises(NoCloudError, match="CLOUDINARY_URL"):
        load_settings().require_clouds()


def test_a_sender_signs_with_the_configured_secret_or_the_one_given() -> None:
    settings = load_settings(clouds={"acme": {"keys": {"1": "one", "2": "two"}}})
    assert settings.sender(None, None, None) == ("acme", "one")
    assert settings.sender(None, "2", None) == ("acme", "two")
    assert settings.sender("other", None, "given") == ("other", "given")
    for cloud, key in (("other", None), ("acme", "3")):
        with pytest.raises(UnknownCloudError):
            settings.sender(cloud, key, None)
    with pytest.raises(UnknownCloudError):
        load_settings().sender(None, None, "given")


def test_every_setting_says_what_it_means() -> None:
    fields = type(load_settings()).model_fields
    assert all(field.description for field in fields.values())


def test_the_cloud_is_the_only_one_or_has_to_be_said() -> None:
    one, two = {"acme": {"keys": {"1": "x"}}}, {"other": {"keys": {"2": "y"}}}
    assert load_settings(clouds=one).cloud_called(None) == "acme"
    assert load_settings(clouds=one | two).cloud_called("other") == "other"
    with pytest.raises(WhichCloudError, match=r"there are several\. Configured: acme, other"):
        load_settings(clouds=one | two).cloud_called(None)
    with pytest.raises(WhichCloudError, match="there is no cloud nope"):
        load_settings(clouds=one).cloud_called("nope")
    with pytest.raises(NoCloudError):
        load_settings().cloud_called(None)

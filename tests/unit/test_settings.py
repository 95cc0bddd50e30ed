from pathlib import Path

import pytest

from service.database_url import shown
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


def test_a_secret_alone_comes_from_a_file_and_the_files_name_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("one\n")
    monkeypatch.setenv("MEDIAMIRROR_CLOUDS__acme__keys__1_FILE", str(tmp_path / "one"))
    assert secrets_of("acme") == {"1": "one"}


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


SPOILT = (
    "postgresql://u:hunter2/more@127.0.0.1:1/db",
    "postgresql://u:1234/hunter2@127.0.0.1:1/db",
    "postgresql://u:hunter2#more@127.0.0.1:1/db",
    "postgresql://u:12?hunter2@127.0.0.1:1/db",
    "postgresql://u:12?hunter2=x@127.0.0.1:1/db",
    "postgresql://u:a@hunter2@127.0.0.1:1/db",
    "postgresql://u:a[hunter2@127.0.0.1:1/db",
    "postgresql://u:hun ter2@127.0.0.1:1/db",
    "postgresql://u@127.0.0.1:hunter2/db",
    "postgresql://u@127.0.0.1:1/db?hunter2",
    "postgresql://u:hunter2@ex\u2100mple/db",
    "hunter2",
)


@pytest.mark.parametrize("url", SPOILT)
def test_a_database_url_that_can_be_misread_is_refused_without_a_piece_of_it(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("MEDIAMIRROR_DATABASE_URL", url)
    with pytest.raises(InvalidSettingsError, match="MEDIAMIRROR_DATABASE_URL: is not of the form") as error:
        load_settings()
    assert "hun" not in str(error.value)
    assert "127.0.0.1" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://u:hunter2@127.0.0.1:5432/media", "postgresql://u@127.0.0.1:5432/media"),
        ("postgres://u:hun%2Fter2@[::1]:5432/media?sslmode=require", "postgres://u@[::1]:5432/media"),
        ("postgresql://a:1,b:2/media?user=u&password=hunter2", "postgresql://a:1,b:2/media"),
        ("postgresql:///media?host=/run/postgresql&password=hunter2", "postgresql:///media"),
        ("postgresql://u:hunter:2@db", "postgresql://u@db"),
        ("postgresql://u:100%hunter2@db/media", "postgresql://u@db/media"),
    ],
)
def test_a_database_url_is_shown_without_its_password(url: str, told: str) -> None:
    assert load_settings(database_url=url).database_url is not None
    assert shown(url) == told


@pytest.mark.parametrize("servers", ["u:hunter2@kafka:9092", "SASL_SSL://kafka:9092", "kafka:hunter2", "kafka:9092,", ""])
def test_kafkas_servers_are_hosts_and_ports(servers: str) -> None:
    with pytest.raises(InvalidSettingsError, match="MEDIAMIRROR_KAFKA_BOOTSTRAP: is not of the form") as error:
        load_settings(kafka_bootstrap=servers)
    assert "hunter2" not in str(error.value)
    assert load_settings(kafka_bootstrap="a:9092, b.example:9092,[::1]:9092,c").kafka_bootstrap


@pytest.mark.parametrize("password", [None, "", "  "])
def test_sasl_needs_a_password(password: str | None) -> None:
    with pytest.raises(InvalidSettingsError, match="MEDIAMIRROR_KAFKA_SASL_PASSWORD"):
        load_settings(kafka_security_protocol="SASL_SSL", kafka_sasl_username="u", kafka_sasl_password=password)


@pytest.mark.parametrize("name", ["", " ", "a/b", "a b", "-a", "a\n", "..", "ä", "a%2Fb", "a@b"])
def test_a_cloud_has_a_name_that_cloudinary_gives(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(InvalidSettingsError, match="a cloud's name is empty, or has other characters"):
        load_settings(clouds={name: {"keys": {"1": "one"}}})
    monkeypatch.setenv("CLOUDINARY_URL", f"cloudinary://1:hunter2@{name}")
    if name.strip() not in {"a", "a/b", "a@b"}:  # a path, or an @ in a secret, is allowed there
        with pytest.raises(InvalidSettingsError, match="CLOUDINARY_URL is not of the form") as error:
            load_settings()
        assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "keys", [{"1": ""}, {"1": " "}, {"1": "\t\n"}, {"1": "hunter2\n"}, {"1": "hun ter2"}, {" ": "hunter2"}, {"": "hunter2"}]
)
def test_a_key_and_its_secret_are_not_blank(keys: dict[str, str]) -> None:
    with pytest.raises(
        InvalidSettingsError, match=r"MEDIAMIRROR_CLOUDS__…__KEYS: an API (key|secret) (is empty|has white space)"
    ) as error:
        load_settings(clouds={"acme": {"keys": keys}})
    assert "hun" not in str(error.value)


@pytest.mark.parametrize("url", ["cloudinary://1:%20@acme", "cloudinary://%20:hunter2@acme", "cloudinary://1:hunter2%0A@acme"])
def test_cloudinarys_url_has_no_blank_secret(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CLOUDINARY_URL", url)
    with pytest.raises(InvalidSettingsError, match=r"CLOUDINARY_URL is not of the form .*: an API") as error:
        load_settings()
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MEDIAMIRROR_CLOUDS_FILE", '{"acme": {"keys": {"1": "hunter2"}}}'),  # the value instead of its file
        ("MEDIAMIRROR_DATABASE_URL_FILE", "postgresql://u:hunter2@h/d"),
        ("MEDIAMIRROR_CLOUDS_FILE", "/hunter2" * 1000),
        ("MEDIAMIRROR_CLOUDS", '{"acme": {"keys": {"hunter2": 1}}}'),  # key and secret the wrong way round
        ("MEDIAMIRROR_CLOUDS", '{"acme": {"hunter2": "1"}}'),
        ("MEDIAMIRROR_CLOUDS", '{"hunter2": "acme"}'),
    ],
)
def test_a_value_in_the_wrong_place_is_not_repeated(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSettingsError, match=variable) as error:
        load_settings()
    assert "hunter2" not in str(error.value)


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

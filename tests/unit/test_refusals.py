"""What went wrong is told by the status of an answer, whatever its body is."""

import itertools
from typing import Any

import pytest
from cloudinary import api, uploader

from service.cloudinary.client import Purpose
from service.cloudinary.errors import (
    BadRequestError,
    CloudinaryError,
    CredentialsError,
    NotAllowedError,
    NotFoundError,
    RateLimitedError,
    StillProcessingError,
    UnavailableError,
)
from tests.answering import Reply
from tests.unit.test_client import answered_by

PAGES: dict[str, tuple[str, bytes]] = {
    "HTML": ("text/html", b"<html><head><TITLE>401\n Authorization Required</TITLE></head><body><h1>No</h1></body></html>"),
    "HTML called JSON": ("application/json", b"<!DOCTYPE html><html><body>Denied</body></html>"),
    "nothing": ("application/json", b""),
    "text": ("text/plain", b"Access denied"),
    "no UTF-8": ("text/html; charset=latin1", b"\xe9\xff\x00<title>\xe9"),
    "JSON of another form": ("application/json", b'{"message": "denied"}'),
    "JSON without words": ("application/json", b'{"error": null}'),
    "a list": ("application/json", b'["denied"]'),
    "JSON cut off": ("application/json", b'{"error": {"mess'),
}
CALLS = {"api": (api.resource, "a"), "uploader": (uploader.destroy, "a")}


async def refusal(status: int, page: str, by: str, **headers: str) -> CloudinaryError:
    content_type, said = PAGES[page]
    function, argument = CALLS[by]
    async with answered_by(Reply(status, said, {"Content-Type": content_type, **headers})) as (account, _):
        with pytest.raises(CloudinaryError) as caught:
            await account.call(function, argument, purpose=Purpose.CHECK)
    assert caught.value.status == status
    return caught.value


@pytest.mark.parametrize(("status", "page", "by"), list(itertools.product((401, 403), PAGES, CALLS)))
async def test_refused_credentials_are_so_in_any_words_or_none(status: int, page: str, by: str) -> None:
    error = await refusal(status, page, by)
    assert type(error) is CredentialsError
    assert "API key and secret" in str(error)
    assert not error.passing


async def test_a_page_is_quoted_by_its_title() -> None:
    assert (await refusal(401, "HTML", "api")).said == "401 Authorization Required"


async def test_what_the_api_forbids_in_its_own_words_is_no_matter_of_the_key() -> None:
    async with answered_by(Reply(403, {"error": {"message": "not with this plan"}})) as (account, _):
        with pytest.raises(NotAllowedError, match="not with this plan"):
            await account.call(api.ping, purpose=Purpose.CHECK)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (408, UnavailableError),
        (413, BadRequestError),
        (414, BadRequestError),
        (420, RateLimitedError),
        (423, StillProcessingError),
        (429, RateLimitedError),
        (431, BadRequestError),
        (500, UnavailableError),
        (502, UnavailableError),
        (504, UnavailableError),
    ],
)
async def test_other_statuses_too(status: int, kind: type[CloudinaryError], page: str) -> None:
    assert type(await refusal(status, page, "api")) is kind


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("status", [404, 409])
async def test_a_page_does_not_tell_that_an_asset_is_not_there_or_is(status: int, page: str) -> None:
    error: Any = await refusal(status, page, "api")
    assert type(error) is UnavailableError
    async with answered_by(Reply(404, {"error": {"message": "Resource not found - a"}})) as (account, _):
        with pytest.raises(NotFoundError):
            await account.call(api.resource, "a", purpose=Purpose.CHECK)

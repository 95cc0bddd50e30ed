"""What an operation may ask for: looked at by whoever works it off, since a row may come from any client of the database. Pure.

Whatever passes here, the SDK can make a call of; and nothing of it makes the SDK open a file, or send anything elsewhere.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from cloudinary import utils

from schemas.asset import AssetName
from service.cloudinary.reading import RESOURCE_TYPES, is_plausible
from service.writeback.operations import Kind, Operation

UPLOADED_FROM = "http, https, s3 or gs"

_URL = re.compile(r"(?:https?|s3|gs)://[^\s/?#\\]\S*")
# A small file may be in the row itself. As narrow as the SDK's own pattern: what does not fit that, it would open as a file.
_DATA = re.compile(r"data:[\w-]+/[\w-]+(?:\+[\w-]+)?;base64,[A-Za-z0-9/+]+={0,2}", re.ASCII)
_DATA_MOST = 1024 * 1024  # characters
_URL_MOST = 8192
_OPTIONS = frozenset({"tags", "context", "asset_folder", "display_name"})
_RULE = frozenset({"access_type", "start", "end"})


class _UnusableError(Exception):
    """Says why, for a person."""


def fault_of(operation: Operation) -> str | None:
    """Tell, for a person, why nobody can do this, ever; None if it may be tried."""
    try:
        _check_asset(operation)
        arguments = _object(operation.arguments, "its arguments are")
        allowed, check = _CHECKS[operation.kind]
        _only(arguments, allowed, "argument")
        check(arguments)
    except _UnusableError as fault:
        return str(fault)
    return None


def fault_of_upload(operation: Operation) -> str | None:
    """Tell why it can't be said whether anything is this upload's: without that, nothing is uploaded, and nothing undone."""
    try:
        if operation.name is None:
            return "it has no public id"
        _check_name(operation.name)
        _text(_object(operation.arguments, "its arguments are"), "token")
    except _UnusableError as fault:
        return str(fault)
    return None


def url_fault(url: object) -> str | None:
    """Tell why Cloudinary is not asked to get a file from there; None if it is."""
    if not isinstance(url, str):
        return "the URL is no text"
    fits = len(url) <= _URL_MOST and url.isprintable() and _URL.fullmatch(url)
    fits = fits or (len(url) <= _DATA_MOST and _DATA.fullmatch(url))
    # the SDK opens as a file of this machine whatever is no URL in its own eyes
    if fits and utils.is_remote_url(url):
        return None
    return f"Cloudinary gets files by {UPLOADED_FROM}, written in small letters, and never from this machine"


def _check_asset(operation: Operation) -> None:
    if operation.kind is Kind.UPLOAD:
        if reason := fault_of_upload(operation):
            raise _UnusableError(reason)
    elif operation.asset_id is not None and operation.asset_id.count("/") > 1:
        _check_name(AssetName(*operation.asset_id.split("/", 2)))
    elif not operation.asset_id:
        raise _UnusableError("it does not say of which asset")


def _check_name(name: AssetName) -> None:
    if name.resource_type not in RESOURCE_TYPES or not is_plausible(name.type):
        raise _UnusableError(f"there are no assets of the kind {name.resource_type}/{name.type}")
    if not name.public_id.strip():
        raise _UnusableError("the public id is empty")


def _upload(arguments: Mapping[str, Any]) -> None:
    if reason := url_fault(arguments.get("url")):
        raise _UnusableError(reason)
    if arguments.get("options") is None:
        return
    options = _object(arguments["options"], "its options are")
    _only(options, _OPTIONS, "option")
    if "tags" in options:
        _tag_list(options, "tags")
    if "context" in options:
        _pairs(options, "context")
    for name in ("asset_folder", "display_name"):
        if name in options:
            _text(options, name)


def _nothing(_: Mapping[str, Any]) -> None:
    pass


def _rename(arguments: Mapping[str, Any]) -> None:
    _text(arguments, "to")
    if arguments.get("to_type") is not None and not is_plausible(_text(arguments, "to_type")):
        raise _UnusableError(f"there is no delivery type {arguments['to_type']}")


def _tags(arguments: Mapping[str, Any]) -> None:
    if ("set" in arguments) == ("add" in arguments or "remove" in arguments):
        raise _UnusableError("say either set, or add and remove")
    for name in arguments:
        _tag_list(arguments, name)


def _context(arguments: Mapping[str, Any]) -> None:
    if not arguments:
        raise _UnusableError("say set, or remove")
    if "set" in arguments:
        _pairs(arguments, "set")
    if "remove" in arguments and not _all_texts(arguments["remove"]):
        raise _UnusableError("remove is no list of keys")


def _metadata(arguments: Mapping[str, Any]) -> None:
    for key, value in _object(arguments.get("set"), "set is").items():
        _check_key(key)
        whole = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in whole):
            raise _UnusableError(f"the value of {key} is neither text, nor a number, nor a list of them")
        _check_value(key, value)


def _to(arguments: Mapping[str, Any]) -> None:
    _text(arguments, "to")


def _access(arguments: Mapping[str, Any]) -> None:
    rules = arguments.get("to")
    if not isinstance(rules, list) or not all(isinstance(rule, Mapping) and "access_type" in rule for rule in rules):
        raise _UnusableError('to is no list of objects with "access_type"; an empty one is open to all')
    for rule in rules:
        _only(rule, _RULE, "part of a rule")
        for name in rule:
            _text(rule, name)


_CHECKS: Mapping[Kind, tuple[frozenset[str], Callable[[Mapping[str, Any]], None]]] = {
    Kind.DESTROY: (frozenset(), _nothing),
    Kind.RENAME: (frozenset({"to", "to_type"}), _rename),
    Kind.TAGS: (frozenset({"set", "add", "remove"}), _tags),
    Kind.CONTEXT: (frozenset({"set", "remove"}), _context),
    Kind.METADATA: (frozenset({"set"}), _metadata),
    Kind.DISPLAY_NAME: (frozenset({"to"}), _to),
    Kind.FOLDER: (frozenset({"to"}), _to),
    Kind.ACCESS: (frozenset({"to"}), _access),
    Kind.UPLOAD: (frozenset({"url", "token", "options"}), _upload),
}


def _only(given: Mapping[str, Any], allowed: frozenset[str], what: str) -> None:
    if unknown := sorted(given.keys() - allowed):
        known = ", ".join(sorted(allowed)) or "none"
        raise _UnusableError(f"unknown {what}: {', '.join(unknown)[:200]} (allowed: {known})")


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _UnusableError(f"{what} no object")
    return value


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value.strip():
        raise _UnusableError(f"{name} is empty, or no text")
    return value


def _all_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one.strip() for one in value)


def _tag_list(given: Mapping[str, Any], name: str) -> None:
    if not _all_texts(given[name]) or any("," in tag for tag in given[name]):
        raise _UnusableError(f"{name} is no list of tags, none of which is empty or has a comma in it")


def _pairs(given: Mapping[str, Any], name: str) -> None:
    pairs = _object(given[name], f"{name} is")
    if not all(isinstance(value, str) for value in pairs.values()):
        raise _UnusableError(f"{name} is no object of texts")
    for key, value in pairs.items():
        _check_key(key)
        _check_value(key, value)


def _check_key(key: str) -> None:
    if not key.strip() or set(key) & set("|=\\"):
        raise _UnusableError(f"the key '{key[:100]}' is empty, or has one of | = \\ in it")


def _check_value(key: str, value: object) -> None:
    # the SDK joins pairs by |, and a backslash before it would make it part of the value
    if isinstance(value, str) and value.endswith("\\"):
        raise _UnusableError(f"the value of {key[:100]} ends with a backslash")

"""What an operation means at Cloudinary: whether it may be done, whether it is done already, and by which calls. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from cloudinary import uploader

from schemas.asset import AssetName
from service.writeback.operations import Kind, Operation

Resource = Mapping[str, Any]  # as the Admin API gives it


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the SDK's, on one asset. Those of the same `shared` do the same, and are made as one for many assets."""

    function: Callable[..., Any]
    arguments: tuple[object, ...]
    options: Mapping[str, object]
    name: AssetName
    shared: str | None = field(default=None)


def is_there(resource: Resource | None) -> bool:
    """Tell whether there is an asset: one that was deleted and has a backup is still listed, as an empty placeholder."""
    return resource is not None and not (resource.get("placeholder") and not resource.get("bytes"))


def name_of(resource: Resource) -> AssetName:
    """Give what it is called now."""
    return AssetName(str(resource["resource_type"]), str(resource["type"]), str(resource["public_id"]))


def context_of(resource: Resource) -> dict[str, Any]:
    """Give its contextual metadata, which the Admin API puts under `custom`."""
    context: Mapping[str, Any] = resource.get("context") or {}
    return dict(context.get("custom") or {}) if "custom" in context else dict(context)


def objection(operation: Operation, resource: Resource | None) -> str | None:
    """Tell, for a person, why an operation must not be done to what is there; None if it may."""
    if not is_there(resource):
        return None if operation.kind is Kind.DESTROY else "there is no such asset at Cloudinary (any more)"
    assert resource is not None  # noqa: S101  # it is there
    expected, version = operation.expected_version, resource.get("version")
    if expected is not None and version != expected:
        return (
            f"conflict: Cloudinary has version {version} of this asset, and version {expected} was expected. Look at what it is "
            "now, and ask again if it is still to be done"
        )
    return None


def is_done(operation: Operation, resource: Resource | None) -> bool:
    """Tell whether it is already so, by whoever's doing: a try before this one, of which we know nothing, or another's."""
    if not is_there(resource):
        return operation.kind is Kind.DESTROY
    assert resource is not None  # noqa: S101  # it is there
    return operation.kind is not Kind.DESTROY and not calls(operation, resource)


def calls(operation: Operation, resource: Resource) -> Sequence[Call]:
    """Give the calls, one after the other, that make it so; none when it is."""
    return _CALLS[operation.kind](operation.arguments, resource)


def _destroy(_: Mapping[str, Any], resource: Resource) -> list[Call]:
    name = name_of(resource)
    return [Call(uploader.destroy, (name.public_id,), {"invalidate": True}, name)]


def _rename(arguments: Mapping[str, Any], resource: Resource) -> list[Call]:
    name = name_of(resource)
    to, to_type = arguments["to"], arguments.get("to_type") or name.type
    if (to, to_type) == (name.public_id, name.type):
        return []
    options = {"overwrite": False, "invalidate": True} | ({"to_type": to_type} if to_type != name.type else {})
    return [Call(uploader.rename, (name.public_id, to), options, name)]


def _tags(arguments: Mapping[str, Any], resource: Resource) -> list[Call]:
    present = set(resource.get("tags") or ())
    if "set" in arguments:
        wanted = sorted(set(arguments["set"]))
        if set(wanted) == present:
            return []
        return [
            _many(uploader.replace_tag, ",".join(wanted), resource) if wanted else _many_all(uploader.remove_all_tags, resource)
        ]
    added = sorted(set(arguments.get("add", ())) - present)
    removed = sorted(set(arguments.get("remove", ())) & present)
    return [
        _many(function, ",".join(tags), resource)
        for function, tags in ((uploader.add_tag, added), (uploader.remove_tag, removed))
        if tags
    ]


def _context(arguments: Mapping[str, Any], resource: Resource) -> list[Call]:
    present = context_of(resource)
    news = {key: value for key, value in arguments.get("set", {}).items() if present.get(key) != value}
    gone = [key for key in arguments.get("remove", ()) if key in present]
    if not gone:
        return [_many(uploader.add_context, news, resource)] if news else []
    # there is no call that removes a key: the rest is set anew, as a whole
    rest = {key: value for key, value in (present | news).items() if key not in gone}
    return [_explicit(resource, context=rest) if rest else _many_all(uploader.remove_all_context, resource)]


def _metadata(arguments: Mapping[str, Any], resource: Resource) -> list[Call]:
    present = resource.get("metadata") or {}
    # numbers are told as numbers and set as text
    news = {key: value for key, value in arguments["set"].items() if _plain(present.get(key)) != _plain(value)}
    return [_many(uploader.update_metadata, news, resource)] if news else []


def _display_name(arguments: Mapping[str, Any], resource: Resource) -> list[Call]:
    to = arguments["to"]
    return [] if resource.get("display_name") == to else [_explicit(resource, display_name=to)]


def _folder(arguments: Mapping[str, Any], resource: Resource) -> list[Call]:
    to = arguments["to"]
    return [] if resource.get("asset_folder") == to else [_explicit(resource, asset_folder=to)]


def _access(arguments: Mapping[str, Any], resource: Resource) -> list[Call]:
    to = arguments["to"]
    if "access_control" in resource and (resource["access_control"] or []) == to:
        return []
    # as text, since the SDK leaves out an empty list
    return [_explicit(resource, access_control=orjson.dumps(to).decode())]


_CALLS: Mapping[Kind, Callable[[Mapping[str, Any], Resource], Sequence[Call]]] = {
    Kind.DESTROY: _destroy,
    Kind.RENAME: _rename,
    Kind.TAGS: _tags,
    Kind.CONTEXT: _context,
    Kind.METADATA: _metadata,
    Kind.DISPLAY_NAME: _display_name,
    Kind.FOLDER: _folder,
    Kind.ACCESS: _access,
}


def _many(function: Callable[..., Any], value: object, resource: Resource) -> Call:
    """Give a call `function(value, public_ids)`, which takes many assets of one kind at a time."""
    name = name_of(resource)
    return Call(function, (value,), {}, name, shared=_key(function, value, name))


def _many_all(function: Callable[..., Any], resource: Resource) -> Call:
    name = name_of(resource)
    return Call(function, (), {}, name, shared=_key(function, None, name))


def _key(function: Callable[..., Any], value: object, name: AssetName) -> str:
    said = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return f"{function.__name__} {name.resource_type}/{name.type} {said}"


def _explicit(resource: Resource, **options: object) -> Call:
    name = name_of(resource)
    return Call(uploader.explicit, (name.public_id,), options, name)


def _plain(value: object) -> object:
    return [str(item) for item in value] if isinstance(value, list) else None if value is None else str(value)

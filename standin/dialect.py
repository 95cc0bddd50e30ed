"""How the account speaks where the sources on Cloudinary disagree, or leave two readings open: every such switch."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

# The names that the vendor's generated SDK (asset-management-js, FieldsSpec) knows.
ENUMERATED = frozenset(
    {
        *("asset_folder", "folder", "filename", "format", "version", "version_id", "signature", "resource_type", "created_at"),
        *("uploaded_at", "bytes", "backup_bytes", "width", "height", "aspect_ratio", "access_control", "metadata", "context"),
        *("tags", "pixels", "custom", "moderation", "url", "secure_url", "status", "etag"),
    }
)
SOCIAL = frozenset({"facebook", "twitter", "twitter_name", "gravatar"})  # delivery types of pictures that lie elsewhere


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """Each default is what the documentation says, or, where it says nothing, is likelier. `OTHER` is the other reading."""

    most_ids: int = 10
    """Asset ids in one call of `by_asset_ids`: 10 by the Admin API reference, 100 by the vendor's generated SDK."""

    enumerated_fields: bool = True
    """Of `fields`, only the names that the vendor's SDK enumerates are heeded, and only public_id and asset_id always come.
    Else: any name is heeded, and type and resource_type always come as well.
    """

    social_without_version: bool = True
    """Assets of social networks are shown without a version, as one in the reference's sample of a listing."""

    null_access: bool = True
    """What has no restrictions is shown with `access_control: null`, as in the vendor's sample of a search. Else: without."""

    brief_is_brief: bool = True
    """A listing that is asked for nothing shows neither duration nor access control, as in the reference's sample."""

    refuses_in_html: bool = True
    """The Admin API refuses credentials with an HTML page, as one of the vendor's help pages shows. Else: with JSON."""

    newest_first: bool = True
    """A listing is by creation, newest first, and by public id only with a prefix, as the reference says. Else: always by it."""

    cursor_seconds: float = 3600.0
    """How long a cursor is good; 0: for ever."""

    shared_versions: bool = True
    """A version is the second of the upload, so that two overwrites may share one. Else: it always grows."""

    overwriting_keeps_labels: bool = True
    """An upload over an asset leaves it the tags, context, metadata and access control that it says nothing of. Undocumented."""

    deletes_by_name: bool = True
    """The answer to a deletion by asset ids names public ids, as in the vendor's sample. Else: asset ids."""

    tells_of_victims: bool = True
    """Of an asset that a rename takes the name from, a `delete` is told. Undocumented."""

    defined_metadata: bool = True
    """Metadata fields have to be defined, with a type, which their values have to fit. Else: any is taken, and kept as text."""

    revives_placeholders: bool = False
    """An upload over what is left of a deleted asset brings that one back, under its id. Else: it makes another. Undocumented."""

    etag_by_request: bool = True
    """The details of an asset have an etag only with `media_metadata`, as the reference says. Else: always."""

    lists_all_types: bool = True
    """A listing without a delivery type is of all types, as in the reference's sample. Else: of `upload`, as its text says."""


OTHER = Dialect(
    most_ids=100,
    enumerated_fields=False,
    social_without_version=False,
    null_access=False,
    brief_is_brief=False,
    refuses_in_html=False,
    newest_first=False,
    cursor_seconds=0,
    shared_versions=False,
    overwriting_keeps_labels=False,
    deletes_by_name=False,
    tells_of_victims=False,
    defined_metadata=False,
    revives_placeholders=True,
    etag_by_request=False,
    lists_all_types=False,
)


def dialect_of(switches: Iterable[str]) -> Dialect:
    """Read `name=value`, as in `null_access=no`; raises `ValueError`."""
    defaults = Dialect()
    known = {one.name: type(getattr(defaults, one.name)) for one in fields(Dialect)}
    given: dict[str, bool | int | float] = {}
    for switch in switches:
        name, _, value = switch.partition("=")
        if name not in known:
            raise ValueError(f"there is no switch {name}; there are {', '.join(known)}")
        if known[name] is bool:
            if value not in ("yes", "no"):
                raise ValueError(f"{name} is yes or no")
            given[name] = value == "yes"
        else:
            given[name] = known[name](value)
    return Dialect(**given)  # type: ignore[arg-type]  # of the type that each field's default has

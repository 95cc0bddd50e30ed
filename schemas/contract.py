"""The contract of what we publish, as AsyncAPI 3 and JSON Schema.

`python -m schemas.contract` writes the files in `contracts/`.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.event import PUBLIC_FIELDS, EventType
from schemas.reduction import KEPT, OMITTED

FOLDER = Path(__file__).parent / "contracts"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


# Fields that a state which is too large for Kafka may lack.
_REDUCIBLE = [name for name in PUBLIC_FIELDS if name not in KEPT]


def _whole_or_reduced(schema: dict[str, Any]) -> None:
    """Require every field of a state unless it says which ones were left out."""
    schema["required"] = [name for name in schema["required"] if name in KEPT]
    schema["anyOf"] = [{"required": _REDUCIBLE}, {"required": [OMITTED]}]


class AssetState(BaseModel):
    """An asset of a Cloudinary account, as the mirror knows it."""

    model_config = ConfigDict(json_schema_extra=_whole_or_reduced)

    cloud: str = Field(description="The Cloudinary account (product environment).")
    asset_id: str = Field(description="Cloudinary's 32 hex digits; resource_type/type/public_id while only the name is known.")
    public_id: str | None = Field(description="What delivery URLs call it; may change.")
    resource_type: str | None = Field(description="image, video or raw.")
    type: str | None = Field(description="Delivery type: upload, private, authenticated…")
    format: str | None
    version: int | None = Field(description="Unix seconds of the last change of content.")
    version_id: str | None
    bytes: int | None
    width: int | None = Field(description="Pixels.")
    height: int | None = Field(description="Pixels.")
    duration: float | None = Field(description="Seconds.")
    etag: str | None
    created_at: datetime | None
    uploaded_at: datetime | None
    placeholder: bool = Field(description="Whether an empty placeholder has taken the content's place.")
    details: dict[str, Any] = Field(description="What else Cloudinary says of the content.")
    asset_folder: str | None
    display_name: str | None
    tags: list[str] = Field(description="In alphabetical order.")
    context: dict[str, Any] = Field(description="Contextual metadata.")
    metadata: dict[str, Any] = Field(description="Structured metadata.")
    access_control: list[Any] | None
    moderation: dict[str, Any] = Field(description="By kind: status and time of the verdict.")
    derived: dict[str, Any] = Field(description="Derived versions, by transformation; one with a status is not made, or not yet.")
    deleted_at: datetime | None = Field(description="When it was deleted; null: it is alive.")
    revision: int = Field(ge=1, description="How many changes there have been; no number is left out.")
    omitted: list[str] = Field(
        min_length=1,
        default_factory=list,
        description="Only of a state that would be larger than Kafka takes: the fields that were left out of it, the largest."
        " What you know of them may be out of date; ask the mirror's database for them.",
    )


class FieldChange(BaseModel):
    """A field before and after."""

    model_config = ConfigDict(populate_by_name=True)

    from_: Any = Field(alias="from")
    to: Any
    omitted: Literal[True] = Field(True, description="Only where both were too large: they are null here, whatever they are.")


class CauseOf(BaseModel):
    """The notification behind an event, and where it is on Kafka."""

    notification_type: str
    triggered_by: str | None = Field(description="source:id, as Cloudinary tells it.")
    topic: str
    partition: int
    offset: int


class AssetEventData(BaseModel):
    """The data of `media.asset.*`."""

    asset: AssetState | None = Field(description="The asset after the change; null when its row is gone (purged).")
    changed: dict[str, FieldChange]
    cause: CauseOf
    omitted: list[str] = Field(
        min_length=1,
        default_factory=list,
        description="Only of an event that would be larger than Kafka takes: the fields that were left out, of the asset, of what"
        " has changed, or of the cause. Those left out of the asset are named in its own `omitted`, too.",
    )


class FolderPath(BaseModel):
    """A folder."""

    path: str
    to_path: str | None = Field(None, description="Where it was moved.")


class FolderEventData(BaseModel):
    """The data of `media.folder.*`."""

    folder: FolderPath
    cause: CauseOf
    omitted: list[str] = Field(
        min_length=1, default_factory=list, description="Only of an event too large for Kafka: what was left out of the cause."
    )


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Give a model's JSON Schema."""
    return {"$schema": _DIALECT, **model.model_json_schema(by_alias=True)}


def async_api() -> dict[str, Any]:
    """Give the AsyncAPI document of both topics, under their default names."""
    asset_types = [event for event in EventType if event.startswith("media.asset.")]
    folder_types = [event for event in EventType if event.startswith("media.folder.")]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "mediamirror",
            "version": "1.0.0",
            "description": "Every change to the assets of a Cloudinary account, and their current state. At least once: an event"
            " may come again, with the same ce_id. Events of one asset come in the order of their ce_revision. One that would be"
            " larger than Kafka takes comes without its largest fields, and names them in `omitted`; its ce_revision counts.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "events": {
                "address": "media.events",
                "description": "CloudEvents 1.0 in Kafka's binary mode.",
                "messages": {
                    "assetEvent": _event_message(asset_types, "media.events.asset.schema.json", with_revision=True),
                    "folderEvent": _event_message(folder_types, "media.events.folder.schema.json", with_revision=False),
                },
            },
            "assets": {
                "address": "media.assets",
                "description": "Compacted: the current state of each asset. Read from the beginning, a copy of the mirror, but"
                " for the fields that a state names in `omitted`.",
                "messages": {
                    "assetState": {
                        "name": "assetState",
                        "summary": "The state of an asset; without a value when its row is gone.",
                        "payload": {"$ref": "media.assets.schema.json"},
                        "headers": {"type": "object", "properties": {"cloud": {"type": "string"}}, "required": ["cloud"]},
                        "bindings": {"kafka": {"key": {"type": "string", "description": "The asset's id."}}},
                    }
                },
            },
        },
        "operations": {
            "receiveEvents": {"action": "receive", "channel": {"$ref": "#/channels/events"}},
            "receiveAssets": {"action": "receive", "channel": {"$ref": "#/channels/assets"}},
        },
    }


def _event_message(types: list[EventType], schema: str, *, with_revision: bool) -> dict[str, Any]:
    text = {"type": "string"}
    headers: dict[str, Any] = {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {**text, "description": "Unique, and the same however often the event is sent."},
        "ce_source": {**text, "description": "/cloudinary/ and the cloud."},
        "ce_type": {"enum": [str(one) for one in types]},
        "ce_subject": {**text, "description": "The asset's id, or the folder's path."},
        "ce_time": {**text, "format": "date-time", "description": "When it happened, by Cloudinary's clock."},
        "ce_partitionkey": text,
        "content-type": {"const": "application/json"},
    }
    if with_revision:
        headers["ce_revision"] = {**text, "pattern": "^[0-9]+$", "description": "The asset's revision after the change."}
    return {
        "name": schema.split(".")[2] + "Event",
        "headers": {"type": "object", "properties": headers, "required": sorted(headers)},
        "payload": {"$ref": schema},
        "bindings": {"kafka": {"key": {**text, "description": "As ce_subject."}}},
    }


def documents() -> dict[str, str]:
    """Give the contract's files: name -> text."""
    files = {
        "asyncapi.json": async_api(),
        "media.events.asset.schema.json": json_schema(AssetEventData),
        "media.events.folder.schema.json": json_schema(FolderEventData),
        "media.assets.schema.json": json_schema(AssetState),
    }
    return {name: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for name, content in files.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in documents().items():
        (FOLDER / name).write_text(text)

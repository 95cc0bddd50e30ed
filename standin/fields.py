"""Structured metadata: which fields there are, and what values they take."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from standin.errors import AlreadyExistsError, BadRequestError
from standin.ledger import Ledger

_KEPT = "metadata_fields"
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class MetadataFields(Ledger):
    """Fields are defined by their external id, with a type: string, integer, date, enum or set."""

    def define_field(self, external_id: str, type: str = "string") -> dict[str, Any]:
        """Define one; raises `BadRequestError`, and `AlreadyExistsError`."""
        if type not in _READ or not external_id:
            raise BadRequestError(f"Invalid metadata field {external_id} of type {type}")
        with self.store.transaction():
            defined = self.fields()
            if external_id in defined:
                raise AlreadyExistsError(f"external_id {external_id} already exists")
            self.store.put(_KEPT, json.dumps(defined | {external_id: type}))
        return {"external_id": external_id, "type": type, "label": external_id, "mandatory": False}

    def fields(self) -> dict[str, str]:
        """Give the type of each field: those of the options, and those that were defined since."""
        kept = self.store.get(_KEPT)
        return dict(self.options.metadata_fields) | (json.loads(str(kept)) if kept else {})

    def read_metadata(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Give values as their fields keep them, None or "" for what is to go; raises `BadRequestError`."""
        if not self.options.dialect.defined_metadata:
            return dict(metadata)
        defined, read = self.fields(), {}
        for name, value in metadata.items():
            if name not in defined:
                raise BadRequestError(f"Metadata field with external id {name} does not exist")
            try:
                read[name] = value if value in (None, "") else _READ[defined[name]](value)
            except (ValueError, TypeError) as error:
                raise BadRequestError(f"Value {value} is invalid for field {name}") from error
        return read


def _date(value: object) -> str:
    if not _DATE.fullmatch(str(value)):
        raise ValueError
    return str(value)


def _set(value: object) -> list[str]:
    if not isinstance(value, list):
        raise TypeError
    return [str(one) for one in value]


def _text(value: object) -> str:
    if isinstance(value, list | dict):
        raise TypeError
    return str(value)


_READ: Mapping[str, Callable[[Any], Any]] = {"string": _text, "integer": int, "date": _date, "enum": _text, "set": _set}

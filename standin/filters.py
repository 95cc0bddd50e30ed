"""What a trigger may do to a notification: hold it back by a JSONLogic `filter`, replace it by a Mustache `payload_template`."""

import json
import re
from collections.abc import Mapping
from typing import Any

from standin.errors import BadRequestError

_TAG = re.compile(r"\{\{\s*([\w.]+)\s*\}\}")


def passes(rule: Any, notification: Mapping[str, Any]) -> bool:  # noqa: ANN401  # JSONLogic is any JSON
    """Tell whether a filter lets a notification through; raises `BadRequestError` for operators that the stand-in lacks."""
    return rule is None or bool(_evaluate(rule, notification))


def _evaluate(rule: Any, data: Mapping[str, Any]) -> Any:  # noqa: ANN401, PLR0911  # one for each operator
    if isinstance(rule, list):
        return [_evaluate(item, data) for item in rule]
    if not isinstance(rule, dict) or len(rule) != 1:
        return rule
    [(operator, operands)] = rule.items()
    values = _evaluate(operands if isinstance(operands, list) else [operands], data)
    match operator, values:
        case "var", [name, *default]:
            return _look_up(data, str(name), default[0] if default else None)
        case "==" | "===", [one, other]:
            return one == other
        case "!=" | "!==", [one, other]:
            return one != other
        case "in", [part, whole]:
            return part in whole if isinstance(whole, list) else isinstance(whole, str) and str(part) in whole
        case "and", _:
            return all(values)
        case "or", _:
            return any(values)
        case "!", [value]:
            return not value
    raise BadRequestError(f"Unsupported filter operator: {operator}")


def _look_up(data: Any, name: str, default: Any) -> Any:  # noqa: ANN401  # any JSON
    for step in name.split("."):
        if isinstance(data, Mapping) and step in data:
            data = data[step]
        elif isinstance(data, list) and step.isdecimal() and int(step) < len(data):
            data = data[int(step)]
        else:
            return default
    return data


def render(template: str, notification: Mapping[str, Any]) -> str:
    """Fill in a template's `{{names}}`."""

    def value(tag: re.Match[str]) -> str:
        found = _look_up(notification, tag[1], "")
        return found if isinstance(found, str) else json.dumps(found, separators=(",", ":"))

    return _TAG.sub(value, template)

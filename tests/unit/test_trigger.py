from typing import Any

import pytest

from service.cloudinary.trigger import Destination, plan

OURS = Destination("https://media.example.com/webhooks/cloudinary/acme", "webhook")


def trigger(identity: str = "t", **fields: Any) -> dict[str, Any]:
    return {"id": identity, "uri": OURS.uri, "uri_type": "webhook", "event_type": "all", "additive": True, **fields}


def test_one_additive_trigger_for_all_events_is_all_that_is_needed() -> None:
    assert plan([trigger(auth_scheme="default")], OURS).is_empty


def test_triggers_that_lead_elsewhere_are_nobodys_business() -> None:
    todo = plan([trigger(uri="https://other.example.com"), trigger("u", uri=f"{OURS.uri}/")], OURS)
    assert todo.create
    assert todo.missing
    assert not todo.remove


@pytest.mark.parametrize(
    "fault", [{"additive": False}, {"filter": {"==": [1, 1]}}, {"payload_template": "{{x}}"}, {"auth_scheme": "eddsa_v2"}]
)
def test_one_that_loses_or_spoils_notifications_is_replaced(fault: dict[str, Any]) -> None:
    todo = plan([trigger(**fault)], OURS)
    assert (todo.create, list(todo.remove), len(todo.faults), todo.missing) == (True, ["t"], 1, False)


def test_triggers_for_single_events_to_the_same_place_only_double_what_comes() -> None:
    todo = plan([trigger("a", event_type="upload"), trigger("b"), trigger("c", event_type="delete"), trigger("d")], OURS)
    assert (todo.create, list(todo.remove), todo.faults) == (False, ["a", "c", "d"], [])


def test_a_plan_tells_what_it_would_do() -> None:
    assert plan([], OURS).in_words() == f"create the trigger for all events to {OURS.uri}, additive"
    both = plan([trigger("a", event_type="upload"), trigger("b", additive=False)], OURS).in_words()
    assert both.endswith("additive, then remove 2 triggers to the same place")

"""The notification trigger that the mirror lives by: is it there, is it sound, and what would make it so.

One trigger for `all` events to us, that also fires when a call brings its own `notification_url` (additive), and that neither
picks events (filter) nor rewrites bodies (payload_template) nor signs by a scheme that nobody outside can verify (eddsa_v2).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cloudinary import api
from cloudinary.api_client.call_api import call_json_api

from service.cloudinary.client import Account, Purpose
from service.cloudinary.errors import AlreadyExistsError, NotFoundError


@dataclass(frozen=True, slots=True)
class Destination:
    """Where notifications should go."""

    uri: str
    uri_type: Literal["webhook", "poll"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wrong with the triggers that lead to a destination, and what would put it right."""

    destination: Destination
    faults: Sequence[str]  # of the trigger for all events; why notifications are lost or useless
    create: bool  # a sound trigger is missing
    remove: Sequence[str]  # ids of those that the sound one makes useless or harmful
    missing: bool  # there is no trigger for all events at all

    @property
    def is_empty(self) -> bool:
        """Tell whether all is well."""
        return not (self.create or self.remove)

    def in_words(self) -> str:
        """Tell what applying it does."""
        steps = [f"create the trigger for all events to {self.destination.uri}, additive"] if self.create else []
        if self.remove:
            steps.append(f"remove {len(self.remove)} trigger{'s' * (len(self.remove) > 1)} to the same place")
        return ", then ".join(steps)


def plan(triggers: Iterable[Mapping[str, Any]], destination: Destination) -> Plan:
    """Compare the triggers of an account with what there should be; triggers that lead elsewhere are nobody's business here."""
    ours = [trigger for trigger in triggers if trigger.get("uri") == destination.uri]
    for_all = [trigger for trigger in ours if trigger.get("event_type") == "all"]
    faults = {trigger["id"]: _faults(trigger) for trigger in for_all}
    sound = next((trigger["id"] for trigger in for_all if not faults[trigger["id"]]), None)
    return Plan(
        destination,
        faults=[] if sound else [fault for each in faults.values() for fault in each],
        create=sound is None,
        remove=[trigger["id"] for trigger in ours if trigger["id"] != sound],
        missing=not for_all,
    )


def _faults(trigger: Mapping[str, Any]) -> list[str]:
    faults = []
    if not trigger.get("additive"):
        faults.append("it is not additive, so uploads with a notification_url of their own bypass it")
    if trigger.get("payload_template"):
        faults.append("its payload_template replaces the body")
    if trigger.get("filter"):
        faults.append("its filter leaves events out")
    if trigger.get("auth_scheme") == "eddsa_v2":
        faults.append("its auth_scheme is eddsa_v2, which only Cloudinary can verify")
    return faults


async def triggers_of(account: Account) -> list[dict[str, Any]]:
    """Give an account's triggers."""
    answer = await account.call(api.triggers, purpose=Purpose.CHECK)
    return list(answer.body.get("triggers") or ())


async def carry_out(account: Account, todo: Plan) -> None:
    """Do what a plan says; a new trigger is there before an old one goes, where Cloudinary lets both be."""
    remove = list(todo.remove)
    if todo.create:
        try:
            await _create(account, todo.destination)
        except AlreadyExistsError:
            await _remove(account, remove)
            remove = []
            await _create(account, todo.destination)
    await _remove(account, remove)


async def _create(account: Account, destination: Destination) -> None:
    # The SDK's own function knows nothing of `additive`.
    params = {"uri": destination.uri, "event_type": "all", "uri_type": destination.uri_type, "additive": True}
    await account.call(call_json_api, "post", ["triggers"], params, purpose=Purpose.CHECK)


async def _remove(account: Account, ids: Iterable[str]) -> None:
    for trigger_id in ids:
        try:
            await account.call(api.delete_trigger, trigger_id, purpose=Purpose.CHECK)
        except NotFoundError:
            continue

"""`access_control_changed`: who may see an asset."""

from collections.abc import Iterator

from handlers.resources import Told, each
from schemas.asset import Group
from schemas.bodies import Resource
from schemas.change import Change
from schemas.notification import Notification


def access_changed(notification: Notification) -> Iterator[Change]:
    """Assert the rules that hold now; null means that there are none any more."""

    def tell(body: Resource) -> Told | str:
        if "new_access_control" not in body.model_fields_set:
            return "access control was changed to what the notification leaves out"
        return {Group.ACCESS: {"access_control": body.new_access_control}}

    return each(notification, Resource, tell)

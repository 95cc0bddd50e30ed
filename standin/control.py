"""The stand-in's own endpoints, which Cloudinary has not: what goes wrong, and how things are."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from standin.faults import Faults
from standin.notifier import Notifier
from standin.store import Store

_SHARES = ("lose", "double")
_ORDERS = {
    "fail": {"match", "status", "times", "after", "message", "resets_in"},
    "answer": {"match", "body", "status", "times", "after"},
    "time_out_after_effect": {"match", "times", "after", "seconds"},
    "break_off": {"match", "times", "after"},
    "refuse": {"match", "times", "after"},
    "slow": {"match", "seconds", "times", "after"},
}


@dataclass(frozen=True, slots=True)
class Control:
    """`POST /standin/faults`, `DELETE /standin/faults`, `GET /standin/state`; to whom they answer is the server's business."""

    store: Store
    notifier: Notifier
    faults: Faults
    calls: Counter[Any]

    def routes(self) -> list[web.RouteDef]:
        """Give the routes, for `app.add_routes`."""
        return [
            web.post("/standin/faults", self.set_faults),
            web.delete("/standin/faults", self.clear_faults),
            web.get("/standin/state", self.state),
        ]

    async def set_faults(self, request: web.Request) -> web.Response:
        """Take `{"lose": 0.2, "double": 0.2, "delay": 1.5, "reorder": true, "refuse_connections": false, "calls": [order, …]}`.

        What is left out stays. An order: `{"kind": "fail", "match": "POST */destroy", "status": 500, "times": 1}`; the kinds are
        the methods of `Faults`, the other fields their parameters.
        """
        try:
            wanted = json.loads(await request.read())
            _check(wanted)
        except (ValueError, TypeError) as error:
            return web.json_response({"error": {"message": str(error)}}, status=400)
        for name in ("lose", "double", "delay", "reorder", "refuse_connections"):
            if name in wanted:
                setattr(self.faults, name, wanted[name])
        for order in wanted.get("calls", []):
            getattr(self.faults, order.pop("kind"))(**order)
        return await self.state(request)

    async def clear_faults(self, request: web.Request) -> web.Response:
        """Let all go well from now on."""
        self.faults.clear()
        return await self.state(request)

    async def state(self, _request: web.Request) -> web.Response:
        """Give counts."""
        faults = self.faults
        (assets,) = self.store.connection.execute("SELECT count(*) FROM assets WHERE alive").fetchone()
        state = {
            "assets": assets,
            "calls": {_label(call): count for call, count in sorted(self.calls.items(), key=str)},
            "notifications": {
                "queued": self.notifier.queued(),
                "in_channels": self.notifier.channel.waiting(),
                **self.notifier.counts,
            },
            "faults": {
                "lose": faults.lose,
                "double": faults.double,
                "delay": faults.delay,
                "reorder": faults.reorder,
                "refuse_connections": faults.refuse_connections,
                "calls": faults.ordered,
            },
        }
        return web.json_response(state)


def _label(call: object) -> str:
    return " ".join(map(str, call)) if isinstance(call, tuple) else str(call)


def _check(wanted: object) -> None:
    """Raise ValueError for what `Faults` would choke on later."""
    if not isinstance(wanted, dict):
        raise ValueError("Expected an object")  # noqa: TRY004  # JSON of the wrong shape is a wrong value
    for name, value in wanted.items():
        if name in _SHARES:
            good = _is_number(value) and value <= 1
        elif name == "delay":
            good = _is_number(value)
        elif name == "reorder":
            good = isinstance(value, bool) or (isinstance(value, int) and value >= 0)
        elif name == "refuse_connections":
            good = isinstance(value, bool)
        else:
            good = name == "calls" and isinstance(value, list) and all(map(_is_order, value))
        if not good:
            raise ValueError(f"Unknown fault, or invalid value: {name}={value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_order(order: object) -> bool:
    if not isinstance(order, dict) or not isinstance(order.get("match"), str) or order.get("kind") not in _ORDERS:
        return False
    kind = order["kind"]
    needed = {"answer": "body", "slow": "seconds"}.get(kind, "match")
    times = order.get("times")
    numbers = (order[name] for name in ("status", "after", "seconds", "resets_in") if name in order)
    return (
        needed in order
        and order.keys() - {"kind"} <= _ORDERS[kind]
        and (times is None or (isinstance(times, int) and times >= 0))
        and all(map(_is_number, numbers))
        and isinstance(order.get("body", ""), str | dict)
        and isinstance(order.get("message", ""), str)
    )

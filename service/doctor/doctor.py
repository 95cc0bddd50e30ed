"""Looks at everything an installation needs, and tells what to do about what it lacks."""

import time
from collections.abc import AsyncIterator
from http import HTTPStatus

import aiohttp
from cloudinary import api

from service.cloudinary.client import Account, Answer, Purpose
from service.cloudinary.errors import CloudinaryError, CredentialsError
from service.cloudinary.trigger import Destination, Plan, carry_out, plan, triggers_of
from service.database import Pool, TransactionPoolerError, connect, lacking_rights, reachable, require_schema
from service.doctor.finding import Finding, Level
from service.doctor.outbox import outbox_findings
from service.errors import MediamirrorError
from service.events.backlog import read_backlog
from service.kafka import KafkaForbiddenError, partition_bounds, require_kafka
from service.rights import Group
from service.settings import Settings

_SKEW_WARN_SECONDS = 60
_SKEW_FAIL_SECONDS = 300  # signatures are refused beyond
_GATEWAY_SECONDS = 10


class Doctor:
    """Runs every check, whatever the others find.

    With `fix` it sets the notification triggers right; `poll` says that notifications should come through the poll:// channel.
    `gateway` is the URL of one on this machine, which a stand-in for Cloudinary can send to; `admin` that of its /readyz, unless
    it is where the settings say.
    """

    def __init__(
        self, settings: Settings, *, fix: bool = False, poll: bool = False, gateway: str | None = None, admin: str | None = None
    ) -> None:
        self._settings = settings
        self._gateway = gateway
        self._admin = admin or f"http://{settings.admin_host}:{settings.admin_port}"
        self._fix = fix
        self._poll = poll

    async def findings(self) -> AsyncIterator[Finding]:
        """Give the findings as they come; raises `NoCloudError`."""
        clouds = self._settings.require_clouds()
        yield Finding("settings", Level.OK, f"usable, {len(clouds)} cloud{'s' * (len(clouds) > 1)}")
        async for finding in self._database():
            yield finding
        async for finding in self._kafka():
            yield finding
        async for finding in self._signatures():
            yield finding
        for name, cloud in clouds.items():
            async with Account(name, cloud, self._settings, None) as account:
                async for finding in self._cloud(account):
                    yield finding

    async def _database(self) -> AsyncIterator[Finding]:
        try:
            async with connect(self._settings, size=1) as pool:
                with reachable():
                    await require_schema(pool)
                    yield Finding("postgresql", Level.OK, "reachable, the schema is up to date")
                    yield await _rights(pool)
                    for finding in outbox_findings(await read_backlog(pool)):
                        yield finding
        except TransactionPoolerError as error:
            yield Finding("postgresql", Level.FAIL, str(error))
        except MediamirrorError as error:
            yield Finding("postgresql", Level.FAIL, str(error), todo=_NO_SERVER.format("MEDIAMIRROR_DATABASE_URL"))

    async def _kafka(self) -> AsyncIterator[Finding]:
        settings = self._settings
        try:
            require_kafka(settings)
            for topic in (settings.notifications_topic, settings.dead_letter_topic, settings.events_topic, settings.assets_topic):
                yield await self._topic(topic)
        except MediamirrorError as error:
            yield Finding("kafka", Level.FAIL, str(error), todo=_NO_SERVER.format("MEDIAMIRROR_KAFKA_BOOTSTRAP"))

    async def _topic(self, topic: str) -> Finding:
        try:
            bounds = await partition_bounds(self._settings, topic)
        except KafkaForbiddenError as error:
            return Finding("kafka", Level.WARN, str(error), todo="No matter, if nothing that runs with these settings uses it.")
        if bounds:
            return Finding("kafka", Level.OK, f"topic {topic}, {len(bounds)} partition{'s' * (len(bounds) > 1)}")
        todo = "Start the role that uses it, which makes it if it may; or make it yourself."
        return Finding("kafka", Level.FAIL, f"there is no topic {topic}", todo=todo)

    async def _signatures(self) -> AsyncIterator[Finding]:
        """Ask the gateway whether it refuses all of a cloud's webhooks; says nothing when there is none to be asked."""
        timeout = aiohttp.ClientTimeout(total=_GATEWAY_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{self._admin}/readyz", allow_redirects=False) as answer,
            ):
                said = await answer.json()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return
        warnings = said.get("warnings", []) if isinstance(said, dict) else []
        for warning in warnings:
            yield Finding("signatures", Level.FAIL, str(warning), todo=_OTHER_KEYS)
        if not warnings:
            yield Finding("signatures", Level.OK, f"the gateway at {self._admin} refuses no cloud")

    async def _cloud(self, account: Account) -> AsyncIterator[Finding]:
        try:
            answer = await account.call(api.ping, purpose=Purpose.CHECK)
        except CredentialsError as error:
            yield Finding("credentials", Level.FAIL, str(error), account.name)
            return
        except CloudinaryError as error:
            yield Finding(
                "cloudinary", Level.FAIL, str(error), account.name, "Nothing more can be checked for this cloud. Try again later."
            )
            return
        yield Finding("credentials", Level.OK, f"API key {account.key_id} is accepted", account.name)
        yield _clock(account, answer)
        if allowance := answer.allowance:
            few = allowance.remaining < allowance.allowed / 10
            said = f"{allowance.remaining} of {allowance.allowed} calls left for {allowance.resets_in / 60:.0f} minutes"
            yield Finding("hourly calls", Level.WARN if few else Level.OK, said, account.name)
        yield await self._folder_mode(account)
        async for finding in self._triggers(account):
            yield finding

    async def _folder_mode(self, account: Account) -> Finding:
        try:
            answer = await account.call(api.config, settings="true", purpose=Purpose.CHECK)
        except CloudinaryError as error:
            return Finding("folder mode", Level.WARN, str(error), account.name)
        mode = (answer.body.get("settings") or {}).get("folder_mode")
        if mode is None:
            return Finding("folder mode", Level.WARN, "Cloudinary does not tell", account.name)
        return Finding("folder mode", Level.OK, str(mode), account.name)

    async def _triggers(self, account: Account) -> AsyncIterator[Finding]:
        name = account.name
        try:
            found = await triggers_of(account)
            destination = self._destination(name, {str(trigger.get("uri")) for trigger in found})
            if destination is None:
                yield Finding("trigger", Level.FAIL, "it is not known where notifications should go", name, _NO_DESTINATION)
                return
            todo = plan(found, destination)
            if self._fix and not todo.is_empty:
                await carry_out(account, todo)
                yield Finding("fix", Level.OK, f"did {todo.in_words()}", name)
                todo = plan(await triggers_of(account), destination)
        except CloudinaryError as error:
            yield Finding("trigger", Level.FAIL, str(error), name)
            return
        yield _trigger(name, todo)
        if destination.uri_type == "webhook":
            yield await _gateway(name, destination.uri)

    def _destination(self, cloud: str, known: set[str]) -> Destination | None:
        channel = Destination(f"poll://{self._settings.poller_channel}", "poll")
        if self._poll:
            return channel
        if url := self._settings.gateway_public_url:
            return _webhook(url, cloud)
        here = [_webhook(self._gateway, cloud)] if self._gateway else []
        return next((one for one in (channel, *here) if one.uri in known), None)


def _webhook(gateway: str, cloud: str) -> Destination:
    return Destination(f"{gateway.rstrip('/')}/webhooks/cloudinary/{cloud}", "webhook")


_NO_SERVER = "Does it run, and does {} lead to it from here?"
_OTHER_KEYS = "Does MEDIAMIRROR_CLOUDS have the API key and secret with which this account signs?"
_NO_DESTINATION = (
    "Set MEDIAMIRROR_GATEWAY_PUBLIC_URL to where Cloudinary reaches the gateway (https://host); or, with no public address, "
    "run `mediamirror doctor --poll --fix` and `mediamirror poller`."
)


async def _rights(pool: Pool) -> Finding:
    """Tell whose work the database role may do; it need not be everybody's, but should be somebody's."""
    user: str = await pool.fetchval("SELECT current_user")
    lacking = {group: await lacking_rights(pool, group) for group in Group}
    if able := [group for group in Group if not lacking[group]]:
        said = "all rights" if len(able) == len(Group) else f"the rights of: {', '.join(able)}"
        return Finding("postgresql", Level.OK, f"the role {user} has {said}")
    nearest = min(lacking, key=lambda group: len(lacking[group]))
    rights = ", ".join(map(str, lacking[nearest]))
    said = f"the role {user} has the rights for nobody's work; to that of the {nearest} it lacks {rights}"
    todo = "Make it a member of a role that `mediamirror migrate --with-roles` makes, and run that again after an upgrade."
    return Finding("postgresql", Level.FAIL, said, todo=todo)


def _clock(account: Account, answer: Answer) -> Finding:
    if answer.date is None:
        return Finding("clock", Level.WARN, "Cloudinary's answer has no Date header", account.name, "Does a proxy take it away?")
    skew = time.time() - answer.date.timestamp()
    said = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} Cloudinary's"
    if abs(skew) <= _SKEW_WARN_SECONDS:
        return Finding("clock", Level.OK, said, account.name)
    level = Level.FAIL if abs(skew) > _SKEW_FAIL_SECONDS else Level.WARN
    return Finding("clock", level, said, account.name, "Set this machine's clock by NTP: signatures carry a time.")


def _trigger(cloud: str, todo: Plan) -> Finding:
    uri = todo.destination.uri
    if todo.is_empty:
        return Finding("trigger", Level.OK, f"all events go to {uri}", cloud)
    fixing = f"`mediamirror doctor --fix` would {todo.in_words()}."
    if todo.missing:
        return Finding("trigger", Level.FAIL, f"no trigger sends all events to {uri}", cloud, fixing)
    if todo.create:
        return Finding("trigger", Level.FAIL, f"the trigger to {uri} is not sound: {'; '.join(todo.faults)}", cloud, fixing)
    return Finding("trigger", Level.WARN, f"more triggers than one send to {uri}", cloud, fixing)


async def _gateway(cloud: str, url: str) -> Finding:
    """Ask the gateway as a stranger would: it has to refuse for want of a signature."""
    timeout = aiohttp.ClientTimeout(total=_GATEWAY_SECONDS)
    todo = "Cloudinary has to reach it: check the name, the certificate, the proxy in front and that a gateway runs."
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.post(url, json={}, allow_redirects=False) as answer:
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return Finding("gateway", Level.WARN, f"{url} can't be reached from here: {str(error) or 'no answer'}", cloud, todo)
    if status != HTTPStatus.UNAUTHORIZED:
        said = f"{url} answers an unsigned webhook with {status} instead of 401, so it is no gateway with this cloud"
        return Finding("gateway", Level.FAIL, said, cloud, todo)
    return Finding("gateway", Level.OK, f"{url} answers", cloud)

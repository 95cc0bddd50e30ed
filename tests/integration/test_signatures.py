"""Records that nobody has signed: found on the log, and refused by a mirror that is told to."""

import time
from datetime import UTC, datetime

import orjson

from schemas.envelope import Envelope, digest_of
from service.database import Pool
from service.dlq.reader import read_letters
from service.kafka import let_go, make_producer, start
from service.settings import Settings
from tests.bodies import ASSET, CLOUD, KEY, delete, upload
from tests.integration.conftest import mirrored_with
from tests.integration.test_cli import run


async def forge(settings: Settings) -> None:
    """Put a deletion on the log as if the gateway had, and a record without any headers."""
    body = orjson.dumps(delete(at=time.time()))
    envelope = Envelope(CLOUD, "delete", datetime.now(UTC), digest_of(body), "0" * 40, int(datetime.now(UTC).timestamp()), KEY)
    producer = make_producer(settings)
    try:
        await start(producer)
        for headers in (envelope.to_headers(), []):
            await producer.send_and_wait(settings.notifications_topic, body, key=ASSET.encode(), headers=headers)
    finally:
        await let_go(producer)


async def test_a_mirror_that_verifies_refuses_what_is_forged_and_the_rest_goes_on(
    settings: Settings, pool: Pool, environment: dict[str, str]
) -> None:
    verifying = settings.model_copy(update={"mirror_verifies_signatures": True})
    async with mirrored_with(verifying, pool) as mirrored:
        assert await mirrored.post(upload()) == 200
        await mirrored.caught_up()
        code, out, _ = await run("verify", "--signatures", env=environment)
        assert (code, out) == (0, "1 records read: 1 proven\n")
        await forge(settings)
        mirrored.accepted += 2
        await mirrored.caught_up()
        (row,) = await mirrored.rows()
        assert row["deleted_at"] is None
        reasons = [line["reason"] for line in await mirrored.rows("media_sync_log") if line["outcome"] == "failed"]
        assert len(reasons) == 2
    assert len([letter async for letter in read_letters(settings)]) == 2
    code, out, _ = await run("verify", "--signatures", "--json", env=environment)
    told = [orjson.loads(line) for line in out.splitlines()]
    assert (code, sorted(one["proof"] for one in told[:-1])) == (1, ["forged", "unsigned"])
    assert told[-1] == {"read": 3, "proven": 1, "unknown_key": 0, "unsigned": 1, "forged": 1}
    # what proves the mirror takes records as it does
    proving = environment | {"MEDIAMIRROR_MIRROR_VERIFIES_SIGNATURES": "true"}
    assert (await run("history", ASSET, env=proving))[0] == 0

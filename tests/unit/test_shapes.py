"""Bodies in shapes that nobody has documented: what can be read is taken, and the account is asked for the rest."""

import tracemalloc
from typing import Any

import orjson
import pytest

from handlers.registry import HANDLERS, WITHOUT_MEANING
from schemas.asset import Asset
from schemas.bodies import Upload, read
from schemas.envelope import Source
from schemas.notification import OURS
from service.mirror.entry import LogLine, understand
from service.mirror.fold import Folded, fold
from tests.bodies import ASSET, CLOUD, envelope, rename, triggered, upload
from tests.folding import FakeRecord, MemoryMirror

NAMED = {"public_id": "dir/a", "resource_type": "image", "type": "upload"}
IDENTITY = {"asset_id": ASSET, **NAMED}
RULES = [{"access_type": "token"}]


class Told:
    """What the last of some bodies did to the one asset they are about."""

    def __init__(self, *bodies: dict[str, Any], known: dict[str, Any] | None = None) -> None:
        mirror = MemoryMirror()
        if known is not None:
            mirror.apply([upload(at=0, public_id="dir/a", **known)])
        folded = [mirror.apply([body]) for body in bodies][-1]
        self.mirror = mirror
        self.lines = folded.lines
        self.asked = [refetch.reason for refetch in folded.refetches if refetch.key.asset_id == ASSET]

    @property
    def line(self) -> LogLine:
        (line,) = self.lines
        return line

    @property
    def row(self) -> Asset:
        return self.mirror.asset(ASSET)


def body(kind: str, **fields: Any) -> dict[str, Any]:
    return {"notification_type": kind, **fields} | triggered(5)


ACTING = sorted(HANDLERS.keys() - OURS - {"create_folder", "delete_folder", "move_or_rename_asset_folder"})
NAMINGS: dict[str, dict[str, Any]] = {
    "at the top": IDENTITY,
    "by its id": {"asset_id": ASSET},
    "among resources": {"resources": [IDENTITY]},
    "by id among resources": {"resources": [{"asset_id": ASSET}]},
    "in a map": {"resources": {"dir/a": {"asset_id": ASSET}}},
    "as the only resource": {"resources": IDENTITY},
    "as an id": {"resources": [ASSET]},
    "among assets": {"assets": [IDENTITY]},
    "as an asset": {"asset": IDENTITY},
    "by its public id": {"public_id": "dir/a"},
    "by public ids": {"public_ids": ["dir/a"]},
    "by a public id with types beside it": {"resources": ["dir/a"], "resource_type": "image", "type": "upload"},
    "by a map without values": {"resources": {"dir/a": None}},
    "by a URL": {"secure_url": "https://res.cloudinary.com/acme/image/upload/c_fill,w_10/v1767225600/dir/a.png"},
    "in a map that leaves its key to be the name": {
        "resources": {"dir/a": {"public_id": None, "resource_type": "image", "type": "upload"}}
    },
    "with an empty list": {"resources": [], **IDENTITY},
    "with null": {"resources": None, **IDENTITY},
}


@pytest.mark.parametrize("naming", NAMINGS)
@pytest.mark.parametrize("kind", [*ACTING, "brand_new", ""])
def test_whatever_names_an_asset_and_is_not_understood_is_asked_about(kind: str, naming: str) -> None:
    told = Told(body(kind, **NAMINGS[naming], whatever={"new": 1}), known={"tags": ["x"]})
    if kind in ("delete", "delete_by_token") and told.row.deleted_at is not None:
        return  # nothing is left open
    assert told.asked, told.line
    assert told.line.asset_id == ASSET
    assert told.line.reason
    assert told.row.tags == ["x"]
    assert told.row.public_id == "dir/a"


def test_a_rename_in_a_list_is_asked_about_under_its_new_name() -> None:
    told = MemoryMirror()
    told.apply(
        [body("rename", resources=[{"from_public_id": "a", "to_public_id": "b", "resource_type": "raw", "type": "private"}])]
    )
    assert [refetch.key.asset_id for refetch in told.refetches] == ["raw/private/b"]


@pytest.mark.parametrize("field", ["tags", "moderation"])
def test_a_million_odd_elements_cost_little(field: str) -> None:
    tracemalloc.start()
    odd = read(Upload, {"asset_id": ASSET, field: [None] * 1_000_000})
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert odd.odd == f"{field} can't be read"
    assert most < 50_000_000


@pytest.mark.parametrize("kind", sorted(WITHOUT_MEANING))
def test_types_without_meaning_are_logged_with_their_asset(kind: str) -> None:
    for fields in (IDENTITY, {"resources": [IDENTITY]}):
        line = Told(body(kind, **fields), known={}).line
        assert (line.outcome, line.asset_id) == ("ignored", ASSET)


def test_what_names_nothing_says_so() -> None:
    assert Told(body("delete", resources=[None, {}, 7])).line.reason == "names no asset"
    assert Told(body("upload", public_id="é" * 2000)).line.reason == "names no asset: public_id is too long (4,000 bytes)"
    assert Told(body("create_folder", folder_path=["a"])).line.reason == "names no folder: folder_path can't be read"


def test_resources_that_name_nothing_are_counted_and_the_others_read() -> None:
    told = Told(body("resource_tags_changed", resources=[None, IDENTITY | {"added": ["y"]}, {}, 5]), known={"tags": ["x"]})
    assert told.row.tags == ["x", "y"]
    assert told.line.reason == "3 more of its resources name no asset"


@pytest.mark.parametrize(
    ("kind", "fields", "column", "value"),
    [
        ("resource_tags_changed", {"added": ["y"], "removed": ["x"]}, "tags", ["y"]),
        ("resource_context_changed", {"added": [{"name": "alt", "value": "b"}]}, "context", {"alt": "b"}),
        ("resource_metadata_changed", {"new_metadata": {"m": 1}}, "metadata", {"m": 1}),
        ("resource_display_name_changed", {"new_display_name": "shown"}, "display_name", "shown"),
        ("access_control_changed", {"new_access_control": RULES}, "access_control", RULES),
        ("move", {"to_asset_folder": "b"}, "asset_folder", "b"),
    ],
)
def test_what_is_told_at_the_top_is_taken_and_asked_about(kind: str, fields: dict[str, Any], column: str, value: Any) -> None:
    told = Told(body(kind, **IDENTITY, **fields), known={"tags": ["x"]})
    assert getattr(told.row, column) == value
    assert told.asked == ["told in a shape that is not known: of one asset, at the top"]
    among = Told(body(kind, resources=[IDENTITY | fields]), known={"tags": ["x"]})
    assert getattr(among.row, column) == value
    assert not among.asked


def test_a_delete_that_lists_what_it_cannot_name_says_how_many_and_what_was_odd() -> None:
    told = Told(body("delete", resources=[{}, IDENTITY | {"display_name": []}]), known={})
    assert told.row.deleted_at is not None
    assert told.line.reason == "display_name can't be read; 1 more of its resources name no asset"


def test_a_delete_at_the_top_ends_the_asset_and_is_asked_about() -> None:
    told = Told(body("delete", **IDENTITY), known={})
    assert told.row.deleted_at is not None
    assert told.asked


ODD_FIELDS: list[tuple[str, Any, str, Any, bool]] = [
    # field, as told, column, as read, whether something is left out
    ("tags", ["p", None, "q"], "tags", ["p", "q"], True),
    ("tags", ["p", {"a": 1}, ["r"], 7, True], "tags", ["7", "p"], True),
    ("tags", "p, q,", "tags", ["p", "q"], False),
    ("tags", {"0": "p", "1": "q"}, "tags", ["p", "q"], False),
    ("tags", {}, "tags", [], False),
    ("tags", 7, "tags", ["7"], False),
    ("tags", [None], "tags", ["old"], True),
    ("tags", ["p", "x" * 10_001], "tags", ["p"], True),
    ("tags", {"p": 1}, "tags", ["old"], True),
    ("context", [], "context", {}, False),
    ("context", "alt=a|caption=b=c", "context", {"alt": "a", "caption": "b=c"}, False),
    ("context", [{"name": "alt", "value": "a"}, None], "context", {"alt": "a"}, True),
    ("context", {"custom": [{"key": "alt", "value": "a"}]}, "context", {"alt": "a"}, False),
    ("context", {"custom": "alt=a"}, "context", {"alt": "a"}, False),
    ("context", {"custom": []}, "context", {}, False),
    ("context", {"custom": 5}, "context", {}, True),
    ("context", 5, "context", {"alt": "old"}, True),
    ("metadata", [{"external_id": "m", "value": 1}, {"external_id": "n", "value": 2}], "metadata", {"m": 1, "n": 2}, False),
    ("metadata", [{"external_id": "m", "value": 1}, 5], "metadata", {"m": 1}, True),
    ("metadata", [], "metadata", {}, False),
    ("metadata", [5], "metadata", {"m": "old"}, True),
    ("metadata", "m=1", "metadata", {"m": "1"}, False),
    ("access_control", {"access_type": "token"}, "access_control", RULES, False),
    ("access_control", None, "access_control", None, False),
    ("access_control", {}, "access_control", [], False),
    ("access_control", "token", "access_control", [{"access_type": "old"}], True),
    ("moderation", {"kind": "aws", "status": "approved"}, "moderation", {"aws": {"status": "approved"}}, False),
    ("moderation", {"aws": {"status": "approved"}}, "moderation", {"aws": {"status": "approved"}}, False),
    ("moderation", {"aws": "approved"}, "moderation", {"aws": {"status": "approved"}}, False),
    ("moderation", [{"kind": "aws", "status": "approved"}, None], "moderation", {"aws": {"status": "approved"}}, True),
    ("version", "v1767225609", "version", 1767225609, False),
    ("version", 1767225609.0, "version", 1767225609, False),
    ("bytes", "many", "bytes", None, True),
    ("bytes", [5], "bytes", None, True),
    ("width", "v99999999999", "width", None, True),
    ("duration", "NaN", "duration", None, True),
    ("created_at", "0001-01-01T00:00:00+14:00", "created_at", None, True),
    ("uploaded_at", "9999-12-31T23:59:59-14:00", "uploaded_at", None, True),
    ("created_at", "9999-12-31T23:59:59.999999Z", "created_at", None, True),
    ("created_at", None, "created_at", None, False),
    ("display_name", ["a"], "display_name", "jeans", True),
    ("asset_folder", "/a//b/", "asset_folder", "a/b", False),
    ("asset_folder", {"path": "a"}, "asset_folder", "", True),
    ("existing", None, "bytes", 147954, False),
    ("placeholder", None, "placeholder", False, False),
    ("resource_type", ["image"], "resource_type", "image", True),
    ("public_id", "é" * 901, "public_id", f"name-of-{ASSET}", True),
    ("public_id", "é" * 900, "public_id", "é" * 900, False),
    ("public_id", "https://example.com/" + "p" * 1000, "public_id", "https://example.com/" + "p" * 1000, False),
]  # fmt: skip


@pytest.mark.parametrize(("field", "told", "column", "expected", "asked"), ODD_FIELDS)
def test_of_an_odd_field_what_can_be_read_is_taken_and_the_rest_told(
    field: str, told: Any, column: str, expected: Any, asked: bool
) -> None:
    before = upload(
        at=0,
        tags=["old"],
        context={"alt": "old"},
        metadata={"m": "old"},
        access_control=[{"access_type": "old"}],
        created_at="2026-01-01T00:00:00Z",
    )
    after = Told(before, upload(at=9) | {field: told})
    assert getattr(after.row, column) == expected
    assert bool(after.asked) == asked
    assert (field in (after.line.reason or "")) == asked
    assert after.line.outcome in ("applied", "unchanged", "refetch")


def test_what_is_odd_in_a_reading_is_told_and_not_asked_for_again() -> None:
    told = Told(body("snapshot", resources=[IDENTITY | {"tags": ["p", None]}]), known={})
    assert told.row.tags == ["p"]
    assert told.line.reason == "tags can be read only in part"
    assert not told.asked


@pytest.mark.parametrize(
    ("changes", "tags", "asked"),
    [
        ({"added": "y,z"}, ["x", "y", "z"], False),
        ({"added": ["y", None], "removed": None}, ["x", "y"], True),
        ({"removed": "x"}, [], False),
        ({"removed": {"0": "x"}, "added": []}, [], False),
        ({"added": None}, ["x"], True),
        ({"tags": ["y"]}, ["x"], True),
    ],
)
def test_odd_changes_of_tags(changes: dict[str, Any], tags: list[str], asked: bool) -> None:
    told = Told(body("resource_tags_changed", resources=[IDENTITY | changes]), known={"tags": ["x"]})
    assert told.row.tags == tags
    assert bool(told.asked) == asked


@pytest.mark.parametrize(
    ("changes", "context", "asked"),
    [
        ({"added": "alt=b"}, {"alt": "b", "c": "1"}, False),
        ({"added": [{"name": "alt", "value": "b"}, 5]}, {"alt": "b", "c": "1"}, True),
        ({"added": [{"name": "alt", "value": "b"}, {"value": "b"}]}, {"alt": "b", "c": "1"}, True),
        ({"removed": "c"}, {"alt": "a"}, False),
        ({"removed": [{"name": None}, {"name": "c"}]}, {"alt": "a"}, True),
        ({"context": {"alt": "b"}}, {"alt": "a", "c": "1"}, True),
    ],
)
def test_odd_changes_of_context(changes: dict[str, Any], context: dict[str, str], asked: bool) -> None:
    told = Told(
        body("resource_context_changed", resources={"dir/a": IDENTITY | changes}), known={"context": {"alt": "a", "c": "1"}}
    )
    assert told.row.context == context
    assert bool(told.asked) == asked


def test_a_null_lifts_restrictions() -> None:
    known = {"access_control": RULES}
    changed = body("access_control_changed", resources=[IDENTITY | {"new_access_control": None}])
    reading = body("snapshot", resources=[IDENTITY | {"access_control": None}])
    for told in (changed, reading, upload(at=5, access_control=None)):
        assert Told(told, known=known).row.access_control is None
    silent = body("snapshot", resources=[IDENTITY])
    assert Told(silent, known=known).row.access_control == RULES


def verdict(at: float, status: str, **fields: Any) -> dict[str, Any]:
    return (
        {"notification_type": "moderation", "asset_id": ASSET, "moderation_kind": "manual"}
        | triggered(at)
        | {
            "moderation_status": status,
            **fields,
        }
    )


def test_a_rejection_that_is_overturned_is_asked_about() -> None:
    version = upload(at=0)["version"]
    told = Told(verdict(1, "rejected", version=version), verdict(2, "approved", version=version), known={})
    assert told.row.placeholder
    assert told.asked == ["a verdict on a placeholder: its file may be back"]
    assert Told(verdict(2, "approved", version=version + 9), known={}).asked == ["a verdict on newer content than is known"]
    assert not Told(verdict(2, "approved", version=version), known={}).asked
    other = verdict(2, "approved", version=version, moderation_kind="aws")
    assert Told(verdict(1, "rejected", version=version), other, known={}).row.placeholder


@pytest.mark.parametrize(
    "told",
    [
        {"moderation": [{"kind": "aws", "status": "rejected"}]},
        {"moderation": {"kind": "aws", "status": "rejected"}},
        {"moderation": {"aws": "rejected"}},
        {"moderation": [None, {"kind": "aws", "status": "rejected"}]},
    ],
)
def test_verdicts_may_stand_in_an_array(told: dict[str, Any]) -> None:
    after = Told(body("moderation", asset_id=ASSET, version=upload(at=0)["version"], **told), known={})
    assert after.row.moderation == {"aws": {"status": "rejected"}}
    assert after.row.placeholder
    assert after.asked


@pytest.mark.parametrize(
    ("told", "folder", "asked"),
    [
        ({"folder": "b"}, "b", False),
        ({"folder": "/b/"}, "b", False),
        ({"folder": ""}, "", False),
        ({"asset_folder": "c"}, "c", False),
        ({}, "dir", True),
    ],
)
def test_a_rename_to_another_path_tells_the_folder_or_is_asked_about(told: dict[str, Any], folder: str, asked: bool) -> None:
    after = Told(rename(at=5, to="b/a", from_public_id="dir/a", **told), known={"folder": "dir", "asset_folder": None})
    assert (after.row.public_id, after.row.asset_folder, bool(after.asked)) == ("b/a", folder, asked)


def test_a_rename_within_a_folder_is_not_asked_about() -> None:
    assert not Told(rename(at=5, to="dir/b", from_public_id="dir/a"), known={"folder": "dir", "asset_folder": None}).asked


@pytest.mark.parametrize("left_out", ["resource_type", "type", "to_public_id"])
def test_a_rename_that_is_told_in_part_is_asked_about(left_out: str) -> None:
    told = rename(at=5, to="dir/b", from_public_id="dir/a")
    del told[left_out]
    after = Told(told, known={})
    assert after.asked == ["renamed, but the notification does not tell the whole name"]
    assert after.row.public_id == "dir/a"


def test_derived_versions_keep_why_they_were_not_made() -> None:
    told = Told(
        body(
            "eager",
            asset_id=ASSET,
            eager=[
                None,
                {"transformation": "w_10", "format": "png", "bytes": 5},
                {"transformation": "sp_hd/m3u8", "status": "failed", "reason": "too short"},
                {"transformation": "w_30", "status": "processing"},
                {"transformation": "w_40", "error": {"message": "no memory"}},
                {"format": "png"},
            ],
        ),
        known={},
    )
    assert told.row.derived == {
        "w_10": {"format": "png", "bytes": 5},
        "sp_hd/m3u8": {"status": "failed", "reason": "too short"},
        "w_30": {"status": "processing"},
        "w_40": {"status": "failed", "reason": "no memory"},
    }
    assert told.asked == ["1 of its derived versions have no transformation; eager can be read only in part"]


FAILURES: list[dict[str, Any]] = [
    {"error": {"message": "Invalid image file"}},
    {"error": "Invalid"},
    {"error": True},
    {"status": "failed"},
    {"status": "ERROR"},
    {"status": "pending"},
    {"status": 400},
    {"success": False},
]


@pytest.mark.parametrize("failure", FAILURES)
def test_what_tells_of_a_failure_changes_nothing_and_is_asked_about(failure: dict[str, Any]) -> None:
    unseen = Told(body("upload", **IDENTITY, **failure))
    assert not unseen.mirror.rows
    assert unseen.asked
    assert unseen.line.outcome == "refetch"
    before = Told(upload(at=0, public_id="dir/a", tags=["x"])).row
    for kind, fields in (
        ("upload", {"version": 2_000_000_000, "bytes": 1}),
        ("rename", {"to_public_id": "b", "from_public_id": "dir/a"}),
        ("delete", {}),
        ("delete", {"resources": [IDENTITY]}),
        ("resource_tags_changed", {"resources": [IDENTITY | {"added": ["y"]}]}),
        ("explode", {"pages": 3}),
        ("restore_asset_version", {}),
    ):
        told = Told(body(kind, **IDENTITY, **fields, **failure), known={"tags": ["x"]})
        assert told.row == before, kind
        assert told.asked, kind


@pytest.mark.parametrize("failure", FAILURES)
def test_one_resource_may_have_failed_and_another_not(failure: dict[str, Any]) -> None:
    other = {"asset_id": "f" * 32, "added": ["y"]}
    told = Told(body("resource_tags_changed", resources=[IDENTITY | {"added": ["y"]} | failure, other]), known={"tags": ["x"]})
    assert told.row.tags == ["x"]
    assert told.asked
    assert told.mirror.asset("f" * 32).tags == ["y"]


@pytest.mark.parametrize("fine", [{"error": None}, {"error": {}}, {"error": ""}, {"status": "completed"}, {"status": 200}])
def test_no_error_is_none(fine: dict[str, Any]) -> None:
    assert not Told(upload(at=0) | fine).asked


FOLDER_TYPES: list[tuple[str, dict[str, Any]]] = [
    ("move_or_rename_asset_folder", {"from_path": "fail", "to_path": "moved"}),
    ("create_folder", {"folder_path": "fail"}),
    ("delete_folder", {"folder_path": "fail"}),
]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize(("kind", "fields"), FOLDER_TYPES)
def test_no_folder_changes_by_a_failure(kind: str, fields: dict[str, Any], failure: dict[str, Any]) -> None:
    told = Told(body("create_folder", folder_path="kept"), body(kind, **fields, **failure), known={"asset_folder": "fail/x"})
    assert told.row.asset_folder == "fail/x"
    assert list(told.mirror.folders) == ["kept"]
    assert (told.line.outcome, (told.line.reason or "")[:21]) == ("ignored", "no folder has changed")


@pytest.mark.parametrize("path", ["/lead", "lead/", "//lead//"])
def test_folders_are_named_without_slashes_at_their_ends(path: str) -> None:
    moved = body("move_or_rename_asset_folder", from_path=path, to_path="/to//there/")
    created = body("create_folder", folder_path=f"{path}/sub/") | triggered(4)
    told = Told(created, moved, known={"asset_folder": "lead/x"})
    assert told.row.asset_folder == "to/there/x"
    assert sorted(told.mirror.folders) == ["to/there", "to/there/sub"]


def test_moves_that_make_a_path_too_long_leave_no_folder_that_cannot_be_kept() -> None:
    long = ["é" * 900, "è" * 900]
    told = Told(
        body("create_folder", folder_path=f"a/{long[0]}") | triggered(4),
        body("move_or_rename_asset_folder", from_path="a", to_path=long[1]),
    )
    assert all(len(path.encode()) <= 2000 for path in told.mirror.folders)


@pytest.mark.parametrize("kind", sorted(OURS))
@pytest.mark.parametrize("source", Source)
def test_only_our_own_readings_are_taken_for_readings(kind: str, source: Source) -> None:
    raw = orjson.dumps(body(kind, resources=[IDENTITY | {"version": 1}]))
    headers = envelope(raw, kind)._replace(source=source).to_headers()
    folded: Folded = fold([understand(FakeRecord(raw, 0, tuple(headers)))], [], {CLOUD: []})
    (line,) = folded.lines
    if source in (Source.WEBHOOK, Source.POLL):
        assert (line.outcome, line.asset_id, bool(folded.assets or folded.refetches)) == ("ignored", ASSET, False)
        assert "came from outside" in (line.reason or "")
    else:
        assert folded.assets


def test_a_reason_is_bounded() -> None:
    told = Told(body("upload", **IDENTITY, error={"message": "x" * 1_000_000}))
    assert len(told.line.reason or "") < 1000
    assert all(len(reason) < 1000 for reason in told.asked)

"""The Upload API: signed forms."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from aiohttp import web

from standin.account import Account
from standin.asset import Name
from standin.auth import check_cloud, check_signature
from standin.errors import BadRequestError, NotFoundError
from standin.gate import PREFIX, Answer, Gate, Handler, respond
from standin.labels import TagsCommand
from standin.options import Options
from standin.parameters import changes, read_flag, read_list, read_pairs
from standin.sources import Sources

_MOST = 1000  # public ids in one call
_COMMANDS: tuple[TagsCommand, ...] = ("add", "remove", "replace", "remove_all", "set_exclusive")
_UNSIGNED_OPTIONS = frozenset(
    {
        "public_id",
        "upload_preset",
        "timestamp",
        "api_key",
        "file",
        "tags",
        "context",
        "metadata",
        "asset_folder",
        "folder",
        "callback",
    }
)

File: TypeAlias = str | bytes | bytearray | web.FileField | None
Form: TypeAlias = Mapping[str, Any]  # texts, lists of texts, and the file
Action: TypeAlias = Callable[[str, Form], Answer | Awaitable[Answer]]


class UploadApi:
    """Each method is one action; it gets the resource type of the path, and the form."""

    def __init__(self, account: Account, options: Options, sources: Sources) -> None:
        self._account = account
        self._options = options
        self._sources = sources

    def add_routes(self, router: web.UrlDispatcher, gate: Gate) -> None:
        """Serve the actions."""
        for name, action in (
            ("upload", self.upload),
            ("explicit", self.explicit),
            ("rename", self.rename),
            ("destroy", self.destroy),
            ("tags", self.tags),
            ("context", self.context),
            ("metadata", self.metadata),
        ):
            path = f"{PREFIX}/{{resource_type:image|video|raw|auto}}/{name}"
            router.add_post(path, self._signed(name, action, gate))

    def _signed(self, name: str, action: Action, gate: Gate) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            check_cloud(request.match_info["cloud"], self._options)
            form = _form(await request.post())
            if name == "upload" and "signature" not in form:
                self._check_unsigned(form)
            else:
                check_signature(form, self._options)
            gate.count(request)
            answer = action(request.match_info["resource_type"], form)
            return respond(await answer if isinstance(answer, Awaitable) else answer)

        return handle

    def _check_unsigned(self, form: Form) -> None:
        preset = form.get("upload_preset")
        if not preset:
            raise BadRequestError("Upload preset must be specified when using unsigned upload")
        if preset not in self._options.presets:
            raise BadRequestError("Upload preset not found")
        if forbidden := form.keys() - _UNSIGNED_OPTIONS:
            raise BadRequestError(f"{min(forbidden)} parameter is not allowed when using unsigned upload")

    async def upload(self, resource_type: str, form: Form) -> Answer:
        """Store a file."""
        source = await self._sources.read(form.get("file"))
        given = changes(form)
        public_id, folder = form.get("public_id"), form.get("folder")
        filename = form.get("filename_override") or source.filename
        if not public_id and read_flag(form.get("use_filename")) and filename:
            public_id = filename.rpartition(".")[0] or filename
        if folder:
            public_id = f"{folder}/{public_id or self._account.fresh_id()[:20]}"
            given.setdefault("asset_folder", folder)
        is_unsigned = "signature" not in form
        return self._account.upload(
            source.content,
            public_id=f"{form.get('public_id_prefix') or ''}{public_id}" if public_id else None,
            resource_type=resource_type,
            type=form.get("type") or "upload",
            overwrite=read_flag(form.get("overwrite"), default=not is_unsigned),
            moderation=form.get("moderation"),
            original_filename=filename,
            backup=read_flag(form.get("backup")),
            **given,
        )

    def explicit(self, resource_type: str, form: Form) -> Answer:
        """Change what is attached to an asset, and describe it."""
        public_id = _required(form, "public_id")
        type_ = form.get("type") or "upload"
        if self._account.find(Name(resource_type, type_, public_id)) is None:
            raise NotFoundError(f"Resource not found - {public_id}")
        return self._account.update(public_id, resource_type=resource_type, type=type_, **changes(form))

    def rename(self, resource_type: str, form: Form) -> Answer:
        """Rename an asset."""
        return self._account.rename(
            _required(form, "from_public_id"),
            _required(form, "to_public_id"),
            resource_type=resource_type,
            type=form.get("type") or "upload",
            to_type=form.get("to_type"),
            overwrite=read_flag(form.get("overwrite")),
            **_told(form),
        )

    def destroy(self, resource_type: str, form: Form) -> Answer:
        """Delete an asset."""
        public_id, type_ = _required(form, "public_id"), form.get("type") or "upload"
        return self._account.destroy(public_id, resource_type=resource_type, type=type_, **_told(form))

    def tags(self, resource_type: str, form: Form) -> Answer:
        """Change the tags of assets."""
        command = form.get("command")
        if command not in _COMMANDS:
            raise BadRequestError(f"Invalid command {command}")
        ids, type_ = _public_ids(form), form.get("type") or "upload"
        tags = read_list(form.get("tag")) or []
        if not tags and command != "remove_all":
            raise BadRequestError("Missing required parameter - tag")
        changed = self._account.change_tags(ids, command, tags, resource_type=resource_type, type=type_, **_told(form))
        return {"public_ids": changed}

    def context(self, resource_type: str, form: Form) -> Answer:
        """Change the context of assets."""
        command = form.get("command")
        if command not in ("add", "remove_all"):
            raise BadRequestError(f"Invalid command {command}")
        ids, type_ = _public_ids(form), form.get("type") or "upload"
        pairs = {name: str(value) for name, value in (read_pairs(form.get("context")) or {}).items()}
        changed = self._account.change_context(ids, command, pairs, resource_type=resource_type, type=type_, **_told(form))
        return {"public_ids": changed}

    def metadata(self, resource_type: str, form: Form) -> Answer:
        """Change the metadata of assets."""
        ids, type_ = _public_ids(form), form.get("type") or "upload"
        fields = read_pairs(_required(form, "metadata")) or {}
        return {"public_ids": self._account.change_metadata(ids, fields, resource_type=resource_type, type=type_, **_told(form))}


def _form(posted: Any) -> Form:  # noqa: ANN401  # aiohttp's MultiDictProxy
    """Read a form: `name[]` is a list."""
    form: dict[str, Any] = {}
    for name in posted:
        if name.endswith("[]"):
            form[name.removesuffix("[]")] = posted.getall(name)
        else:
            form[name] = posted[name]
    return form


def _required(form: Form, name: str) -> str:
    value = form.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequestError(f"Missing required parameter - {name}")
    return value


def _public_ids(form: Form) -> list[str]:
    ids = form.get("public_ids") or []
    if not ids:
        raise BadRequestError("Missing required parameter - public_ids")
    if len(ids) > _MOST:
        raise BadRequestError(f"Too many public_ids: {len(ids)}. The maximum is {_MOST}")
    return [str(one) for one in ids]


def _told(form: Form) -> dict[str, str | None]:
    return {"notification_url": form.get("notification_url"), "batch_id": form.get("batch_id")}

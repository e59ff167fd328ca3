"""Published prompts and schemas: their text, versions and uses."""

from starlette.requests import Request
from starlette.responses import Response

from infra.ops.console.site import Site
from infra.ops.registry.documents import PROMPTS, SCHEMAS, Registry, RegistryKind
from infra.ops.registry.showing import read_entry, text_lines
from infra.ops.runs.reading import NotFound
from shared.adapters.clock import SystemClock

_KINDS = {"prompts": PROMPTS, "schemas": SCHEMAS}


class RegistryPages:
    """The pages about prompts and schemas."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def list(self, request: Request) -> Response:
        """The ids that are published."""
        plural, kind = _kind(request)
        registry = Registry(connection=self._site.connection, kind=kind, clock=SystemClock())
        values = {"plural": plural, "kind": kind.name, "ids": await registry.ids()}
        return self._site.page("registry.html", values, section="/prompts")

    async def show(self, request: Request) -> Response:
        """One entry."""
        plural, kind = _kind(request)
        entry_id = request.path_params["entry_id"]
        entry = await read_entry(self._site.connection, kind, entry_id)
        text = "\n".join(text_lines(entry.document))
        values = {"plural": plural, "kind": kind.name, "entry": entry, "text": text}
        return self._site.page("registry_entry.html", values, section="/prompts")


def _kind(request: Request) -> tuple[str, RegistryKind]:
    plural = request.path_params["plural"]
    if plural not in _KINDS:
        raise NotFound("there is no such page")
    return plural, _KINDS[plural]

"""The page about the provider's quotas: what is taken of each model, and who waits for it."""

from starlette.requests import Request
from starlette.responses import Response

from infra.ops.console.reads import live_seconds, metered
from infra.ops.console.site import Site
from infra.ops.quota.reading import read_quotas
from infra.ops.quota.view import taken_in
from infra.ops.quota.words import allowed_words, standing_words, summary

_QUOTA_SECONDS = 4.0


class QuotaPage:
    """Serves the page."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def show(self, _request: Request) -> Response:
        """The quotas as they are now."""
        connection, meter = metered(self._site.connection)
        quotas = await read_quotas(connection)
        values = {
            "quotas": quotas,
            "summary": summary(quotas),
            "allowed": allowed_words,
            "standing": standing_words,
            "taken_in": taken_in,
            "live_seconds": live_seconds(meter.reads, at_least=_QUOTA_SECONDS),
        }
        response = self._site.page("quota.html", values, section="/quota")
        response.headers["x-document-reads"] = str(meter.reads)
        return response

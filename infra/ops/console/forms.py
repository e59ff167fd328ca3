"""Reading what a page's form sent, if it is one of ours."""

from http import HTTPStatus
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request

from infra.ops.console.security import Secrets

_MOST_BYTES = 16_384
_MOST_FIELDS = 20


async def read_form(request: Request, own: Secrets) -> dict[str, str]:
    """The fields of the form, each once.

    Raises:
        HTTPException: it is too long, or did not come from a page of this process.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise HTTPException(HTTPStatus.BAD_REQUEST) from None
    form = {name: values[-1] for name, values in fields.items()}
    if not own.is_form_token(form.get("token", "")):
        raise HTTPException(HTTPStatus.FORBIDDEN, "The form is too old: reload the page.")
    return form

"""The smoke test's hooks, and what the smoke test says of the answers to them."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local.serving.asgi import serve
from infra.ops.smoke.hooks import Hooks, HookTarget, hook_problems, tried, words
from shared.domain.hooks import read_hook_path
from shared.domain.identifiers import RunId

NOW = datetime(2026, 11, 24, 15, 0, tzinfo=UTC)
SECRET = 32 * "s"
RUN_ID = RunId("20261124-150000_SMOKE_ab12h")


@pytest.mark.parametrize(
    ("target", "hooks", "says"),
    [
        (None, Hooks.OFF, "off"),
        (HookTarget(url="u", secret=None), Hooks.FORGED, "set WEBHOOK_SECRET"),
        (HookTarget(url="u", secret=SECRET), Hooks.ALL, "a signed one"),
    ],
)
def test_it_is_said_how_far_hooks_are_tried(
    target: HookTarget | None, hooks: Hooks, says: str
) -> None:
    assert tried(target) == hooks
    assert says in words(hooks)


async def sent(
    *, forged: int, signed: int, secret: str | None = SECRET, provider_signs: bool = False
) -> tuple[Sequence[str], list[bool]]:
    """What is said of a function with these answers, and whether each hook was signed."""
    seen: list[bool] = []

    async def answer(request: Request) -> Response:
        address = read_hook_path(request.path_params["path"], [SECRET], NOW)
        seen.append(address is not None and address.run_id == RUN_ID)
        return Response(status_code=signed if seen[-1] else forged)

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["POST"])])
    async with serve(app, name="notify") as url:
        target = HookTarget(
            url=f"{url}/", secret=secret, provider_signs=provider_signs, remote=False
        )
        return await hook_problems(target, RUN_ID, NOW), seen


async def test_a_function_that_answers_as_it_must_has_no_problem() -> None:
    assert await sent(forged=404, signed=204) == ([], [False, True])
    assert await sent(forged=404, signed=404, provider_signs=True) == ([], [False, True])
    assert await sent(forged=404, signed=500, secret=None) == ([], [False])


@pytest.mark.parametrize(
    ("forged", "signed", "provider_signs", "problems"),
    [
        (204, 204, False, ["a forged hook: 204 instead of 404"]),
        (403, 403, False, ["a forged hook: 403 instead of 404", "403 instead of 204"]),
        (404, 503, False, ["a hook with a signed address: 503 instead of 204"]),
        (404, 204, True, ["a hook with a signed address: 204 instead of 404"]),
    ],
    ids=["takes all", "is not public", "cannot publish", "asks for no signature"],
)
async def test_every_other_answer_is_told(
    *, forged: int, signed: int, provider_signs: bool, problems: Sequence[str]
) -> None:
    found, _ = await sent(forged=forged, signed=signed, provider_signs=provider_signs)

    assert len(found) == len(problems)
    assert all(said.endswith(problem) for said, problem in zip(found, problems, strict=True))


async def test_no_answer_is_told() -> None:
    target = HookTarget(url="http://127.0.0.1:9", secret=None, remote=False)

    [problem] = await hook_problems(target, RUN_ID, NOW)

    assert problem == "a forged hook: no answer (ConnectionError) instead of 404"


async def test_nothing_is_sent_where_no_call_is_announced() -> None:
    assert await hook_problems(None, RUN_ID, NOW) == ()

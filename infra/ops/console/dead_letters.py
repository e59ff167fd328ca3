"""Dead letters: what could not be delivered, replayed or discarded after a question."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from infra.ops.console.forms import read_form
from infra.ops.console.site import Site
from infra.ops.dead_letters.box import DeadLetterBox, HeldLetter, PubSubDeadLetters, pulled
from infra.ops.dead_letters.commands import WAKE_AFTER, replay_with, subscriber_of
from infra.ops.dead_letters.letter import DeadLetter, ReplayRules, Verdict
from infra.ops.dead_letters.replay import Replayed
from infra.ops.runs.reading import NotFound

_SECTION = "/dead-letters"
#: Looked at for one page; more are left for the command line.
_MOST_LETTERS = 200
#: The usual MAX_LLM_CALLS of the executor; it is only used for a forecast.
_CALL_BUDGET = 5
_AT_ONCE = 1_000.0
_REPLAY, _DISCARD = "replay", "discard"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterPlaces:
    """Where dead letters are pulled, and where jobs are published; short or full names."""

    subscription: str
    jobs_topic: str


class DeadLetterPages:
    """The pages about dead letters."""

    def __init__(self, site: Site, places: DeadLetterPlaces) -> None:
        self._site = site
        self._places = places

    async def list(self, _request: Request) -> Response:
        """All letters, the oldest first, each with what a replay would do."""
        if not self._reachable:
            return self._site.page(
                "dead_letters.html", {"letters": None, "full": False}, section=_SECTION
            )
        async with self._held() as (box, held):
            letters = sorted(_letters(held), key=lambda one: (one.published_at, one.message_id))
            forecasts = await self._forecast(box, letters)
        values = {"letters": forecasts, "full": len(forecasts) == _MOST_LETTERS}
        return self._site.page("dead_letters.html", values, section=_SECTION)

    async def ask(self, request: Request) -> Response:
        """The page that asks before a letter is replayed or discarded."""
        async with self._held() as (box, held):
            found = _found(held, request)
            [forecast] = await self._forecast(box, [found.letter])
        values = {
            "forecast": forecast,
            "move": _move(request),
            "token": self._site.own.form_token,
        }
        return self._site.page("confirm_letter.html", values, section=_SECTION)

    async def do(self, request: Request) -> Response:
        """The act, and back to the list, or to the step that goes on."""
        await read_form(request, self._site.own)
        move = _move(request)
        async with self._held() as (box, held):
            found = _found(held, request)
            if move == _DISCARD:
                await box.acknowledge([found.ack_id])
                del held[found.letter.message_id]
                return RedirectResponse(_SECTION, HTTPStatus.SEE_OTHER)
            replay = replay_with(
                self._site.connection,
                box,
                _rules(),
                self._places.jobs_topic,
                author=self._site.author,
                via="console",
            )
            done = [one async for one in replay.run(held, [found.letter], per_second=_AT_ONCE)]
        return self._after(done[0])

    def _after(self, done: Replayed) -> Response:
        if done.plan.verdict is not Verdict.KEEP:
            return RedirectResponse(_SECTION, HTTPStatus.SEE_OTHER)
        text = f"The letter stays where it is: {done.plan.why}."
        return self._site.message("Not replayed", text, HTTPStatus.CONFLICT, _SECTION)

    @property
    def _reachable(self) -> bool:
        local = self._site.connection.local
        return local is None or local.pubsub_host is not None

    async def _forecast(
        self, box: DeadLetterBox, letters: Sequence[DeadLetter]
    ) -> Sequence[Replayed]:
        replay = replay_with(self._site.connection, box, _rules(), self._places.jobs_topic)
        return await replay.preview(letters)

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[tuple[DeadLetterBox, dict[str, HeldLetter]]]:
        if not self._reachable:
            raise NotFound("there are no dead letters to reach")
        name = self._places.subscription
        if not name.startswith("projects/"):
            name = f"projects/{self._site.connection.project}/subscriptions/{name}"
        async with subscriber_of(self._site.connection) as client:
            box = PubSubDeadLetters(client, name)
            async with pulled(box, _MOST_LETTERS) as held:
                yield box, held


def _rules() -> ReplayRules:
    return ReplayRules(rerun=True, call_budget=_CALL_BUDGET, wake_after=WAKE_AFTER)


def _letters(held: dict[str, HeldLetter]) -> Sequence[DeadLetter]:
    return [one.letter for one in held.values()]


def _found(held: dict[str, HeldLetter], request: Request) -> HeldLetter:
    found = held.get(request.path_params["message_id"])
    if found is None:
        raise NotFound("this dead letter is not there any more, or somebody else looks at it")
    return found


def _move(request: Request) -> str:
    move = str(request.path_params["move"])
    if move not in {_REPLAY, _DISCARD}:
        raise NotFound("there is no such act")
    return move

"""How fast a provider takes calls of one model, as all instances have learned it: pure.

The document `llm_pacing/{place}` holds one `Pace`. Its rate is a function of the time since the
last refusal, so that growing needs no write:

- Before a refusal has shown a limit, the rate doubles every few seconds (slow start).
- After a refusal it falls a little, is back at the limit soon, stays near it, and then rises
  ever faster: the curve of CUBIC (https://www.rfc-editor.org/rfc/rfc9438), which finds a limit
  that has moved.
- Where the provider names a delay, no call is made before it is over. Where it names none, the
  pause doubles with each refusal that follows another, and ends with a single call.

The rate fills a bucket of slots, and each call takes one. The figures below were found by
running the scenarios of `make storm` for many values.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import log2

#: Calls a minute that are tried where nothing is known.
FIRST_RATE = 12.0
#: The rate never falls below this: the end of a long outage would be noticed too late.
LOWEST_RATE = 6.0
HIGHEST_RATE = 60_000.0
#: In slow start the rate doubles in this time.
DOUBLING_SECONDS = 6.0
#: Above this rate it doubles in the longer time: calls wait for instances by then, and what
#: becomes of them is known late.
FAST_UNTIL = 120.0
LATER_DOUBLING_SECONDS = 30.0
#: The rate after a pause, as a share of the limit that the refusal showed.
KEPT_SHARE = 0.95
#: After this time the rate is the limit again.
RECOVERY_SECONDS = 15.0
#: How much of the share that was refused is taken off the limit.
CORRECTION = 0.1
#: Where so many were refused within two minutes, the limit is at most so many times the rate
#: at which the others were taken: calls that wait for instances are refused long after their
#: slots were granted, when the rate has grown without them.
MANY_REFUSED = 20
TAKEN_SLACK = 1.5
#: Of the configured limit, so much is used: clocks and networks shift calls between minutes.
LIMIT_SHARE = 0.98
#: A refusal below the configured limit lowers the rate to this share of it at most.
LIMIT_KEPT_SHARE = 0.95
#: The bucket holds what comes in during this time: the longest gap between two sweeps' looks.
BURST_SECONDS = 6.0
#: The first pause after a refusal that names no delay.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 12.0
#: A longer delay is not believed without a look: quotas are raised, and days end.
LONGEST_DELAY = timedelta(minutes=10)
#: After so many refusals in a row, the limit that was known counts no more.
FORGOTTEN_AFTER = 5
#: A call that is not refused within this time has been taken.
PROBE_SECONDS = 6.0
#: From granting a slot until the refusal of its call is known.
LAG = timedelta(seconds=4)
#: Slots granted within this time may be those whose calls were refused.
RECENT = timedelta(seconds=12)
#: For so long after the last refusal, and after the last job that waited, calls need slots.
IN_FORCE = timedelta(minutes=10)
MINUTES_KEPT = 15
#: What the sweep saw counts for so long: it looks every minute.
SEEN_COUNTS_FOR = timedelta(minutes=3)
_MANY = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotGrant:
    """Slots that were granted at one moment."""

    at: datetime
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What happened in one minute, for eyes."""

    at: datetime
    granted: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast the provider takes calls of one model at one place."""

    #: The document's id; see `place_of`.
    place: str
    #: Calls a minute: the limit that the last refusal showed, or a first guess.
    peak: float
    #: When the rate began to grow; None until the first slot after a pause.
    growing_since: datetime | None = None
    #: A refusal has shown where the limit is.
    steady: bool = False
    #: Refusals in a row, with no call taken between them.
    strikes: int = 0
    #: No slot is granted before.
    resume_at: datetime
    #: The provider itself named `resume_at`.
    delay_named: bool = False
    #: When the one call began that looks whether the provider takes calls again.
    probe_at: datetime | None = None
    #: Slots in the bucket at `filled_at`.
    slots: float = 0.0
    filled_at: datetime
    #: Until then, calls need slots.
    until: datetime
    #: Calls a minute that are configured.
    limit: float | None = None
    #: Jobs that waited when the sweep looked last, at `seen_at`.
    waiting: int = 0
    seen_at: datetime | None = None
    recent: tuple[SlotGrant, ...] = ()
    minutes: tuple[Minute, ...] = ()

    def in_force(self, now: datetime) -> bool:
        """Whether calls need slots now."""
        return self.limit is not None or now < self.until

    def queued(self, now: datetime) -> bool:
        """Whether jobs wait that come first, and the sweep is there to wake them."""
        fresh = self.seen_at is not None and now - self.seen_at < SEEN_COUNTS_FOR
        return self.waiting > 0 and fresh

    @property
    def probing(self) -> bool:
        """Whether all was refused of late, so that single calls look for the end of it."""
        return self.strikes > 1 and not self.delay_named

    def rate(self, now: datetime) -> float:
        """Calls a minute that the provider is believed to take."""
        since = self.growing_since
        seconds = max(0.0, (now - since).total_seconds()) if since else 0.0
        if self.steady:
            away = (seconds - RECOVERY_SECONDS) / RECOVERY_SECONDS
            rate = self.peak * (1 + (1 - KEPT_SHARE) * away**3)
        else:
            rate = _slow_start(self.peak, seconds)
        most = HIGHEST_RATE if self.limit is None else self.limit * LIMIT_SHARE
        return min(max(rate, LOWEST_RATE), most)

    def slot_after(self, now: datetime, before: int) -> datetime:
        """When the job is likely to get its slot that has so many before it."""
        begins = max(now, self.resume_at)
        return begins + timedelta(minutes=(before + 1) / self.rate(now))

    def next_slot_at(self, now: datetime) -> datetime:
        """When the bucket holds a whole slot again, at the rate of now."""
        begins = max(self.filled_at, self.resume_at)
        return begins + timedelta(minutes=max(0.0, 1 - self.slots) / self.rate(now))

    def granted(self, now: datetime, wanted: int) -> tuple["Pace", int]:
        """The pace after granting at most so many slots, and how many it granted."""
        pace = _probed(self, now)
        if now < pace.resume_at or wanted <= 0:
            return pace, 0
        if pace.probing:
            if pace.probe_at is not None:
                return pace, 0
            pace = replace(pace, probe_at=now, slots=0.0, filled_at=now)
            return _noted(pace, now, 1), 1
        level = _level(pace, now)
        count = min(wanted, int(level))
        if not count:
            return pace, 0
        pace = replace(
            pace,
            slots=level - count,
            filled_at=now,
            growing_since=pace.growing_since or now,
        )
        return _noted(pace, now, count), count

    def refused(
        self, now: datetime, *, count: int = 1, delay: timedelta | None = None
    ) -> "Pace":
        """The pace after the provider refused so many calls."""
        pace = _counted(self, now, refused=count)
        pace = replace(pace, until=max(pace.until, now + IN_FORCE))
        asked, whole = _believed(delay)
        if now < pace.resume_at:
            # Calls that were under way: they tell nothing new but a longer delay.
            resume_at = max(pace.resume_at, now + asked)
            return replace(
                pace,
                resume_at=resume_at,
                filled_at=resume_at,
                delay_named=whole and (pace.delay_named or bool(asked)),
                strikes=pace.strikes if whole else max(pace.strikes, 2),
            )
        pace = _corrected(pace, now, count)
        doubled = FIRST_PAUSE_SECONDS * 2.0 ** min(pace.strikes - 1, 10)
        pause = asked or timedelta(seconds=min(doubled, LONGEST_PAUSE_SECONDS))
        return replace(
            pace,
            growing_since=None,
            resume_at=now + pause,
            delay_named=whole and bool(asked),
            strikes=pace.strikes if whole else max(pace.strikes, 2),
            probe_at=None,
            slots=0.0,
            filled_at=now + pause,
        )

    def seen_waiting(self, now: datetime, waiting: int) -> "Pace":
        """The pace that knows how many jobs wait; it stays in force while any do."""
        until = max(self.until, now + IN_FORCE) if waiting else self.until
        return replace(self, waiting=waiting, seen_at=now, until=until)

    def room(self, now: datetime) -> int:
        """Slots that could be granted now."""
        return self.granted(now, _MANY)[1]


def unknown(place: str, now: datetime) -> Pace:
    """The pace of a place of which nothing is known, and where jobs wait."""
    return Pace(
        place=place, peak=FIRST_RATE, resume_at=now, filled_at=now, until=now + IN_FORCE
    )


def first_refused(place: str, now: datetime, *, delay: timedelta | None) -> Pace:
    """The pace after the first refusal of which anybody knows."""
    asked, whole = _believed(delay)
    resume_at = now + (asked or timedelta(seconds=FIRST_PAUSE_SECONDS))
    pace = Pace(
        place=place,
        peak=FIRST_RATE,
        strikes=1 if whole else 2,
        resume_at=resume_at,
        delay_named=whole and bool(asked),
        filled_at=resume_at,
        until=now + IN_FORCE,
    )
    return _counted(pace, now, refused=1)


def limited(place: str, now: datetime, limit: float) -> Pace:
    """The pace of a model whose limit is configured, before the first call."""
    return Pace(
        place=place,
        peak=limit,
        growing_since=now,
        steady=True,
        resume_at=now,
        slots=1.0,
        filled_at=now,
        until=now,
        limit=limit,
    )


def _believed(delay: timedelta | None) -> tuple[timedelta, bool]:
    """How long to wait for a delay that was named, and whether that is all of it."""
    asked = max(delay or timedelta(0), timedelta(0))
    return min(asked, LONGEST_DELAY), asked <= LONGEST_DELAY


def _slow_start(first: float, seconds: float) -> float:
    """Calls a minute so long after the first one of a growth that has met no limit."""
    first = max(first, LOWEST_RATE)
    fast = DOUBLING_SECONDS * max(0.0, log2(FAST_UNTIL / first))
    begun = min(seconds, fast) / DOUBLING_SECONDS
    later = min(max(0.0, seconds - fast) / LATER_DOUBLING_SECONDS, 30.0)
    rate: float = first * 2.0 ** (begun + later)
    return rate


def _corrected(pace: Pace, now: datetime, count: int) -> Pace:
    """With the limit that the refusals show."""
    granted = sum(g.slots for g in pace.recent if now - RECENT <= g.at < now)
    share = min(1.0, count / granted) if granted else 1.0
    strikes = pace.strikes + 1 if share >= 1 else 1
    if share >= 1:
        # All of them are accounted for: of the next calls, too, none may have been taken.
        pace = replace(pace, recent=())
    if strikes >= FORGOTTEN_AFTER:
        peak = max(LOWEST_RATE, pace.peak / 2)
        return replace(pace, peak=peak, steady=False, strikes=strikes)
    peak = pace.peak
    if strikes == 1:
        # The calls that were refused got their slots a little earlier.
        peak = pace.rate(now - LAG) * (1 - CORRECTION * share)
        peak = min(peak, _most_taken(pace, now))
        if pace.limit is not None:
            peak = max(peak, LIMIT_KEPT_SHARE * pace.limit)
    return replace(pace, peak=max(LOWEST_RATE, peak), steady=True, strikes=strikes)


def _most_taken(pace: Pace, now: datetime) -> float:
    """Calls a minute beyond which the limit cannot be, by what was taken of late.

    Where many were refused: a few may be refused whatever the limit is.
    """
    late = [minute for minute in pace.minutes if now - minute.at < timedelta(minutes=2)]
    refused = sum(minute.refused for minute in late)
    if refused < MANY_REFUSED:
        return HIGHEST_RATE
    taken = max(0, sum(minute.granted for minute in late) - refused)
    minutes = (now - late[0].at) / timedelta(minutes=1)
    return TAKEN_SLACK * taken / max(minutes, 0.5)


def _probed(pace: Pace, now: datetime) -> Pace:
    """With the probe's success, if nobody refused it for so long."""
    if pace.probe_at is None or (now - pace.probe_at).total_seconds() < PROBE_SECONDS:
        return pace
    return replace(pace, strikes=0, probe_at=None, growing_since=now)


def _level(pace: Pace, now: datetime) -> float:
    a_second = pace.rate(now) / 60
    seconds = max(0.0, (now - max(pace.filled_at, pace.resume_at)).total_seconds())
    return min(pace.slots + seconds * a_second, max(1.0, a_second * BURST_SECONDS))


def _noted(pace: Pace, now: datetime, slots: int) -> Pace:
    kept = (grant for grant in pace.recent if grant.at > now - RECENT)
    noted = replace(pace, recent=(*kept, SlotGrant(at=now, slots=slots)))
    return _counted(noted, now, granted=slots)


def _counted(pace: Pace, now: datetime, *, granted: int = 0, refused: int = 0) -> Pace:
    at = now.replace(second=0, microsecond=0)
    *former, last = pace.minutes or (Minute(at=at),)
    if last.at != at:
        former, last = [*former, last], Minute(at=at)
    last = Minute(at=at, granted=last.granted + granted, refused=last.refused + refused)
    return replace(pace, minutes=(*former, last)[-MINUTES_KEPT:])

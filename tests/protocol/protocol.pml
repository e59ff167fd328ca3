/* One step's protocol: claim, lease, booking, call, upload, finalize, sweep, operators' acts.

   Every transition that changes what is stored is one `atomic` block, as it is one commit, and
   stands below the name of the function that makes it: an at sign, its module, its name.
   What an actor read is current as long as its bit in `fresh_run` or `fresh_job` is set; any
   commit by somebody else clears it. That is all that a guard by update time knows.

   CRASHES, EXPIRIES   how many processes die; how often a lease runs out under a living holder
   BACKGROUND          calls are begun in the background, and their id is recorded in the job
   HINT                the provider sends the id too, and a successor waits for that
   ONE_PAID_CALL       demand that a claim pays once, whatever dies
   NO_...              take a rule away: each must be found
   REPLAY              follow the traces in traces.h, and say which ones the model allows
*/
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef EXPIRIES
#define EXPIRIES 1
#endif
#ifndef ACTS
#define ACTS 0
#endif
#ifndef BAD_ANSWERS
#define BAD_ANSWERS 0
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2
#endif
#ifndef WAKES
#define WAKES 1
#endif
#ifndef CALLS
#define CALLS 2
#endif
#ifndef CLAIMS
#define CLAIMS 1
#endif

#define E_CLAIM 1
#define E_WAKE 2
#define E_LEASE 3
#define E_EXPIRE 4
#define E_CALL 5
#define E_STORE 6
#define E_RELEASE 7
#define E_SUCCEED 8
#define E_FAIL 9
#define E_ABANDON 10
#define E_CANCEL 11
#define E_OPERATOR_CANCELS 12
#define E_REOPEN 13
#define E_FRESH 14

#define FIRST_DISPATCHER 0
#define SWEEP 2
#define OPERATOR 3
#define FIRST_EXECUTOR 4
#define NOBODY 15
#define ALL 255
#define BIT(who) (1 << (who))
#define KNOWS_RUN(who) ((fresh_run & BIT(who)) != 0)
#define KNOWS_JOB(who) ((fresh_job & BIT(who)) != 0)
#define READS(who) fresh_run = fresh_run | BIT(who); fresh_job = fresh_job | BIT(who)

#ifdef REPLAY
c_decl { \#include "traces.h" }
short which;
byte position = 0;
#define EVENT(e) && c_expr { !accepted[now.which] && traces[now.which][now.position] == e }
#define HAPPENS position++
/* What bounds the exhaustive search does not bound a trace. */
#define COUNT(what) skip
#else
#define COUNT(what) what++
#define EVENT(e) && true
#define HAPPENS skip
#endif

#ifdef REPLAY
#define CHECK(holds) skip
#else
#define CHECK(holds) assert(holds)
#endif

mtype = { READY, RUNNING, SUCCEEDED, FAILED, CANCELLED };
mtype = { NONE, QUEUED, LEASED, CLOSED };

mtype step = READY;
mtype job = NONE;
byte claim = 0;
byte attempt = 0;
byte calls = 0;         /* booked */
byte wakes = 0;
byte owner = NOBODY;
bool expired = false;
bool orphaned = false;  /* the holder is dead */
bool unknown = false;   /* a booked call, whose outcome nobody wrote down */
bool call_id = false;
bool report = false;
byte message = 0;       /* the newest claim that a message was published for */
byte fresh_run = ALL;
byte fresh_job = ALL;
byte late = 0;          /* whose lease ran out, each by its own clock */
byte deaths = 0;
byte expiries = 0;
byte bad_answers = 0;
byte acts = 0;
byte paid = 0;          /* calls begun under the present claim */
bool hook = false;      /* the provider's word of the call is under way */

#define ENDED (step == SUCCEEDED || step == FAILED || step == CANCELLED)
#define RUN_WRITTEN(who) fresh_run = BIT(who)
#define JOB_WRITTEN(who) fresh_job = BIT(who)
#define CLOSE(who) job = CLOSED; owner = NOBODY; expired = false; orphaned = false; JOB_WRITTEN(who)
#define DUE (job == QUEUED || (job == LEASED && expired))
#define SPENT (attempt >= ATTEMPTS && wakes >= WAKES)
#define HOLDS(me) (job == LEASED && owner == me)

#define CLAIM_GUARD(who) (KNOWS_RUN(who) && KNOWS_JOB(who))
#ifdef NO_FENCE
#define FENCE(who) KNOWS_RUN(who)
#else
#define FENCE(who) (KNOWS_RUN(who) && KNOWS_JOB(who))
#endif
#ifdef NO_RUN_GUARD
#undef FENCE
#define FENCE(who) KNOWS_JOB(who)
#endif
#ifdef NO_LEASE_GUARD
#define LEASE_GUARD(who) true
#else
#define LEASE_GUARD(who) KNOWS_JOB(who)
#endif

/* @ dispatcher.planning:plan_claim */
inline claims(who)
{
  CHECK(step == READY);
  step = RUNNING; job = QUEUED; claim++; attempt = 0; calls = 0; wakes = 0; owner = NOBODY;
  expired = false; orphaned = false; unknown = false; call_id = false; paid = 0; hook = false;
  RUN_WRITTEN(who); JOB_WRITTEN(who); HAPPENS
}

/* @ shared.domain.finalize:ending_writes */
inline ends(who, outcome)
{
  CHECK(step == RUNNING);
  CHECK(outcome != SUCCEEDED || report);
  step = outcome; CLOSE(who); RUN_WRITTEN(who); HAPPENS
}

/* @ dispatcher.claiming:Claims.claim */
proctype Dispatcher(byte me)
{
  byte mine = 0;
end:
  do
  :: atomic { step == READY && claim < CLAIMS && CLAIM_GUARD(me) EVENT(E_CLAIM) ->
       claims(me); mine = claim }
     if
     :: message = (mine > message -> mine : message)   /* Claims.publish */
     :: atomic { deaths < CRASHES -> COUNT(deaths); mine = 0; READS(me) }
     fi
#ifdef NO_CLAIM_GUARD
  :: atomic { claim > 0 && claim < CLAIMS -> claims(me); message = claim }
#endif
  /* @ dispatcher.planning:jobs_to_publish */
  :: atomic { job == QUEUED && message < claim -> message = claim }
  :: atomic { !(KNOWS_RUN(me) && KNOWS_JOB(me)) && step == READY -> READS(me) }
  od
}

#define OVER mine = 0; lost_call = false; booked = false; stood = false; goto end
#define DIES(me) COUNT(deaths); orphaned = orphaned || HOLDS(me); OVER

/* @ executor.service:Executor.handle */
proctype Executor(byte me)
{
  byte mine = 0;           /* the claim of the message at hand */
  bool lost_call = false;  /* a former holder began a call, and nobody knows what came of it */
  bool booked = false;
  bool stood = false;      /* the report, when the attempt began */
end:
  do
  :: atomic { message > 0 ->
       /* @ executor.jobs.intake:decide */
       mine = message;
       READS(me);
       late = late & ~BIT(me);
       if
#ifdef NO_LIVE_LEASE
       :: job == NONE || job == CLOSED || mine != claim -> OVER
       :: !(job == NONE || job == CLOSED || mine != claim) ->
#else
       :: job == NONE || job == CLOSED || mine != claim || (job == LEASED && !expired) -> OVER
       :: !(job == NONE || job == CLOSED || mine != claim || (job == LEASED && !expired)) ->
#endif
          if
          :: step != RUNNING -> goto abandon
          :: step == RUNNING && attempt >= ATTEMPTS -> goto give_up
          :: step == RUNNING && attempt < ATTEMPTS -> skip
          fi
       fi
     }
     if
     :: atomic { LEASE_GUARD(me) EVENT(E_LEASE) ->
          /* @ executor.jobs.lease:HeldJob.acquire */
          lost_call = unknown;
          stood = report && (attempt > 0 || claim > 1);
          job = LEASED; owner = me; expired = false; orphaned = false; attempt++; wakes = 0;
#ifndef HINT
          if
          :: !call_id && calls < CALLS -> calls++; unknown = true; booked = true
          :: call_id || calls >= CALLS -> skip
          fi;
#endif
          JOB_WRITTEN(me); HAPPENS;
#ifndef NO_LOOK
          /* @ executor.reports.making:ReportMaker.recovered */
          if
          :: stood -> goto finalize
          :: !stood -> skip
          fi;
#endif
          /* @ executor.model_calls.background:BackgroundCalls.resumable */
          if
          :: call_id -> goto answer
          :: !call_id -> skip
          fi }
     :: atomic { !KNOWS_JOB(me) -> OVER }
     :: atomic { deaths < CRASHES -> DIES(me) }
     fi;
#ifdef HINT
     /* A successor of an open call waits for its hook; here it always comes in time. */
     if
     :: atomic { lost_call && hook && KNOWS_JOB(me) && HOLDS(me) ->
          hook = false; call_id = true; JOB_WRITTEN(me); goto answer }
     :: atomic { !(lost_call && hook) && KNOWS_JOB(me) && HOLDS(me) && calls < CALLS ->
          calls++; unknown = true; booked = true; JOB_WRITTEN(me) }
     :: atomic { !(KNOWS_JOB(me) && HOLDS(me)) -> OVER }
     :: atomic { !(lost_call && hook) && calls >= CALLS -> skip }
     fi;
#endif
calling:
     if
#ifdef NO_EXPIRY_CHECK
     :: atomic { booked EVENT(E_CALL) ->
#else
     :: atomic { booked && (late & BIT(me)) == 0 EVENT(E_CALL) ->
          /* @ executor.jobs.lease:HeldJob.check_unexpired */
#endif
          /* @ executor.model_calls.calling:ModelCaller.ask */
          CHECK(HOLDS(me) || mine != claim || job == CLOSED);
          CHECK(!stood);
          if
          :: mine == claim -> COUNT(paid); hook = true
          :: mine != claim -> skip
          fi;
#ifdef ONE_PAID_CALL
          CHECK(paid <= 1 + bad_answers);
#else
          CHECK(paid <= 1 + deaths + expiries + bad_answers);
#endif
          CHECK(paid <= CALLS); HAPPENS }
     :: atomic { (late & BIT(me)) != 0 -> OVER }
     :: atomic { !booked -> goto fails }   /* the budget of calls is spent */
     /* It cannot read its inputs, or is told to stop: the call that was booked never began. */
     :: atomic { booked && bad_answers < BAD_ANSWERS && KNOWS_JOB(me) && HOLDS(me) ->
          COUNT(bad_answers); calls--; goto let_go }
     :: atomic { deaths < CRASHES -> DIES(me) }
     fi;
#ifdef BACKGROUND
     /* @ executor.model_calls.background:BackgroundCalls.begin */
     if
     :: atomic { KNOWS_JOB(me) && HOLDS(me) -> call_id = true; hook = false; JOB_WRITTEN(me) }
     :: atomic { !(KNOWS_JOB(me) && HOLDS(me)) -> OVER }
     :: atomic { deaths < CRASHES -> DIES(me) }
     fi;
#endif
answer:
     if
     /* @ executor.reports.store:ReportStore.create */
     :: atomic { !report EVENT(E_STORE) -> report = true; HAPPENS }
     :: atomic { report -> skip }
     :: atomic { bad_answers < BAD_ANSWERS -> COUNT(bad_answers); goto let_go }
     /* @ executor.jobs.lease:HeldJob.book_llm_call */
     :: atomic { bad_answers < BAD_ANSWERS && calls < CALLS && KNOWS_JOB(me) && HOLDS(me) ->
          COUNT(bad_answers); calls++; unknown = true; call_id = false; hook = false; booked = true;
          JOB_WRITTEN(me); goto calling }
     :: atomic { deaths < CRASHES -> DIES(me) }
     fi;
finalize:
     if
     /* @ executor.jobs.finalizing:Finalizer.finish */
     :: atomic { FENCE(me) && step == RUNNING EVENT(E_SUCCEED) ->
          CHECK(HOLDS(me) && mine == claim); ends(me, SUCCEEDED); OVER }
#ifdef NO_RUN_GUARD
     :: atomic { FENCE(me) && step != RUNNING -> ends(me, SUCCEEDED); OVER }
#endif
     :: atomic { !(FENCE(me) && step == RUNNING) ->
          READS(me);
          if
          :: mine != claim || !HOLDS(me) -> OVER
          :: mine == claim && HOLDS(me) && step != RUNNING -> goto abandon
          :: mine == claim && HOLDS(me) && step == RUNNING -> goto finalize
          fi }
     /* It is told to stop, or Cloud Storage did not answer. */
     :: atomic { bad_answers < BAD_ANSWERS && HOLDS(me) -> COUNT(bad_answers); goto let_go }
     :: atomic { deaths < CRASHES -> DIES(me) }
     fi;
let_go:
     if
     /* @ executor.ending:Ending.end */
     :: atomic { KNOWS_JOB(me) && HOLDS(me) EVENT(E_RELEASE) ->
          job = QUEUED; owner = NOBODY; expired = false; unknown = false; call_id = false;
          hook = false; JOB_WRITTEN(me); HAPPENS; OVER }
     :: atomic { !(KNOWS_JOB(me) && HOLDS(me)) -> READS(me);
          if
          :: HOLDS(me) && mine == claim -> goto let_go
          :: !(HOLDS(me) && mine == claim) -> OVER
          fi }
     :: goto fails
     fi;
fails:
     if
     :: atomic { FENCE(me) && HOLDS(me) && step == RUNNING EVENT(E_FAIL) -> ends(me, FAILED); OVER }
     :: atomic { !(FENCE(me) && HOLDS(me) && step == RUNNING) ->
          READS(me);
          if
          :: mine != claim || !HOLDS(me) -> OVER
          :: mine == claim && HOLDS(me) && step != RUNNING -> goto abandon
          :: mine == claim && HOLDS(me) && step == RUNNING -> goto fails
          fi }
     :: atomic { deaths < CRASHES -> DIES(me) }
     fi;
give_up:
     if
     :: atomic { FENCE(me) && step == RUNNING && report EVENT(E_SUCCEED) -> ends(me, SUCCEEDED); OVER }
     :: atomic { FENCE(me) && step == RUNNING && !report EVENT(E_FAIL) -> ends(me, FAILED); OVER }
     :: atomic { !(FENCE(me) && step == RUNNING) -> OVER }
     :: atomic { deaths < CRASHES -> DIES(me) }
     fi;
abandon:
     if
     /* @ executor.jobs.finalizing:Finalizer.abandoned */
     :: atomic { KNOWS_JOB(me) && step != RUNNING EVENT(E_ABANDON) -> CLOSE(me); HAPPENS; OVER }
     :: atomic { !KNOWS_JOB(me) || step == RUNNING -> OVER }
     :: atomic { deaths < CRASHES -> DIES(me) }
     fi
  od
}

/* A lease runs out: when its holder is dead, or stands still for that long. */
proctype Time()
{
end:
  do
  :: atomic { job == LEASED && !expired && (orphaned || expiries < EXPIRIES) EVENT(E_EXPIRE) ->
       if
       :: !orphaned -> COUNT(expiries); late = late | BIT(owner)
       :: else -> skip
       fi;
       expired = true; HAPPENS }
  od
}

/* @ dispatcher.sweep:Sweep.run */
proctype Sweeps()
{
end:
  do
  :: atomic { DUE -> READS(SWEEP) };
     /* @ dispatcher.sweep_plan:plan_due_job */
     if
     :: atomic { KNOWS_JOB(SWEEP) && DUE && step != RUNNING EVENT(E_ABANDON) -> CLOSE(SWEEP); HAPPENS }
     :: atomic { FENCE(SWEEP) && DUE && step == RUNNING && SPENT EVENT(E_FAIL) ->
          ends(SWEEP, FAILED) }
#ifdef NO_SWEEP_GUARD
     :: atomic { step == RUNNING -> job = QUEUED; owner = NOBODY; expired = false; orphaned = false;
          message = claim }
#endif
     :: atomic { KNOWS_JOB(SWEEP) && DUE && step == RUNNING && !SPENT EVENT(E_WAKE) ->
          wakes = (wakes < WAKES -> wakes + 1 : WAKES); JOB_WRITTEN(SWEEP); HAPPENS }
        if
        :: message = claim
        :: atomic { deaths < CRASHES -> COUNT(deaths) }
        fi
     :: atomic { !KNOWS_JOB(SWEEP) || !KNOWS_RUN(SWEEP) || !DUE -> skip }
     fi
  /* @ dispatcher.claiming:Claims.claim */
  :: atomic { step == READY && claim < CLAIMS && CLAIM_GUARD(SWEEP) EVENT(E_CLAIM) -> claims(SWEEP) }
     if
     :: message = claim
     :: atomic { deaths < CRASHES -> COUNT(deaths) }
     fi
  :: atomic { step == READY && !(KNOWS_RUN(SWEEP) && KNOWS_JOB(SWEEP)) -> READS(SWEEP) }
  od
}

/* The orchestrator writes what it likes; operators write with guards. */
proctype Others()
{
end:
  do
  :: atomic { acts < ACTS && (step == RUNNING || step == READY) EVENT(E_CANCEL) ->
       COUNT(acts); step = CANCELLED; RUN_WRITTEN(OPERATOR); HAPPENS }
  :: atomic { acts < ACTS && ENDED && claim < CLAIMS EVENT(E_REOPEN) ->
       COUNT(acts); step = READY; RUN_WRITTEN(OPERATOR); JOB_WRITTEN(OPERATOR); HAPPENS }
  /* @ infra.ops.steps.acts:perform */
  :: atomic { acts < ACTS && step == RUNNING EVENT(E_OPERATOR_CANCELS) ->
       COUNT(acts); step = CANCELLED; CLOSE(OPERATOR); RUN_WRITTEN(OPERATOR); HAPPENS }
  /* @ infra.ops.dead_letters.replay:Replay.run */
  :: atomic { acts < ACTS && step == RUNNING && DUE EVENT(E_FRESH) ->
       COUNT(acts); attempt = 0; wakes = 0; JOB_WRITTEN(OPERATOR); message = claim; HAPPENS }
  od
}

#ifdef REPLAY
proctype Accepts()
{
  atomic { c_expr { traces[now.which][now.position] == 0 } -> c_code { accept(now.which); } }
}
#else
/* Once nothing more can happen, nothing may be left. */
proctype Rest()
{
  timeout -> CHECK((ENDED && (job == CLOSED || job == NONE)) || (claim == CLAIMS && step == READY))
}
#endif

init
{
  atomic {
#ifdef REPLAY
    select(which : 0 .. TRACES - 1);
    run Accepts();
#else
    run Rest();
#endif
    run Dispatcher(FIRST_DISPATCHER);
#ifdef TWO_DISPATCHERS
    run Dispatcher(FIRST_DISPATCHER + 1);
#endif
    run Executor(FIRST_EXECUTOR);
    run Executor(FIRST_EXECUTOR + 1);
#ifdef MORE
    run Executor(FIRST_EXECUTOR + 2);
#endif
    run Time();
    run Sweeps();
    run Others()
  }
}

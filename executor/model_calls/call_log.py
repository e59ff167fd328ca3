"""What is known of a model call that has ended, and what the log says of it."""

from dataclasses import replace

from executor.billing.bills import served_otherwise
from executor.ports import ModelAnswer
from shared.domain.attempts import ModelCall
from shared.domain.errors import ServedCall, StepError
from shared.domain.times import milliseconds
from shared.log import EventLogger, LogEvent


def log_ended_call(call: ModelCall, error: StepError | None, log: EventLogger) -> None:
    """Log the call's end, and warn where another model or tier served it than was asked."""
    took = milliseconds(call.ended_at - call.started_at) if call.ended_at else None
    if error is not None:
        log.warning(
            LogEvent.LLM_REQUEST_FINISHED,
            error.message,
            call=call.number,
            code=error.code,
            refused=error.refused or None,
            durationMs=took,
        )
    else:
        log.info(
            LogEvent.LLM_REQUEST_FINISHED,
            call=call.number,
            llm={
                "modelVersion": call.model_version,
                "serviceTier": call.service_tier,
                "finishReason": call.finish_reason,
                "usage": call.usage,
            },
            durationMs=took,
        )
    if served_otherwise(call):
        log.warning(
            LogEvent.LLM_SERVED_OTHERWISE,
            "another model or tier served the call than was asked",
            call=call.number,
            modelName=call.model_name,
            llm={"modelVersion": call.model_version, "serviceTier": call.service_tier},
        )


def answered_call(call: ModelCall, answer: ModelAnswer) -> ModelCall:
    """The call, with what the answer says of it."""
    return replace(
        call,
        finish_reason=answer.finish_reason,
        model_version=answer.model_version,
        service_tier=answer.service_tier,
        usage=answer.usage,
    )


def failed_call(call: ModelCall, error: StepError) -> ModelCall:
    """The call, with what its error says of it."""
    served = error.served or ServedCall()
    return replace(
        call,
        code=str(error.code),
        maybe_billed=error.maybe_billed,
        model_version=served.model_version,
        service_tier=served.service_tier,
        usage=served.usage,
    )

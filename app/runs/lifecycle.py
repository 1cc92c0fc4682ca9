"""How a run looks from outside: its first and its last event, and the interaction it leaves."""

import time
from typing import Any

import orjson

from app.core import events, status, steps
from app.core.events import Event
from app.core.model import Interaction, Json
from app.core.unfold import unfold
from app.errors import ApiError, status_of
from app.runs import webhooks
from app.runs.run import Run
from app.store.ledger import Charge
from app.store.leftovers import Leftover
from app.store.records import EventBatch, Job, Outcome
from app.wire.steps import instant


def now() -> int:
    """Epoch milliseconds by the clock of this process, for what is only shown."""
    return time.time_ns() // 1_000_000


def ours(run: Run, event: Event) -> Event:
    """The upstream's event with the ids that our clients know."""
    if event.type == events.CREATED:
        return opening(run, event.fields.get("interaction"))
    if event.type == events.STATUS_UPDATE:
        return Event(event.type, {**event.fields, "interaction_id": run.shown_id})
    return event


def opening(run: Run, said: object = None) -> Event:
    """The first event of a run, with what else the upstream said in its own."""
    return _created(run.shown_id, run.job.model, run.job.agent, said)


def ended(interaction: Interaction) -> Event:
    """The last event of a run: `error` where there is one, else `interaction.completed`."""
    if interaction.error is not None:
        return Event(events.ERROR, {"error": orjson.loads(interaction.error), "event_type": events.ERROR})
    return events.completed(
        {
            "id": interaction.id,
            "status": interaction.status,
            **orjson.loads(interaction.details),
            "created": instant(interaction.created_at),
            "updated": instant(interaction.updated_at),
            "object": "interaction",
            **_named(interaction.model, interaction.agent),
        }
    )


def replay(interaction: Interaction) -> list[Event]:
    """The events of an ended interaction that was never streamed."""
    return [
        _created(interaction.id, interaction.model, interaction.agent),
        events.status_update(interaction.id),
        *unfold(orjson.loads(interaction.output)),
        ended(interaction),
    ]


def result(run: Run) -> Interaction:
    """The interaction as the run leaves it."""
    fold, job = run.fold, run.job
    error, ending = fold.error, fold.status
    if run.error is not None:
        error, ending = {"code": run.error.code, "message": run.error.message}, status.FAILED
    return _interaction(
        job,
        id=run.shown_id,
        status=run.verdict or ending,
        updated_at=now(),
        output=steps.dump(fold.steps()),
        details=orjson.dumps(fold.details),
        error=orjson.dumps(error) if error is not None else None,
        last_seq=run.journal.last_seq,
    )


def begun(job: Job, current: str) -> Interaction:
    """The interaction of a run that has only begun, or waits for its turn."""
    return _interaction(
        job,
        id=job.id,
        status=current,
        updated_at=job.created_at,
        output=steps.NONE,
        details=b"{}",
        error=None,
        last_seq=0,
    )


def _interaction(job: Job, **more: Any) -> Interaction:
    return Interaction(
        project_id=job.project_id,
        created_at=job.created_at,
        model=job.model,
        agent=job.agent,
        parent_id=job.parent_id,
        root_id=job.root_id,
        depth=job.depth,
        background=job.background,
        options=job.options,
        input=job.input,
        history_bytes=job.history_bytes,
        **more,
    )


def outcome(
    run: Run, ended: Interaction, batch: EventBatch | None, charge: Charge, *, forget: bool
) -> Outcome:
    """The end as the store takes it; of an unstored run the usage and no more.

    With `forget`, what the upstream keeps of the run is to be deleted there.
    """
    details = ended.details
    if not run.stored:
        usage = run.fold.details.get("usage")
        details = orjson.dumps({"usage": usage} if usage is not None else {})
    return Outcome(
        interaction_id=run.id,
        attempt=run.attempt,
        status=ended.status,
        output=ended.output if run.stored else None,
        details=details,
        error=ended.error if run.stored else None,
        updated_at=ended.updated_at,
        last_seq=run.journal.last_seq,  # the last event was numbered after `ended` was made
        events=batch,
        deliveries=webhooks.deliveries(ended),
        leftovers=_leftovers(run) if forget else (),
        usage=charge,
    )


def _leftovers(run: Run) -> tuple[Leftover, ...]:
    if run.kept is None or run.kept.affinity is None:
        return ()
    return (Leftover(run.job.upstream, run.kept.affinity, f"interactions/{run.kept.id}"),)


def expired() -> ApiError:
    """What a run is told whose deadline has passed."""
    return ApiError("The interaction took too long.", status=504, code="deadline_exceeded")


def abandoned() -> ApiError:
    """What a run is told that nobody can continue."""
    text = "The gateway that ran this interaction stopped in the middle."
    return ApiError(text, status=409, code="aborted")


def id_of(created: Event) -> str:
    """The upstream's own id of the run, in the event that opens it; empty without one."""
    said = created.fields.get("interaction")
    there = said.get("id") if isinstance(said, dict) else None
    return there if isinstance(there, str) else ""


def failure(run: Run) -> ApiError | None:
    """Why the run failed, as an answer to a caller who has seen nothing of it yet."""
    if run.error is not None or run.fold.error is None:
        return run.error
    return _failure(run.fold.error)


def stored_failure(error: bytes) -> ApiError:
    """The same of a run that has ended, from its stored error."""
    return _failure(orjson.loads(error))


def _failure(error: Json) -> ApiError:
    return ApiError(error["message"], status=status_of(error["code"]), code=error["code"])


def _named(model: str | None, agent: str | None) -> Json:
    return {"model": model} if model else {"agent": agent}


def _created(interaction_id: str, model: str | None, agent: str | None, said: object = None) -> Event:
    fields = said if isinstance(said, dict) else {}
    fixed = {"id": interaction_id, "status": status.IN_PROGRESS, "object": "interaction"}
    return events.created({**fields, **fixed, **_named(model, agent)})

"""Stored interactions: read, replayed, resumed, deleted, and what cannot be cancelled."""

from typing import Any

from tests.sdk.scenarios.reading import (
    ABSENT,
    ask,
    event_ids,
    follow_up,
    kinds,
    plain,
    refused,
    stream_id,
    streamed_text,
    text,
)


def an_interaction_can_be_read(client: Any) -> None:
    made = ask(client, "My name is Ada.")
    found = client.interactions.get(made.id)
    assert kinds(found) == ["user_input", "thought", "model_output"]
    assert found.steps[0].content[0].text == "My name is Ada."
    assert plain(found.steps)[1:] == plain(made.steps)
    names = ("id", "status", "model", "created", "updated")
    assert [getattr(found, name) for name in names] == [getattr(made, name) for name in names]
    assert found.usage.total_tokens == made.usage.total_tokens


def an_interaction_shows_its_own_turn_only(client: Any) -> None:
    first = ask(client, "My name is Ada.")
    second = follow_up(client, first, "What is my name?")
    found = client.interactions.get(second.id)
    assert kinds(found) == ["user_input", "thought", "model_output"]
    assert found.steps[0].content[0].text == "What is my name?"
    assert found.previous_interaction_id == first.id


def an_interaction_can_show_its_input(client: Any) -> None:
    made = ask(client, "My name is Ada.")
    assert client.interactions.get(made.id).input is None
    (given,) = client.interactions.get(made.id, include_input=True).input
    assert given.type == "user_input"
    assert given.content[0].text == "My name is Ada."


def a_stream_can_be_replayed(client: Any) -> None:
    seen = list(ask(client, "My name is Ada.", stream=True))
    again = list(client.interactions.get(stream_id(seen), stream=True))
    assert [event.model_dump() for event in again] == [event.model_dump() for event in seen]


def an_interaction_that_was_not_streamed_can_be_replayed(client: Any) -> None:
    made = ask(client, "My name is Ada.")
    events = list(client.interactions.get(made.id, stream=True))
    assert stream_id(events) == made.id
    assert streamed_text(events) == text(made)
    assert events[-1].interaction.usage.total_tokens == made.usage.total_tokens


def a_stream_resumes_after_every_event(client: Any) -> None:
    streamed = stream_id(list(ask(client, "Tell me. [[sim thoughts=2 tokens=5]]", stream=True)))
    for interaction_id in (streamed, ask(client, "Tell me.").id):
        whole = list(client.interactions.get(interaction_id, stream=True))
        for place, event in enumerate(whole, 1):
            rest = client.interactions.get(interaction_id, stream=True, last_event_id=event.event_id)
            assert event_ids(list(rest)) == event_ids(whole)[place:]


def a_running_interaction_can_be_followed_by_others(client: Any) -> None:
    stream = ask(client, "Tell me. [[sim tokens=12 delay_ms=5]]", stream=True)
    seen = [next(stream) for _ in range(3)]
    others = list(client.interactions.get(stream_id(seen), stream=True))
    late = list(client.interactions.get(stream_id(seen), stream=True, last_event_id=seen[-1].event_id))
    seen += stream
    assert event_ids(others) == event_ids(seen)
    assert event_ids(late) == event_ids(seen)[3:]


def an_event_id_must_be_one_of_the_interaction(client: Any) -> None:
    one, other = ask(client, "One."), ask(client, "Other.")
    foreign = _first_event_id(client, other)
    for wrong in (foreign, "evt_1", "x"):
        with refused(400, "invalid_request", "last_event_id"):
            list(client.interactions.get(one.id, stream=True, last_event_id=wrong))
    own = _first_event_id(client, one)
    with refused(400, "invalid_request", "last_event_id", "stream"):
        client.interactions.get(one.id, last_event_id=own)


def a_deleted_interaction_is_gone(client: Any) -> None:
    made = ask(client, "Forget me.")
    client.interactions.delete(made.id)
    with refused(404, "not_found", made.id):
        client.interactions.get(made.id)
    with refused(404, "not_found", made.id):
        client.interactions.get(made.id, stream=True)
    with refused(404, "not_found", made.id):
        client.interactions.delete(made.id)
    with refused(404, "not_found", made.id):
        client.interactions.cancel(made.id)
    with refused(404, "not_found", made.id):
        follow_up(client, made, "Do you remember?")


def a_deleted_link_breaks_the_chain_and_is_named(client: Any) -> None:
    first = ask(client, "My name is Ada.")
    second = follow_up(client, first, "My colour is teal.")
    third = follow_up(client, second, "Hello.")
    client.interactions.delete(first.id)
    with refused(400, "failed_precondition", first.id):
        follow_up(client, third, "What is my name?")
    assert text(client.interactions.get(third.id))


def a_deleted_child_leaves_its_parent_alone(client: Any) -> None:
    first = ask(client, "My name is Ada.")
    client.interactions.delete(follow_up(client, first, "Hello.").id)
    assert "Your name is Ada" in text(follow_up(client, first, "What is my name?"))


def a_running_interaction_can_be_deleted(client: Any) -> None:
    stream = _running(client)
    running = stream_id([next(stream)])
    client.interactions.delete(running)
    assert list(stream)[-1].event_type == "error"
    with refused(404, "not_found", running):
        client.interactions.get(running)


def what_has_ended_cannot_be_cancelled(client: Any) -> None:
    made = ask(client, "Hello.")
    with refused(400, "failed_precondition", made.id, "completed"):
        client.interactions.cancel(made.id)


def what_runs_in_the_foreground_cannot_be_cancelled(client: Any) -> None:
    stream = _running(client)
    running = stream_id([next(stream)])
    with refused(400, "failed_precondition", running, "foreground"):
        client.interactions.cancel(running)
    assert client.interactions.get(running).status == "in_progress"
    client.interactions.delete(running)
    stream.close()


def what_is_still_running_cannot_be_continued(client: Any) -> None:
    stream = _running(client)
    running = next(stream).interaction
    with refused(400, "failed_precondition", running.id, "in_progress"):
        follow_up(client, running, "And?")
    client.interactions.delete(running.id)
    stream.close()


def what_never_was_is_not_found(client: Any) -> None:
    for act in (client.interactions.get, client.interactions.delete, client.interactions.cancel):
        with refused(404, "not_found", ABSENT):
            act(ABSENT)


def a_malformed_id_is_refused(client: Any) -> None:
    for act in (client.interactions.get, client.interactions.delete, client.interactions.cancel):
        with refused(400, "invalid_request", "interactions/missing"):
            act("missing")


def _running(client: Any) -> Any:
    """The stream of an interaction that does not end by itself."""
    return ask(client, "Tell me. [[sim hang_after=4]]", stream=True)


def _first_event_id(client: Any, interaction: Any) -> str:
    return event_ids(list(client.interactions.get(interaction.id, stream=True)))[0]

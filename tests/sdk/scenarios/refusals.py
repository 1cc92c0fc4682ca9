"""Requests that are refused, with the SDK's class for it and a message that says why."""

from typing import Any

from tests.sdk.scenarios.reading import ask, refused


def an_empty_input_is_refused(client: Any) -> None:
    with refused(400, "invalid_request", "input"):
        ask(client, "")


def a_model_and_an_agent_are_one_too_many(client: Any) -> None:
    with refused(400, "invalid_request", "model", "agent"):
        ask(client, "Hello.", extra_body={"agent": "deep-research-preview-04-2026"})


def a_malformed_parent_is_refused(client: Any) -> None:
    with refused(400, "invalid_request", "previous_interaction_id", "not an id"):
        ask(client, "Hello.", previous_interaction_id="not an id")


def a_field_of_a_wrong_type_is_named(client: Any) -> None:
    with refused(400, "invalid_request", "system_instruction"):
        ask(client, "Hello.", extra_body={"system_instruction": 7})


def an_unknown_tool_is_named_by_the_upstream(client: Any) -> None:
    with refused(400, "invalid_request", "tools[0]", "time_machine"):
        ask(client, "Hello.", tools=[{"type": "time_machine"}])


def an_unknown_model_is_not_found(client: Any) -> None:
    with refused(404, "model_not_found", "missing-model"):
        ask(client, "Hello.", model="missing-model")


def the_upstreams_refusal_is_passed_on(client: Any) -> None:
    with refused(400, "invalid_request", "status 400"):
        ask(client, "Hello. [[sim status=400]]")
    with refused(404, "not_found", "status 404"):
        ask(client, "Hello. [[sim status=404]]", stream=True)

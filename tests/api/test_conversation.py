"""The main job: a conversation that lives in our database."""

from tests.support.gateway import Gateway


def test_a_chain_is_resolved_from_our_database(gateway: Gateway) -> None:
    first = gateway.create(input="Hello, my name is Ada.")
    second = gateway.create(input="What is my name?", previous_interaction_id=first["id"])
    assert "Ada" in second["steps"][-1]["content"][0]["text"]
    assert second["previous_interaction_id"] == first["id"]


async def test_the_upstream_gets_the_history_as_steps(scripted_gateway: Gateway, upstream) -> None:
    import asyncio

    from tests.support.upstream import answer

    signature = "c2lnbmF0dXJl/+=="
    said = [
        {"type": "thought", "signature": signature, "novelty": {"b": 1, "a": 2}},
        {"type": "model_output", "content": [{"text": "Hi é\u2028", "type": "text"}]},
    ]
    upstream.script(answer({"status": "completed", "steps": said}))
    first = await asyncio.to_thread(scripted_gateway.create, input="one")
    await asyncio.to_thread(scripted_gateway.create, input="two", previous_interaction_id=first["id"])
    asked = upstream.requests[1].json()
    assert asked["store"] is False
    assert "previous_interaction_id" not in asked
    assert asked["input"] == [
        {"type": "user_input", "content": [{"type": "text", "text": "one"}]},
        *said,
        {"type": "user_input", "content": [{"type": "text", "text": "two"}]},
    ]

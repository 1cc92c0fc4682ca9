"""Every form of input, conversations with and without the server's memory, and request options."""

from typing import Any

from tests.sdk.scenarios.reading import (
    ABSENT,
    MODEL,
    ask,
    follow_up,
    kinds,
    of_kind,
    plain,
    refused,
    text,
    user,
)


def a_string_is_answered(client: Any) -> None:
    answer = ask(client, "Why is the sky blue?")
    assert answer.status == "completed"
    assert answer.model == MODEL
    assert answer.id
    assert kinds(answer) == ["thought", "model_output"]
    assert 'You said "Why is the sky blue?"' in text(answer)


def one_content_is_answered(client: Any) -> None:
    assert "one content" in text(ask(client, {"type": "text", "text": "I am one content"}))


def several_contents_are_one_turn(client: Any) -> None:
    answer = ask(client, [{"type": "text", "text": "My name is Ada."}, {"type": "text", "text": "Hello!"}])
    assert "Ada" in text(answer)
    assert "turn 1" in text(answer)


def steps_are_a_conversation(client: Any) -> None:
    said = {"type": "model_output", "content": [{"type": "text", "text": "Hello Ada."}]}
    answer = ask(client, [user("My name is Ada."), said, user("What is my name?")])
    assert "Your name is Ada" in text(answer)


def a_turn_remembers_the_one_before(client: Any) -> None:
    first = ask(client, "My name is Ada.")
    second = follow_up(client, first, "What is my name?")
    assert "Your name is Ada" in text(second)
    assert second.previous_interaction_id == first.id
    assert second.id != first.id


def a_turn_remembers_all_before(client: Any) -> None:
    answer = ask(client, "My colour is teal.")
    for number in range(2, 7):
        answer = follow_up(client, answer, f"This is message {number}.")
    last = follow_up(client, answer, "What is my colour?")
    assert "Your colour is teal" in text(last)
    assert "turn 7" in text(last)


def a_history_that_is_sent_back_is_remembered(client: Any) -> None:
    history = [user("My name is Ada.")]
    first = ask(client, history, store=False)
    history += [*plain(first.steps), user("What is my name?")]
    second = ask(client, history, store=False)
    assert "Your name is Ada" in text(second)
    assert "turn 2" in text(second)


def the_steps_of_an_answer_can_be_sent_back_as_they_are(client: Any) -> None:
    first = ask(client, "My name is Ada.", store=False)
    second = ask(client, [user("My name is Ada."), *first.steps, user("What is my name?")], store=False)
    assert "Your name is Ada" in text(second)


def a_history_that_was_changed_is_noticed(client: Any) -> None:
    first = ask(client, "My name is Ada.", store=False)
    with refused(400, "invalid_request", "signature"):
        ask(client, [user("My name is Bob."), *plain(first.steps), user("What is my name?")], store=False)


def two_children_of_one_parent_know_nothing_of_each_other(client: Any) -> None:
    parent = ask(client, "My name is Ada.")
    one = follow_up(client, parent, "My colour is teal.")
    other = follow_up(client, parent, "My colour is ochre.")
    assert "Your colour is teal" in text(follow_up(client, one, "What is my colour?"))
    assert "Your colour is ochre" in text(follow_up(client, other, "What is my colour?"))
    assert "not told me your colour" in text(follow_up(client, parent, "What is my colour?"))


def a_conversation_can_move_to_another_model(client: Any) -> None:
    first = ask(client, "My name is Ada.")
    second = follow_up(client, first, "What is my name?", model="gemini-3.1-pro-preview")
    assert "Your name is Ada" in text(second)
    assert second.model == "gemini-3.1-pro-preview"


def an_agent_can_take_part(client: Any) -> None:
    first = ask(client, "My name is Ada.")
    second = client.interactions.create(
        agent="antigravity-preview-05-2026", input="What is my name?", previous_interaction_id=first.id
    )
    assert "Your name is Ada" in text(second)
    assert second.agent == "antigravity-preview-05-2026"
    assert second.model is None


def a_system_instruction_is_followed_and_not_inherited(client: Any) -> None:
    first = ask(client, "Hello there.", system_instruction="Answer in uppercase.")
    assert "HELLO THERE" in text(first)
    assert first.system_instruction == "Answer in uppercase."
    assert "You said" in text(follow_up(client, first, "And now?"))


def a_generation_config_is_followed(client: Any) -> None:
    config = {"temperature": 0.4, "top_p": 0.9, "seed": 7, "thinking_level": "low", "stop_sequences": ["END"]}
    answer = ask(client, "Stop at END of this.", generation_config=config)
    assert text(answer) == 'You said "Stop at '
    assert answer.status == "completed"


def an_answer_that_was_cut_is_incomplete_and_can_be_continued(client: Any) -> None:
    first = ask(client, "My name is Ada.", generation_config={"max_output_tokens": 2})
    assert first.status == "incomplete"
    assert len(text(first)) == 8
    assert "Your name is Ada" in text(follow_up(client, first, "What is my name?"))


def a_thought_is_told_on_request(client: Any) -> None:
    answer = ask(client, "Think.", generation_config={"thinking_summaries": "auto"})
    (thought,) = of_kind(answer, "thought")
    assert thought.signature
    assert "Think." in thought.summary[0].text


def labels_and_service_tier_are_shown_again(client: Any) -> None:
    more = {"labels": {"team": "analysis"}, "service_tier": "flex"}
    answer = ask(client, "Hello.", extra_body=more)
    for found in (answer, client.interactions.get(answer.id)):
        shown = found.model_dump()
        assert shown["labels"] == {"team": "analysis"}
        assert shown["service_tier"] == "flex"


def the_usage_counts_the_history(client: Any) -> None:
    first = ask(client, "My name is Ada.")
    second = follow_up(client, first, "What is my name?")
    assert first.usage.total_input_tokens > 0
    assert first.usage.total_output_tokens > 0
    parts = ("input", "output", "thought", "tool_use")
    assert first.usage.total_tokens == sum(getattr(first.usage, f"total_{part}_tokens") for part in parts)
    told = first.usage.total_input_tokens + first.usage.total_output_tokens
    assert second.usage.total_input_tokens > told


def an_interaction_that_is_not_stored_has_no_id(client: Any) -> None:
    answer = ask(client, "Keep nothing.", store=False)
    assert "Keep nothing" in text(answer)
    assert "id" not in answer.model_dump(exclude_unset=True) or not answer.id


def a_turn_that_is_not_stored_reads_its_parent(client: Any) -> None:
    first = ask(client, "My name is Ada.")
    aside = follow_up(client, first, "What is my name? My colour is teal.", store=False)
    assert "Your name is Ada" in text(aside)
    assert not getattr(aside, "id", "")
    assert "not told me your colour" in text(follow_up(client, first, "What is my colour?"))


def a_turn_needs_a_parent_that_is_there(client: Any) -> None:
    with refused(404, "not_found", ABSENT):
        ask(client, "Hello?", previous_interaction_id=ABSENT)

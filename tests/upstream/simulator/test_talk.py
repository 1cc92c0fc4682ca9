import pytest

from app.core.model import Json
from tests.upstream.simulator.asking import ask, text_of, user

SAID: Json = {"type": "model_output", "content": [{"type": "text", "text": "Well."}]}


def test_it_repeats_what_it_was_asked_and_counts_the_turns():
    assert text_of(ask("Hello there!")) == 'You said "Hello there!". This is turn 1 of our conversation.'
    assert "This is turn 2 of our conversation." in text_of(ask("Hello", SAID, "Again"))


@pytest.mark.parametrize(
    ("told", "asked", "answer"),
    [
        ("Hi, my name is Ada.", "What is my name?", "Your name is Ada."),
        ("my name is Ada and I like tea", "what's my name", "Your name is Ada."),
        (
            "The code word is open sesame, keep it",
            "What was the code word again?",
            "The code word is open sesame.",
        ),
        (
            "My favourite colours are red!",
            "What are my favourite colours?",
            "Your favourite colours are red.",
        ),
        ("First my name is Ada, then my name is Bob", "What is my name?", "Your name is Bob."),
        ("Hello", "What is my name?", "You have not told me your name."),
    ],
)
def test_it_remembers_what_it_was_told(told, asked, answer):
    assert text_of(ask(told, SAID, asked)).startswith(answer)
    assert text_of(ask(f"{told}\n{asked}")).startswith(answer)


def test_it_repeats_a_question_about_what_it_was_not_told():
    assert text_of(ask("Hello", SAID, "What is the capital?")).startswith('You said "What is the capital?".')


def test_it_remembers_over_many_turns():
    steps = [
        user("My name is Ada [[sim tokens=1]]"),
        SAID,
        *[user("Hello"), SAID] * 50,
        user("What is my name?"),
    ]
    assert "Your name is Ada. This is turn 52" in text_of(ask(*steps))


def test_it_says_what_it_was_shown():
    png = {"type": "image", "mime_type": "image/png", "data": "AAAA"}
    jpeg = {"type": "image", "mime_type": "image/jpeg", "uri": "https://example.com/a"}
    pdf = {"type": "document", "mime_type": "application/pdf", "uri": "https://example.com/b"}
    sound = {"type": "audio", "data": "AAAA"}
    assert "I see 1 image (image/png)." in text_of(ask(user("Look", png)))
    answer = ask(user(png, jpeg), SAID, user(pdf, sound, png))
    expected = (
        "I see 3 images (image/png, image/jpeg) and 1 audio (unknown) and 1 document (application/pdf). "
    )
    assert text_of(answer) == f"{expected}This is turn 2 of our conversation."


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("Answer in UPPERCASE.", 'YOU SAID "HELLO". THIS IS TURN 1 OF OUR CONVERSATION.'),
        ("use lower case", 'you said "hello". this is turn 1 of our conversation.'),
        ("Be kind.", 'You said "Hello". This is turn 1 of our conversation. My instructions are "Be kind.".'),
    ],
)
def test_it_follows_its_instructions(instruction, expected):
    assert text_of(ask("Hello", system_instruction=instruction)) == expected


def test_it_thinks_aloud_when_asked_to():
    for options in (
        {"generation_config": {"thinking_summaries": "auto"}},
        {"agent_config": {"thinking_summaries": "auto"}},
    ):
        thought = ask("Hello", **options).steps[0]
        assert thought["summary"] == [
            {"text": '**Step 1**\n\nI consider "Hello" (turn 1).\n', "type": "text"}
        ]
    assert list(ask("Hello").steps[0]) == ["signature", "type"]


def test_thoughts_are_ordered_by_number():
    assert len(ask("Hello [[sim thoughts=3]]").steps[0]["summary"]) == 3
    assert ask("Hello [[sim thoughts=0]]").steps[0]["type"] == "model_output"

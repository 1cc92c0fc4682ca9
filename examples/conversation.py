"""A conversation through the gateway, with Google's SDK (pip install google-genai).

GOOGLE_GEMINI_BASE_URL and GEMINI_API_KEY say where the gateway is and who you are. The gateway
prints both on its first start.
"""
# ruff: noqa: INP001, T201 - a script that prints

import os

from google import genai

client = genai.Client()
model = os.environ.get("MODEL", "gemini-3-flash-preview")

# The first turn. The gateway stores it and gives it an id.
first = client.interactions.create(model=model, input="Hello, my name is Ada.")
print("1.", first.output_text)

# The next turn names the one before it; the gateway knows the rest.
second = client.interactions.create(model=model, input="What is my name?", previous_interaction_id=first.id)
print("2.", second.output_text)

# A turn whose answer comes piece by piece.
print("3. ", end="")
stream = client.interactions.create(
    model=model, input="Now greet me.", previous_interaction_id=second.id, stream=True
)
for event in stream:
    if event.event_type == "interaction.created":
        third = event.interaction.id
    if event.event_type == "step.delta" and event.delta.type == "text":
        print(event.delta.text, end="", flush=True)
print()

# A question that the model answers with a function of ours.
get_weather = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
question = client.interactions.create(
    model=model,
    input="How is the weather in Paris?",
    tools=[get_weather],
    previous_interaction_id=third,
)
call = next(step for step in question.steps if step.type == "function_call")
print(f"4. The model calls {call.name} with {call.arguments}.")

weather = {"sky": "clear", "celsius": 21}
answer = client.interactions.create(
    model=model,
    input=[{"type": "function_result", "call_id": call.id, "name": call.name, "result": weather}],
    tools=[get_weather],
    previous_interaction_id=question.id,
)
print("5.", answer.output_text)

# What the gateway has kept of it, and how to make it forget.
kept = client.interactions.get(answer.id)
print(f"6. {kept.id} is {kept.status}, took {kept.usage.total_tokens} tokens and has these steps:")
print("  ", ", ".join(step.type for step in kept.steps))
for interaction_id in (first.id, second.id, third, question.id, answer.id):
    client.interactions.delete(interaction_id)
    print("   deleted", interaction_id)

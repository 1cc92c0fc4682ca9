#!/bin/sh
# A conversation through the gateway, with curl, and sed to read its answers.
#
# GOOGLE_GEMINI_BASE_URL and GEMINI_API_KEY say where the gateway is and who you are. The gateway
# prints both on its first start.
set -eu

interactions=${GOOGLE_GEMINI_BASE_URL:?is not set}/v1beta/interactions
model=${MODEL:-gemini-3-flash-preview}

request() { # METHOD URL [BODY]
    curl --silent --show-error --no-buffer --fail-with-body --request "$1" "$2" ${3:+--data "$3"} \
        --header "x-goog-api-key: ${GEMINI_API_KEY:?is not set}" --header 'content-type: application/json'
}
create() { # BODY; what comes back is left in $answer
    answer=$(request POST "$interactions" "$1") || { say "$answer" >&2; exit 1; }
}
say() { printf '%s\n' "$1"; }
id() { say "$answer" | sed -nE 's/.*"id": ?"(v1_[^"]*)".*/\1/p' | tail -n 1; }
text() { say "$answer" | sed -nE 's/.*"text": ?"(([^"\]|\\.)*)".*/\1/p'; }

# The first turn. The gateway stores it and gives it an id.
create '{"model": "'"$model"'", "input": "Hello, my name is Ada."}'
first=$(id)
say "1. $(text)"

# The next turn names the one before it; the gateway knows the rest.
create '{"model": "'"$model"'", "input": "What is my name?", "previous_interaction_id": "'"$first"'"}'
second=$(id)
say "2. $(text)"

# A turn whose answer comes piece by piece, as server-sent events.
say "3. The events, as they come:"
events=$(mktemp)
request POST "$interactions" '{"model": "'"$model"'", "input": "Now greet me.", "stream": true,
    "previous_interaction_id": "'"$second"'"}' | tee "$events"
answer=$(cat "$events")
rm "$events"
third=$(id)

# A question that the model answers with a function of ours.
tools='[{"type": "function", "name": "get_weather", "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]'
create '{"model": "'"$model"'", "input": "How is the weather in Paris?", "tools": '"$tools"',
    "previous_interaction_id": "'"$third"'"}'
question=$(id)
call=$(say "$answer" | sed -nE 's/.*"id": ?"([^"]*)", ?"type": ?"function_call".*/\1/p')
say "4. The model calls a function: $answer"

create '{"model": "'"$model"'", "tools": '"$tools"', "previous_interaction_id": "'"$question"'",
    "input": [{"type": "function_result", "call_id": "'"$call"'", "name": "get_weather",
        "result": {"sky": "clear", "celsius": 21}}]}'
last=$(id)
say "5. $(text)"

# What the gateway has kept of it, and how to make it forget.
say "6. $(request GET "$interactions/$last")"
for each in $first $second $third $question $last; do
    request DELETE "$interactions/$each" >/dev/null
    say "   deleted $each"
done

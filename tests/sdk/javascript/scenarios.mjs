// What a program does with the API, in every generation of the SDK: the names and the order are those of
// ../matrix/scenarios.py. Prints a JSON line for each scenario.
//
//     node scenarios.mjs [--left JSON] [word ...]    the scenarios with one of these words in the name
//
// It stands beside a node_modules with @google/genai. GOOGLE_GEMINI_BASE_URL and GEMINI_API_KEY say where
// the gateway is; --left, what a client of the other generation has left there.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { GoogleGenAI } from "@google/genai";

const MODEL = "gemini-3-flash-preview";
const ABSENT = "v1_AAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const NOWHERE = "http://127.0.0.1:9";
const QUESTION = "Is the weather fine in Paris?";
const WEATHER = {
  type: "function",
  name: "get_weather",
  description: "The weather of a city",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};

const manifest = new URL("./node_modules/@google/genai/package.json", import.meta.url);
const VERSION = JSON.parse(readFileSync(manifest, "utf8")).version;
const OUTPUTS = Number(VERSION.split(".")[0]) < 2; // SDKs 1.x: outputs, turns, content.* events

class Missing extends Error {}

// --- the two generations ---

const itemsOf = (interaction) => (OUTPUTS ? interaction.outputs : interaction.steps);

function textOf(interaction) {
  const items = itemsOf(interaction);
  const contents = OUTPUTS
    ? items
    : items.filter((step) => step.type === "model_output").flatMap((step) => step.content);
  return contents
    .filter((item) => item.type === "text")
    .map((item) => item.text)
    .join("");
}

const callsOf = (interaction) => itemsOf(interaction).filter((item) => item.type === "function_call");

function inputOf(interaction) {
  assert.equal(interaction.input.length, 1);
  return (OUTPUTS ? interaction.input[0] : interaction.input[0].content[0]).text;
}

// A conversation to send: texts and contents are the user's, interactions the model's.
const history = (...said) => said.flatMap(OUTPUTS ? turn : steps);

function turn(said) {
  if (typeof said === "string") return [{ role: "user", content: said }];
  if (said.call_id) return [{ role: "user", content: [said] }];
  return [{ role: "model", content: itemsOf(said) }];
}

function steps(said) {
  if (typeof said === "string") return [{ type: "user_input", content: [{ type: "text", text: said }] }];
  return said.call_id ? [said] : itemsOf(said);
}

function jsonWanted(schema) {
  if (OUTPUTS) return { response_format: schema, response_mime_type: "application/json" };
  return { response_format: { type: "text", mime_type: "application/json", schema } };
}

const deltasOf = (events) =>
  events.filter((event) => event.event_type === (OUTPUTS ? "content.delta" : "step.delta"));

const textOfEvents = (events) =>
  deltasOf(events)
    .filter((event) => event.delta.type === "text")
    .map((event) => event.delta.text)
    .join("");

function callsOfEvents(events) {
  if (OUTPUTS) {
    return deltasOf(events)
      .map((event) => event.delta)
      .filter((delta) => delta.type === "function_call");
  }
  return events
    .filter((event) => event.event_type === "step.start" && event.step.type === "function_call")
    .map(({ index, step: { id, name } }) => {
      const pieces = deltasOf(events).filter((event) => event.index === index);
      return { id, name, arguments: JSON.parse(pieces.map((event) => event.delta.arguments).join("")) };
    });
}

function finished(events) {
  const last = events.at(-1);
  assert.equal(last.event_type, OUTPUTS ? "interaction.complete" : "interaction.completed");
  return last.interaction;
}

// --- short ways to ask ---

const connect = (apiKey, httpOptions) =>
  new GoogleGenAI({ ...(apiKey && { apiKey }), ...(httpOptions && { httpOptions }) });
const client = connect();
const { interactions } = client;

const ask = (input, more = {}, by = interactions) => by.create({ model: MODEL, input, ...more });
const followUp = (parent, input, more) => ask(input, { previous_interaction_id: parent.id, ...more });
const result = (call, value) => ({
  type: "function_result",
  call_id: call.id,
  name: call.name,
  result: value,
});
async function ended(id) {
  for (let tries = 0; tries < 500; tries += 1) {
    const found = await interactions.get(id);
    if (!["queued", "in_progress"].includes(found.status)) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("it did not end");
}

const streamId = (events) => events[0].interaction.id;
const eventIds = (events) => events.map((event) => event.event_id);
const plain = (value) => JSON.parse(JSON.stringify(value));

async function all(coming) {
  const found = [];
  for await (const each of await coming) found.push(each);
  return found;
}

const streamed = (input, more) => all(ask(input, { ...more, stream: true }));
const replayed = (id, more) => all(interactions.get(id, { ...more, stream: true }));

const says = (text, words) => assert.ok(text.includes(words), `${JSON.stringify(text)} lacks "${words}"`);

const CLASSES = { 400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError" };

// Refused with this status, class, code and words. The body is `error` in SDKs 1.x, `body` later.
async function refused(status, code, words, act) {
  const error = await act().then(
    () => assert.fail("this was not refused"),
    (refusal) => refusal,
  );
  if (error.status !== status) throw error;
  assert.equal(error.constructor.name, CLASSES[status]);
  const body = typeof error.body === "string" ? JSON.parse(error.body) : error.error;
  assert.equal(body.error.code, code);
  for (const word of words) {
    says(body.error.message, word);
    says(error.message, word);
  }
}

async function clientError(statuses, act) {
  const error = await act().then(
    () => assert.fail("this was not refused"),
    (refusal) => refusal,
  );
  if (!statuses.includes(error.status)) throw error;
  assert.equal(error.name, "ApiError");
  assert.ok(error.message);
}

async function shown(type, mimeType, data) {
  const content = { type, data: Buffer.from(data).toString("base64"), mime_type: mimeType };
  const first = await ask([{ type: "text", text: "What is this?" }, content]);
  says(textOf(first), `I see 1 ${type} (${mimeType})`);
  says(textOf(await followUp(first, "What have I shown you?")), `I see 1 ${type} (${mimeType})`);
}

async function uploaded() {
  const file = new Blob(["geese, geese"], { type: "text/plain" });
  const config = { mimeType: "text/plain", displayName: "geese" };
  const made = await client.files.upload({ file, config });
  assert.match(made.name, /^files\//);
  return made;
}

function left(name) {
  if (!given.left) throw new Missing("nothing of the other generation was named");
  return given.left[name];
}

const scenarios = {
  // --- input ---

  async a_string_is_answered() {
    const answer = await ask("Why is the sky blue?");
    assert.equal(answer.status, "completed");
    assert.equal(answer.model, MODEL);
    assert.ok(answer.id);
    assert.ok(answer.usage.total_tokens > 0);
    says(textOf(answer), 'You said "Why is the sky blue?"');
  },

  async one_content_is_answered() {
    says(textOf(await ask({ type: "text", text: "I am one content" })), "one content");
  },

  async several_contents_are_one_turn() {
    const texts = ["My name is Ada.", "What is my name?"];
    const answer = textOf(await ask(texts.map((text) => ({ type: "text", text }))));
    says(answer, "Your name is Ada");
    says(answer, "turn 1");
  },

  async turns_are_a_conversation() {
    if (!OUTPUTS) throw new Missing("SDKs 2.x and later have steps instead");
    const answer = await ask([
      { role: "user", content: "My name is Ada." },
      { role: "model", content: [{ type: "text", text: "Hello Ada." }] },
      { role: "user", content: [{ type: "text", text: "What is my name?" }] },
    ]);
    says(textOf(answer), "Your name is Ada");
    says(textOf(answer), "turn 2");
  },

  async steps_are_a_conversation() {
    if (OUTPUTS) throw new Missing("SDKs 1.x have turns instead");
    const answer = await ask([
      { type: "user_input", content: [{ type: "text", text: "My name is Ada." }] },
      { type: "model_output", content: [{ type: "text", text: "Hello Ada." }] },
      { type: "user_input", content: [{ type: "text", text: "What is my name?" }] },
    ]);
    says(textOf(answer), "Your name is Ada");
    says(textOf(answer), "turn 2");
  },

  a_picture_is_seen: () => shown("image", "image/png", "\x89PNG\r\n\x1a\n and so on"),
  a_sound_is_heard: () => shown("audio", "audio/wav", "RIFF and so on"),
  a_document_is_read: () => shown("document", "application/pdf", "%PDF-1.4 and so on"),

  // --- conversations ---

  async a_turn_remembers_the_one_before() {
    const first = await ask("My name is Ada.");
    const second = await followUp(first, "My colour is teal.");
    const third = await followUp(second, "What is my name?");
    says(textOf(third), "Your name is Ada");
    assert.equal(third.previous_interaction_id, second.id);
    assert.equal(new Set([first.id, second.id, third.id]).size, 3);
  },

  async what_is_not_stored_has_no_id() {
    const first = await ask("My name is Ada.");
    const aside = await followUp(first, "What is my name?", { store: false });
    says(textOf(aside), "Your name is Ada");
    assert.ok(!aside.id);
  },

  async a_history_that_is_sent_back_is_remembered() {
    const first = await ask(history("My name is Ada."), { store: false });
    const said = history("My name is Ada.", first, "What is my name?");
    const second = await ask(said, { store: false });
    says(textOf(second), "Your name is Ada");
    says(textOf(second), "turn 2");
  },

  // --- streams ---

  async a_text_is_streamed() {
    const told = "Tell me a story. [[sim tokens=12]]";
    const events = await streamed(told);
    assert.equal(finished(events).status, "completed");
    assert.ok(finished(events).usage.total_tokens > 0);
    assert.ok(events.length > 12);
    assert.equal(textOfEvents(events), textOf(await ask(told)));
    assert.equal(textOfEvents(events), textOf(await interactions.get(streamId(events))));
  },

  async a_streamed_turn_can_be_continued_at_once() {
    const last = finished(await streamed("My name is Ada."));
    const events = await all(followUp(last, "What is my name?", { stream: true }));
    says(textOfEvents(events), "Your name is Ada");
  },

  async a_function_call_is_streamed() {
    const events = await streamed(QUESTION, { tools: [WEATHER] });
    assert.equal(finished(events).status, "requires_action");
    const [call, ...more] = callsOfEvents(events);
    assert.equal(more.length, 0);
    assert.equal(call.name, "get_weather");
    assert.deepEqual(call.arguments, { city: "Paris" });
    const [kept] = callsOf(await interactions.get(streamId(events)));
    assert.deepEqual([kept.id, kept.name, kept.arguments], [call.id, call.name, call.arguments]);
  },

  // --- functions and formats ---

  async a_function_is_called_and_answered() {
    const first = await ask(QUESTION, { tools: [WEATHER] });
    assert.equal(first.status, "requires_action");
    const [call] = callsOf(first);
    assert.deepEqual([call.name, call.arguments], ["get_weather", { city: "Paris" }]);
    const second = await followUp(first, [result(call, { sky: "clear" })], { tools: [WEATHER] });
    assert.equal(second.status, "completed");
    says(textOf(second), 'get_weather returned {"sky":"clear"}');
  },

  async a_function_is_answered_without_the_servers_memory() {
    const first = await ask(history(QUESTION), { tools: [WEATHER], store: false });
    const [call] = callsOf(first);
    const said = history(QUESTION, first, result(call, "clear sky"));
    const second = await ask(said, { tools: [WEATHER], store: false });
    says(textOf(second), "get_weather returned clear sky");
  },

  async an_answer_follows_a_json_schema() {
    const properties = { name: { type: "string" }, age: { type: "integer" } };
    const schema = { type: "object", properties, required: ["name", "age"] };
    const answer = await ask("Her name is Ada and she is 36 years old.", jsonWanted(schema));
    assert.deepEqual(JSON.parse(textOf(answer)), { name: "Ada", age: 36 });
  },

  // --- what is stored ---

  async an_interaction_can_be_read() {
    const made = await ask("My name is Ada.");
    const found = await interactions.get(made.id);
    for (const name of ["id", "status", "model", "created", "updated"]) {
      assert.deepEqual(found[name], made[name]);
    }
    assert.equal(textOf(found), textOf(made));
    assert.equal(found.usage.total_tokens, made.usage.total_tokens);
  },

  async an_interaction_can_show_its_input() {
    const made = await ask("My name is Ada.");
    assert.equal(inputOf(await interactions.get(made.id, { include_input: true })), "My name is Ada.");
  },

  async a_stream_can_be_replayed() {
    const seen = await streamed("My name is Ada.");
    assert.deepEqual(plain(await replayed(streamId(seen))), plain(seen));
  },

  async a_stream_resumes_after_any_event() {
    const told = streamId(await streamed("Tell me. [[sim thoughts=2 tokens=5]]"));
    const called = streamId(await streamed(QUESTION, { tools: [WEATHER] }));
    for (const id of [told, called, (await ask("Tell me.")).id]) {
      const whole = await replayed(id);
      assert.equal(new Set(eventIds(whole)).size, whole.length);
      for (const [place, event] of whole.entries()) {
        const rest = await replayed(id, { last_event_id: event.event_id });
        assert.deepEqual(plain(rest), plain(whole.slice(place + 1)));
      }
    }
  },

  async a_deleted_interaction_is_gone() {
    const made = await ask("Forget me.");
    await interactions.delete(made.id);
    await refused(404, "not_found", [made.id], () => interactions.get(made.id));
    await refused(404, "not_found", [made.id], () => interactions.delete(made.id));
    await refused(404, "not_found", [made.id], () => followUp(made, "Do you remember?"));
  },

  async what_has_ended_cannot_be_cancelled() {
    const made = await ask("Hello.");
    const words = [made.id, "completed"];
    await refused(400, "failed_precondition", words, () => interactions.cancel(made.id));
  },

  // --- in the background ---

  async a_background_run_is_polled() {
    const begun = await ask("My name is Ada. [[sim tokens=5 delay_ms=20]]", { background: true });
    assert.ok(["queued", "in_progress"].includes(begun.status));
    const done = await ended(begun.id);
    assert.equal(done.status, "completed");
    says(textOf(done), "Ada");
    says(textOf(await followUp(done, "What is my name?")), "Your name is Ada");
  },

  async a_background_run_is_followed_and_taken_up_again() {
    const begun = await ask("Tell me. [[sim tokens=8 delay_ms=20]]", { background: true });
    const whole = await all(interactions.get(begun.id, { stream: true }));
    assert.equal(textOfEvents(whole), textOf(await ended(begun.id)));
    const half = Math.floor(whole.length / 2);
    const more = { stream: true, last_event_id: eventIds(whole)[half] };
    assert.deepEqual(await all(interactions.get(begun.id, more)), whole.slice(half + 1));
  },

  async a_background_run_streams_itself() {
    const told = await streamed("Tell me. [[sim tokens=5]]", { background: true });
    assert.equal(finished(told).status, "completed");
    assert.equal(textOfEvents(told), textOf(await interactions.get(streamId(told))));
  },

  async a_background_run_can_be_cancelled() {
    const begun = await ask("Tell me. [[sim hang_after=4]]", { background: true });
    for (const _ of [1, 2]) {
      assert.equal((await interactions.cancel(begun.id)).status, "cancelled");
    }
    assert.equal((await interactions.get(begun.id)).status, "cancelled");
  },

  // --- refusals ---

  async a_wrong_request_is_refused() {
    await refused(400, "invalid_request", ["input"], () => ask(""));
    await refused(400, "invalid_request", ["input"], () => ask("", { stream: true }));
  },

  async a_wrong_key_is_refused() {
    const stranger = connect(`igw_${"x".repeat(43)}`);
    const act = () => ask("Hello.", {}, stranger.interactions);
    await refused(401, "authentication", ["API key not valid"], act);
  },

  async what_never_was_is_not_found() {
    await refused(404, "not_found", [ABSENT], () => interactions.get(ABSENT));
    await refused(404, "not_found", [ABSENT], () => interactions.delete(ABSENT));
    await refused(404, "not_found", [ABSENT], () => interactions.cancel(ABSENT));
  },

  // --- the way to the gateway ---

  async the_base_url_is_an_option() {
    const url = process.env.GOOGLE_GEMINI_BASE_URL;
    process.env.GOOGLE_GEMINI_BASE_URL = NOWHERE;
    try {
      for (const baseUrl of [url, `${url}/`]) {
        says(textOf(await ask("Hello.", {}, connect(undefined, { baseUrl }).interactions)), "Hello");
      }
    } finally {
      process.env.GOOGLE_GEMINI_BASE_URL = url;
    }
  },

  async the_base_url_is_in_the_environment() {
    says(textOf(await ask("Hello.", {}, connect().interactions)), "Hello");
  },

  async every_version_of_the_path_is_served() {
    const made = await ask("My name is Ada.");
    for (const apiVersion of ["v1", "v1beta", "v1alpha"]) {
      const found = await connect(undefined, { apiVersion }).interactions.get(made.id);
      assert.equal(found.id, made.id);
    }
  },

  // --- the other generation ---

  async what_the_other_generation_made_is_read() {
    const call = await interactions.get(left("call"));
    const answer = await interactions.get(left("answer"));
    const read = callsOf(call).map((each) => [each.name, each.arguments]);
    assert.deepEqual(read, [["get_weather", { city: "Paris" }]]);
    says(textOf(answer), "get_weather returned clear");
    assert.equal(textOfEvents(await replayed(answer.id)), textOf(answer));
    const told = callsOfEvents(await replayed(call.id)).map((each) => each.arguments);
    assert.deepEqual(told, [{ city: "Paris" }]);
  },

  async what_the_other_generation_began_is_continued() {
    const parent = await interactions.get(left("answer"));
    says(textOf(await followUp(parent, "What is my name?")), "Your name is Ada");
    const events = await all(followUp(parent, "What is my name?", { stream: true }));
    says(textOfEvents(events), "Your name is Ada");
  },

  async what_the_other_generation_calls_is_answered() {
    const call = await interactions.get(left("call"));
    const answer = await followUp(call, [result(callsOf(call)[0], "rain")], { tools: [WEATHER] });
    says(textOf(answer), "get_weather returned rain");
  },

  // --- the rest of the API ---

  async a_file_is_uploaded_and_read() {
    const made = await uploaded();
    const found = await client.files.get({ name: made.name });
    assert.deepEqual([found.name, found.uri, found.displayName], [made.name, made.uri, "geese"]);
    assert.deepEqual([Number(found.sizeBytes), found.mimeType], [12, "text/plain"]);
  },

  async files_are_listed() {
    const made = [await uploaded(), await uploaded(), await uploaded()];
    const names = (await all(client.files.list({ config: { pageSize: 2 } }))).map((file) => file.name);
    assert.ok(made.every((file) => names.includes(file.name)));
  },

  async a_deleted_file_is_gone() {
    const { name } = await uploaded();
    await client.files.delete({ name });
    await clientError([403, 404], () => client.files.get({ name }));
  },

  async an_uploaded_file_is_shown() {
    const document = { type: "document", uri: (await uploaded()).uri, mime_type: "text/plain" };
    const answer = await ask([{ type: "text", text: "What is this?" }, document]);
    says(textOf(answer), "I see 1 document (text/plain)");
  },

  async models_are_listed() {
    const names = (await all(client.models.list())).map((model) => model.name);
    assert.ok(names.includes(`models/${MODEL}`));
  },

  async a_model_is_read() {
    const found = await client.models.get({ model: MODEL });
    assert.deepEqual([found.name, found.inputTokenLimit], [`models/${MODEL}`, 1048576]);
    await clientError([404], () => client.models.get({ model: "missing-model" }));
  },

  async content_is_generated() {
    const answer = await client.models.generateContent({ model: MODEL, contents: "Hello geese" });
    assert.equal(answer.text, "You said: Hello geese");
    assert.ok(answer.usageMetadata.totalTokenCount > 0);
  },

  async content_is_generated_as_a_stream() {
    const asked = { model: MODEL, contents: "Hello geese" };
    const chunks = await all(client.models.generateContentStream(asked));
    assert.ok(chunks.length > 1);
    assert.equal(chunks.map((chunk) => chunk.text).join(""), "You said: Hello geese");
  },

  async tokens_are_counted() {
    const counted = await client.models.countTokens({ model: MODEL, contents: "Hello geese" });
    assert.equal(counted.totalTokens, 2);
  },
};

function read([first, ...rest]) {
  return first === "--left"
    ? { left: JSON.parse(rest[0]), words: rest.slice(1) }
    : { left: null, words: first === undefined ? [] : [first, ...rest] };
}

const given = read(process.argv.slice(2));
for (const [name, scenario] of Object.entries(scenarios)) {
  if (given.words.length > 0 && !given.words.some((word) => name.includes(word))) continue;
  let judged = { result: "ok", detail: "" };
  try {
    await scenario();
  } catch (error) {
    judged =
      error instanceof Missing
        ? { result: "skipped", detail: error.message }
        : { result: "failed", detail: error.stack ?? String(error) };
  }
  console.log(JSON.stringify({ name, ...judged }));
}

// A conversation through the gateway, with Google's SDK (npm install @google/genai).
//
// GOOGLE_GEMINI_BASE_URL and GEMINI_API_KEY say where the gateway is and who you are. The gateway
// prints both on its first start.

import { GoogleGenAI } from "@google/genai";

const { interactions } = new GoogleGenAI({});
const model = process.env.MODEL ?? "gemini-3-flash-preview";

// The first turn. The gateway stores it and gives it an id.
const first = await interactions.create({ model, input: "Hello, my name is Ada." });
console.log("1.", first.output_text);

// The next turn names the one before it; the gateway knows the rest.
const second = await interactions.create({
  model,
  input: "What is my name?",
  previous_interaction_id: first.id,
});
console.log("2.", second.output_text);

// A turn whose answer comes piece by piece.
process.stdout.write("3. ");
const stream = await interactions.create({
  model,
  input: "Now greet me.",
  previous_interaction_id: second.id,
  stream: true,
});
let third;
for await (const event of stream) {
  if (event.event_type === "interaction.created") third = event.interaction.id;
  if (event.event_type === "step.delta" && event.delta.type === "text") {
    process.stdout.write(event.delta.text);
  }
}
console.log();

// A question that the model answers with a function of ours.
const getWeather = {
  type: "function",
  name: "get_weather",
  description: "The weather in a city",
  parameters: {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
  },
};
const question = await interactions.create({
  model,
  input: "How is the weather in Paris?",
  tools: [getWeather],
  previous_interaction_id: third,
});
const call = question.steps.find((step) => step.type === "function_call");
console.log(`4. The model calls ${call.name} with ${JSON.stringify(call.arguments)}.`);

const weather = { sky: "clear", celsius: 21 };
const answer = await interactions.create({
  model,
  input: [{ type: "function_result", call_id: call.id, name: call.name, result: weather }],
  tools: [getWeather],
  previous_interaction_id: question.id,
});
console.log("5.", answer.output_text);

// What the gateway has kept of it, and how to make it forget.
const kept = await interactions.get(answer.id);
console.log(`6. ${kept.id} is ${kept.status}, took ${kept.usage.total_tokens} tokens and has these steps:`);
console.log("  ", kept.steps.map((step) => step.type).join(", "));
for (const id of [first.id, second.id, third, question.id, answer.id]) {
  await interactions.delete(id);
  console.log("   deleted", id);
}

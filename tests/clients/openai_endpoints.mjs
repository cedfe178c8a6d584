// Checks every kind of endpoint with OpenAI's own client: openai_endpoints.mjs BASE_URL KEY MODEL.

import assert from "node:assert/strict";

import OpenAI, { toFile } from "openai";

const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "Say hello" }];
const schema = {
  type: "object",
  properties: { city: { type: "string" }, degrees: { type: "array", items: { type: "integer" } } },
  required: ["city", "degrees"],
  additionalProperties: false,
};

// Chat: several choices, log probabilities, JSON.
const whole = await client.chat.completions.create({
  model,
  messages,
  n: 2,
  logprobs: true,
  top_logprobs: 3,
});
assert.deepEqual(whole.choices.map((choice) => choice.index), [0, 1]);
const text = whole.choices[0].message.content;
const tokens = whole.choices[0].logprobs.content;
assert.ok(text);
assert.equal(Buffer.from(tokens.flatMap((token) => token.bytes)).toString(), text);
assert.ok(tokens.every((token) => token.top_logprobs.length === 3));
assert.equal(whole.usage.completion_tokens, 2 * tokens.length);
const json = await client.chat.completions.create({
  model,
  messages,
  response_format: { type: "json_schema", json_schema: { name: "weather", strict: true, schema } },
});
assert.ok(Array.isArray(JSON.parse(json.choices[0].message.content).degrees));

// Streams, by hand and by the helper.
const { data: stream, response } = await client.chat.completions
  .create({ model, messages, stream: true, stream_options: { include_usage: true } })
  .withResponse();
assert.match(response.headers.get("content-type"), /^text\/event-stream/);
assert.ok(response.headers.get("x-request-id"));
let streamed = "";
let last;
for await (const chunk of stream) {
  streamed += chunk.choices[0]?.delta.content ?? "";
  last = chunk;
}
assert.equal(streamed, text);
assert.ok(last.usage.completion_tokens > 0);
const helped = client.chat.completions.stream({ model, messages });
let deltas = "";
helped.on("content", (delta) => (deltas += delta));
assert.equal((await helped.finalChatCompletion()).choices[0].message.content, text);
assert.equal(deltas, text);

// Responses.
const answer = await client.responses.create({ model, input: "Say hello" });
assert.equal(answer.status, "completed");
assert.equal(answer.output_text, text);
assert.equal(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens);
const events = [];
for await (const event of await client.responses.create({ model, input: messages, stream: true })) {
  events.push(event);
}
assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
assert.equal(events[0].type, "response.created");
assert.equal(events.at(-1).type, "response.completed");
const said = events.filter((event) => event.type === "response.output_text.delta");
assert.equal(said.map((event) => event.delta).join(""), text);
const final = await client.responses.stream({ model, input: "Say hello" }).finalResponse();
assert.equal(final.output_text, text);

// Embeddings: by default the client asks for base64 and gives numbers.
const vectors = await client.embeddings.create({ model, input: ["a", "b"] });
assert.equal(vectors.data.length, 2);
const floats = await client.embeddings.create({ model, input: "a", encoding_format: "float" });
assert.deepEqual(
  [...Float32Array.from(vectors.data[0].embedding)],
  [...Float32Array.from(floats.data[0].embedding)],
);

// Audio: a file that was made is taken back.
const speech = await client.audio.speech.create({
  model,
  voice: "alloy",
  input: "Hello there",
  response_format: "wav",
});
assert.equal(speech.headers.get("content-type"), "audio/wav");
const wav = Buffer.from(await speech.arrayBuffer());
assert.equal(wav.subarray(0, 4).toString(), "RIFF");
const file = await toFile(wav, "hello.wav", { type: "audio/wav" });
assert.equal((await client.audio.transcriptions.create({ model, file })).text, text);
const verbose = await client.audio.transcriptions.create({
  model,
  file,
  response_format: "verbose_json",
});
assert.equal(verbose.segments[0].text, text);

// Images.
const images = await client.images.generate({ model, prompt: "A cat", n: 2 });
assert.equal(images.data.length, 2);
const png = Buffer.from(images.data[0].b64_json, "base64");
assert.equal(png.subarray(1, 4).toString(), "PNG");
assert.ok(images.usage.total_tokens > 0);

// Moderation.
const moderation = await client.moderations.create({ model, input: ["a", "b"] });
assert.deepEqual(moderation.results.map((result) => result.flagged), [false, false]);

// Errors.
for (const call of [
  () => client.responses.create({ model: "none", input: "a" }),
  () => client.responses.create({ model: "none", input: "a", stream: true }),
  () => client.audio.speech.create({ model: "none", voice: "alloy", input: "a" }),
  () => client.audio.transcriptions.create({ model: "none", file }),
  () => client.images.generate({ model: "none", prompt: "a" }),
  () => client.moderations.create({ model: "none", input: "a" }),
]) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError, String(error));
    assert.deepEqual([error.code, error.param], ["model_not_found", "model"]);
    assert.ok(error.requestID);
    return true;
  });
}

console.log("all checks passed");

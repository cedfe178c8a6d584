// Reads packed vectors and framed streams, without any package:
// node decode_vectors.mjs URL EMBEDDING_MODEL CHAT_MODEL
//
// With `@msgpack/msgpack`, `decode` is that package's. With CBOR it is the same, but that a packed
// vector is under tag 85.

/** A value of MessagePack: numbers, text, bytes, lists and maps. */
function decode(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = (length) => bytes.subarray(at, (at += length));
  const number = (method, length) => {
    const value = view[method](at);
    at += length;
    return typeof value === "bigint" ? Number(value) : value;
  };
  const text = (length) => new TextDecoder().decode(take(length));
  const list = (length) => Array.from({ length }, value);
  const map = (length) => Object.fromEntries(Array.from({ length }, () => [value(), value()]));
  const unsigned = (power) => number(["getUint8", "getUint16", "getUint32", "getBigUint64"][power], 1 << power);
  const signed = (power) => number(["getInt8", "getInt16", "getInt32", "getBigInt64"][power], 1 << power);

  function value() {
    const byte = unsigned(0);
    if (byte < 0x80) return byte;
    if (byte < 0x90) return map(byte & 0x0f);
    if (byte < 0xa0) return list(byte & 0x0f);
    if (byte < 0xc0) return text(byte & 0x1f);
    if (byte >= 0xe0) return byte - 0x100;
    if (byte === 0xc0) return null;
    if (byte === 0xc2 || byte === 0xc3) return byte === 0xc3;
    if (byte >= 0xc4 && byte <= 0xc6) return take(unsigned(byte - 0xc4));
    if (byte === 0xca) return number("getFloat32", 4);
    if (byte === 0xcb) return number("getFloat64", 8);
    if (byte >= 0xcc && byte <= 0xcf) return unsigned(byte - 0xcc);
    if (byte >= 0xd0 && byte <= 0xd3) return signed(byte - 0xd0);
    if (byte >= 0xd9 && byte <= 0xdb) return text(unsigned(byte - 0xd9));
    if (byte === 0xdc || byte === 0xdd) return list(unsigned(byte - 0xdb));
    if (byte === 0xde || byte === 0xdf) return map(unsigned(byte - 0xdd));
    throw new Error(`0x${byte.toString(16)} is not read here`);
  }

  return value();
}

/** The numbers of a packed vector: copied, since they must lie at a multiple of four. */
function vector(packed) {
  return new Float32Array(packed.slice().buffer);
}

/** The values of a stream, each with its length before it. An empty one ends it. */
async function* frames(body) {
  let held = new Uint8Array();
  for await (const chunk of body) {
    const joined = new Uint8Array(held.length + chunk.length);
    joined.set(held);
    joined.set(chunk, held.length);
    held = joined;
    while (held.length >= 4) {
      const length = new DataView(held.buffer, held.byteOffset).getUint32(0);
      if (length === 0) return;
      if (held.length < 4 + length) break;
      const value = decode(held.subarray(4, 4 + length));
      if (value.error) throw new Error(value.error.message);
      yield value;
      held = held.subarray(4 + length);
    }
  }
  throw new Error("the stream broke off");
}

/** The request is JSON here: what it is written in is for itself. */
async function ask(path, request) {
  const headers = { "content-type": "application/json", accept: "application/msgpack" };
  const answer = await fetch(url + path, { method: "POST", headers, body: JSON.stringify(request) });
  if (answer.ok) return answer;
  throw new Error(decode(new Uint8Array(await answer.arrayBuffer())).error.message);
}

const [url, embeddingModel, chatModel] = process.argv.slice(2);
const input = ["A cat sits on the mat.", "A dog barks."];
const embedded = await ask("/v1/embeddings", { model: embeddingModel, input });
for (const entry of decode(new Uint8Array(await embedded.arrayBuffer())).data) {
  const numbers = vector(entry.embedding);
  console.log(entry.index, numbers.length, "dimensions, from", numbers[0]);
}
const messages = [{ role: "user", content: "hello" }];
const chat = await ask("/v1/chat/completions", { model: chatModel, messages, stream: true });
let said = "";
for await (const chunk of frames(chat.body)) {
  for (const choice of chunk.choices) said += choice.delta.content ?? "";
}
console.log(said);

"""Checks a gateway with OpenAI's own client: openai_gateway.py BASE_URL LOCAL_MODEL MOCK MOCK.

The mocks stand behind the gateway, which does not retry: what is tried again, the client does.
"""

import asyncio
import base64
import json
import os
import struct
import sys
import time
import urllib.request

import httpx2
import openai

from refusals import refused

BASE_URL, LOCAL, *MOCKS = sys.argv[1:]
MODEL, SLASHED = "mock", "org/model"
TOKENS = 16
HELLO = [{"role": "user", "content": "hello"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
        },
    }
]


class Wire:
    """Every request that the client sends, with the time at which it does."""

    def __init__(self):
        self.sent, self.answers, self.answered = [], [], None
        hooks = {"request": [self.sends], "response": [self.receives]}
        self.http = httpx2.Client(event_hooks=hooks, timeout=120)

    def sends(self, request):
        self.sent.append((time.monotonic(), request))

    def receives(self, response):
        self.answers.append((time.monotonic(), response))
        if self.answered:
            self.answered()

    def client(self, max_retries):
        self.sent.clear()
        self.answers.clear()
        return openai.OpenAI(
            base_url=BASE_URL, api_key="none", max_retries=max_retries, http_client=self.http
        )


def door(mock, path="", change=None):
    """What a mock's own door says."""
    body = None if change is None else json.dumps(change).encode()
    headers = {"content-type": "application/json"}
    method = "GET" if body is None else "PATCH"
    request = urllib.request.Request(f"{mock}/mock{path}", body, headers, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def behave(**change):
    for mock in MOCKS:
        door(mock, change=change)


def count(name):
    return sum(door(mock)["counters"][name] for mock in MOCKS)


def received(request_id):
    """The request with this id, as a mock has it."""
    for mock in MOCKS:
        try:
            last = door(mock, "/last")
        except urllib.error.HTTPError:
            continue
        last["headers"] = dict(last["headers"])
        if last["headers"].get("x-request-id") == request_id:
            return last
    raise AssertionError(f"no mock has got {request_id}")


wire = Wire()
client = wire.client(max_retries=0)
behave(record=True, tokens=TOKENS)


def chat(**options):
    return client.chat.completions.create(**{"model": MODEL, "messages": HELLO, **options})


# A chat.
whole = chat()
choice = whole.choices[0]
TEXT = choice.message.content
assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
assert len(TEXT.split(" ")) == TOKENS and "東京" in TEXT and "👩‍🚀" in TEXT, TEXT
assert whole.object == "chat.completion" and whole.model == MODEL and whole.id
assert whole.usage.completion_tokens == TOKENS
assert whole.usage.total_tokens == whole.usage.prompt_tokens + TOKENS


# Streams, with usage where it is asked for and nowhere else.
def check_stream(chunks, text=TEXT):
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    said = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert said[0].delta.role == "assistant"
    assert all(choice.delta.role is None for choice in said[1:])
    assert all(choice.finish_reason is None for choice in said[:-1])
    if text is not None:
        assert "".join(choice.delta.content or "" for choice in said) == text
    return said[-1].finish_reason


for options, wants_usage in [
    ({}, False),
    ({"stream_options": {"include_usage": False}}, False),
    ({"stream_options": {"include_usage": True}}, True),
]:
    stream = chat(stream=True, **options)
    assert stream.response.headers["content-type"].startswith("text/event-stream")
    chunks = list(stream)
    assert check_stream(chunks) == "stop"
    usages = [chunk.usage for chunk in chunks]
    assert all(usage is None for usage in usages[:-1])
    assert all(chunk.choices for chunk in chunks[:-1])
    if wants_usage:
        assert chunks[-1].choices == [] and usages[-1].completion_tokens == TOKENS
        assert usages[-1] == whole.usage
    else:
        assert chunks[-1].choices and usages[-1] is None
        assert all("usage" not in chunk.model_fields_set for chunk in chunks)

# Pieces that end in the middle of a letter are put together again.
behave(piece=3)
assert check_stream(list(chat(stream=True))) == "stop"
behave(piece=0)

# Tools, streamed and not.
answer = chat(tools=TOOLS).choices[0]
assert answer.finish_reason == "tool_calls" and answer.message.content is None
call = answer.message.tool_calls[0]
assert (call.type, call.function.name) == ("function", "look_up") and call.id
assert json.loads(call.function.arguments) == {"text": TEXT}
assert chat(tools=TOOLS, tool_choice="none").choices[0].message.content == TEXT

chunks = list(chat(stream=True, tools=TOOLS))
assert check_stream(chunks, None) == "tool_calls"
calls = [chunk.choices[0].delta.tool_calls for chunk in chunks]
calls = [call for calls in calls for call in calls or []]
assert (calls[0].function.name, calls[0].index) == ("look_up", 0) and calls[0].id
assert all(call.id is None and call.function.name is None for call in calls[1:])
arguments = "".join(call.function.arguments for call in calls)
assert json.loads(arguments) == {"text": TEXT}

# The client's own helper puts a stream together.
with client.chat.completions.stream(model=MODEL, messages=HELLO, tools=TOOLS) as stream:
    final = stream.get_final_completion().choices[0]
assert final.finish_reason == "tool_calls"
assert json.loads(final.message.tool_calls[0].function.arguments) == {"text": TEXT}

# An image, as it was sent: half a megabyte.
image = "data:image/png;base64," + base64.b64encode(os.urandom(512 << 10)).decode()
content = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": image, "detail": "low"}},
]
messages = [{"role": "user", "content": content}]
answer = chat(messages=messages)
assert answer.choices[0].message.content == TEXT
body = json.loads(received(answer._request_id)["body"])
assert body == {"model": MODEL, "messages": messages}

# What is not known here is passed on, too.
answer = chat(extra_body={"top_k": 40, "nested": {"a": [1, None, "ü"]}}, temperature=0.5, seed=7)
body = json.loads(received(answer._request_id)["body"])
assert (body["top_k"], body["nested"], body["seed"]) == (40, {"a": [1, None, "ü"]}, 7)

# Completions of the old kind.
answer = client.completions.create(model=MODEL, prompt="Say this")
assert answer.object == "text_completion" and answer.choices[0].text == TEXT
assert answer.choices[0].finish_reason == "stop" and answer.usage.completion_tokens == TOKENS
chunks = list(client.completions.create(model=MODEL, prompt="Say this", stream=True))
assert "".join(chunk.choices[0].text for chunk in chunks) == TEXT
assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"
assert len({chunk.id for chunk in chunks}) == 1

# Embeddings, upstream and here: the same numbers in both formats, and by default.
TEXTS = ["A cat sits on the mat.", "Die größte Brücke", "東京"]


def unpacked(text):
    packed = base64.b64decode(text)
    return list(struct.unpack(f"<{len(packed) // 4}f", packed))


def single(numbers):
    """As 32 bits: in a float format, numbers are written as short as they can be told apart."""
    return [struct.unpack("<f", struct.pack("<f", number))[0] for number in numbers]


for model, dimensions in [(MODEL, 8), (LOCAL, 384)]:

    def embed(**options):
        answer = client.embeddings.create(model=model, input=TEXTS, **options)
        assert [entry.index for entry in answer.data] == [0, 1, 2]
        assert answer.model == model and answer._request_id
        assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
        return [entry.embedding for entry in answer.data]

    floats = [single(vector) for vector in embed(encoding_format="float")]
    packed = [unpacked(text) for text in embed(encoding_format="base64")]
    default = [single(vector) for vector in embed()]
    assert [len(vector) for vector in floats] == [dimensions] * 3, model
    assert all(abs(sum(x * x for x in vector) - 1) < 1e-4 for vector in floats)
    assert floats == packed == default, model
    assert floats[0] != floats[1] != floats[2]

# Models, those that are here and those upstream, each once.
listed = client.models.list()
ids = [model.id for model in listed]
assert sorted(ids) == sorted([LOCAL, MODEL, SLASHED]), ids
assert all(model.object == "model" and model.owned_by for model in listed)
for id in ids:
    assert client.models.retrieve(id) == next(model for model in listed if model.id == id)
raw = wire.http.get(f"{BASE_URL}/models/{SLASHED}")
assert raw.json()["id"] == SLASHED and raw.headers["x-request-id"]
assert chat(model=SLASHED).model == SLASHED

# What is refused.
for call in [
    lambda: chat(model="gpt-7"),
    lambda: chat(model="gpt-7", stream=True),
    lambda: client.completions.create(model="gpt-7", prompt="a"),
    lambda: client.embeddings.create(model="gpt-7", input="a"),
]:
    error = refused(openai.NotFoundError, call)
    assert (error.code, error.param) == ("model_not_found", "model")
error = refused(openai.NotFoundError, lambda: client.models.retrieve("gpt-7"))
assert error.code == "model_not_found"
assert refused(openai.BadRequestError, lambda: chat(model=LOCAL)).param == "model"
for content in [b'{"model": ', b"[]", b'{"model": 7}', b'{"messages": []}', b"\xff"]:

    def broken():
        headers = {"content-type": "application/json"}
        client.post(
            "/chat/completions", cast_to=object, content=content, options={"headers": headers}
        )

    assert refused(openai.BadRequestError, broken).type == "invalid_request_error", content
# What the upstream does not like is the client's to hear, as it was said.
error = refused(openai.BadRequestError, lambda: chat(extra_body={"stream": "yes"}))
assert "invalid type" in error.message, error.message

# Failures upstream: the client's own exceptions, after as many tries as it wants.
behave(error_rate=1)
for status, kind in [(500, openai.InternalServerError), (429, openai.RateLimitError)]:
    behave(error_status=status)
    for max_retries in [0, 2]:
        for stream in [False, True]:
            before = count("requests_total")
            client = wire.client(max_retries)
            error = refused(kind, lambda: chat(stream=stream))
            assert error.status_code == status and error.code == "mock_error"
            tries = [request.headers["x-stainless-retry-count"] for _, request in wire.sent]
            assert tries == [str(n) for n in range(max_retries + 1)], tries
            assert count("requests_total") - before == max_retries + 1

# A 503 says when to come back: later than the client would by itself, which is half a second.
behave(error_status=503, retry_after=1)
client = wire.client(max_retries=3)
wire.answered = lambda: behave(error_rate=0)
assert chat().choices[0].message.content == TEXT
wire.answered = None
assert [response.status_code for _, response in wire.answers] == [503, 200]
headers = wire.answers[0][1].headers
assert headers["retry-after"] == "1" and 900 <= float(headers["retry-after-ms"]) <= 1000, headers
waited = wire.sent[1][0] - wire.answers[0][0]
assert waited >= float(headers["retry-after-ms"]) / 1000 - 0.01, waited
behave(retry_after=None)
client = wire.client(max_retries=0)

# A stream that breaks off says so, and is not taken for a whole one.
behave(cut_rate=1, cut_after=3)
pieces = []
try:
    for chunk in chat(stream=True):
        pieces.append(chunk.choices[0].delta.content or "")
    raise AssertionError("a stream that was cut looks whole")
except openai.APIError as error:
    assert error.code and error.type == "server_error", error.body
assert "".join(pieces) == " ".join(TEXT.split(" ")[:3]), pieces
behave(cut_rate=0)

# Request ids: one on everything, the client's own where it has one, and the upstream has the same.
own = 0
for call in [
    lambda **options: chat(**options),
    lambda **options: chat(stream=True, **options),
    lambda **options: client.completions.create(model=MODEL, prompt="a", **options),
    lambda **options: client.embeddings.create(model=MODEL, input="a", **options),
]:
    for given in [None, "mine"]:
        own += 1
        headers = {"x-request-id": f"{given}-{own}"} if given else {}
        answer = call(extra_headers=headers)
        if isinstance(answer, openai.Stream):
            id = answer.response.headers["x-request-id"]
            list(answer)
        else:
            id = answer._request_id
        assert id == f"{given}-{own}" if given else id.startswith("req_"), id
        assert received(id)["body"]
for call in [
    lambda headers: client.models.list(extra_headers=headers),
    lambda headers: client.embeddings.create(model=LOCAL, input="a", extra_headers=headers),
]:
    wire.answers.clear()
    call({"x-request-id": "mine-here"})
    assert wire.answers[-1][1].headers["x-request-id"] == "mine-here"
for kind, options in [
    (openai.NotFoundError, {"model": "gpt-7"}),
    (openai.BadRequestError, {"model": LOCAL}),
]:
    error = refused(kind, lambda: chat(extra_headers={"x-request-id": "mine-error"}, **options))
    assert error.request_id == "mine-error"
behave(error_rate=1, error_status=500)
for stream in [False, True]:
    error = refused(
        openai.InternalServerError,
        lambda: chat(stream=stream, extra_headers={"x-request-id": "mine-500"}),
    )
    assert error.request_id == "mine-500"
behave(error_rate=0)


# 50 streams at once, each its own.
async def many():
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key="none", max_retries=0) as client:

        async def one(number):
            stream = await client.chat.completions.create(
                model=MODEL,
                messages=HELLO,
                stream=True,
                stream_options={"include_usage": True},
                extra_headers={"x-request-id": f"stream-{number}"},
            )
            assert stream.response.headers["x-request-id"] == f"stream-{number}"
            chunks = [chunk async for chunk in stream]
            assert check_stream(chunks) == "stop"
            assert chunks[-1].usage.completion_tokens == TOKENS
            return chunks[0].id

        return await asyncio.gather(*[one(number) for number in range(50)])


behave(interval="5ms")
assert len(set(asyncio.run(many()))) == 50
behave(interval="0ms")
counters = [door(mock)["counters"] for mock in MOCKS]
assert all(counters["answered"] > 0 for counters in counters), counters
assert count("in_flight") == 0

print("all checks passed")

"""Checks every kind of endpoint with OpenAI's own client: openai_endpoints.py BASE_URL KEY MODEL."""

import base64
import io
import json
import sys
import wave

import openai
import pydantic

from refusals import refused

BASE_URL, KEY, MODEL = sys.argv[1:]
client = openai.OpenAI(base_url=BASE_URL, api_key=KEY, max_retries=0)
HELLO = [{"role": "user", "content": "Say hello"}]


class Weather(pydantic.BaseModel):
    city: str
    degrees: list[int]
    wind: float | None


# Chat: several choices, log probabilities, JSON.
whole = client.chat.completions.create(model=MODEL, messages=HELLO, n=2, logprobs=True, top_logprobs=3)
assert [choice.index for choice in whole.choices] == [0, 1]
TEXT = whole.choices[0].message.content
assert TEXT and whole.choices[1].message.content
tokens = whole.choices[0].logprobs.content
assert b"".join(bytes(token.bytes) for token in tokens).decode() == TEXT
assert all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in tokens)
assert whole.usage.completion_tokens == 2 * len(tokens)

answer = client.chat.completions.create(
    model=MODEL, messages=HELLO, response_format={"type": "json_object"}
)
assert isinstance(json.loads(answer.choices[0].message.content), dict)
parsed = client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Weather)
assert isinstance(parsed.choices[0].message.parsed, Weather)

# The helper that puts a stream together.
with client.chat.completions.stream(model=MODEL, messages=HELLO) as stream:
    deltas = "".join(event.delta for event in stream if event.type == "content.delta")
    final = stream.get_final_completion()
assert deltas == final.choices[0].message.content == TEXT
with client.chat.completions.stream(
    model=MODEL, messages=HELLO, response_format=Weather, stream_options={"include_usage": True}
) as stream:
    final = stream.get_final_completion()
assert isinstance(final.choices[0].message.parsed, Weather) and final.usage.completion_tokens > 0

# The answer as it comes.
with client.chat.completions.with_streaming_response.create(
    model=MODEL, messages=HELLO, stream=True
) as response:
    assert response.status_code == 200 and response.request_id
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.iter_lines() if line]
assert lines[-1] == "data: [DONE]", lines[-1]
assert all(line.startswith("data: ") for line in lines)
with client.chat.completions.with_streaming_response.create(model=MODEL, messages=HELLO) as response:
    assert response.parse().choices[0].message.content == TEXT

# Text completions.
answer = client.completions.create(model=MODEL, prompt="Say this", n=2, logprobs=1)
assert [choice.index for choice in answer.choices] == [0, 1]
assert "".join(answer.choices[0].logprobs.tokens) == answer.choices[0].text == TEXT

# Responses.
response = client.responses.create(model=MODEL, input="Say hello", instructions="Be brief")
assert (response.object, response.status, response.output_text) == ("response", "completed", TEXT)
usage = response.usage
assert usage.input_tokens > 0 and usage.output_tokens > 0
assert usage.total_tokens == usage.input_tokens + usage.output_tokens
assert usage.input_tokens_details.cached_tokens == usage.output_tokens_details.reasoning_tokens == 0

events = list(client.responses.create(model=MODEL, input=HELLO, stream=True))
assert [event.sequence_number for event in events] == list(range(len(events)))
kinds = [event.type for event in events]
assert list(dict.fromkeys(kinds)) == [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]
assert "".join(event.delta for event in events if event.type.endswith("_text.delta")) == TEXT
assert events[-1].response.output_text == TEXT and events[-1].response.usage.output_tokens > 0
assert events[0].response.id == events[-1].response.id

with client.responses.stream(model=MODEL, input="Say hello") as stream:
    deltas = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    final = stream.get_final_response()
assert deltas == final.output_text == TEXT
parsed = client.responses.parse(model=MODEL, input="Say hello", text_format=Weather)
assert isinstance(parsed.output_parsed, Weather)

# Embeddings.
vectors = {}
for encoding in ["float", "base64", openai.omit]:
    answer = client.embeddings.create(model=MODEL, input=["a", "b"], encoding_format=encoding)
    assert [entry.index for entry in answer.data] == [0, 1] and answer.usage.total_tokens > 0
    vectors[str(encoding)] = [entry.embedding for entry in answer.data]
assert isinstance(vectors["base64"][0], str)
assert all(isinstance(number, float) for number in vectors["float"][0])
assert len(set(map(len, vectors["float"]))) == 1 and vectors["float"][0] != vectors["float"][1]

# Audio: a file that was made is taken back.
speech = client.audio.speech.create(
    model=MODEL, voice="alloy", input="Hello there", response_format="wav"
)
assert speech.response.headers["content-type"] == "audio/wav"
with wave.open(io.BytesIO(speech.content)) as sound:
    assert sound.getnchannels() == 1 and sound.getnframes() > 0
with client.audio.speech.with_streaming_response.create(
    model=MODEL, voice="alloy", input="Hello there", response_format="wav"
) as response:
    assert b"".join(response.iter_bytes()) == speech.content
sound = ("hello.wav", speech.content, "audio/wav")
assert client.audio.transcriptions.create(model=MODEL, file=sound).text == TEXT
verbose = client.audio.transcriptions.create(
    model=MODEL, file=sound, response_format="verbose_json", timestamp_granularities=["segment"]
)
assert verbose.text == verbose.segments[0].text == TEXT and verbose.duration > 0
plain = client.audio.transcriptions.create(model=MODEL, file=sound, response_format="text")
assert plain.strip() == TEXT
assert client.audio.translations.create(model=MODEL, file=sound).text == TEXT

# Images.
images = client.images.generate(model=MODEL, prompt="A cat", n=2, size="1024x1024")
assert len(images.data) == 2 and images.usage.total_tokens > 0
for image in images.data:
    assert base64.b64decode(image.b64_json).startswith(b"\x89PNG\r\n\x1a\n")

# Moderation.
moderation = client.moderations.create(model=MODEL, input=["a", "b"])
assert [result.flagged for result in moderation.results] == [False, False]
assert moderation.results[0].category_scores.violence < 0.5

# Errors.
for call in [
    lambda: client.responses.create(model="none", input="a"),
    lambda: client.responses.create(model="none", input="a", stream=True),
    lambda: client.audio.speech.create(model="none", voice="alloy", input="a"),
    lambda: client.audio.transcriptions.create(model="none", file=sound),
    lambda: client.images.generate(model="none", prompt="a"),
    lambda: client.moderations.create(model="none", input="a"),
]:
    error = refused(404, call)
    assert (error.code, error.param) == ("model_not_found", "model")

print("all checks passed")

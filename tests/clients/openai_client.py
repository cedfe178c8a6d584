"""Checks a server with OpenAI's own client: openai_client.py BASE_URL MODEL."""

import base64
import math
import struct
import sys

import openai

from refusals import refused

BASE_URL, MODEL = sys.argv[1:]
client = openai.OpenAI(base_url=BASE_URL, api_key="none", max_retries=0)


def embed(texts, **options):
    return client.embeddings.create(model=MODEL, input=texts, **options)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b))


# Vectors: 384 dimensions, of length 1, the same in both formats. The client's default is base64.
texts = ["A cat sits on the mat.", "A kitten rests on a rug.", "The stock market fell today."]
vectors = {}
for name, options in {
    "default": {},
    "base64": {"encoding_format": "base64"},
    "float": {"encoding_format": "float"},
}.items():
    answer = embed(texts, **options)
    assert [entry.index for entry in answer.data] == [0, 1, 2]
    vectors[name] = [entry.embedding for entry in answer.data]
raw = [base64.b64decode(vector) for vector in vectors["base64"]]
vectors["base64"] = [list(struct.unpack(f"<{len(bytes) // 4}f", bytes)) for bytes in raw]
for vector in vectors["float"]:
    assert len(vector) == 384
    assert math.isclose(cosine(vector, vector), 1, abs_tol=1e-4)
for name in ("default", "base64"):
    for one, other in zip(vectors[name], vectors["float"]):
        assert len(one) == len(other)
        assert cosine(one, other) > 0.9999, name

cat, kitten, market = vectors["float"]
assert cosine(cat, kitten) > cosine(cat, market) + 0.2

# One text, fewer dimensions, token ids.
short = embed("A cat sits on the mat.", dimensions=64).data[0].embedding
assert len(short) == 64 and math.isclose(cosine(short, short), 1, abs_tol=1e-4)
ids = embed([[2023, 2003, 2019, 2742, 6251]])
assert ids.usage.prompt_tokens == ids.usage.total_tokens == 7
assert len(ids.data[0].embedding) == 384

# Models.
assert MODEL in [model.id for model in client.models.list()]
assert client.models.retrieve(MODEL).id == MODEL
assert refused(404, lambda: client.models.retrieve("gpt-7")).code == "model_not_found"

# What is refused.
error = refused(404, lambda: client.embeddings.create(model="gpt-7", input="a"))
assert (error.code, error.param) == ("model_not_found", "model")
assert refused(400, lambda: embed("")).param == "input"
assert refused(400, lambda: embed([])).param == "input"
assert "2049" in refused(400, lambda: embed(["a"] * 2049)).message
assert len(embed(["a"] * 2048).data) == 2048
assert refused(413, lambda: embed("a" * (9 << 20))).code == "request_too_large"
broken = lambda: client.post(
    "/embeddings",
    cast_to=object,
    content=b'{"model": ',
    options={"headers": {"content-type": "application/json"}},
)
assert refused(400, broken).type == "invalid_request_error"

print("all checks passed")

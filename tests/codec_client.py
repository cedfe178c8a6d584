"""Checks the binary codecs with msgpack and cbor2: codec_client.py URL LOCAL_MODEL MOCK NODE.

What JSON says of each request is what the other codecs must say of it.
"""

import base64
import http.client
import io
import json
import os
import struct
import subprocess
import sys
import urllib.parse
import urllib.request

import cbor2
import msgpack

URL, LOCAL, MOCK, NODE = sys.argv[1:]
MODEL, TOKENS = "mock", 16
HOST = urllib.parse.urlsplit(URL).netloc
EXAMPLES = os.path.join(os.path.dirname(__file__), "..", "examples")
CODECS = {
    "application/json": (lambda value: json.dumps(value, separators=(",", ":")).encode(), json.loads),
    "application/msgpack": (msgpack.packb, msgpack.unpackb),
    "application/cbor": (cbor2.dumps, cbor2.loads),
}
JSON, *BINARY = CODECS
HELLO = [{"role": "user", "content": "größe 東京 👩‍🚀"}]


class Answer:
    def __init__(self, response):
        self.status, self.headers = response.status, response.headers
        self.type = response.headers.get("content-type", "")
        self.body = response.read()

    def value(self):
        assert self.headers["content-length"] == str(len(self.body)), self.headers.items()
        return CODECS[self.type][1](self.body)


def ask(method, path, body=None, content_type=None, accept=None):
    connection = http.client.HTTPConnection(HOST, timeout=60)
    named = {"content-type": content_type, "accept": accept}
    headers = {name: value for name, value in named.items() if value is not None}
    connection.request(method, path, body, headers)
    return Answer(connection.getresponse())


def door(path="", change=None):
    body = None if change is None else json.dumps(change).encode()
    method = "GET" if body is None else "PATCH"
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{MOCK}/mock{path}", body, headers, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def post(codec, path, request, accept=None):
    """A request in a codec, and its answer, in the same one if no other is named."""
    return ask("POST", path, CODECS[codec][0](request), codec, accept or codec)


def steady(value):
    """Without what is different for every request."""
    if isinstance(value, dict):
        gone = {"id", "created"} if value.get("object") != "model" else set()
        return {key: steady(value) for key, value in value.items() if key not in gone}
    return [steady(entry) for entry in value] if isinstance(value, list) else value


def frames(body):
    """The values of a stream, and whether it has ended."""
    values, rest = [], io.BytesIO(body)
    while head := rest.read(4):
        length = int.from_bytes(head, "big")
        if length == 0:
            assert not rest.read()
            return values, True
        value = rest.read(length)
        assert len(value) == length
        values.append(value)
    return values, False


def events(body):
    data = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(text) for text in data if text != "[DONE]"], data[-1] == "[DONE]"


door(change={"record": True, "tokens": TOKENS})

# Whole answers: equal to what JSON says, in every codec of the request and of the answer.
chat = {"model": MODEL, "messages": HELLO}
schema = {"z": 1, "a": {"required": ["b", "a"], "properties": {"b": {}, "a": {}}}, "m": None}
requests = [
    ("/v1/chat/completions", chat),
    ("/v1/chat/completions", {**chat, "temperature": 0.1, "seed": 2**63 + 1, "x": schema}),
    ("/v1/completions", {"model": MODEL, "prompt": "Say this"}),
    ("/v1/rerank", {"model": MODEL, "query": "a", "documents": ["b", "a", "c" * 40_000]}),
    ("/v1/embeddings", {"model": LOCAL, "input": [[101, 102]], "encoding_format": "base64"}),
]
for path, request in requests:
    expected = post(JSON, path, request)
    assert expected.status == 200 and expected.headers["vary"] == "accept", expected.body
    for codec in CODECS:
        for accept in CODECS:
            got = post(codec, path, request, accept)
            assert got.status == 200 and got.type == accept, (got.status, got.body)
            assert got.headers["vary"] == "accept" and got.headers["x-request-id"]
            assert steady(got.value()) == steady(expected.value()), (path, codec, accept)
        if request["model"] == MODEL:
            last = door("/last")
            headers = dict(last["headers"])
            assert headers["content-type"] == "application/json", headers
            assert headers.get("accept", JSON) == JSON, headers
            # The order of keys is the client's.
            assert json.dumps(json.loads(last["body"])) == json.dumps(request)

# Other names of MessagePack; without `accept` the answer is JSON.
for name in ["application/x-msgpack", "Application/vnd.MsgPack; x=y"]:
    got = ask("POST", "/v1/chat/completions", msgpack.packb(chat), name)
    assert (got.status, got.type) == (200, JSON), got.body
got = post("application/cbor", "/v1/chat/completions", chat, "text/html, application/*;q=0.1")
assert got.type == JSON

# A large body is not read on a worker.
large = {**chat, "messages": [{"role": "user", "content": "ä" * 1_000_000}]}
for codec in BINARY:
    assert post(codec, "/v1/chat/completions", large).value()["object"] == "chat.completion"

# Streams.
for path, request in [
    ("/v1/chat/completions", {**chat, "stream": True, "stream_options": {"include_usage": True}}),
    ("/v1/completions", {"model": MODEL, "prompt": "Say this", "stream": True}),
]:
    expected, is_done = events(post(JSON, path, request).body)
    assert is_done and len(expected) > TOKENS
    for codec in BINARY:
        for piece in [0, 3]:
            door(change={"piece": piece})
            got = post(codec, path, request)
            assert got.type == f"{codec}; framing=length-delimited"
            values, is_done = frames(got.body)
            assert is_done
            assert steady([CODECS[codec][1](value) for value in values]) == steady(expected)
        door(change={"piece": 0})
        # One that breaks off says so, and does not look as if it had ended.
        door(change={"cut_rate": 1, "cut_after": 3})
        values, is_done = frames(post(codec, path, request).body)
        door(change={"cut_rate": 0})
        assert not is_done
        assert CODECS[codec][1](values[-1])["error"]["type"] == "server_error"

# Vectors, from here and from upstream: as bytes, as numbers, as text.
TEXTS = ["A cat sits on the mat.", "Die größte Brücke", "東京"] * 20


def vector(entry):
    embedding = entry["embedding"]
    if isinstance(embedding, cbor2.CBORTag):
        assert embedding.tag == 85
        embedding = embedding.value
    if isinstance(embedding, str):
        embedding = base64.b64decode(embedding)
    if isinstance(embedding, list):
        return [struct.unpack("<f", struct.pack("<f", number))[0] for number in embedding]
    return list(struct.unpack(f"<{len(embedding) // 4}f", embedding))


def kind(codec, format):
    if format == "float":
        return list
    if format == "base64":
        return str
    return {"application/msgpack": bytes, "application/cbor": "tag"}.get(codec, list)


for model, dimensions, texts in [(MODEL, 8, TEXTS), (LOCAL, 384, TEXTS), (LOCAL, 7, TEXTS[:1])]:
    request = {"model": model, "input": texts}
    if dimensions == 7:
        request["dimensions"] = 7
    expected = post(JSON, "/v1/embeddings", request).value()
    for codec in CODECS:
        for format in [None, "float", "base64"]:
            asked = {**request, "encoding_format": format} if format else request
            got = post(codec, "/v1/embeddings", asked)
            assert got.status == 200 and got.type == codec, got.body
            value = got.value()
            assert {k: v for k, v in value.items() if k != "data"} == {
                k: v for k, v in expected.items() if k != "data"
            }
            for entry, as_json in zip(value["data"], expected["data"], strict=True):
                assert (entry["object"], entry["index"]) == ("embedding", as_json["index"])
                assert len(vector(entry)) == dimensions
                if dimensions != 384:
                    assert vector(entry) == vector(as_json)
                else:
                    # Batches differ from time to time, and so do the last digits of 8 bits.
                    pairs = zip(vector(entry), vector(as_json), strict=True)
                    assert abs(sum(a * b for a, b in pairs) - 1) < 0.05
                embedding, wanted = entry["embedding"], kind(codec, format)
                if wanted == "tag":
                    assert isinstance(embedding, cbor2.CBORTag) or len(embedding) == dimensions
                else:
                    assert isinstance(embedding, wanted), (codec, format, type(embedding))
            if format == "float" and codec != JSON:
                # As 32-bit floats: five bytes each.
                assert len(got.body) < len(texts) * (dimensions * 5 + 64) + 200, len(got.body)
            if format is None and codec != JSON:
                assert len(got.body) < len(texts) * (dimensions * 4 + 64) + 200, len(got.body)

# What is listed.
for path in ["/v1/models", f"/v1/models/{LOCAL}", f"/v1/models/{MODEL}"]:
    expected = ask("GET", path).value()
    for codec in CODECS:
        got = ask("GET", path, accept=codec)
        assert got.type == codec and got.value() == expected, got.body
        head = ask("HEAD", path, accept=codec)
        assert (head.status, head.type, head.body) == (200, codec, b"")
# Who takes nothing that there is gets JSON where nothing was asked for in a body.
assert ask("GET", "/v1/models", accept="text/html").type == JSON
assert ask("GET", "/health/live", accept="application/cbor").body == b"ok\n"

# Errors, in the codec that was asked for.
door(change={"error_rate": 1, "error_status": 503})
refused = [
    (400, "POST", "/v1/chat/completions", {"messages": []}),
    (400, "POST", "/v1/chat/completions", {"model": LOCAL, "messages": []}),
    (400, "POST", "/v1/embeddings", {"model": LOCAL, "input": [1, "a"]}),
    (404, "POST", "/v1/embeddings", {"model": "gpt-7", "input": "a"}),
    (404, "POST", "/v1/nothing", {}),
    (404, "GET", "/v1/models/gpt-7", None),
    (405, "GET", "/v1/embeddings", None),
    (503, "POST", "/v1/chat/completions", chat),
    (503, "POST", "/v1/chat/completions", {**chat, "stream": True}),
]
for status, method, path, request in refused:
    told = []
    for codec in CODECS:
        body = None if request is None else CODECS[codec][0](request)
        got = ask(method, path, body, None if body is None else codec, codec)
        assert (got.status, got.type) == (status, codec), (path, got.status, got.body)
        assert got.headers["x-request-id"]
        told.append(got.value())
        assert told[-1]["error"]["message"] and told[-1]["error"]["type"]
    assert told[0] == told[1] == told[2], told
door(change={"error_rate": 0})

for codec in CODECS:
    got = ask("POST", "/v1/chat/completions", b"x=y", "application/x-www-form-urlencoded", codec)
    assert (got.status, got.type) == (415, codec)
    message = got.value()["error"]["message"]
    assert all(offered in message for offered in CODECS), message
got = ask("POST", "/v1/chat/completions", json.dumps(chat), JSON, "text/html, image/*;q=0.5")
assert (got.status, got.type) == (406, JSON), got.body
error = got.value()["error"]
assert error["code"] == "not_acceptable"
assert all(offered in error["message"] for offered in CODECS), error

# Bodies that are no values, or have no form in JSON.
broken = [
    ("application/msgpack", b"", "ends in the middle"),
    ("application/msgpack", msgpack.packb(chat) + b"\0", "1 bytes follow"),
    ("application/msgpack", msgpack.packb({**chat, "x": [float("nan")]}), "x[0]: NaN"),
    ("application/msgpack", msgpack.packb({1: chat}), "a key is not text but an integer"),
    ("application/msgpack", msgpack.packb({"x": msgpack.ExtType(7, b"a")}), "extension type 7"),
    ("application/msgpack", b"\xdd\xff\xff\xff\xff", "ends in the middle"),
    ("application/msgpack", b"\x91" * 200 + b"\0", "128 levels"),
    ("application/cbor", cbor2.dumps(chat)[:-1], "ends in the middle"),
    ("application/cbor", cbor2.dumps({**chat, "x": float("inf")}), "x: inf"),
    ("application/cbor", cbor2.dumps({**chat, "x": 2**64}), "64 bits"),
    ("application/cbor", b"\x9b" + b"\xff" * 8, "ends in the middle"),
]
for codec, body, said in broken:
    got = ask("POST", "/v1/chat/completions", body, codec, codec)
    assert (got.status, got.type) == (400, codec), (body[:40], got.body)
    assert said in got.value()["error"]["message"], got.value()
# As JSON it would be larger than a body may be.
got = ask("POST", "/v1/chat/completions", b"\xdd\x00\x20\x00\x00" + b"\xc0" * (2 << 20), BINARY[0])
assert got.status == 413, got.body

# The examples do as they say.
for program, example in [(sys.executable, "decode_vectors.py"), (NODE, "decode_vectors.mjs")]:
    command = [program, os.path.join(EXAMPLES, example), URL, LOCAL, MODEL]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("384 dimensions") == 2 and "東京" in shown.stdout, shown.stdout

# When to come back is said in every codec, by the upstream and then by the gateway.
door(change={"error_rate": 1, "error_status": 503, "retry_after": 60})
for codec in CODECS:
    got = post(codec, "/v1/chat/completions", chat)
    assert got.status == 503 and 1 <= int(got.headers["retry-after"]) <= 60, got.headers.items()
    assert got.value()["error"]["type"] == "server_error"

print("all checks passed")

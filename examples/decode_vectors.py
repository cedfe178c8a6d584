"""Reads packed vectors and framed streams: decode_vectors.py URL EMBEDDING_MODEL CHAT_MODEL.

Needs `pip install msgpack`; with cbor2 it is the same, but that a packed vector is under tag 85.
"""

import array
import sys
import urllib.request

import msgpack


def ask(url, request):
    headers = {"content-type": "application/msgpack", "accept": "application/msgpack"}
    return urllib.request.urlopen(urllib.request.Request(url, msgpack.packb(request), headers))


def vector(packed):
    """Bytes of little-endian 32-bit floats; `numpy.frombuffer(packed, '<f4')` does the same."""
    numbers = array.array("f", packed)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def frames(stream):
    """The values of a stream, each with its length before it. An empty one ends it."""
    while True:
        head = stream.read(4)
        if len(head) < 4:
            raise EOFError("the stream broke off")
        length = int.from_bytes(head, "big")
        if length == 0:
            return
        value = msgpack.unpackb(stream.read(length))
        if "error" in value:
            raise RuntimeError(value["error"]["message"])
        yield value


if __name__ == "__main__":
    url, embedding_model, chat_model = sys.argv[1:]
    request = {"model": embedding_model, "input": ["A cat sits on the mat.", "A dog barks."]}
    with ask(f"{url}/v1/embeddings", request) as answer:
        for entry in msgpack.unpackb(answer.read())["data"]:
            numbers = vector(entry["embedding"])
            print(entry["index"], len(numbers), "dimensions, from", numbers[0])
    messages = [{"role": "user", "content": "hello"}]
    request = {"model": chat_model, "messages": messages, "stream": True}
    with ask(f"{url}/v1/chat/completions", request) as answer:
        for chunk in frames(answer):
            for choice in chunk["choices"]:
                print(choice["delta"].get("content") or "", end="", flush=True)
    print()

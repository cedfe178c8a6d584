"""Writes all-MiniLM-L6-v2.json: vectors of the model by another engine than ours.

    pip install onnxruntime==1.32.0 tokenizers==0.23.3 numpy
    python reference.py ../../models/all-MiniLM-L6-v2/model.onnx > all-MiniLM-L6-v2.json
"""

import json
import sys
from pathlib import Path

import numpy
import onnxruntime
import tokenizers

WORDS = "queue batch token vector thread runtime worker request latency stall poll waker".split()
TEXTS = [
    "This is an example sentence",
    "Each sentence is converted",
    "a",
    "The handler holds a lock across an await point, and every other request waits.",
    "Der Server antwortet nicht, weil ein Thread schläft.",
    "东京的天气怎么样？",
    "let x: Vec<u8> = Vec::with_capacity(1 << 20); // 1 MiB",
    "🔥🔥 p99 = 250 ms 🔥🔥",
    "   spaces \t tabs \n and UPPER case   ",
    # Longer than the 256 tokens that the model reads.
    " ".join(WORDS[(i * 7) % len(WORDS)] for i in range(400)),
]


def main() -> None:
    graph = Path(sys.argv[1])
    tokenizer = tokenizers.Tokenizer.from_file(str(graph.parent / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = {i.name for i in session.get_inputs()}
    golden = []
    for text in TEXTS:
        ids = tokenizer.encode(text).ids
        feed = {
            "input_ids": numpy.array([ids]),
            "attention_mask": numpy.ones((1, len(ids)), dtype=numpy.int64),
            "token_type_ids": numpy.zeros((1, len(ids)), dtype=numpy.int64),
        }
        output = session.run(None, {k: v for k, v in feed.items() if k in names})[0][0]
        vector = output.mean(axis=0)
        vector /= numpy.linalg.norm(vector)
        golden.append({"text": text, "tokens": ids, "vector": [round(float(v), 6) for v in vector]})
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in golden)
    print(f"[\n{lines}\n]")


main()

"""What people build first: the same model in f32 on onnxruntime, behind FastAPI and uvicorn.

One request is one run of the session, in the thread pool that FastAPI gives to a plain `def`
endpoint; the session computes on all cores. uvloop, httptools and the fast tokenizer are used; the
answer is made from plain dictionaries, without models that would validate it once more. What it
has not: batches across requests, and int8 weights.

    python server.py FOLDER-OF-THE-MODEL PORT
"""

import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from tokenizers import Tokenizer

MAX_TOKENS = 256

folder, port = Path(sys.argv[1]), int(sys.argv[2])

tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.enable_truncation(MAX_TOKENS)
# To the longest of the batch, not to the fixed length that the file asks for.
tokenizer.enable_padding()

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = os.cpu_count()
session = onnxruntime.InferenceSession(
    str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
)
wanted = {node.name for node in session.get_inputs()}
app = FastAPI()


class EmbeddingsRequest(BaseModel):
    model: str
    input: str | list[str]


def embed(texts: list[str]) -> tuple[np.ndarray, int]:
    """Vectors of length 1, and how many tokens the model read."""
    encodings = tokenizer.encode_batch(texts)
    mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
    feed = {
        "input_ids": np.array([encoding.ids for encoding in encodings], dtype=np.int64),
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(mask),
    }
    output = session.run(None, {name: feed[name] for name in feed if name in wanted})[0]
    weights = mask[:, :, None].astype(np.float32)
    vectors = (output * weights).sum(axis=1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, int(mask.sum())


@app.post("/v1/embeddings")
def embeddings(request: EmbeddingsRequest) -> JSONResponse:
    texts = [request.input] if isinstance(request.input, str) else request.input
    vectors, tokens = embed(texts)
    data = [
        {"object": "embedding", "index": index, "embedding": vector}
        for index, vector in enumerate(vectors.tolist())
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse(
        {"object": "list", "data": data, "model": request.model, "usage": usage}
    )


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        # Connections are idle while the other side is measured.
        timeout_keep_alive=300,
    )

"""Checks a model of the server's own with LangChain's embeddings: langchain_local.py BASE_URL MODEL."""

import os
import sys
from pathlib import Path

import llama_index.core

BASE_URL, MODEL = sys.argv[1:]
# What tiktoken would fetch from the network is in a package that is here anyway.
cache = Path(llama_index.core.__file__).parent / "_static/tiktoken_cache"
os.environ["TIKTOKEN_CACHE_DIR"] = str(cache)

import openai
from langchain_openai import OpenAIEmbeddings

TEXTS = ["A cat sits on the mat.", "The stock market fell today."]
options = {"base_url": BASE_URL, "api_key": "none", "model": MODEL, "max_retries": 0}

# By default it sends ids of OpenAI's tokenizer, which mean something else here.
try:
    OpenAIEmbeddings(**options).embed_documents(TEXTS)
    raise AssertionError("ids of another tokenizer were embedded")
except openai.BadRequestError as error:
    assert error.param == "input" and "check_embedding_ctx_length=False" in error.message, error

embeddings = OpenAIEmbeddings(**options, check_embedding_ctx_length=False)
vectors = embeddings.embed_documents(TEXTS)
assert len(vectors) == 2 and len(vectors[0]) == 384 and vectors[0] != vectors[1]
assert len(embeddings.embed_query(TEXTS[0])) == 384

print("all checks passed")

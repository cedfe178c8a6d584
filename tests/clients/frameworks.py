"""Checks a server with LangChain, LlamaIndex and LiteLLM: frameworks.py BASE_URL KEY MODEL."""

import os
import struct
import sys
from pathlib import Path

import llama_index.core

BASE_URL, KEY, MODEL = sys.argv[1:]
# What tiktoken would fetch from the network is in a package that is here anyway.
cache = Path(llama_index.core.__file__).parent / "_static/tiktoken_cache"
os.environ["TIKTOKEN_CACHE_DIR"] = str(cache)
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike



def single(numbers):
    """As 32 bits: in a float format, numbers are written as short as they can be told apart."""
    return [struct.unpack("<f", struct.pack("<f", number))[0] for number in numbers]


TEXTS = ["A cat sits on the mat.", "The stock market fell today."]

# LangChain.
options = {"base_url": BASE_URL, "api_key": KEY, "model": MODEL, "max_retries": 0}
chat = ChatOpenAI(**options)
TEXT = chat.invoke("Say hello").content
assert TEXT
assert "".join(chunk.content for chunk in chat.stream("Say hello")) == TEXT
assert ChatOpenAI(**options, use_responses_api=True).invoke("Say hello").text == TEXT
embeddings = OpenAIEmbeddings(**options, check_embedding_ctx_length=False)
vectors = embeddings.embed_documents(TEXTS)
assert len(vectors) == 2 and vectors[0] != vectors[1]
assert embeddings.embed_query(TEXTS[0]) == vectors[0]

# LlamaIndex.
options = {"api_base": BASE_URL, "api_key": KEY, "max_retries": 0}
llm = OpenAILike(model=MODEL, is_chat_model=True, **options)
hello = [ChatMessage(role="user", content="Say hello")]
assert llm.chat(hello).message.content == TEXT
assert [answer.message.content for answer in llm.stream_chat(hello)][-1] == TEXT
assert OpenAILike(model=MODEL, is_chat_model=False, **options).complete("Say hello").text == TEXT
embedding = OpenAILikeEmbedding(model_name=MODEL, **options)
assert embedding.get_text_embedding_batch(TEXTS) == vectors
assert embedding.get_query_embedding(TEXTS[0]) == vectors[0]

# LiteLLM.
options = {"api_base": BASE_URL, "api_key": KEY, "num_retries": 0}
answer = litellm.completion(model=f"openai/{MODEL}", messages=[dict(role="user", content="a")], **options)
assert answer.choices[0].message.content == TEXT and answer.usage.completion_tokens > 0
stream = litellm.completion(
    model=f"openai/{MODEL}", messages=[dict(role="user", content="a")], stream=True, **options
)
assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == TEXT
answer = litellm.embedding(model=f"openai/{MODEL}", input=TEXTS, **options)
assert [single(entry["embedding"]) for entry in answer.data] == vectors
# Its rerank has no provider called OpenAI: Jina's form is the one of /v1/rerank, Cohere's of /v2/rerank.
root = BASE_URL.removesuffix("/v1")
for model, base in [(f"jina_ai/{MODEL}", f"{root}/v1/rerank"), (f"cohere/{MODEL}", f"{root}/v2/rerank")]:
    ranked = litellm.rerank(
        model=model, query="a cat", documents=TEXTS, top_n=1, api_base=base, api_key=KEY
    )
    assert len(ranked.results) == 1 and ranked.results[0]["index"] in (0, 1), ranked

print("all checks passed")

"""Bounds that no document of the API has: those of the model that is named, and of days together."""

import datetime
import re

import schemathesis

INTEGERS = ("input", "dimensions", "n", "top_n", "max_tokens", "max_completion_tokens")
MODELS = {"all-MiniLM-L6-v2": (30522, 384), "mock": (2**32, 8)}
FIELDS = {"model", "input", "encoding_format", "dimensions", "truncate", "user"}


def ids(value):
    """The whole numbers in an input."""
    if isinstance(value, list):
        return [id for entry in value for id in ids(entry)]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []


def is_decimal(value):
    """Whether there is a number such as 1.0, an integer in JSON Schema and none to the server."""
    if isinstance(value, list):
        return any(map(is_decimal, value))
    return isinstance(value, float) and value.is_integer()


def day(text):
    try:
        return datetime.date.fromisoformat(text)
    except (TypeError, ValueError):
        return None


def is_span(query):
    """Whether a report is of 366 days at most, from 1970 to 9000, as far as they are days."""
    today = datetime.date.today()
    end = day(query["end"]) if "end" in query else today
    start = day(query["start"]) if "start" in query else end
    if start is None or end is None:
        return True
    return start.year >= 1970 and end.year < 9000 and 0 <= (end - start).days < 366


@schemathesis.hook
def filter_case(context, case):
    if case.operation.path == "/v1/usage":
        return is_span(case.query or {})
    body = case.body
    if case.media_type == "multipart/form-data" and isinstance(body, dict):
        # Names of parts are headers, which do not hold everything.
        is_sent = all(re.fullmatch(r"[!#-:<-\[\]-~]+", name) for name in body)
        return is_sent and body.get("model") != "all-MiniLM-L6-v2"
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        return True
    if any(is_decimal(body.get(name)) for name in INTEGERS):
        return False
    model = body["model"]
    if case.operation.path != "/v1/embeddings":
        # A local model gives embeddings only.
        return MODELS.get(model) != MODELS["all-MiniLM-L6-v2"]
    vocabulary, most = MODELS.get(model, MODELS["mock"])
    dimensions = body.get("dimensions")
    is_small = not isinstance(dimensions, (int, float)) or dimensions <= most
    # Fields that are not known here are those of upstreams.
    is_known = model == "mock" or body.keys() <= FIELDS
    return is_small and is_known and all(id < vocabulary for id in ids(body.get("input")))

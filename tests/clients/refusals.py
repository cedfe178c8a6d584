"""Errors that OpenAI's own client raises."""

import openai


def refused(expected, call):
    """The error of a call that must fail with this status or class, and be OpenAI's error object with a request id."""
    try:
        call()
    except openai.APIStatusError as error:
        assert expected in (error.status_code, type(error)), (error, expected, error.body)
        assert error.request_id, error.response.headers
        assert error.body["message"] and error.body["type"], error.body
        assert {"param", "code"} <= error.body.keys(), error.body
        return error
    raise AssertionError(f"no error where {expected} was expected")

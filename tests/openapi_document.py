"""Checks the document of the API, and that what it describes is there: openapi_document.py URL."""

import json
import sys
import urllib.error
import urllib.request

from openapi_spec_validator import OpenAPIV31SpecValidator

(BASE,) = sys.argv[1:]


def ask(method, path):
    """The status of an answer, whatever it is."""
    request = urllib.request.Request(BASE + path, b"{}" if method == "POST" else None, method=method)
    request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


with urllib.request.urlopen(f"{BASE}/openapi.json") as answer:
    assert answer.headers["content-type"] == "application/json", answer.headers
    document = json.load(answer)

OpenAPIV31SpecValidator(document).validate()

asked = 0
for path, operations in document["paths"].items():
    for method, operation in operations.items():
        status = ask(method.upper(), path.replace("{id}", "no-such-model"))
        assert status != 405, (method, path)
        assert str(status) in operation["responses"], (method, path, status)
        assert operation["operationId"], path
        for refusal, answer in operation["responses"].items():
            if refusal >= "400":
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Error"}, (path, refusal, answer)
        asked += 1
    assert ask("DELETE", path.replace("{id}", "x")) == 405, path
assert asked >= 10, asked
assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"

print("all checks passed")

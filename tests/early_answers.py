"""Posts bodies over HTTP/2 that are answered unread: early_answers.py URL (PATH HEADER STATUS)...

The client must see each status, and the connection must be of use after it.
"""

import sys

import httpx

URL, *CASES = sys.argv[1:]
# More than a stream's and a connection's window, so that it cannot be sent without being read.
BODY = b"a" * (9 << 20)

for path, header, status in zip(CASES[::3], CASES[1::3], CASES[2::3], strict=True):
    headers = {"content-type": "application/json"}
    if header:
        name, value = header.split(": ")
        headers[name] = value
    with httpx.Client(http1=False, http2=True, timeout=60) as client:
        answer = client.post(URL + path, headers=headers, content=BODY)
        assert answer.http_version == "HTTP/2", answer.http_version
        assert answer.status_code == int(status), (path, header, answer, answer.text)
        assert answer.json()["error"]["message"], answer.text
        assert client.get(URL + "/health/live").status_code == 200
print("all checks passed")

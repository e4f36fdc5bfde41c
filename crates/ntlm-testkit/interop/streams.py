"""A session of httpx over HTTP/2, one request after the other: SCHEME BASE USER PASSWORD KIND FILE COUNT.

Prints "ANSWER status user hash" for each answer."""

import sys

import httpx

scheme, base, user, password, kind, path, count = sys.argv[1:]
if scheme == "ntlm":
    from httpx_ntlm import HttpNtlmAuth

    auth = HttpNtlmAuth("EXAMPLE\\" + user, password)
else:
    from httpx_gssapi import HTTPSPNEGOAuth

    auth = HTTPSPNEGOAuth()
client = httpx.Client(auth=auth, http2=True, timeout=25)
with open(path, "rb") as file:
    body = file.read()
method = {"none": "GET", "post": "POST"}.get(kind, "PUT")
for number in range(int(count)):
    content = None if kind == "none" else body
    answer = client.request(method, f"{base}/session/stream-{number}", content=content)
    print("ANSWER", answer.status_code, answer.headers.get("X-Identity"), answer.headers.get("X-Body-Hash"))
client.close()

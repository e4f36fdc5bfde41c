"""A session of a Python client: LIBRARY BASE USER PASSWORD. Prints "ANSWER status user" for each answer."""

import sys

library, base, user, password = sys.argv[1:5]
body = b"x" * 100_000

if library.startswith("requests"):
    import requests

    client = requests.Session()
    client.trust_env = True
    if library == "requests-ntlm":
        from requests_ntlm import HttpNtlmAuth

        client.auth = HttpNtlmAuth("EXAMPLE\\" + user, password)
    elif library == "requests-gssapi":
        from requests_gssapi import HTTPSPNEGOAuth

        client.auth = HTTPSPNEGOAuth()
    else:
        from requests_kerberos import HTTPKerberosAuth, OPTIONAL

        client.auth = HTTPKerberosAuth(mutual_authentication=OPTIONAL)
    post = lambda url: client.post(url, data=body)
else:
    import httpx

    if library == "httpx-ntlm":
        from httpx_ntlm import HttpNtlmAuth

        auth = HttpNtlmAuth("EXAMPLE\\" + user, password)
    else:
        from httpx_gssapi import HTTPSPNEGOAuth

        auth = HTTPSPNEGOAuth()
    client = httpx.Client(auth=auth, http2=library.endswith("-h2"), timeout=30)
    post = lambda url: client.post(url, content=body)

for path in ("one", "two", "three", "four"):
    url = f"{base}/session/{path}"
    answer = post(url) if path == "three" else client.get(url)
    print("ANSWER", answer.status_code, answer.headers.get("X-Identity", ""))
client.close()

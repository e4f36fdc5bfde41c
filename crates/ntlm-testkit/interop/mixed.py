"""Many users at once: LIBRARY BASE REQUESTS USER:PASSWORD:TICKETS... Prints "RIGHT", or what was wrong, for each answer.

Eight threads; a thread's user keeps a session for five requests, then begins anew."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import requests

library, base, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
users = [argument.split(":", 2) for argument in sys.argv[4:]]
THREADS, LIFE = 8, 5
together = threading.Barrier(THREADS)


def auth_of(user, password, tickets):
    if library == "ntlm":
        from requests_ntlm import HttpNtlmAuth

        return HttpNtlmAuth("EXAMPLE\\" + user, password)
    import gssapi
    from requests_gssapi import HTTPSPNEGOAuth

    store = {b"ccache": tickets.encode()}
    return HTTPSPNEGOAuth(creds=gssapi.Credentials(usage="initiate", store=store))


def work(thread):
    user, password, tickets = users[thread % len(users)]
    lines = []
    together.wait()
    for number in range(count // THREADS):
        if number % LIFE == 0:
            session = requests.Session()
            session.auth = auth_of(user, password, tickets)
        url = f"{base}/session/{thread}-{number}"
        body = b"x" * 2000
        answer = session.post(url, data=body) if number % 3 == 1 else session.get(url)
        name = answer.headers.get("X-Identity", "").split("\\")[-1].split("@")[0].lower()
        right = answer.status_code == 200 and name == user
        lines.append("RIGHT" if right else f"{url} as {user}: {answer.status_code} {name}")
    return lines


with ThreadPoolExecutor(THREADS) as pool:
    for lines in pool.map(work, range(THREADS)):
        print("\n".join(lines))

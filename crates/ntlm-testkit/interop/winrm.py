"""Sessions of WinRM at http://HOST:PORT: each user runs whoami in a shell several times (sessions.py has the arguments)."""
from pypsrp.shell import Process, WinRS
from pypsrp.wsman import WSMan

import sessions


def session(address, scheme, times, name, password):
    host, port = address.rsplit(":", 1)
    # Messages are encrypted with the keys of the login.
    wsman = WSMan(host, port=int(port), ssl=False, username="EXAMPLE\\" + name, password=password, auth=scheme,
                  encryption="always", read_timeout=50, operation_timeout=40)
    with wsman, WinRS(wsman) as shell:
        for _ in range(times):
            process = Process(shell, "whoami")
            process.invoke()
            yield process.stdout.decode()


sessions.run(session)

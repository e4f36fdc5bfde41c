"""Sessions of WinRM at http://HOST:PORT: each user runs whoami in a shell several times, all users at once. The arguments are the
address, the scheme (ntlm or negotiate), how many times, and the users, each as name:password."""
import sys
import threading

from pypsrp.shell import Process, WinRS
from pypsrp.wsman import WSMan

(host, port), scheme, commands = sys.argv[1].rsplit(":", 1), sys.argv[2], int(sys.argv[3])
users = [user.split(":", 1) for user in sys.argv[4:]]


def say(line):
    # print writes the end of the line apart, and another thread's line may come between.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def session(name, password):
    try:
        # Messages are encrypted with the keys of the login.
        wsman = WSMan(host, port=int(port), ssl=False, username="EXAMPLE\\" + name, password=password, auth=scheme,
                      encryption="always", read_timeout=50, operation_timeout=40)
        with wsman, WinRS(wsman) as shell:
            for _ in range(commands):
                process = Process(shell, "whoami")
                process.invoke()
                say("ANSWER %s for %s" % (process.stdout.decode(), name))
    except Exception as error:
        say("FAILED for %s: %s: %s" % (name, type(error).__name__, error))


threads = [threading.Thread(target=session, args=user) for user in users]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()

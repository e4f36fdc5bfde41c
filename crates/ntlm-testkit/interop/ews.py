"""Sessions of Exchange Web Services at http://HOST:PORT: each user resolves names several times, all users at once. The arguments are
the address, the scheme (ntlm), how many times, and the users, each as name:password."""
import sys
import threading

# Debian's pyOpenSSL does not fit the cryptography of these packages, and exchangelib does without.
sys.modules["OpenSSL"] = None

from exchangelib import Account, Configuration, Credentials, DELEGATE, NTLM
from exchangelib.ewsdatetime import EWSTimeZone
from exchangelib.version import EXCHANGE_2016, Version

address, commands = sys.argv[1], int(sys.argv[3])
users = [user.split(":", 1) for user in sys.argv[4:]]


def say(line):
    # print writes the end of the line apart, and another thread's line may come between.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def session(name, password):
    try:
        config = Configuration(service_endpoint="http://%s/EWS/Exchange.asmx" % address, auth_type=NTLM,
                               credentials=Credentials("EXAMPLE\\" + name, password), version=Version(EXCHANGE_2016))
        account = Account(name + "@example.com", config=config, autodiscover=False, access_type=DELEGATE,
                          default_timezone=EWSTimeZone("UTC"))
        for _ in range(commands):
            (mailbox,) = account.protocol.resolve_names(["anybody"])
            say("ANSWER %s for %s" % (mailbox.name, name))
    except Exception as error:
        say("FAILED for %s: %s: %s" % (name, type(error).__name__, error))


threads = [threading.Thread(target=session, args=user) for user in users]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()

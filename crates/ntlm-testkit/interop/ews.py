"""Sessions of Exchange Web Services at http://HOST:PORT: each user resolves names several times (sessions.py has the arguments)."""
import sys

# Debian's pyOpenSSL does not fit the cryptography of these packages, and exchangelib does without.
sys.modules["OpenSSL"] = None

from exchangelib import Account, Configuration, Credentials, DELEGATE, NTLM
from exchangelib.ewsdatetime import EWSTimeZone
from exchangelib.version import EXCHANGE_2016, Version

import sessions


def session(address, _scheme, times, name, password):
    config = Configuration(service_endpoint="http://%s/EWS/Exchange.asmx" % address, auth_type=NTLM,
                           credentials=Credentials("EXAMPLE\\" + name, password), version=Version(EXCHANGE_2016))
    account = Account(name + "@example.com", config=config, autodiscover=False, access_type=DELEGATE,
                      default_timezone=EWSTimeZone("UTC"))
    for _ in range(times):
        (mailbox,) = account.protocol.resolve_names(["anybody"])
        yield mailbox.name


sessions.run(session)

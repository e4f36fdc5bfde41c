"""A server of WinRM, as far as pypsrp asks it: it logs connections in, takes messages that are encrypted with the keys of the
connection's login, and runs one command, whoami.

The arguments are the address to listen at, and how many seconds a request for output waits; the users are in NTLM_USER_FILE."""
import base64
import re
import sys
import threading
import uuid

from pypsrp.encryption import WinRMEncryption

import bound

SOAP = ("<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope' xmlns:a='http://schemas.xmlsoap.org/ws/2004/08/addressing' "
        "xmlns:rsp='http://schemas.microsoft.com/wbem/wsman/1/windows/shell' xmlns:w='http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd'>"
        "<s:Header><a:Action>%sResponse</a:Action><a:RelatesTo>%s</a:RelatesTo></s:Header><s:Body>%s</s:Body></s:Envelope>")
STATE = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/CommandState/"
# A server answers a Receive when there is output.
OUTPUT_AFTER = float(sys.argv[2])


class Connection(bound.Connection):
    def answer(self, body):
        # The keys are those of this connection's login.
        secret = WinRMEncryption(self.context, WinRMEncryption.SPNEGO)
        message = secret.unwrap_message(body, "Encrypted Boundary").decode()
        kind, answer = secret.wrap_message(self.reply(message).encode())
        kind += ';protocol="%s";boundary="Encrypted Boundary"' % WinRMEncryption.SPNEGO
        return answer, ("Content-Type", kind)

    def reply(self, message):
        action = re.search(r"<[^>]*Action[^>]*>([^<]*)<", message).group(1)
        asked = re.search(r"<[^>]*MessageID[^>]*>([^<]*)<", message).group(1)
        name = action.rsplit("/", 1)[1]
        if name == "Create":
            body = "<rsp:Shell><rsp:ShellId>%s</rsp:ShellId></rsp:Shell>" % str(uuid.uuid4()).upper()
        elif name == "Command":
            body = "<rsp:CommandResponse><rsp:CommandId>%s</rsp:CommandId></rsp:CommandResponse>" % str(uuid.uuid4()).upper()
        elif name == "Receive":
            threading.Event().wait(OUTPUT_AFTER)
            command = re.search(r'CommandId="([^"]*)"', message).group(1)
            output = base64.b64encode(self.user().encode()).decode()
            body = ('<rsp:ReceiveResponse><rsp:Stream Name="stdout" CommandId="%s">%s</rsp:Stream><rsp:CommandState CommandId="%s" '
                    'State="%sDone"><rsp:ExitCode>0</rsp:ExitCode></rsp:CommandState></rsp:ReceiveResponse>') % (command, output, command, STATE)
        else:
            body = "<rsp:%sResponse/>" % name
        return SOAP % (action, asked, body)


bound.serve(sys.argv[1], Connection)

"""What servers in Python have in common: they log a connection in by NTLM, bare or in SPNEGO, and answer its POSTs. The users are in
NTLM_USER_FILE."""
import base64
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import spnego


class Connection(BaseHTTPRequestHandler):
    """One for each connection, which is what a login belongs to. A server has a method answer, which takes a body, and gives another one
    with its fields."""
    protocol_version = "HTTP/1.1"
    context = None

    def user(self):
        return self.context.client_principal.rsplit("\\", 1)[-1]

    def do_GET(self):
        self.do_POST()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        authorization, proof = self.headers.get("Authorization"), []
        if authorization:
            scheme, token = authorization.split(" ", 1)
            token = base64.b64decode(token)
            if token.startswith(b"NTLMSSP\0\1") or token.startswith(b"\x60"):
                options = spnego.NegotiateOptions
                self.context = (spnego.server(protocol="ntlm", options=options.use_ntlm) if token.startswith(b"NTLMSSP")
                                else spnego.server(protocol="negotiate", options=options.use_negotiate))
            try:
                answer = self.context.step(token)
            except (AttributeError, spnego.exceptions.SpnegoError) as error:
                print("refused:", error, file=sys.stderr, flush=True)
                self.context = None
                return self.say(401, b"")
            if answer:
                proof = [("WWW-Authenticate", scheme + " " + base64.b64encode(answer).decode())]
            if not self.context.complete:
                return self.say(401, b"", *proof)
        if self.context is None or not self.context.complete:
            return self.say(401, b"", ("WWW-Authenticate", "Negotiate"), ("WWW-Authenticate", "NTLM"))
        if not body:
            return self.say(200, b"", *proof)
        answer, *fields = self.answer(body)
        self.say(200, answer, *fields, *proof)

    def say(self, status, body, *fields):
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(address, connection):
    host, port = address.rsplit(":", 1)
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer((host, int(port)), connection).serve_forever()

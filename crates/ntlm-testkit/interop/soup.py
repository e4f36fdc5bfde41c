"""A session of libsoup 3, as Evolution speaks it: SCHEME BASE USER PASSWORD CA KIND FILE COUNT ONCE|ROW.

Prints "ANSWER status user hash" for each answer, and "PROMPT" each time it asks for a password after the first."""

import sys

import gi

gi.require_version("Soup", "3.0")
from gi.repository import Gio, GLib, GObject, Soup

scheme, base, user, password, ca, kind, path, count, pace = sys.argv[1:10]
session = Soup.Session(tls_database=Gio.TlsFileDatabase.new(ca), timeout=25, max_conns_per_host=12, max_conns=24)
session.remove_feature_by_type(Soup.AuthBasic)
session.add_feature_by_type(Soup.AuthNTLM if scheme == "ntlm" else Soup.AuthNegotiate)
loop = GLib.MainLoop()
waiting = int(count)


def authenticate(message, auth, retrying):
    if retrying:
        print("PROMPT", auth.get_scheme_name())
        return False
    auth.authenticate("EXAMPLE\\" + user, password)
    return True


def give(message):
    if kind == "post":
        with open(path, "rb") as file:
            message.set_request_body_from_bytes(None, GLib.Bytes.new(file.read()))
    elif kind != "none":
        file = Gio.File.new_for_path(path)
        size = file.query_info("standard::size", 0, None).get_size() if kind == "file" else -1
        message.set_request_body("application/octet-stream", file.read(None), size)


def send(number):
    method = {"none": "GET", "post": "POST"}.get(kind, "PUT")
    message = Soup.Message.new(method, f"{base}/session/stream-{number}")
    message.connect("authenticate", authenticate)
    # A body is gone when it was sent once: a program gives it anew each time.
    message.connect("restarted", give)
    give(message)
    session.send_and_read_async(message, 0, None, done, (number, message))


def done(session, result, job):
    global waiting
    number, message = job
    try:
        session.send_and_read_finish(result)
        headers = message.get_response_headers()
        print("ANSWER", int(message.get_status()), headers.get_one("X-Identity"), headers.get_one("X-Body-Hash"))
    except GLib.Error as error:
        print("error:", number, error.message)
    waiting -= 1
    if waiting == 0:
        loop.quit()
    elif pace == "ROW":
        send(number + 1)


for number in range(int(count) if pace == "ONCE" else 1):
    send(number)
loop.run()

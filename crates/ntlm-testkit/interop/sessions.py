"""Users who ask a server at once. The arguments of a script are the server's address, the scheme (ntlm or negotiate), how many times each
user asks, and the users, each as name:password."""
import sys
import threading


def say(line):
    # print writes the end of the line apart, and another thread's line may come between.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(session):
    """Calls session(address, scheme, times, name, password) for each user in a thread. It yields whom the server takes the user for,
    once for each answer."""
    address, scheme, times = sys.argv[1], sys.argv[2], int(sys.argv[3])

    def play(name, password):
        try:
            for taken_for in session(address, scheme, times, name, password):
                say("ANSWER %s for %s" % (taken_for, name))
        except Exception as error:
            say("FAILED for %s: %s: %s" % (name, type(error).__name__, error))

    threads = [threading.Thread(target=play, args=user.split(":", 1)) for user in sys.argv[4:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

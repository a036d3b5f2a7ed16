"""Waiting for a condition. Nothing in the tests sleeps for a fixed time and hopes."""

import time


class Timeout(AssertionError):
    pass


def wait_for(condition, timeout_s: float, what: str, interval_s: float = 0.02):
    """Calls condition() until it returns something true, and returns that.

    An exception of condition() counts as "not yet"; the last one is shown when time is up.
    """
    deadline = time.monotonic() + timeout_s
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
        except (OSError, AssertionError, ValueError) as e:
            last = e
        if time.monotonic() > deadline:
            raise Timeout(f"waited {timeout_s:g} s for {what}" + (f"; last error: {last}" if last else ""))
        time.sleep(interval_s)

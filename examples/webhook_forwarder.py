"""Forward selected events to a URL, each at least once and in the order of its partition.

An event is committed after the receiver has answered 2xx. A receiver that is down or busy is tried again with backoff;
one that refuses an event ends the program, which then begins with that event the next time. What a crash repeats has
the same `Idempotency-Key`.
"""

from __future__ import annotations

import argparse
import sys
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Final, NoReturn

import tenacity

from rasad import subscribe
from rasad.messages import EnrichedEvent, to_bytes

PATIENCE_S: Final = 240
"""How long one event is tried. A member of a group that asks for nothing for 5 minutes is taken for dead."""
TIMEOUT_S: Final = 10


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET, without the event."""

    def redirect_request(self, *_: object) -> None:
        """Let it be an error."""


def worth_repeating(error: BaseException) -> bool:
    """Whether the receiver may take the same event later: it is away, failing, or busy."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= HTTPStatus.INTERNAL_SERVER_ERROR or error.code in (
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.TOO_MANY_REQUESTS,
        )
    return isinstance(error, OSError)


@tenacity.retry(
    retry=tenacity.retry_if_exception(worth_repeating),
    wait=tenacity.wait_random_exponential(multiplier=0.5, max=30),
    stop=tenacity.stop_after_delay(PATIENCE_S),
    reraise=True,
)
def post(url: str, event: EnrichedEvent) -> None:
    """Send one event. Raises OSError, of which HTTPError is one, where it is not taken."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": event.event_id}
    request = urllib.request.Request(url, data=to_bytes(event), headers=headers, method="POST")  # noqa: S310
    with urllib.request.build_opener(NoRedirects).open(request, timeout=TIMEOUT_S):
        pass


def main() -> None:
    """Read the arguments and forward until stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="where events go, as JSON by POST")
    parser.add_argument("--group", default="webhook", help="consumer group (default: %(default)s)")
    parser.add_argument("--entity", action="append", default=[], help="only with this name, in any spelling")
    parser.add_argument("--stance", action="append", default=[], help="only with such a stance: headline:disagree")
    parser.add_argument("--once", action="store_true", help="forward what is there now, then stop")
    given = parser.parse_args()
    with subscribe(
        group=given.group, entities=given.entity, stances=given.stance, until="end" if given.once else None
    ) as events:
        for event in events:
            try:
                post(given.url, event)
            except OSError as error:
                give_up(f"{given.url} does not take event {event.event_id}: {error}")
            events.commit()


def give_up(message: str) -> NoReturn:
    """End with one line and exit code 1."""
    sys.exit(f"webhook_forwarder: {message}")


if __name__ == "__main__":
    main()

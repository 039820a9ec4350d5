"""What a phase means to the person who pays and waits, and what to do next."""

from __future__ import annotations

from lamplighter.cli.answers import EndpointView
from lamplighter.cli.words import ago, span, whole


def meaning(view: EndpointView) -> str:
    """One line on what the state is."""
    match view.status:
        case "running":
            return f"it is awake and answers at once; {_until_when(view)}"
        case "sleeping" if view.state == "paused":
            return "nothing runs and nothing costs; it is paused, so requests are refused until it is resumed"
        case "sleeping":
            return f"nothing runs and nothing costs; the next request wakes it{_usual_time(view)}"
        case "starting":
            return f"it is on its way up{_so_far(view)}; requests that come now are held until it is ready"
        case "stopping":
            return "its engine is being ended; a request that comes now wakes it again"
        case "error":
            return f"it could not be started: {(view.message or 'no reason is known').strip()}"
        case _:
            return f"its provider can't be asked, so it is neither woken nor put to sleep{_last_known(view)}"


def next_step(view: EndpointView) -> str:
    """One line on what can be done now."""
    name = view.name
    match view.status:
        case "running":
            return f"send requests for model {name!r}, or `lamplighter sleep {name}`"
        case "sleeping" if view.state == "paused":
            return f"`lamplighter start {name}` resumes it and waits until it answers"
        case "sleeping":
            return f"send a request for model {name!r}, or `lamplighter wake {name}` ahead of it"
        case "starting":
            return f"`lamplighter wake {name}` waits for it; `lamplighter logs {name} -f` shows what its engine prints"
        case "stopping":
            return f"`lamplighter sleep {name}` waits until it is asleep"
        case "error":
            return f"`lamplighter logs {name}` shows its last words; `lamplighter wake {name}` tries again at once"
        case _:
            return "the server's log tells why; it looks again by itself"


def _until_when(view: EndpointView) -> str:
    if view.auto_sleep_in is not None:
        return f"put to sleep in {whole(view.auto_sleep_in)} if nothing comes"
    if view.held_by:
        return f"held awake by {', '.join(view.held_by)}"
    if view.idle_timeout is None:
        return "never put to sleep by itself"
    return f"put to sleep after {whole(view.idle_timeout)} without a request"


def _usual_time(view: EndpointView) -> str:
    return f", in {span(view.expected_start)} as a rule" if view.expected_start else ""


def _so_far(view: EndpointView) -> str:
    if view.starting_for is None:
        return ""
    usual = f" of the usual {span(view.expected_start)}" if view.expected_start else ""
    return f", {span(view.starting_for)}{usual} so far"


def _last_known(view: EndpointView) -> str:
    if view.state is None:
        return ""
    when = f", {ago(view.state_age)}" if view.state_age is not None else ""
    return f"; last known: {view.state}{when}"

"""What people and configuration want of an endpoint, beside its requests."""

from __future__ import annotations

from lamplighter.control.demand import SOMEBODY, Caller
from lamplighter.domain.endpoint import State


class Wishes:
    """Standing words. `stay_asleep` outlasts `keep_warm` until somebody comes.

    `paused` outlasts everything but a `wake`, a `resume` or a `scale_to_zero`, and the process as well.
    """

    def __init__(self, *, paused: bool = False) -> None:
        self.paused = paused
        self.wake_asked = False
        self.wake_until = 0.0  # a wake that was asked for waits for room no longer than this
        self.wake_overdue = False  # that moment has passed, and it was said
        self.called_until = 0.0  # as if a request waited until then
        self.called_by = SOMEBODY
        self.sleep_asked = False
        self.sleep_into: State | None = None  # as was asked for; None leaves it to the policy
        self.stay_asleep = False
        self.asker = ""
        self.holder = ""  # whose lease asked for it, if one did
        self.leases: dict[str, str] = {}  # and on whose account they hold
        self.retiring = False

    @property
    def want_quiet(self) -> bool:
        """Whether something waits for the last request to end."""
        return self.sleep_asked or self.paused

    @property
    def operated(self) -> bool:
        """Whether what is done now is done on a person's word, and not for a request or by policy."""
        return self.wake_asked or self.sleep_asked or self.paused

    def ask_wake(self, actor: str, holder: str = "") -> None:
        self._say(actor)
        self.holder = holder
        self.wake_asked = True
        self.wake_overdue = False

    def ask_sleep(self, actor: str, into: State | None = None) -> None:
        """A sleep leaves a pause as it is; asking for `SCALED_TO_ZERO` by name withdraws it."""
        self._say(actor, paused=self.paused and into is None)
        self.sleep_asked = self.stay_asleep = True
        self.sleep_into = into

    def ask_pause(self, actor: str) -> None:
        self._say(actor, paused=True)
        self.leases.clear()

    def resumed_elsewhere(self) -> None:
        self._say("provider")

    def is_asleep(self, state: State) -> None:
        """It is asleep in this way: a sleep that was asked for so, or in any way, is done."""
        if self.sleep_into in (None, state):
            self.end_sleep()

    def end_sleep(self) -> None:
        """Nobody asks for it any more, or it can't be had."""
        self.sleep_asked, self.sleep_into = False, None

    def paused_elsewhere(self) -> None:
        """Somebody paused it at its provider: that is not fought. Requests resume it where they may."""
        self.stay_asleep = True
        self.call_ends()
        self.leases.clear()

    def somebody_came(self) -> None:
        self.stay_asleep = False

    def call(self, until: float, caller: Caller) -> None:
        """A request that is answered elsewhere wants it awake, for as long as one would wait for that."""
        if not self.called_until:
            self.called_by = caller
        self.called_until = until
        self.somebody_came()

    def call_ends(self) -> None:
        self.called_until = 0.0

    def _say(self, actor: str, *, paused: bool = False) -> None:
        """The last word counts: it takes the place of all before it."""
        self.wake_asked = self.sleep_asked = self.stay_asleep = False
        self.sleep_into = None
        self.called_until = 0.0
        self.paused = paused
        self.asker, self.holder = actor, ""

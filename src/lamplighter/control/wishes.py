"""What people and configuration want of an endpoint, beside its requests."""

from __future__ import annotations

from lamplighter.domain.endpoint import Spec


class Wishes:
    """Standing words. `stay_asleep` outlasts `keep_warm` until somebody comes; `next_spec` waits for a quiet moment."""

    def __init__(self) -> None:
        self.wake_asked = False
        self.wake_until = 0.0  # a wake that was asked for waits for room no longer than this
        self.sleep_asked = False
        self.stay_asleep = False
        self.asker = ""
        self.leases: set[str] = set()
        self.next_spec: Spec | None = None
        self.retiring = False

    @property
    def want_quiet(self) -> bool:
        """Whether something waits for the last request to end."""
        return self.sleep_asked or self.next_spec is not None

    def ask_wake(self, actor: str) -> None:
        self.wake_asked, self.sleep_asked, self.stay_asleep = True, False, False
        self.asker = actor

    def ask_sleep(self, actor: str) -> None:
        self.wake_asked, self.sleep_asked, self.stay_asleep = False, True, True
        self.asker = actor

    def somebody_came(self) -> None:
        self.stay_asleep = False

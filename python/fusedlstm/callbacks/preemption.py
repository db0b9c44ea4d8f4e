"""`Termination`: SIGTERM, kept until a training can act on it."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any


class Termination:
    """Notes SIGTERM in the place of what the process did with it before.

    In other threads than the main one, where Python lets nobody do so, it does nothing.

    Attributes
    ----------
    came : bool
        Whether the signal came, and nobody has acted on it yet.
    """

    def __init__(self) -> None:
        self.came = False
        self._before: Any = None
        self._installed = threading.current_thread() is threading.main_thread()
        if self._installed:
            self._before = signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self.came = True

    def close(self) -> None:
        """Put back what was there before, and hand a signal on to it that came too late to act on."""
        if not self._installed:
            return
        self._installed = False
        # A handler that was not made by Python cannot be put back.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if self._before is None else self._before)
        if self.came:
            os.kill(os.getpid(), signal.SIGTERM)

"""Dispositions and masks of signals, as a new program expects them (signal(7))."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:  # the module below this one imports enum: two milliseconds
    import _signal as signal


def reset_signals() -> None:
    """Give every signal its default action, and block none.

    What is ignored stays so across exec: by Python SIGPIPE (`yes | head` would not end), by our
    caller perhaps others.
    """
    for number in range(1, signal.NSIG):
        # Those with handlers get their defaults by the exec; two are libc's own, and are None.
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())

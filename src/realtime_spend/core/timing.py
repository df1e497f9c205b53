"""How long users wait: from the begin of a response to its first output, from the end of speech to first audio."""

from __future__ import annotations

_MOST_OPEN = 1_024
_HEAD = 256


class Timing:
    """When the responses of one socket were begun, and when the user's speech before them ended."""

    def __init__(self) -> None:
        # When each response began, whether its first output was seen, and whether audio may come.
        self.begun: dict[str, tuple[int, bool, bool]] = {}
        self._speech_ended_at: int | None = None
        self._is_stopped = False

    def begin_anew(self) -> None:
        """Take that the socket is in another session now."""
        self.begun.clear()
        self._speech_ended_at, self._is_stopped = None, False

    def begin(self, response: str, at: int, *, speaks: bool = True) -> None:
        """Take the begin of a response, and whether audio may be among its output."""
        self.begun[response] = (at, False, speaks)
        if len(self.begun) > _MOST_OPEN:
            del self.begun[next(iter(self.begun))]

    def speech_stopped(self, at: int) -> None:
        """Take the end of the user's speech, as the service hears it."""
        self._speech_ended_at, self._is_stopped = at, True

    def committed(self, at: int) -> None:
        """Without voice detection the client's commit is the end of the speech; with it, the service told it before."""
        if not self._is_stopped:
            self._speech_ended_at = at
        self._is_stopped = False

    def awaits(self, frame: str | bytes | bytearray) -> bool:
        """Whether a delta may be a first one that is waited for; quick, since nearly all of them are not.

        Only the head is looked at: of a frame that hides its response further on, nothing is timed.
        """
        head = frame[:_HEAD] if isinstance(frame, str) else bytes(frame[:_HEAD]).decode("latin-1")
        for response, (_, has_begun, _) in self.begun.items():
            if response in head:
                return not has_begun or "audio.delta" in head
        return len(self.begun) == 1 and "response_id" not in head

    def output(self, response: str | None, at: int, *, is_audio: bool) -> tuple[float | None, float | None]:
        """Return the seconds to the first delta of this response and to its first audio, where this delta is it."""
        if response is None and len(self.begun) == 1:
            response = next(iter(self.begun))
        if response is None or response not in self.begun:
            return None, None
        created_at, has_begun, speaks = self.begun[response]
        to_audio = None
        if is_audio:
            to_audio = seconds_between(self._speech_ended_at, at)
            self._speech_ended_at = None
        if is_audio or not speaks:
            # Nothing is awaited of it any more, so that its other deltas can be skipped at once.
            del self.begun[response]
        else:
            self.begun[response] = (created_at, True, True)
        return None if has_begun else seconds_between(created_at, at), to_audio


def seconds_between(begun: int | None, at: int) -> float | None:
    """Return the seconds between two instants; None if the clock was set back meanwhile."""
    return None if begun is None or at < begun else (at - begun) / 1e9

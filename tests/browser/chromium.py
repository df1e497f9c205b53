"""A real Chromium without a window, driven through its DevTools protocol, and what it asked the network for.

All its traffic goes to a proxy on loopback that answers nothing and notes who was asked for.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from websockets.sync.client import ClientConnection, connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_SECONDS = 60.0
_LARGEST_ANSWER = 256 * 1024 * 1024
_QUIET = (
    "--headless=new",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-client-side-phishing-detection",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-features=OptimizationHints,MediaRouter,Translate,AutofillServerCommunication,InterestFeedContentSuggestions",
    "--metrics-recording-only",
    "--mute-audio",
    "--password-store=basic",
    "--use-mock-keychain",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
    "--remote-debugging-port=0",
    # Loopback goes through the proxy as well.
    "--proxy-bypass-list=<-loopback>",
)


class Proxy:
    """Stands on loopback where a way out would be: notes the first line of each request, and hangs up."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def stop(self) -> None:
        # A closed listener does not wake up an accept that waits on it.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE_SECONDS)

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            with caller:
                caller.settimeout(5.0)
                with suppress(OSError):
                    self.asked.append(caller.recv(4_096).split(b"\r\n", 1)[0].decode("latin-1"))


@dataclass
class Page:
    """One tab, and the proxy that it would get anything from elsewhere by."""

    socket: ClientConnection
    session: str
    proxy: Proxy
    events: list[dict[str, Any]] = field(default_factory=list)
    last: int = 0

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.last += 1
        message = {"id": self.last, "method": method, "params": parameters, "sessionId": self.session}
        self.socket.send(json.dumps(message))
        return _answer(self.socket, self.last, self.events)

    def open(self, url: str) -> None:
        self.events.clear()
        answer = self.send("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        self.wait_for("Page.loadEventFired")

    def wait_for(self, method: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(event["method"] == method for event in self.events):
            self.events.append(json.loads(self.socket.recv(timeout=max(deadline - time.monotonic(), 0.01))))

    def evaluate(self, expression: str) -> Any:
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def look(self, *, width: int, scheme: str = "light", media: str = "") -> None:
        """Make it as wide as a device, light or dark, on a screen or as it is printed."""
        is_phone = width < 500
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=is_phone)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", media=media, features=features)

    def picture(self, path: Path) -> Path:
        """Take a picture of the whole page, also of what is below the edge of the screen."""
        answer = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, fromSurface=True)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    def pdf(self) -> bytes:
        return base64.b64decode(self.send("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])

    @property
    def asked(self) -> list[str]:
        return [
            event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"
        ]

    @property
    def said(self) -> list[str]:
        """What it has to say of itself: errors, and what its policy refused."""
        return [event["params"]["entry"]["text"] for event in self.events if event["method"] == "Log.entryAdded"]


@dataclass(frozen=True)
class Browser:
    socket: ClientConnection
    proxy: Proxy

    @contextmanager
    def page(self) -> Iterator[Page]:
        target = self._send(1, "Target.createTarget", url="about:blank")["targetId"]
        session = self._send(2, "Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self.socket, session, self.proxy)
        for domain in ("Page", "Network", "Runtime", "Log"):
            page.send(f"{domain}.enable")
        yield page
        self._send(3, "Target.closeTarget", targetId=target)

    def _send(self, number: int, method: str, **parameters: Any) -> dict[str, Any]:
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        return _answer(self.socket, number, [])


def _answer(socket: ClientConnection, number: int, events: list[dict[str, Any]]) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        message = json.loads(socket.recv(timeout=max(deadline - time.monotonic(), 0.01)))
        if message.get("id") == number:
            assert "error" not in message, message
            result: dict[str, Any] = message["result"]
            return result
        events.append(message)


@contextmanager
def browser(program: Path, folder: Path) -> Iterator[Browser]:
    """Run Chromium with its profile in `folder`, and end it."""
    proxy = Proxy()
    # Root may not use its sandbox.
    rights = ("--no-sandbox",) if os.geteuid() == 0 else ()
    where = (f"--user-data-dir={folder}", f"--proxy-server=http://127.0.0.1:{proxy.port}")
    log = folder.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, *_QUIET, *rights, *where, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)},
            start_new_session=True,
        )
        try:
            url = _address(folder / "DevToolsActivePort", process, log)
            with connect(url, proxy=None, max_size=_LARGEST_ANSWER, compression=None) as socket:
                assert isinstance(socket, ClientConnection)
                yield Browser(socket, proxy)
        finally:
            _end(process)
            proxy.stop()


def _address(file: Path, process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError):
            port, path = file.read_text(encoding="ascii").split()
            return f"ws://127.0.0.1:{port}{path}"
        assert process.poll() is None, log.read_text(encoding="utf-8", errors="replace")[-2_000:]
        time.sleep(0.05)
    raise AssertionError(log.read_text(encoding="utf-8", errors="replace")[-2_000:])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it with what it started: it has a process group of its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 15)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait(10)

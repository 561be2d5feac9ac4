"""Headless Chromium driven over its DevTools protocol: pages are opened, asked and operated for real."""

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_SECONDS = 60
_COMPLAINTS = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")


class Page:
    """One tab. `requests`, `complaints` hold the addresses asked for, and everything on the console with exceptions."""

    def __init__(self, socket: ClientConnection):
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._socket, self._last = socket, 0
        self._loaded = False
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")

    def open(self, path: Path) -> None:
        """Opens a file and waits until it has loaded and its scripts have run."""
        self._loaded = False
        self._send("Page.navigate", url=path.as_uri())
        while not self._loaded:
            self._receive()

    def run(self, script: str) -> Any:
        """The value of an expression, of a promise once it is kept. An exception in the page is raised here."""
        found = self._send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """A key, as in `("ArrowLeft", 37)`, on what has the focus."""
        for kind in ("keyDown", "keyUp"):
            self._send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def resize(self, width: int, height: int = 900) -> None:
        self._send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def screenshot(self) -> bytes:
        """A PNG of the whole page."""
        return base64.b64decode(self._send("Page.captureScreenshot", captureBeyondViewport=True)["data"])

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while (answer := self._receive()).get("id") != self._last:
            pass
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=_SECONDS))
        what, of = message.get("method"), message.get("params", {})
        if what == "Page.loadEventFired":
            self._loaded = True
        elif what == "Network.requestWillBeSent":
            self.requests.append(of["request"]["url"])
        elif what in _COMPLAINTS and of.get("entry", {}).get("source") != "rendering":  # which is advice about speed
            self.complaints.append(json.dumps(of))
        return message


@contextmanager
def browsing(*flags: str) -> Iterator[Page]:
    """A Chromium of its own, with an empty profile, that ends with the block."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run", *flags,
                   f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]  # fmt: skip
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_address(browser, Path(profile)), proxy=None, max_size=None) as socket:
                yield Page(socket)
        finally:
            browser.terminate()
            browser.wait(_SECONDS)


def _address(browser: subprocess.Popen[bytes], profile: Path) -> str:
    """Of the first tab, once the browser listens."""
    from urllib.request import ProxyHandler, build_opener

    file = profile / "DevToolsActivePort"
    until = time.monotonic() + _SECONDS
    while not (file.is_file() and file.read_text().count("\n")):
        assert browser.poll() is None, "the browser ended at its start"
        assert time.monotonic() < until, "the browser does not listen"
        time.sleep(0.05)
    with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{file.read_text().split()[0]}/json/list") as answer:
        tabs = json.load(answer)
    return str(next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"))

"""A headless Chromium, driven through chromedriver by the protocol of W3C WebDriver, which is JSON over HTTP."""

import base64
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.processes import require_program
from helpers.waiting import free_port, until

_FLAGS = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
_FLAGS += ["disable-component-update", "disable-sync", "disable-dev-shm-usage"]
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver section 12.1


class Browser:
    """One window. Scripts that are run here are none of the page's: its policy does not hold for them."""

    def __init__(self, driver: str, session: str) -> None:
        self._base = f"{driver}/session/{session}"

    def _call(self, path: str, **body: Any) -> Any:
        return _post(f"{self._base}/{path}", body)

    def open(self, page: Path) -> None:
        """Loads a file."""
        self.logs()
        self.requests()
        self._call("url", url=page.as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        """What the body of a function returns."""
        return self._call("execute/sync", script=script, args=list(arguments))

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self._call("goog/cdp/execute", cmd=name, params=parameters)

    def resize(self, width: int, height: int, mobile: bool = False) -> None:
        """Gives the page a size in CSS pixels."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )

    def point(self, *moves: dict[str, Any]) -> None:
        """Moves and clicks of a mouse, as WebDriver section 17 names them."""
        pointer = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": list(moves)}
        self._call("actions", actions=[pointer])

    def find(self, selector: str) -> dict[str, str]:
        """The first element that fits, as an origin of `point`."""
        return {_ELEMENT: self._call("element", using="css selector", value=selector)[_ELEMENT]}

    def click(self, selector: str) -> None:
        """Clicks on the first element that fits."""
        self._call(f"element/{self.find(selector)[_ELEMENT]}/click")

    def type(self, selector: str, text: str) -> None:
        """Types into the first element that fits."""
        self._call(f"element/{self.find(selector)[_ELEMENT]}/value", text=text)

    def logs(self) -> list[str]:
        """What the console was told since the last call."""
        return [entry["message"] for entry in self._call("se/log", type="browser")]

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call."""
        entries = [json.loads(entry["message"])["message"] for entry in self._call("se/log", type="performance")]
        sent = [entry["params"] for entry in entries if entry["method"] == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent]

    def picture(self, path: Path) -> None:
        """Writes what the window shows as PNG."""
        with urllib.request.urlopen(f"{self._base}/screenshot", timeout=60) as answer:
            path.write_bytes(base64.b64decode(json.load(answer)["value"]))


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(json.load(error)["value"]["message"]) from None


def _ready(driver: str) -> bool:
    try:
        with urllib.request.urlopen(f"{driver}/status", timeout=5) as answer:
            return json.load(answer)["value"]["ready"]
    except OSError:
        return False


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile; where it or its driver is missing the test skips."""
    chromium, program, port = require_program("chromium"), require_program("chromedriver"), free_port()
    driver = f"http://127.0.0.1:{port}"
    with subprocess.Popen([program, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: _ready(driver))
            options = {
                "binary": chromium,
                "args": [*map("--{}".format, _FLAGS), f"--user-data-dir={profile}", "about:blank"],
            }
            wanted = {"browserName": "chrome", "goog:chromeOptions": options}
            wanted["goog:loggingPrefs"] = {"browser": "ALL", "performance": "ALL"}
            session = _post(f"{driver}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
            try:
                yield Browser(driver, session)
            finally:
                urllib.request.urlopen(urllib.request.Request(f"{driver}/session/{session}", method="DELETE")).close()
        finally:
            process.terminate()

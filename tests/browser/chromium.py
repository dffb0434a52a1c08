"""A headless Chromium spoken to in its own protocol, over a web socket on the loopback."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import websocket

from workbench.reports.html import find_browser, headless

SECONDS = 60.0
KEPT = ("Network.requestWillBeSent", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


class Page:
    """One tab: what it asked the network for, what it complained of, and its JavaScript."""

    def __init__(self, folder: Path) -> None:
        browser = find_browser()
        assert browser is not None
        environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
        command = [*headless(browser, folder / "profile"), "--remote-debugging-port=0", "--window-size=1200,900"]
        self.process = subprocess.Popen(
            [*command, "about:blank"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.events: list[dict[str, Any]] = []
        self.numbers = itertools.count(1)
        port_file = folder / "profile/DevToolsActivePort"
        until(lambda: port_file.exists() and len(port_file.read_text().split()) == 2)
        port, path = port_file.read_text().split()
        self.socket = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", suppress_origin=True, timeout=SECONDS)
        targets = self.call("Target.getTargets", session=False)["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        attached = self.call("Target.attachToTarget", session=False, targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def call(self, method: str, session: bool = True, **parameters: Any) -> Any:
        """Calls a method of the protocol and waits for its answer."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters}
        self.socket.send(json.dumps(message | ({"sessionId": self.session} if session else {})))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            if answer.get("method") in KEPT:
                self.events.append(answer)

    def open(self, address: str) -> None:
        """Goes to an address and waits until it is loaded."""
        self.call("Page.navigate", url="about:blank")  # the page before has nothing to say any more
        until(lambda: self.run("location.href") == "about:blank")
        self.events.clear()
        self.call("Page.navigate", url=address)
        until(lambda: self.run("document.readyState") == "complete" and self.run("location.href") != "about:blank")
        time.sleep(0.2)  # for requests a page makes once it is loaded

    def run(self, source: str) -> Any:
        """The value of an expression on the page; promises are waited for."""
        found = self.call("Runtime.evaluate", expression=source, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    @property
    def requests(self) -> list[str]:
        """The addresses it asked for."""
        self.run("0")
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings of the console, and exceptions."""
        self.run("0")
        found = []
        for event in self.events:
            match event["method"], event["params"]:
                case "Runtime.exceptionThrown", parameters:
                    found.append(json.dumps(parameters["exceptionDetails"]))
                case "Log.entryAdded", {"entry": entry} if entry["level"] in ("error", "warning"):
                    found.append(entry["text"])
                case "Runtime.consoleAPICalled", parameters if parameters["type"] in ("error", "warning", "assert"):
                    found.append(json.dumps(parameters["args"]))
        return found

    def close(self) -> None:
        self.call("Browser.close", session=False)
        self.socket.close()
        self.process.wait(timeout=SECONDS)


def until(ready: Callable[[], object], seconds: float = SECONDS) -> None:
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)

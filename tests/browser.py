"""A headless Chromium for tests of pages, controlled through ChromeDriver with only the standard library."""

import json
import shutil
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT = 120.0


class Browser:
    """A browser: ``open`` shows a page; ``messages`` and ``requests`` return those of this page."""

    def __init__(self) -> None:
        programs = shutil.which("chromium"), shutil.which("chromedriver")
        if not all(programs):
            pytest.skip("chromium and chromedriver are not installed (Debian: chromium, chromium-driver)")
        self._profile = tempfile.TemporaryDirectory(prefix="nnmpi-browser-")
        self._driver = subprocess.Popen(
            [str(programs[1]), "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._session = ""
        try:
            self._address = f"http://127.0.0.1:{self._port()}"
            options = {"args": [*FLAGS, f"--user-data-dir={self._profile.name}"], "binary": programs[0]}
            capabilities = {
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            }
            answer = self._ask("/session", {"capabilities": {"alwaysMatch": capabilities}})
            self._session = f"/session/{answer['sessionId']}"
        except BaseException:
            self.close()
            raise

    def _port(self) -> int:
        assert self._driver.stdout
        for line in self._driver.stdout:
            if "started successfully on port" in line:
                return int(line.rsplit(" ", 1)[1].strip(" .\n"))
        raise RuntimeError("chromedriver ended before it opened its port")

    def _ask(self, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._address + path, data, {"Content-Type": "application/json"}, method=method
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=TIMEOUT) as answer:
            return json.load(answer)["value"]

    def command(self, name: str, **parameters: Any) -> Any:
        """Run a command of the DevTools protocol and return its answer."""
        return self._ask(f"{self._session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def run(self, script: str) -> Any:
        """Run a script in the page and return its value."""
        return self._ask(f"{self._session}/execute/sync", {"script": script, "args": []})

    def open(self, page: Path, width: int, dark: bool = False) -> None:
        """Show a file in a window of `width` pixels."""
        self._logs("browser"), self._logs("performance")
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self._ask(f"{self._session}/url", {"url": page.resolve().as_uri()})

    def messages(self) -> list[str]:
        """Return the messages of the page in the console."""
        return [entry["message"] for entry in self._logs("browser")]

    def requests(self) -> list[str]:
        """Return the requested addresses, without data that are part of the page."""
        messages = [json.loads(entry["message"])["message"] for entry in self._logs("performance")]
        sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [address for address in sent if not address.startswith(("data:", "chrome:"))]

    def _logs(self, kind: str) -> list[dict[str, Any]]:
        return list(self._ask(f"{self._session}/se/log", {"type": kind}))

    def close(self) -> None:
        """End the browser."""
        try:
            if self._session:
                self._ask(self._session, method="DELETE")
        finally:
            self._driver.terminate()
            self._driver.wait(TIMEOUT)
            if self._driver.stdout:
                self._driver.stdout.close()
            self._profile.cleanup()

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

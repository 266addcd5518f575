"""A headless Chromium that remembers everything a quiet page must not do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@dataclass
class Opened:
    """A page, with what it said (console, errors, dialogs) and what it asked of the network."""

    page: Page
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def see_everything(self) -> None:
        """Unfold every part and bring each chart into view."""
        self.page.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
        for box in self.page.locator(".chart").all():
            box.scroll_into_view_if_needed()
            box.locator("svg").wait_for(state="attached")


@contextmanager
def opened(path: Path, width: int = 1280, scheme: str = "light", javascript: bool = True) -> Iterator[Opened]:
    """The page of a file in a window of this width and colour scheme."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,  # type: ignore[arg-type]
            java_script_enabled=javascript,
        )
        found = Opened(context.new_page())
        found.page.on("console", lambda message: found.said.append(message.text))
        found.page.on("pageerror", lambda error: found.said.append(str(error)))
        found.page.on("dialog", lambda dialog: (found.said.append(dialog.message), dialog.dismiss()))
        found.page.on(
            "request",
            lambda request: None if request.url.startswith(("file:", "data:")) else found.requests.append(request.url),
        )
        found.page.goto(path.as_uri())
        yield found
        browser.close()

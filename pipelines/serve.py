"""`plm serve`: a Prefect server on loopback with its SQLite database, and the project's deployments, in one command."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from prefect import Flow
from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner
from prefect.settings import get_current_settings
from prefect.types.entrypoint import EntrypointType

START_SECONDS = 90
STOP_SECONDS = 10


class ServeError(RuntimeError):
    """Serving cannot start; the message is one line for the user."""


class PlmRunner(Runner):
    """A runner that SIGTERM and Ctrl-C end alike: its runs are cancelled, then it returns."""

    def handle_sigterm(self, *_args: object, **_kwargs: object) -> None:
        """Stop on the event loop; Prefect's own handler exits inside it and leaves tracebacks and running runs."""
        if not self.started:
            raise KeyboardInterrupt
        self.execute_in_background(self.astop)


def deployment(flow: Flow[Any, Any], name: str, **parameters: object) -> RunnerDeployment:
    """Return a deployment that runs `flow` by its module path: no file is read from the current folder."""
    made = flow.to_deployment(name, parameters=parameters, entrypoint_type=EntrypointType.MODULE_PATH)
    assert isinstance(made, RunnerDeployment)
    return made


def prefect_version(api_url: str) -> str | None:
    """Return the version of the Prefect server at `api_url`, None where nothing listens; refuse anything else."""
    try:
        reply = httpx.get(f"{api_url}/admin/version", timeout=10, trust_env=False)
        version = reply.raise_for_status().json()
    except httpx.ConnectError:
        return None
    except (httpx.HTTPError, ValueError) as error:
        reason = type(error).__name__
        raise ServeError(f"{api_url} is taken by something that is not a Prefect server ({reason})") from error
    return str(version)


@contextmanager
def server(api_url: str, home: Path) -> Iterator[None]:
    """Run a Prefect server at `api_url` with its database and log under `home`; use the one that runs there already."""
    if version := prefect_version(api_url):
        print(f"Using the Prefect {version} server that already runs at {api_url}", flush=True)
        yield
        return
    address = urlsplit(api_url)
    if address.hostname not in ("127.0.0.1", "localhost"):
        raise ServeError(f"no Prefect server answers at {api_url}; plm serve starts one on 127.0.0.1 only")
    home.mkdir(parents=True, exist_ok=True)
    log = home / "server.log"
    options = ["--host", "127.0.0.1", "--port", str(address.port or 80)]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "--no-prompt", "server", "start", *options],
            env=os.environ | {"PREFECT_HOME": str(home), "DO_NOT_TRACK": "1"},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the runner first, which still needs the API to close its runs
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while prefect_version(api_url) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServeError(f"the Prefect server did not start; its log is {log}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serve(*deployments: RunnerDeployment) -> int:
    """Serve `deployments` until Ctrl-C or SIGTERM; return the exit code."""
    settings = get_current_settings()
    api_url, home = settings.api.url, settings.home.resolve()
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: `plm serve &` in a script starts with it ignored
        signal.signal(number, signal.default_int_handler)
    try:
        if api_url is None:
            raise ServeError("no Prefect API URL is set; run plm serve in the project's folder")
        with server(api_url, home):
            runner = PlmRunner(name="plm", pause_on_shutdown=False)
            for each in deployments:
                runner.add_deployment(each)
            print(f"Serving at {api_url.removesuffix('/api')}; stop with Ctrl-C", flush=True)
            for each in deployments:
                print(f"  prefect deployment run {each.flow_name}/{each.name}", flush=True)
            signal.signal(signal.SIGINT, runner.handle_sigterm)
            asyncio.run(runner.start())
    except KeyboardInterrupt:
        pass
    except ServeError as error:
        print(f"plm serve: {error}", file=sys.stderr)
        return 1
    print("Stopped", flush=True)
    return 0

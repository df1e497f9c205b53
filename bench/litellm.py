"""LiteLLM's proxy in an environment of its own, to compare relays with."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bench.environments import UnavailableError, interpreter_with

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 90.0
_KEY = "sk-bench"
_CONFIG = """\
model_list:
  - model_name: gpt-realtime
    litellm_params:
      model: openai/gpt-realtime
      api_key: sk-upstream
      api_base: {upstream}/v1
    model_info:
      mode: realtime
general_settings:
  master_key: {key}
"""


class CannotStartError(Exception):
    """There is no such proxy here."""


@contextmanager
def litellm_proxy(upstream: str) -> Iterator[tuple[int, str, str]]:
    """Run the proxy; yield its process id, its URL and the key that it wants.

    Raises:
        CannotStartError: it cannot be installed, or does not start.
    """
    try:
        python = interpreter_with("litellm[proxy]")
    except UnavailableError as error:
        raise CannotStartError(f"no environment ({error})") from None
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(_CONFIG.format(upstream=upstream, key=_KEY), encoding="utf-8")
        port = _free_port()
        command: list[str | Path] = [python, "-m", "litellm.proxy.proxy_cli", "--config", config, "--host", "127.0.0.1"]
        log = Path(folder) / "log"
        with log.open("w") as output:
            process = subprocess.Popen(  # noqa: S603 - the proxy
                [*command, "--port", str(port), "--num_workers", "1"],
                stdout=output,
                stderr=output,
                env={**os.environ, "LITELLM_TELEMETRY": "False", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
                cwd=folder,
            )
        try:
            _wait_for(f"http://127.0.0.1:{port}/health/liveliness", process, log)
            yield process.pid, f"http://127.0.0.1:{port}", _KEY
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    begun = time.monotonic()
    while time.monotonic() - begun < _PATIENCE:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - on loopback
                return
        except OSError:
            time.sleep(0.5)
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    raise CannotStartError(f"it does not start ({''.join(said)})")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

"""Starts a real S3 server for tests and runs a command with it: `python tests/s3/serve.py pytest -q tests/s3`.

The server is versitygw with the posix backend, from its Go module; it is built on the first run (under three minutes),
listens on a free port of this machine, keeps its files in a temporary directory (of a file system with extended
attributes; its other way to keep tags, --sidecar, loses updates in races), and ends with the command. The command
finds the address of an empty bucket in PIECRUST_S3 and the credentials where Amazon's tools look for them.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODULE = "github.com/versity/versitygw/cmd/versitygw@latest"
BUCKET = "piecrust"
KEY = "piecrust-test"
START_SECONDS = 20.0


def server_binary() -> str:
    """The server's program, built if it is not there; ends the program if that can't be done."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    places = [os.environ.get("PATH", ""), os.environ.get("GOBIN", ""), str(Path.home() / "go" / "bin")]
    found = shutil.which("versitygw", path=os.pathsep.join(filter(None, places)))
    if found is not None:
        return found
    if go is None:
        sys.exit("neither versitygw nor go is installed")
    subprocess.run([go, "install", MODULE], check=True)
    found = shutil.which("versitygw", path=os.pathsep.join(filter(None, places)))
    return found or sys.exit("go has put versitygw where it is not found")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit("the server does not listen")


def main(command: list[str]) -> int:
    binary, port = server_binary(), free_port()
    with tempfile.TemporaryDirectory(prefix="piecrust-s3-") as folder:
        root = Path(folder) / "root"
        (root / BUCKET).mkdir(parents=True)
        words = [binary, "--port", f"127.0.0.1:{port}", "--access", KEY, "--secret", KEY, "--quiet"]
        server = subprocess.Popen([*words, "posix", str(root)])
        try:
            wait_for(port, server)
            environment = {
                **os.environ,
                "PIECRUST_S3": f"s3://{BUCKET}?endpoint=http://127.0.0.1:{port}&region=us-east-1",
                "AWS_ACCESS_KEY_ID": KEY,
                "AWS_SECRET_ACCESS_KEY": KEY,
            }
            return subprocess.run(command or [sys.executable, "-m", "pytest", "tests/s3"], env=environment).returncode
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""nchan: the publish and subscribe module of nginx, in C, with one worker process."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.building import NCHAN, nginx
from bench.generator import Subscription
from bench.peers.base import Serving, listening
from tests.support.processes import free_port
from tests.support.valkey import Valkey

# Messages are kept as shortly as it allows: with a buffer they cost it more.
_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr error;
load_module {module};
worker_rlimit_nofile 20000;
events {{ worker_connections 16000; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  keepalive_requests 100000000;
  nchan_shared_memory_size 256m;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location ~ ^/pub/(.+)$ {{
      nchan_publisher;
      nchan_channel_id $1;
      nchan_message_buffer_length {buffer};
      nchan_message_timeout 20s;
    }}
    location ~ ^/sub/(.+)$ {{
      nchan_subscriber websocket;
      nchan_channel_id $1;
      nchan_subscriber_first_message newest;
      nchan_websocket_ping_interval 25s;
    }}
  }}
}}
"""


class Nchan:
    """nginx with nchan, published to over HTTP."""

    name = "nchan"

    def prepare(self) -> str:
        said = subprocess.run([nginx(), "-v"], capture_output=True, text=True, check=True).stderr
        package = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"], capture_output=True, text=True, check=False
        )
        return f"{package.stdout or '?'} in nginx {said.strip().rpartition('/')[2]}"

    @contextmanager
    def serve(self, valkey: Valkey) -> Iterator[Serving]:
        port = free_port()
        with tempfile.TemporaryDirectory(prefix="bench-nchan-") as directory:
            Path(directory).chmod(0o755)  # the worker process has another user
            text = _CONFIGURATION.format(directory=directory, module=NCHAN, port=port, buffer=5000)
            configuration = Path(directory) / "nginx.conf"
            configuration.write_text(text)
            command = [nginx(), "-e", "stderr", "-p", directory, "-c", str(configuration)]
            with listening(port, *command) as running:
                yield Serving(
                    port=port, pid=running.pid, way="http", address=f"127.0.0.1:{port}",
                    fan_out=Subscription("/sub/all"), unicast=Subscription("/sub/task-{n}"),
                )  # fmt: skip

"""Start a service, wait until it is ready, use it, and let the `with` block take it away."""

import sys

import container_kit as ck
from container_kit import wait

image = ck.Image.host(include=[sys.prefix])
serve = [sys.executable, "-u", "-m", "http.server", "8000"]

with ck.start(image, serve, name="web", wait=wait.port(8000).within(30)) as web:
    fetch = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8000/').status)"
    answer = web.exec([sys.executable, "-c", fetch], text=True, timeout=10)
    print("status", answer.stdout.strip(), "-", len(web.top()), "process,", web.stats().memory_bytes >> 20, "MiB")

    for line in web.logs(tail=1):
        print(line.stream, line.text)

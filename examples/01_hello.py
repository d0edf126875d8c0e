"""Run one command in a container made of the host's own programs. Nothing is downloaded or left behind."""

import container_kit as ck

result = ck.run(ck.Image.host(), ["sh", "-c", "echo hello from $(hostname), process $$"], text=True)

print(result.stdout, end="")
assert result.returncode == 0

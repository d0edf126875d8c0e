"""See what a container is made of: its launch plan is a value that prints."""

import container_kit as ck

image = ck.Image.host()
mounts = [ck.Mount.bind("/srv", "/data", read_only=True), ck.Mount.tmpfs("/scratch", size="16m")]
with ck.Container.create(image, ["true"], mounts=mounts, read_only=True) as container:
    print(container.plan)

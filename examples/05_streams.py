"""Talk to a process while it runs: stdin, stdout and stderr apart, and the exit code at the end."""

import container_kit as ck

with ck.start(ck.Image.host(), ["sleep", "60"]) as box:
    command = ck.shell("read name; echo hello $name; echo done >&2; exit 3")
    with box.spawn(command, stdin=ck.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"world\n")
        for event in process.events(idle_timeout=5):
            match event:
                case ck.Stdout(data):
                    print("out:", data.decode().strip())
                case ck.Stderr(data):
                    print("err:", data.decode().strip())
                case ck.Exited(code):
                    print("exit code", code)

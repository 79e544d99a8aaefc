"""`python -m deploy.local up|down|status`: starts, stops and shows the servers without the command `kizu`."""

from __future__ import annotations

import sys

from deploy.access.layout import Layout
from deploy.local import stack


def main(argv: list[str]) -> int:
    """Run the command that one word names. An error prints one line. Returns the exit code."""
    layout = Layout.from_environment()
    write = sys.stdout.write
    try:
        match argv:
            case ["up"]:
                stack.up(layout, on_progress=lambda line: print(line, flush=True))  # noqa: T201
            case ["up", "--foreground"]:
                stack.foreground(layout, on_progress=lambda line: print(line, flush=True))  # noqa: T201
            case ["down"]:
                stack.down(layout)
            case ["status"]:
                for service in stack.status(layout).services:
                    write(f"{service.name:<14}{service.state:<10}{service.url} {service.detail}\n")
            case _:
                sys.stderr.write("usage: python -m deploy.local up [--foreground] | down | status\n")
                return 2
    except stack.StackError as e:
        sys.stderr.write(f"{e}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

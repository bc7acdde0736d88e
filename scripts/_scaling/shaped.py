"""Two machines with a slow network between them, made of network namespaces of this one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ADDRESSES = ("10.99.0.1", "10.99.0.2")
LINK = "wire"  # its name at both ends
START = 2.0  # seconds until UCX sees that it is up
# How mpiexec starts a process at an address, in place of ssh.
LAUNCHER = """\
#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
namespace={prefix}$1
shift
exec ip netns exec "$namespace" sh -c "$*"
"""
# Or ranks that are on one machine after all would find its memory.
UCX = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": LINK, "UCX_TCP_AF_PRIO": "inet"}


@contextmanager
def two_machines(rate: str, mpiexec: str) -> Iterator[list[str]]:
    """Yield the words that start a program on both, one rank each, by pip's MPICH.

    Parameters
    ----------
    rate
        Of the link, each way, as ``tc`` writes it: ``1gbit``.
    mpiexec
        MPICH's.
    """
    if os.geteuid() != 0 or not shutil.which("tc"):
        sys.exit("scaling.py: --shape takes root, and tc and ip (apt-get install iproute2)")
    prefix = f"scaling-{os.getpid()}-"
    first, second = (prefix + address for address in ADDRESSES)
    with ExitStack() as stack:
        for name in (first, second):
            _run(f"ip netns add {name}")
            stack.callback(_run, f"ip netns del {name}")
        _run(f"ip link add {LINK} netns {first} type veth peer name {LINK} netns {second}")
        for name, address in zip((first, second), ADDRESSES, strict=True):
            _run(f"ip -n {name} addr add {address}/24 dev {LINK}")
            for device in ("lo", LINK):
                _run(f"ip -n {name} link set {device} up")
            # The queue holds what comes in two seconds: nothing is dropped and sent again.
            queue = f"tbf rate {rate} burst 256kb latency 2s"
            _run(f"ip netns exec {name} tc qdisc add dev {LINK} root {queue}")
        launcher = Path(stack.enter_context(tempfile.TemporaryDirectory()), "launcher")
        launcher.write_text(LAUNCHER.replace("{prefix}", prefix))
        launcher.chmod(0o755)
        time.sleep(START)
        yield [
            *("ip", "netns", "exec", first, "env", *(f"{k}={v}" for k, v in UCX.items())),
            *(mpiexec, "-localhost", ADDRESSES[0], "-launcher", "ssh"),
            *("-launcher-exec", str(launcher), "-hosts", ",".join(ADDRESSES), "-n", "2"),
        ]


def bytes_per_second(rate: str) -> float:
    """Return what a rate in ``kbit``, ``mbit`` or ``gbit`` is."""
    for power, unit in enumerate(("kbit", "mbit", "gbit"), 1):
        if rate.endswith(unit):
            return float(rate.removesuffix(unit)) * 1000**power / 8
    sys.exit(f"scaling.py: a rate is a number with kbit, mbit or gbit, not {rate}")


def _run(command: str) -> None:
    done = subprocess.run(command.split(), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"scaling.py: this machine does not allow {command}: {done.stderr.strip()}")

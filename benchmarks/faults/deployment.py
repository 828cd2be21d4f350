"""What can go wrong in a deployment, tried with real processes on digits; honest nodes' sets must survive.

    python benchmarks/faults/deployment.py --only node_killed,superlink_killed

Each takes minutes, as processes start anew again and again. On a busy machine a node once answered later than
150 seconds after the SuperLink was killed: hence the generous ``--timeout``.

- ``node_killed``: SIGKILL while it distils in round 1; started again, it takes part in round 2.
- ``superlink_killed``: SIGKILL while nodes distil; started again on its database, the run goes on.
- ``strangers``: a node that trusts another authority and one with an unknown key, beside an honest one.
- ``expired``: neither the server nor nodes go on with a server's certificate that has expired.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import record
from deployed import Hosts, deploy

from nodes.deploy.keys import Deployment, make_keys
from nodes.deploy.server import ServerSettings, superlink_command
from nodes.deploy.superlink import ADMITTED
from nodes.deploy.supervise import Child
from nodes.deploy.surroundings import environment

PATIENCE = 300.0  # seconds until something is given up that ought to have happened


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(FAULTS))
    parser.add_argument("--timeout", type=float, default=400.0, help="seconds a node has in each round")
    parser.add_argument("--name", default="deployment_fault")
    words = parser.parse_args()
    wrong = []
    for fault in words.only.split(","):
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="fb-", ignore_cleanup_errors=True) as folder:
            result = FAULTS[fault](Path(folder), words.timeout)
        result["seconds"] = round(time.monotonic() - started, 1)
        print(record.write(f"{words.name}_{fault}", result, seed=0), result, flush=True)
        wrong += [] if result["as_it_should"] else [fault]
    if wrong:
        raise SystemExit(f"not as it should: {', '.join(wrong)}")


def node_killed(folder: Path, timeout: float) -> dict[str, Any]:
    with Hosts(folder, ("alpha", "beta")) as hosts:
        up(hosts)
        number, run_folder = hosts.submit(rounds=2, timeout=timeout, **quick())
        wait_for(lambda: "train.distil" in hosts.log("beta").read_text())
        hosts.end("beta", signal.SIGKILL)
        done = threading.Event()
        threading.Thread(target=keep_starting, args=(hosts, "beta", done), daemon=True).start()
        run, report = hosts.finish(number, run_folder)
        done.set()
        codes = codes_of(report)
    rejoined = codes["beta"][1:] == ("ok",)
    return {
        "status": run.status,
        "codes": codes,
        "rejoined": rejoined,
        "as_it_should": run.completed and codes["alpha"] == ("ok", "ok") and rejoined,
    }


def superlink_killed(folder: Path, timeout: float) -> dict[str, Any]:
    with Hosts(folder, ("alpha", "beta")) as hosts:
        up(hosts)
        number, run_folder = hosts.submit(timeout=timeout, **quick())
        wait_for(lambda: "train.distil" in hosts.log("alpha").read_text())
        os.kill(superlink(hosts), signal.SIGKILL)
        run, report = hosts.finish(number, run_folder)
        codes = codes_of(report)
        again = hosts.log("server").read_text().count("SuperLink started as process") == 2
    return {
        "status": run.status,
        "details": run.details,
        "codes": codes,
        "started_again": again,
        "as_it_should": again and run.completed and set(codes.values()) == {("ok",)},
    }


def strangers(folder: Path, timeout: float) -> dict[str, Any]:
    """Beta trusts another authority, gamma's key is not known; the run goes on with alpha."""
    with Hosts(folder, ("alpha", "beta", "gamma")) as hosts:
        others = folder / "others"
        make_keys(Deployment(others, ("gamma",)))
        hosts.node("beta").authority.write_bytes((others / "ca.crt").read_bytes())
        hosts.node("gamma").key.write_bytes((others / "nodes/gamma/node.key").read_bytes())
        up(hosts, "alpha")
        for number, name in ((1, "beta"), (2, "gamma")):
            hosts.start(name, *part(number, 3))
        number, run_folder = hosts.submit(nodes=1, timeout=timeout, **quick())
        run, report = hosts.finish(number, run_folder)
        refused = {}
        for name in ("beta", "gamma"):
            process = hosts.processes[name]
            wait_for(lambda process=process: process.poll() is not None)  # type: ignore[misc]
            refused[name] = {"exit_code": process.returncode, "said": reason(hosts.log(name))}
        codes = codes_of(report)
    ended = all(entry["exit_code"] not in (0, None) for entry in refused.values())
    return {
        "status": run.status,
        "codes": codes,
        "refused": refused,
        "as_it_should": run.completed and codes["alpha"] == ("ok",) and ended,
    }


def expired(folder: Path, timeout: float) -> dict[str, Any]:
    """A certificate of nine seconds: the server refuses to start with it, and a node refuses it, too."""
    with Hosts(folder, ("alpha",), days=0.0001) as hosts:
        time.sleep(10.0)
        words = ("server", str(hosts.server.path), "--host", "127.0.0.1")
        server = deploy(*words, log=hosts.log("server")).wait()
        settings = ServerSettings(hosts.server, "127.0.0.1")
        admitted = hosts.folder / "admitted"
        admitted.touch()
        surroundings = environment(hosts.server.state / "flwr") | {ADMITTED: str(admitted)}
        superlink = Child("SuperLink", superlink_command(settings), surroundings)
        superlink.start()
        try:
            hosts.start("alpha", *part(0, 1))
            wait_for(lambda: hosts.processes["alpha"].poll() is not None)
        finally:
            superlink.end()
        code, said = hosts.processes["alpha"].returncode, reason(hosts.log("alpha"))
    return {
        "exit_code_of_the_server": server,
        "server_said": hosts.log("server").read_text().strip().splitlines()[-1],
        "exit_code_of_the_node": code,
        "said": said,
        "as_it_should": server == 2 and code != 0 and "certificate" in said.lower(),
    }


# ---------------------------------------------------------------------------------------------------- parts


def up(hosts: Hosts, *only: str) -> None:
    """Start the server and (these) nodes with a part of digits each, and wait for them."""
    hosts.serve()
    names = only or tuple(hosts.names)
    for name in names:
        hosts.start(name, *part(list(hosts.names).index(name), len(hosts.names)))
    wait_for(lambda: sum(node["status"] == "online" for node in hosts.control.nodes()) >= len(names))


def keep_starting(hosts: Hosts, name: str, done: threading.Event) -> None:
    """Start a node again and again, as systemd does: Flower refuses one that it takes to be there still."""
    hosts.start(name, *part(1, 2))
    while not done.wait(10.0):
        if hosts.processes[name].poll() is not None:
            hosts.start(name, *part(1, 2))


def part(number: int, parts: int) -> tuple[str, ...]:
    return ("--data", "digits", "--partition-id", str(number), "--partitions", str(parts))


def quick() -> dict[str, Any]:
    overrides = {"steps": 5, "ipc": 2, "bits": 2}
    return {"data": "digits", "budget": "2KiB", "recipe": "quadd", "overrides": overrides}


def codes_of(report: dict[str, Any] | None) -> dict[str, tuple[str, ...]]:
    """The outcome of each node in each round; none where there is no report."""
    codes: dict[str, tuple[str, ...]] = {"alpha": (), "beta": ()}
    for node in report["nodes"] if report else []:
        codes[("alpha", "beta")[node["node"]]] = tuple(entry["code"] for entry in node["rounds"])
    return codes


def superlink(hosts: Hosts) -> int:
    """The process of the SuperLink, as the server's log names it."""
    said = hosts.log("server").read_text().split("SuperLink started as process ")[-1]
    return int(said.split()[0])


def reason(log: Path) -> str:
    """What the SuperNode says before it ends."""
    lines = log.read_text().splitlines()
    start = next((n for n, line in enumerate(lines) if "Exit Code" in line), len(lines))
    return " ".join(lines[start + 1 : start + 4])


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing within {PATIENCE:.0f} seconds")
        time.sleep(1.0)


FAULTS: dict[str, Callable[[Path, float], dict[str, Any]]] = {
    "node_killed": node_killed,
    "superlink_killed": superlink_killed,
    "strangers": strangers,
    "expired": expired,
}

if __name__ == "__main__":
    main()

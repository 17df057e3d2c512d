"""Results crossing between two workers: howdah against distributed, in one run, turn by turn.

    python tests/bench/data.py [--results 1000] [--size 1048576] [--rounds 3] [--json FILE] [--only KIND]

Worker `a` makes the results; then one task on worker `b` gets all of them as its inputs and looks at both ends of
each, so all must cross. Timed is that task, from its submission to its answer, which is checked. Every worker is a
process of 1 thread. howdah runs four times: on one host as `LocalCluster` does (Unix sockets, shared memory: `local`);
as between hosts of a cluster, sealed by keys agreed on over TLS (`tls`); the same in TLS's own records (`records`, for
HOWDAH_SEAL=0); and two workers of such a cluster on one host (`near`). All ratios are against distributed's plain TCP.
Another figure has the consumer read every byte of what it got. Last, the bytes on the wire of a slice of an Arrow
table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402
from measure import Measure  # noqa: E402  # beside this file
from peers import environment_kept  # noqa: E402

MARKS = {"local": 3.0, "tls": 1.5, "records": 0.0, "near": 1.5}
"""0: none, it is there to compare with."""


def block(i: int, nbytes: int) -> Any:
    return np.full(nbytes // 8, float(i))


def ends(blocks: list[Any]) -> float:
    return sum(float(one[0] + one[-1]) for one in blocks)


def whole(blocks: list[Any]) -> float:
    return sum(float(one.mean()) * 2 for one in blocks)


def crossing(
    client: Any, n: int, nbytes: int, to: tuple[dict[str, Any], dict[str, Any]], look: Any, salt: int
) -> float:
    """Bytes a second."""
    from_a, to_b = to
    numbers = range(salt * n, (salt + 1) * n)
    blocks = client.map(block, numbers, [nbytes] * n, **from_a)
    client.submit(ends, blocks, **{**from_a, "hosts": ["a"]} if "hosts" in from_a else from_a).result()
    begun = time.perf_counter()
    answer = client.submit(look, blocks, **to_b).result()
    seconds = time.perf_counter() - begun
    if answer != 2.0 * sum(numbers):
        raise SystemExit(f"wrong answer: {answer}")
    return n * nbytes / seconds


@contextlib.contextmanager
def howdah_cluster(kind: str) -> Iterator[Any]:
    """Scheduler and two workers that take each other for different hosts, `a` and `b`."""
    from howdah.engine.api import Client
    from howdah.engine.comm.security.certificates import Authority

    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chmod(folder, 0o700)
        secure = kind != "local"
        listen = "tls://127.0.0.1:0" if secure else f"unix://{folder}/scheduler"
        authority = Authority.create("bench")
        security = str(authority.write_scheduler_dir(folder / "scheduler_dir")) if secure else ""
        worker_security = str(authority.write_worker_dir(folder / "worker_dir")) if secure else ""
        user = str(authority.write_client_dir(folder / "client_dir", "me")) if secure else None

        def start(role: str, *options: str) -> None:
            env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}  # workers import this module
            if kind in ("tls", "records"):
                env["HOWDAH_NEAR"] = "0"
            if kind == "records":
                env["HOWDAH_SEAL"] = "0"
            processes.append(subprocess.Popen([sys.executable, "-m", f"howdah.engine.{role}", *options], env=env))

        start(
            "scheduler", "--listen", listen, "--security", security, "--address-file", str(folder / "address"),
        )  # fmt: skip
        while not (folder / "address").exists():
            time.sleep(0.02)
        address = json.loads((folder / "address").read_text())["address"]
        for worker in "ab":
            own = "tls://127.0.0.1:0" if secure else f"unix://{folder}/{worker}"
            start(
                "worker.process", "--scheduler", address, "--security", worker_security, "--name", worker,
                "--host", worker, "--listen", own, "--local-dir", str(folder), "--container", worker,
            )  # fmt: skip
        try:
            with Client(address, security=user) as client:
                client.wait_for_workers(2, timeout=30)
                yield client
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


@contextlib.contextmanager
def distributed_cluster() -> Iterator[tuple[Any, list[str]]]:
    import dask
    from distributed import Client, LocalCluster

    dask.config.set({f"distributed.worker.memory.{name}": False for name in ("target", "spill", "pause", "terminate")})
    with (
        environment_kept(),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        yield client, list(client.scheduler_info()["workers"])


def with_howdah(kind: str, n: int, nbytes: int, look: Any, rounds: int) -> list[float]:
    with howdah_cluster(kind) as client:
        to = ({"hosts": [["a"]] * n, "pure": False}, {"hosts": ["b"], "pure": False})
        few = ({"hosts": [["a"]] * 20, "pure": False}, to[1])
        crossing(client, 20, nbytes, few, look, 0)
        return [crossing(client, n, nbytes, to, look, salt) for salt in range(1, rounds + 1)]


def with_distributed(n: int, nbytes: int, look: Any, rounds: int) -> list[float]:
    with distributed_cluster() as (client, workers):
        to = ({"workers": [workers[0]], "pure": False}, {"workers": [workers[1]], "pure": False})
        crossing(client, 20, nbytes, to, look, 0)
        return [crossing(client, n, nbytes, to, look, salt) for salt in range(1, rounds + 1)]


def slice_on_the_wire(rows: int = 1_000_000, part: int = 1000) -> tuple[int, int]:
    """(bytes of a slice of a table of 24 columns, bytes that travel for it)."""
    import pyarrow as pa

    from howdah.engine.serialization.serialize import dumps_out_of_band

    random = np.random.default_rng(0)
    columns: dict[str, Any] = {f"f{i}": random.random(rows) for i in range(12)}
    columns |= {f"i{i}": random.integers(0, 1 << 40, rows) for i in range(11)}
    columns["text"] = pa.array(np.char.add("row number ", np.arange(rows).astype(str)))
    cut = pa.table(columns).slice(rows // 3, part)
    data, buffers = dumps_out_of_band(cut)
    return cut.nbytes, len(data) + sum(buffer.nbytes for buffer in buffers)


def measures(n: int = 1000, size: int = 1 << 20) -> Iterator[Measure]:
    """For `make bench`; the command line above shows more."""
    found: dict[str, list[float]] = {}
    for _ in range(2):
        for kind in filter(MARKS.get, MARKS):
            found.setdefault(kind, []).extend(with_howdah(kind, n, size, ends, 3))
        found.setdefault("peer", []).extend(with_distributed(n, size, ends, 3))
    cost = {name: 1e6 / statistics.median(rates) * size for name, rates in found.items()}
    for kind, name in (
        ("local", "1,000 results of 1 MiB crossing on one host"),
        ("tls", "the same as between hosts, sealed by keys agreed on over TLS"),
        ("near", "the same in a cluster that speaks TLS, on one host"),
    ):
        peer = "distributed" if kind == "local" else "its plain TCP"
        yield Measure(name, "us a result", cost[kind], cost["peer"], times=MARKS[kind], against=peer)
    own, travelled = slice_on_the_wire()
    yield Measure("1,000 rows of 24 Arrow columns: bytes on the wire", "of their size", travelled / own, most=1.01)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=int, default=1000)
    parser.add_argument("--size", type=int, default=1 << 20, help="bytes of each")
    parser.add_argument("--rounds", type=int, default=2, help="clusters of each system, in turn")
    parser.add_argument("--repeats", type=int, default=3, help="crossings within a cluster")
    parser.add_argument("--only", choices=list(MARKS), default=None)
    parser.add_argument("--no-peer", action="store_true", help="howdah alone")
    parser.add_argument("--json", default="", help="write the figures to this file too")
    options = parser.parse_args(argv)
    kinds = [options.only] if options.only else list(MARKS)
    found: dict[str, list[float]] = {}
    n, size = options.results, options.size
    for number in range(options.rounds):
        for look in (ends, whole):
            for kind in kinds:
                if look is ends or kind == "local":
                    name = f"{kind} {look.__name__}"
                    found.setdefault(name, []).extend(with_howdah(kind, n, size, look, options.repeats))
            if not options.no_peer:
                found.setdefault(f"peer {look.__name__}", []).extend(with_distributed(n, size, look, options.repeats))
        shown = ", ".join(f"{name} {values[-1] / 1e6:.0f} MB/s" for name, values in found.items())
        print(f"round {number + 1}: {shown}", flush=True)
    figures = {name: statistics.median(values) for name, values in found.items()}
    missed = 0
    for name, value in figures.items():
        kind, _, look_name = name.partition(" ")
        peer = figures.get(f"peer {look_name}")
        if kind == "peer" or peer is None:
            continue
        ratio = value / peer
        missed += ratio < MARKS[kind]
        print(
            f"{n} results of {size} bytes, {name:12s} howdah {value / 1e6:7.0f} MB/s   distributed {peer / 1e6:7.0f} "
            f"MB/s   ratio {ratio:5.2f}   mark {MARKS[kind]:g}"
        )
    own, travelled = slice_on_the_wire()
    print(f"slice of 1,000 rows of a table of 24 columns and 1e6 rows: {own} bytes, {travelled / own - 1:+.2%} on wire")
    missed += travelled > 1.01 * own
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"figures": figures, "slice": travelled / own, "cores": os.cpu_count()}, file, indent=1)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())

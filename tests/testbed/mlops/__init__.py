"""Compiles pipelines with the packages of other projects, each in a folder of its own outside of the tree."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.testbed.build import HERE, installed, locked

FOLDER = HERE / "mlops"
BUILD = FOLDER / "build-requirements.txt"
SECONDS = 300
Json = Any


def kubeflow_pipeline(registry: str, folder: Path) -> Json:
    """Return the PipelineRun that kfp-tekton compiles, as Tekton accepts it.

    kfp-tekton 1.9.3 writes ``tekton.dev/v1``, and the resources of a step under their name in ``v1beta1``, which Tekton
    refuses as an unknown field.
    Raises :class:`tests.testbed.build.BuildError` and :class:`AssertionError` with the words of the package.
    """
    file = folder / "kubeflow.yaml"
    _run("kfp", "kubeflow_pipeline.py", folder, [registry, str(file)], {})
    made = yaml.safe_load(file.read_text())
    for task in made["spec"]["pipelineSpec"]["tasks"]:
        for step in task["taskSpec"]["steps"]:
            if "resources" in step:
                step["computeResources"] = step.pop("resources")
    return made


def packages(name: str) -> Path:
    """Return the folder with the packages of ``NAME-requirements.txt``.

    Raises :class:`tests.testbed.build.BuildError`.
    """
    with locked(name):
        return installed(name, FOLDER / f"{name}-requirements.txt", build=BUILD)


def _run(name: str, script: str, folder: Path, words: list[str], variables: Mapping[str, str]) -> None:
    done = subprocess.run(
        # -S: none of our own packages
        [sys.executable, "-S", str(FOLDER / script), *words],
        cwd=folder,
        env={
            "PYTHONPATH": str(packages(name)),
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "NO_PROXY": "*",
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{script}: {done.stdout[-2000:]}{done.stderr[-4000:]}"

"""What lies in deploy/, as tests read it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def read(*parts: str) -> Any:
    """Return the one document of a YAML file."""
    return yaml.safe_load(DEPLOY.joinpath(*parts).read_text(encoding="utf-8"))


def manifests() -> list[Any]:
    """Return every Kubernetes object that is written by hand."""
    paths = sorted(path for path in (DEPLOY / "kubernetes").rglob("*.yaml") if path.name != "kustomization.yaml")
    return [read(str(path.relative_to(DEPLOY))) for path in paths]


def one(kind: str) -> Any:
    """Return the object of a kind; there is one of each."""
    (found,) = [manifest for manifest in manifests() if manifest["kind"] == kind]
    return found


def tool(*names: str) -> str:
    """Return the path of a checker; skip where it is not installed."""
    for name in names:
        if (path := shutil.which(name)) is not None:
            return path
    pytest.skip(f"{names[0]} is not installed")

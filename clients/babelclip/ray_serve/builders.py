"""Applications for a config file of Ray Serve, such as a RayService of KubeRay has one.

applications:
  - name: babelclip-1.0
    route_prefix: null
    import_path: babelclip.ray_serve.builders:version
    args: {store: /models, version: "1.0", replicas: 1, max_replicas: 4, gpus: 0.5}
  - name: babelclip
    route_prefix: null
    import_path: babelclip.ray_serve.builders:default
    args: {version: "1.0"}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from babelclip.model_store.manifest import read_manifest
from babelclip.ray_serve.applications import served_towers
from babelclip.ray_serve.deployments import default_application, version_application
from babelclip.ray_serve.resources import Resources

_RESOURCES = frozenset(field.name for field in fields(Resources))


def version(args: Mapping[str, Any]) -> Any:
    """Both towers of a version.

    Args:
        args: `store`, the folder of the model store; `version`, the manifest's default unless given; and what
            `babelclip.ray_serve.resources.Resources` has.

    Raises:
        ValueError: an argument is unknown, missing or wrong.
        RegistryError: the store has no such version, or is none.
    """
    _check(args, {"store"}, {"store", "version"} | _RESOURCES)
    store = Path(args["store"])
    manifest = read_manifest(store)
    entry = manifest.version(str(args["version"])) if "version" in args else manifest.default
    resources = Resources(**{name: args[name] for name in _RESOURCES & set(args)})
    return version_application(served_towers(store, entry, resources), resources)


def default(args: Mapping[str, Any]) -> Any:
    """What tells the default version, which is the argument `version`.

    Raises:
        ValueError: an argument is unknown or missing.
    """
    _check(args, {"version"}, {"version"})
    return default_application(str(args["version"]))


def _check(args: Mapping[str, Any], needed: set[str], known: set[str] | frozenset[str]) -> None:
    if missing := needed - set(args):
        raise ValueError(f"args lack {min(missing)}")
    if unknown := set(args) - known:
        raise ValueError(f"args have {', '.join(sorted(known))}, and no {min(unknown)}")

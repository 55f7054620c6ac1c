"""Applications for config files: what their arguments may be."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from babelclip.errors import ManifestError
from babelclip.ray_serve import builders
from tests.clients.operated import make_store
from tests.places import REPOSITORY


@pytest.mark.parametrize(
    ("builder", "args", "says"),
    [
        (builders.version, {}, "lack store"),
        (builders.version, {"store": "s", "replica": 1}, "no replica"),
        (builders.default, {}, "lack version"),
        (builders.default, {"version": "1.0", "store": "s"}, "no store"),
    ],
)
def test_a_wrong_argument_is_named(builder: Any, args: dict[str, Any], says: str) -> None:
    """A typing error in a config file is found when it is deployed, and not passed over."""
    with pytest.raises(ValueError, match=says):
        builder(args)


def test_a_folder_that_is_no_store_is_named(tmp_path: Path) -> None:
    """The path is the node's, where the file was written by somebody elsewhere."""
    with pytest.raises(ManifestError, match="no model store"):
        builders.version({"store": str(tmp_path)})


def test_both_towers_are_one_application(tmp_path: Path) -> None:
    """Its root is the text tower, which has the vision tower's handle; the resources are each one's."""
    pytest.importorskip("ray.serve", reason="Ray Serve is not installed: scripts/setup ray")
    store = make_store(tmp_path / "store", "1.0")
    made = builders.version({"store": str(store), "replicas": 2, "gpus": 0.5})
    text = made._bound_deployment
    (served, vision) = text.init_args
    assert (text.name, text.num_replicas, served.tower, served.gpu) == ("text", 2, "text", True)
    assert text.ray_actor_options["num_gpus"] == 0.5
    assert (vision._bound_deployment.name, vision._bound_deployment.init_args[0].tower) == (
        "vision",
        "vision",
    )
    assert served.archive.is_absolute()


def test_the_config_file_of_the_guide_is_one_of_ray_serve() -> None:
    """What docs/engines.md shows has the form that Ray Serve reads, and names what there is."""
    schema = pytest.importorskip("ray.serve.schema", reason="Ray Serve is not installed: scripts/setup ray")
    text = (REPOSITORY / "docs" / "engines.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    config = schema.ServeDeploySchema.model_validate(yaml.safe_load(shown))
    assert [one.name for one in config.applications] == ["babelclip-1.0", "babelclip"]
    for application in config.applications:
        module, _, name = application.import_path.partition(":")
        assert callable(getattr(importlib.import_module(module), name))

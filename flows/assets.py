"""What a stage makes, as Prefect's assets: each output that DVC versions, with the digest that dvc.lock has of it."""

from typing import Any

import yaml
from prefect.assets import Asset, AssetProperties, add_asset_metadata

from components.core import paths
from flows.graph import StageNode

TOLD = ("md5", "size", "nfiles")  # of an output, as dvc.lock names them


def assets(node: StageNode) -> list[Asset]:
    """An asset per output of the stage: `dvc://data/RECIPE/TABLE`."""
    return [Asset(key=f"dvc://{out}", properties=AssetProperties(name=out)) for out in node.outs]


def tell(node: StageNode) -> None:
    """Notes with each asset of the stage that goes on what dvc.lock says of it, once it has run."""
    for out, facts in versions(node).items():
        add_asset_metadata(f"dvc://{out}", facts)


def versions(node: StageNode) -> dict[str, dict[str, Any]]:
    """Output -> its digest, size and number of files, of those that dvc.lock knows.

    Another recipe's stage may be writing dvc.lock just now: what cannot be read of it is left out.
    """
    try:
        known = yaml.safe_load((paths.workspace() / "dvc.lock").read_text())
        outs = {out["path"]: out for out in known["stages"][node.name]["outs"]}
        return {path: {name: outs[path][name] for name in TOLD if name in outs[path]} for path in node.outs}
    except (FileNotFoundError, yaml.YAMLError, KeyError, TypeError):
        return {}

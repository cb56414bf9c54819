"""Files that people look at, one for each asset, called after the footage: `clip-0123456789abcdef.mp4`."""

import os
from pathlib import Path

NAME_BYTES = 120  # of the footage's own name


class Named:
    """The files of one folder, whose names begin with the footage's and end with the asset's id."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._files = {file.stem.rpartition("-")[2]: file for file in folder.glob("*")}

    def __contains__(self, asset_id: str) -> bool:
        return asset_id in self._files

    def target(self, path: Path, asset_id: str, suffix: str) -> Path:
        """Where the file of an asset belongs whose footage lies at `path`."""
        name = os.fsencode(path.stem)[:NAME_BYTES].decode(errors="ignore")
        return self.folder / f"{name}-{asset_id}{suffix}"

    def settle(self, asset_id: str, target: Path) -> None:
        """Notes the file that was just written; one of the same footage under another name goes."""
        before = self._files.get(asset_id, target)
        if before != target:
            before.unlink(missing_ok=True)
        self._files[asset_id] = target

"""Batch scoring: footage -> tables of scores, boxes, tracks; moments to look at first; what could not be read."""

import argparse
import csv
import io
import os
import sys
from pathlib import Path

import pyarrow.parquet as pq

from components.core import paths, tables
from components.core.bundle import Bundle, Pointer, champion_pointer, read_bundle
from components.core.errors import UsageError
from components.core.files import atomic_text, file_sha256, json_text
from components.core.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, MediaError
from components.core.progress import progress
from components.core.stage import guarded
from components.serving.footage import expected
from components.serving.load import load_model
from components.serving.model import ServedModel
from components.serving.outputs import DRAWN, outputs
from components.serving.sequence import spaced

EXAMPLE = "example: python -m components.serving.batch --recipe suspicious footage/new -o scores"
MOMENTS, SHOWN, GAP_S = 20, 5, 2.0
PASSES = 4  # side by side at most: each holds frames


def score(model: ServedModel, sources: list[Path], output: Path, passes: int = 1) -> dict:
    """Scores every file; returns {"files", "frames", "known", "quarantined", "moments"}.

    Writes what `outputs` says of every file, quarantine.parquet and moments.csv. A file that the same model scored
    before is not scored again. `passes`: of a detector, side by side.
    """
    written, shards, refused, frames, known = outputs(model, output, passes), set(), [], 0, 0
    alone = _frames(sources[0], model.bundle) if len(sources) == 1 else None  # of one file, how far it is counts
    with progress("scoring", alone or len(sources), "frames" if alone else "files") as ticker:
        seen, over = (ticker.advance, lambda: None) if alone else (lambda: None, ticker.advance)
        for path in sources:
            digest = file_sha256(path)
            asset_id = tables.asset_id(digest)
            if written.known(asset_id):  # of equal files one is enough
                known += 1
            else:
                try:
                    frames += written.write(path, asset_id, seen)
                except MediaError as error:
                    refused.append({"uri": str(path), "line": None, "sha256": digest, "reason": str(error)})
                    over()
                    continue
            shards.add(written.shard(asset_id))
            over()
    tables.write_shard(output / "quarantine.parquet", refused, tables.QUARANTINE)
    moments = _moments(sorted(shards))
    _write_moments(output / "moments.csv", moments)
    return {
        "model": model.tag, "files": len(sources), "frames": frames, "known": known, "quarantined": len(refused),
        "moments": moments,
    }  # fmt: skip


def _frames(path: Path, bundle: Bundle) -> int | None:
    """About how many frames there are to score in a file; None where nobody knows before."""
    try:
        return expected(path, bundle.fps)
    except MediaError:
        return None  # it is said where it is decoded


def found(given: list[str]) -> list[Path]:
    """The files given, and in folders those with a known suffix. Raises UsageError where one is not there."""
    known, files = VIDEO_SUFFIXES | IMAGE_SUFFIXES, []
    for name in given:
        path = Path(name)
        if path.is_dir():
            files += sorted(one for one in path.rglob("*") if one.is_file() and one.suffix.lower() in known)
        elif path.is_file():
            files.append(path)
        else:
            raise UsageError(f"{name}: not there", "name a file or a folder")
    if not files:
        raise UsageError(f"{', '.join(given)}: no footage in it", f"known: {' '.join(sorted(known))}")
    return files


def _moments(shards: list[Path]) -> list[dict]:
    """The highest scores of all files, spaced within each; {uri, frame_index, timestamp_s, score, prediction}."""
    best: list[dict] = []
    for shard in shards:
        rows = pq.read_table(shard, columns=["uri", "frame_index", "timestamp_s", "score", "prediction"]).to_pylist()
        chosen = spaced([row["score"] for row in rows], [row["timestamp_s"] for row in rows], MOMENTS, GAP_S)
        best = sorted([*best, *(rows[one] for one in chosen)], key=lambda row: (-row["score"], row["uri"]))[:MOMENTS]
    return best


def _write_moments(path: Path, moments: list[dict]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["uri", "frame_index", "timestamp_s", "score", "prediction"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(moments)
    atomic_text(path, text.getvalue())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m components.serving.batch", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--recipe", required=True, metavar="NAME", help="a recipe that has a champion")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="where tables and drawn footage go")
    parser.add_argument("--deployed", metavar="DIR", help="the published bundles (default: the workspace's)")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.add_argument("--listed", metavar="FILE", help="a file that names footage too, a path on each line")
    parser.add_argument("footage", nargs="*", metavar="PATH", help="videos, pictures, or folders of them")
    arguments = parser.parse_args(argv)
    if not arguments.footage and not arguments.listed:
        parser.error("name footage to score")

    def act() -> None:
        listed = Path(arguments.listed).read_text().splitlines() if arguments.listed else []
        output = Path(arguments.output).resolve()
        # What was drawn is no footage, should the output lie among it.
        sources = [
            one for one in map(Path.resolve, found([*arguments.footage, *listed])) if output / DRAWN not in one.parents
        ]
        deployed = Path(arguments.deployed) if arguments.deployed else paths.state("deployed", arguments.recipe)
        model, passes = loaded(deployed, champion_pointer(deployed, arguments.recipe))
        done = score(model, sources, output, passes)
        print(json_text(done) if arguments.json else _in_words(done, output, model.bundle), end="")

    return guarded(act, label=f"predict@{arguments.recipe}")


def loaded(deployed: Path, pointer: Pointer) -> tuple[ServedModel, int]:
    """(the model, how many passes of it to run side by side). A detector's frames have nothing to do with one another:
    several passes of few threads do more than one of many, whose threads wait for one another at every layer."""
    cores = len(os.sched_getaffinity(0))
    apart = read_bundle(deployed / pointer.folder, verify=False).finds_boxes
    passes = min(cores, PASSES) if apart else 1
    return load_model(deployed, pointer, cores // passes), passes


def _in_words(done: dict, output: Path, bundle: Bundle) -> str:
    lines = [f"{done['model']}: {done['files']} files, {done['frames']} frames scored, {done['known']} files known"]
    for one in done["moments"][:SHOWN]:
        lines.append(f"{one['score']:.4f}  {one['prediction']}  {one['timestamp_s']:9.2f} s  {one['uri']}")
    if done["quarantined"]:
        lines.append(f"{done['quarantined']} files could not be read: {output / 'quarantine.parquet'}")
    if bundle.tracks:
        lines.append(f"tracks: {output / 'tracks'}, as MOTChallenge has them: {output / 'mot'}")
    if bundle.finds_boxes:
        lines.append(f"boxes: {output / 'boxes'}, drawn into the footage: {output / DRAWN}")
    return "\n".join([*lines, f"scores: {output / 'predictions'}, moments: {output / 'moments.csv'}"]) + "\n"


if __name__ == "__main__":
    sys.exit(main())

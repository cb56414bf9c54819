"""Batch scoring: footage -> a table of scores, the moments to look at first, and what could not be read."""

import argparse
import csv
import io
import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.core import media, paths, tables
from components.core.bundle import read_pointer
from components.core.errors import SightlineError, UsageError
from components.core.files import atomic_text, file_sha256, json_text
from components.core.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Frame, MediaError, TimeSampler
from components.core.progress import progress
from components.core.stage import guarded
from components.serving.model import ServedModel, load_model
from components.serving.sequence import chunks, spaced

EXAMPLE = "example: python -m components.serving.batch --recipe suspicious footage/new -o scores"
CHUNK = 32  # frames through the model at a time
MOMENTS, SHOWN, GAP_S = 20, 5, 2.0
MODEL = b"sightline.model"  # in a shard's metadata: which model made it


def score(model: ServedModel, sources: list[Path], output: Path) -> dict:
    """Scores every file; returns {"files", "frames", "known", "quarantined", "moments"}.

    Writes `output`/predictions (a shard per file: columns of `tables.PREDICTIONS`, one row per sampled frame),
    quarantine.parquet and moments.csv. A file that the same model scored before is not scored again.
    """
    shards, refused, frames, known = set(), [], 0, 0
    schema = tables.predictions_schema(model.bundle.classes).with_metadata({MODEL: model.tag})
    with progress("scoring", len(sources), "files") as ticker:
        for path in sources:
            digest = file_sha256(path)
            shard = output / "predictions" / f"{tables.asset_id(digest)}.parquet"
            if _made_by(shard, model):
                known += 1
            elif shard not in shards:  # of equal files one is enough
                try:
                    with tables.shard_writer(shard, schema) as add:
                        for row in score_file(model, path, tables.asset_id(digest)):
                            add(row)
                            frames += 1
                except MediaError as error:
                    refused.append({"uri": str(path), "line": None, "sha256": digest, "reason": str(error)})
                    ticker.advance()
                    continue
            shards.add(shard)
            ticker.advance()
    tables.write_shard(output / "quarantine.parquet", refused, tables.QUARANTINE)
    moments = _moments(sorted(shards))
    _write_moments(output / "moments.csv", moments)
    return {
        "model": model.tag, "files": len(sources), "frames": frames, "known": known, "quarantined": len(refused),
        "moments": moments,
    }  # fmt: skip


def score_file(model: ServedModel, path: Path, asset_id: str) -> Iterator[dict]:
    """Rows of the predictions table for one video or picture, in order of time. Memory does not grow with its length.

    Raises MediaError where it cannot be decoded.
    """
    bundle = model.bundle
    time_base, first = Fraction(1), None
    if path.suffix.lower() in IMAGE_SUFFIXES:
        frames: Iterator[Frame] = iter([Frame(0, 0, media.read_picture(path))])
    else:
        with media.opened(path) as video:
            time_base = Fraction(video.stream.time_base)
        frames = media.read_frames(path, TimeSampler(Fraction(bundle.fps) if bundle.fps else None))
    prepared = ((frame.index, frame.pts, model.prepare(frame.rgb)) for frame in frames)
    for piece, new in chunks(prepared, CHUNK, bundle.window_frames):
        probabilities = model.sequence([picture for *_, picture in piece])[new]
        for (index, pts, _), called in zip(piece[new], model.called(probabilities), strict=True):
            first = pts if first is None else first
            yield {
                "uri": str(path), "asset_id": asset_id, "frame_index": index, "pts": pts,
                "timestamp_s": float((pts - first) * time_base), "label": None, "prediction": called["prediction"],
                "score": called["score"], "model_version": str(model.version),
                **{f"prob_{name}": value for name, value in called["probabilities"].items()},
            }  # fmt: skip


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


def _made_by(shard: Path, model: ServedModel) -> bool:
    try:
        return (pq.read_schema(shard).metadata or {}).get(MODEL) == model.tag.encode()
    except (OSError, pa.ArrowInvalid):
        return False


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
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="where the tables go")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.add_argument("footage", nargs="+", metavar="PATH", help="videos, pictures, or folders of them")
    arguments = parser.parse_args(argv)

    def act() -> None:
        sources, output = found(arguments.footage), Path(arguments.output).resolve()
        deployed = paths.state("deployed", arguments.recipe)
        pointer = read_pointer(deployed)
        if pointer is None:
            raise SightlineError(f"{arguments.recipe} has no champion here", f"sightline run {arguments.recipe}")
        done = score(load_model(deployed, pointer, os.cpu_count() or 1), [one.resolve() for one in sources], output)
        print(json_text(done) if arguments.json else _in_words(done, output), end="")

    return guarded(act, label=f"predict@{arguments.recipe}")


def _in_words(done: dict, output: Path) -> str:
    lines = [f"{done['model']}: {done['files']} files, {done['frames']} frames scored, {done['known']} files known"]
    for one in done["moments"][:SHOWN]:
        lines.append(f"{one['score']:.4f}  {one['prediction']}  {one['timestamp_s']:9.2f} s  {one['uri']}")
    if done["quarantined"]:
        lines.append(f"{done['quarantined']} files could not be read: {output / 'quarantine.parquet'}")
    return "\n".join([*lines, f"scores: {output / 'predictions'}, moments: {output / 'moments.csv'}"]) + "\n"


if __name__ == "__main__":
    sys.exit(main())

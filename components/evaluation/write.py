"""The files of data/RECIPE/evaluation."""

import csv
import io
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

from components.core import media, paths
from components.core.files import atomic_directory, atomic_text
from components.core.progress import progress
from components.core.workcache import seal, sealed, work_key, work_path
from components.evaluation import clips, curves, matrix, scores, transcode
from components.evaluation.content import Content
from components.evaluation.moments import Moment
from components.evaluation.report import confusion, render
from components.evaluation.scores import Scored


def csv_text(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """CSV with a header; the same rows give the same bytes; None is an empty field."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()


def write_plots(folder: Path, content: Content) -> None:
    """roc.csv, precision_recall.csv, confusion.csv and confusion.svg, for `dvc plots`.

    Where frames cannot be ranked, precision and recall are those of boxes, and roc.csv has no rows.
    """
    if content.two_sided:
        roc, precision_recall = curves.roc_rows(content.assets), curves.precision_recall_rows(content.assets)
    else:
        roc, precision_recall = [], content.matches.curve()
    atomic_text(folder / "roc.csv", csv_text(("false_positive_rate", "true_positive_rate", "threshold"), roc))
    atomic_text(folder / "precision_recall.csv", csv_text(("recall", "precision", "threshold"), precision_recall))
    calls = curves.confusion_rows(content.assets, content.recipe.task)
    atomic_text(folder / "confusion.csv", csv_text(("actual", "predicted"), calls))
    atomic_text(folder / "confusion.svg", matrix.alone(confusion(content)))


def write_report(folder: Path, content: Content) -> None:
    """index.html, per_video.csv, per_class.csv and videos/ASSET.mp4 for each video that holds a moment; of a recipe
    that tracks also per_sequence.csv and the clips. The folder appears whole."""
    held = {content.assets[moment.asset].asset_id: content.assets[moment.asset] for moment in content.moments}
    with atomic_directory(folder) as report:
        atomic_text(report / "index.html", render(content))
        rows_of = {"per_video": scores.video_rows(content.assets), "per_class": content.classes}
        for name, rows in (rows_of | ({"per_sequence": content.sequences} if content.sequences else {})).items():
            atomic_text(report / f"{name}.csv", csv_text(list(rows[0]), [list(row.values()) for row in rows]))
        _copies([asset for asset in held.values() if asset.kind == "video"], report / "videos")
        clips.write_clips(report / "videos", content.recipe, content.assets, content.clips)


def _copies(videos: list[Scored], folder: Path) -> None:
    """Playable copies of these videos, several at a time: FFmpeg works outside of Python's lock."""
    with progress("evaluation: copies for the report", len(videos), "videos") as ticker:
        with ThreadPoolExecutor(max(1, cpu_count() or 1)) as pool:
            for _ in pool.map(lambda video: _copy(video, folder), videos):
                ticker.advance()


def _copy(video: Scored, folder: Path) -> None:
    """The video's playable copy: itself where browsers play it, else transcoded, kept in the work cache."""
    source = paths.resolve(video.uri)
    if not transcode.is_playable(source):
        key = work_key(video.sha256, {"engine": media.ENGINE}, transcode, media)
        source, original = work_path("evaluation", key, ".mp4"), source
        if sealed(source) is None:
            seal(source, frames=transcode.transcode(original, source))
    folder.mkdir(parents=True, exist_ok=True)
    # Copied, never linked: what lies in an output must not share its bytes with the owner's file or the cache.
    shutil.copyfile(source, folder / f"{video.asset_id}.mp4")


def moment_pictures(recipe: str, assets: list[Scored], moments: list[Moment]) -> list[bytes]:
    """The encoded frame of each moment, out of the frames table. Raises SightlineError where one is not there."""
    wanted = [assets[moment.asset].frame_ids[moment.row] for moment in moments]
    return clips.frame_pictures(recipe, wanted, {assets[moment.asset].asset_id for moment in moments})

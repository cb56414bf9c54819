"""Which reader a source's labels need, by what the recipe says or by what is there."""

import os
import re
from pathlib import Path

from components.core.errors import SightlineError
from components.ingest.labels import coco, csv_file, cvml, folders, mot, voc
from components.ingest.labels.common import Found, Names
from components.ingest.sources.source import AUTO, FOLDERS, Source, is_hidden, is_label

CSV_NAMES = ("labels.csv", "frame_labels.csv")
_HEAD = 1 << 16  # bytes of a file by which its format is told
_TAG = re.compile(rb"<([A-Za-z_][\w.-]*)")
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_XML = {voc.ROOT: "voc", cvml.ROOT: "cvml"}
_REMEDY = "say how they are written with ingest.label_format, and where they are with ingest.labels"


def read_labels(source: Source, classes: tuple[str, ...]) -> Found:
    """The labels of a source, nothing where it has none; those that it was given itself are all it has.

    `source.label_format` names the reader; `auto` is told by `source.labels` or, where that is None, by what lies in
    the source's folder, in this order: labels.csv or frame_labels.csv; gt/gt.txt of sequences; XML whose root is
    <annotation> (Pascal VOC) or <dataset> (CVML); JSON with COCO's lists; every file of media in a folder that is named
    like one of `classes` or a word of the label map. Raises SightlineError naming file and line where what must be
    labels is none as a whole, and where none are found though a format is named.
    """
    if source.given is not None:
        return Found(list(source.given), form=source.name)
    found, form = _found(source, frozenset(source.label_map) | frozenset(classes))
    found.form = form if form != AUTO else None
    return found


def _found(source: Source, words: frozenset[str]) -> tuple[Found, str]:
    """(what is there, its format, or `auto` where nothing is). `words` are names that folders of a class may have."""
    place = source.labels or source.root
    form, files = source.label_format, []
    if form == FOLDERS:
        return folders.read(source.files, words), FOLDERS
    if place.is_file():
        files = [place.relative_to(source.root).as_posix()]
        form = _told_by(place) if form == AUTO else form
    else:
        there = _files_below(source.root, place)
        if form == AUTO:
            form, files = _recognized(source.root, place, there)
        else:
            files = _of_form(form, source.root, there)
        if not files and (form != AUTO or source.labels):
            what = "labels" if form == AUTO else f"labels of the format {form!r}"
            raise SightlineError(f"{place}: no {what} in this folder", _REMEDY)
    if form == AUTO:
        by_folder = source.files and all(folders.folder_word(name, words) for name in source.files)
        return (folders.read(source.files, words), FOLDERS) if by_folder else (Found(), AUTO)
    return _read(form, files, source), form


def _read(form: str, files: list[str], source: Source) -> Found:
    names = Names(source.files)
    if form in ("csv", "openimages"):
        if len(files) > 1:
            raise SightlineError(f"{source.root}: labels may be in {', '.join(files)}", _REMEDY)
        forms = csv_file.FORMS if form == "csv" else (csv_file.OPEN_IMAGES,)
        return csv_file.read(source.root, files[0], names, source.label_column, forms)
    if form == "coco":
        return coco.read(source.root, files)
    return {"mot": mot, "voc": voc, "cvml": cvml}[form].read(source.root, files, names)


def _told_by(path: Path) -> str:
    """The format of the one file `path`. Raises SightlineError where it cannot be told."""
    suffix = path.suffix.lower()
    form = _xml_form(path) if suffix == ".xml" else {".csv": "csv", ".json": "coco"}.get(suffix)
    form = form or ("mot" if path.as_posix().endswith(f"/{mot.TRUTH}") else None)
    if form is None:
        raise SightlineError(f"{path}: it cannot be told what labels these are", _REMEDY)
    return form


def _recognized(root: Path, place: Path, there: list[str]) -> tuple[str, list[str]]:
    """(format, files) by what lies in the folder `place`; `auto` and no files where nothing is known."""
    below = place.relative_to(root)
    if found := [name for name in CSV_NAMES if (below / name).as_posix() in there]:
        return "csv", [(below / found[0]).as_posix()]
    if found := _of_form("mot", root, there):
        return "mot", found
    forms = {name: _xml_form(root / name) for name in _of_form("voc", root, there)}
    if form := next((form for form in forms.values() if form), None):
        # A file that is neither is not of these labels; one that cannot be read may be, and is refused with its reason.
        return form, [name for name, own in forms.items() if own in (form, "")]
    found = [name for name in _of_form("coco", root, there) if _looks_like_coco(root / name)]
    return ("coco", found) if found else (AUTO, [])


def _of_form(form: str, root: Path, there: list[str]) -> list[str]:
    """The files of `there` that a reader told its format looks at."""
    if form == "mot":
        return [name for name in there if f"/{name}".endswith(f"/{mot.TRUTH}")]
    if form == "coco":
        return [name for name in there if name.lower().endswith(".json") and _looks_like_coco(root / name)]
    suffix = ".xml" if form in ("voc", "cvml") else ".csv"
    return [name for name in there if name.lower().endswith(suffix)]


def _xml_form(path: Path) -> str | None:
    """`voc` or `cvml` by the root's tag; None where it is another one, empty where there is none to be seen."""
    try:
        with open(path, "rb") as file:
            head = _COMMENT.sub(b"", file.read(_HEAD).replace(b"\0", b""))
    except OSError:
        return ""
    tag = _TAG.search(head)
    if tag is None:
        return ""
    form = _XML.get(tag[1].decode(errors="replace"))
    return None if form == "cvml" and b"<frame" not in head else form


def _looks_like_coco(path: Path) -> bool:
    """Whether two of COCO's three keys stand near the beginning or the end of a JSON file."""
    try:
        with open(path, "rb") as file:
            ends = file.read(_HEAD)
            file.seek(max(file.tell(), os.fstat(file.fileno()).st_size - _HEAD))
            ends += file.read(_HEAD)
    except OSError:
        return False
    return ends.lstrip().startswith(b"{") and sum(f'"{key}"'.encode() in ends for key in coco.KEYS) >= 2


def _files_below(root: Path, place: Path) -> list[str]:
    """Names below `root` of all files in `place` that labels might be in, sorted; no hidden ones, no links outwards."""
    found, home = [], os.path.realpath(root)
    for folder, below, files in os.walk(place):
        below[:] = [name for name in below if not is_hidden(name)]
        for name in files:
            path = Path(folder, name)
            if is_hidden(name) or not is_label(name):
                continue
            if not path.is_symlink() or os.path.commonpath([home, os.path.realpath(path)]) == home:
                found.append(path.relative_to(root).as_posix())
    return sorted(found)

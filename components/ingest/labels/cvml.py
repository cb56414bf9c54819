"""CVML, the ground truth of CAVIAR (List and Fisher, "CVML - an XML-based computer vision markup language", ICPR 2004).

Of every frame (counted from 0) it says where people are, what each of them does, and what groups of them do.
"""

import re
from pathlib import Path

from components.core.media import VIDEO_SUFFIXES
from components.ingest.labels.common import Box, Found, Label, Names, Refusal, contents, number, track_id
from components.ingest.labels.xml_tree import Node, XmlError, parse_xml

ROOT = "dataset"
PERSON = "person"
EMPTY = "frame:empty"
SAID = ("movement", "role", "context", "situation")
_LIKELY = 0.5
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)
_TRUTH = re.compile(r"[ _-]?gt\d*$", re.IGNORECASE)


def read(root: Path, files: list[str], names: Names) -> Found:
    """The frames of these XML files: a label of each whole frame, and a box with track identity of each object.

    A frame's words are those of all its objects and groups, as `context:fighting` (kind, colon, word in lower case),
    and `frame:empty` where nobody is there; the recipe's label_map says which of them count. A box's word is `person`.
    The video is the one whose name without suffix is the XML's (`gt` at its end does not count) or is <dataset name>,
    else the only video in the XML's folder.
    """
    found = Found()
    videos = Names(name for name in names.all if Path(name).suffix.lower() in VIDEO_SUFFIXES)
    for file, content in contents(root, files, found):
        try:
            tree = parse_xml(content)
            if tree.tag != ROOT:
                raise XmlError(tree.line, f"its root is <{tree.tag}>, not <{ROOT}>")
            video = _video(file, tree, videos)
        except XmlError as error:
            found.refused.append(Refusal(file, error.line, error.reason))
            continue
        for frame in tree.all("frame"):
            _frame(file, frame, video, found)
    return found


def _frame(file: str, frame: Node, video: str, found: Found) -> None:
    written = frame.attributes.get("number", "")
    if not _WHOLE.fullmatch(written):
        found.refused.append(Refusal(file, frame.line, f"frame number {written!r} is not a whole number from 0"))
        return
    index, said = int(written), set()
    for one in (*frame.all("objectlist", "object"), *frame.all("grouplist", "group")):
        said.update(_said(one))
        if one.tag == "object":
            try:
                box, track = _box(one), track_id(video, _identity(one))
                found.labels.append(Label(file, one.line, video, PERSON, index=index, box=box, track=track))
            except ValueError as error:
                found.refused.append(Refusal(file, one.line, str(error)))
    found.labels.append(Label(file, frame.line, video, tuple(sorted(said)) or (EMPTY,), index=index))


def _said(one: Node):
    """`kind:word` for all that is likely of an object or a group."""
    for hypothesis in one.all("hypothesislist", "hypothesis"):
        for child in hypothesis.children if _likely(hypothesis) else ():
            word = " ".join(child.text.lower().split())
            if child.tag in SAID and word and _likely(child):
                yield f"{child.tag}:{word}"


def _likely(node: Node) -> bool:
    """`evaluation` is a probability; the ground truth writes 1.0. One that cannot be read takes nothing away."""
    try:
        return number("evaluation", node.attributes.get("evaluation", "1")) >= _LIKELY
    except ValueError:
        return True


def _identity(one: Node) -> int:
    written = one.attributes.get("id", "")
    if not _WHOLE.fullmatch(written):
        raise ValueError(f"object id {written!r} is not a whole number from 0")
    return int(written)


def _box(one: Node) -> Box:
    box = one.first("box")
    if box is None:
        raise ValueError("the object has no <box>")
    across, down, width, height = (number(name, box.attributes.get(name)) for name in ("xc", "yc", "w", "h"))
    return Box(across - width / 2, down - height / 2, width, height)


def _video(file: str, tree: Node, videos: Names) -> str:
    """The video's name. Raises XmlError where it cannot be told."""
    folder, _, last = file.rpartition("/")
    stem = last.rpartition(".")[0]
    called = tree.attributes.get("name", "").rpartition("/")[2]
    for name in (stem, _TRUTH.sub("", stem), called, called.rpartition(".")[0]):
        meant = videos.nearest(videos.stem(name), file) if name else []
        if len(meant) == 1:
            return meant[0]
    beside = [name for name in videos.all if name.rpartition("/")[0] == folder]
    if len(beside) == 1:
        return beside[0]
    raise XmlError(tree.line, "no video has its name, nor is there just one in its folder: name it as its video")

"""Pascal VOC: an XML file per picture (Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010)."""

from pathlib import Path

from components.ingest.labels.common import Box, Found, Label, Names, Refusal, contents, number, pixel_corners
from components.ingest.labels.xml_tree import Node, XmlError, parse_xml

ROOT = "annotation"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read(root: Path, files: list[str], names: Names) -> Found:
    """The boxes of these XML files; a file that cannot be read is refused, and costs no other one anything.

    The picture is the one with the XML's own stem (the way the devkit pairs them, and names inside grow stale), nearest
    to it in the tree; where there is none, the one that <filename> names. `difficult` objects have weight 0: VOC's own
    evaluation ignores them.
    """
    found = Found()
    for file, content in contents(root, files, found):
        try:
            _file(file, parse_xml(content), names, found)
        except XmlError as error:
            found.refused.append(Refusal(file, error.line, error.reason))
    return found


def _file(file: str, tree: Node, names: Names, found: Found) -> None:
    if tree.tag != ROOT:
        raise XmlError(tree.line, f"its root is <{tree.tag}>, not <{ROOT}>")
    media, size = _picture(file, tree, names), _size(tree)
    for node in tree.all("object"):
        try:
            word = node.words("name")
            if not word:
                raise ValueError("the object has no <name>")
            weight = 0.0 if node.words("difficult") == "1" else 1.0
            found.labels.append(Label(file, node.line, media, word, box=_box(node), weight=weight, size=size))
        except ValueError as error:
            found.refused.append(Refusal(file, node.line, str(error)))


def _picture(file: str, tree: Node, names: Names) -> str:
    """The picture's name. Raises XmlError where several may be meant."""
    stem = file.rsplit("/", 1)[-1].rpartition(".")[0]
    written = tree.words("filename").replace("\\", "/").removeprefix("./")
    same = names.nearest(names.stem(stem), file)
    said = names.nearest(names.ending(written), file)
    meant = [name for name in same if name in said] or same or said
    if len(meant) > 1:
        raise XmlError(tree.line, f"its picture may be any of {', '.join(meant)}")
    return meant[0] if meant else written or stem


def _size(tree: Node) -> tuple[int, int] | None:
    """(width, height) as stated, or None: some tools leave it out or write 0."""
    node = tree.first("size")
    sides = [node.words(side) for side in ("width", "height")] if node is not None else []
    if all(side.isdecimal() and side.isascii() and 0 < int(side[:9]) for side in sides) and sides:
        return int(sides[0][:9]), int(sides[1][:9])
    return None


def _box(node: Node) -> Box:
    corners = node.first("bndbox")
    if corners is None:
        raise ValueError("the object has no <bndbox>")
    return pixel_corners(*(number(name, corners.words(name)) for name in _CORNERS))

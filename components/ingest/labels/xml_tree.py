"""XML as a small tree that knows its lines. Entities and external references are refused: labels come from anywhere."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError


class XmlError(ValueError):
    """XML that cannot be read: `line` on which, and `reason`."""

    def __init__(self, line: int, reason: str):
        super().__init__(f"line {line}: {reason}")
        self.line, self.reason = line, reason


@dataclass(slots=True)
class Node:
    """An element: its tag, attributes, own text, children, and the line on which it begins."""

    tag: str
    attributes: dict[str, str]
    line: int
    text: str = ""
    children: list["Node"] = field(default_factory=list)

    def first(self, tag: str) -> "Node | None":
        """The first child with this tag, or None."""
        for child in self.children:
            if child.tag == tag:
                return child
        return None

    def all(self, *tags: str) -> Iterator["Node"]:
        """The children of the children ... that this path of tags leads to, in order."""
        for child in self.children:
            if child.tag == tags[0]:
                if len(tags) == 1:
                    yield child
                else:
                    yield from child.all(*tags[1:])

    def words(self, tag: str) -> str:
        """The text of the first child with this tag, its white space reduced; empty where there is none."""
        child = self.first(tag)
        return " ".join(child.text.split()) if child is not None else ""


class _Builder:
    """Makes Nodes of what the parser reports."""

    def __init__(self):
        self.root: Node | None = None
        self._open: list[Node] = []
        self.expat = None

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        node = Node(tag, attributes, self.expat.CurrentLineNumber)
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)

    def end(self, tag: str) -> None:
        self._open.pop()

    def data(self, text: str) -> None:
        if self._open:
            self._open[-1].text += text

    def close(self) -> Node | None:
        return self.root


def parse_xml(content: bytes) -> Node:
    """The root element. Raises XmlError, and nothing else, whatever the bytes are."""
    builder = _Builder()
    parser = DefusedXMLParser(target=builder)
    builder.expat = parser.parser
    try:
        parser.feed(content)
        return parser.close()
    except ParseError as error:
        raise XmlError(error.position[0], f"not XML ({str(error).partition(':')[0]})") from None
    except DefusedXmlException:
        raise XmlError(parser.parser.CurrentLineNumber, "entities and external references are not read") from None
    except (LookupError, ValueError) as error:  # an encoding that Python does not know, or cannot use here
        raise XmlError(parser.parser.CurrentLineNumber, f"its encoding cannot be read ({error})") from None

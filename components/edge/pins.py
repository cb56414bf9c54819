"""requirements.txt of an archive: what the device needs, and all that this brings, pinned to the versions of here."""

from importlib.metadata import requires, version

from packaging.requirements import Requirement

# numpy and OpenCV feed the graph, ONNX Runtime runs it, cryptography checks the signature of an update.
NEEDED = ("cryptography", "numpy", "onnxruntime", "opencv-python-headless")


def requirements() -> str:
    """The content of requirements.txt."""
    pinned: dict[str, str] = {}
    left = list(NEEDED)
    while left:
        name = left.pop()
        if name in pinned:
            continue
        pinned[name] = version(name)
        for line in requires(name) or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                left.append(needed.name.lower().replace("_", "-"))
    return "".join(f"{name}=={pinned[name]}\n" for name in sorted(pinned))

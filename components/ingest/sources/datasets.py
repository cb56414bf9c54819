"""The data sets known by name: how each is laid out, where it comes from and what its files must be.

A data set lies in a folder of its own, `folder`, below SIGHTLINE_MIRROR or in the user's cache, where `sightline data`
puts it. Facts of many files are in tables/: one row per file, with its SHA-256 where one is published.
"""

import csv
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from components.ingest.sources.source import AUTO, FOLDERS

_TABLES = Path(__file__).parent / "tables"
_CAVIAR = "https://homepages.inf.ed.ac.uk/rbf/"
_CMATERDB = (
    "https://raw.githubusercontent.com/prabhuomkar/CMATERdb/e65568bc9cd8c4d53cb68a9c9b031634389d259b/"
    "datasets/bangla-numerals/training-images.npz"
)
_KANGAROO = "https://raw.githubusercontent.com/experiencor/kangaroo/882bbbd75ba49cb8cf9393e06d88ebaec293af32/"
_RACCOON = "https://raw.githubusercontent.com/datitran/raccoon_dataset/93938849301895fb73909842ba04af9b602f677a/"


@dataclass(frozen=True)
class File:
    """A file of a data set: its path in the folder, its address, size and SHA-256 as far as they are known.

    `mirrored`: another place below the mirror where the same bytes may lie.
    """

    path: str
    url: str
    bytes: int | None = None
    sha256: str | None = None
    mirrored: str | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set: `media` are the folders of footage in its folder; `test` are globs of what is held out by default.

    `negative` and `positive` are its words for the first other class and for the recipe's positive class. `files` are
    fetched; where `unpack` names a function of `unpack`, it makes the media from them. A set without files is laid out
    by hand: `by_hand` says how, and where it is to be had.
    """

    folder: str
    about: str
    licence: str
    cite: str
    media: tuple[str, ...] = ("images",)
    labels: str = AUTO
    label_format: str = AUTO
    label_column: str | None = None
    negative: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    files: tuple[File, ...] = field(default=(), repr=False)
    unpack: str | None = None
    by_hand: str = ""


def _rows(table: str) -> list[dict[str, str]]:
    with open(_TABLES / f"{table}.csv", newline="") as file:
        return list(csv.DictReader(file))


def _table(table: str, base: str) -> tuple[File, ...]:
    return tuple(File(row["path"], base + row["address"], int(row["bytes"]), row["sha256"]) for row in _rows(table))


@cache
def _caviar(sets: str, flat: bool) -> tuple[File, ...]:
    """The clips of these sets and their CVML; `flat`: in one folder, where clips are all that is known."""
    files = []
    for row in _rows("caviar"):
        if row["set"] in sets:
            folder, _, name = row["path"].rpartition("/")
            path = f"videos/{name}" if flat else row["path"]
            shop = f"caviar-shop/videos/{name}" if row["set"] == "2" else None
            files.append(File(path, _CAVIAR + row["path"], int(row["bytes"]), row["sha256"], shop))
            # Of the ground truth no checksums are published.
            truths = row["ground_truth_xml"].split()
            files += [File(f"{folder}/{truth}.xml", f"{_CAVIAR}{folder}/{truth}.xml") for truth in truths]
    return tuple(files)


_CAVIAR_LICENCE = "Creative Commons BY-SA"
_CAVIAR_CITE = "EC Funded CAVIAR project/IST 2001 37540, https://homepages.inf.ed.ac.uk/rbf/CAVIAR/"
_MOT_HOW = (
    "download {0}.zip from https://motchallenge.net/data/{0}/ and unpack it: train/SEQUENCE/img1/*.jpg with "
    "train/SEQUENCE/gt/gt.txt"
)
_NPZ = File(
    "training-images.npz", _CMATERDB, 489289, "502957392649eecad013ac425b54fecc6d06dbc06bc647a46b0cfc6b96e2c130",
    "bangla-digits/training-images.npz",
)  # fmt: skip
_CMATER = {
    "licence": "Apache-2.0 by its repository, whose text also says: free for non-commercial use, acknowledge CMATER",
    "cite": "CMATERdb 3.1.1; N. Das et al., Applied Soft Computing 12(5), 1592-1606 and 12(8), 2486-2495, 2012",
    "labels": FOLDERS,
    "files": (_NPZ,),
}

DATASETS = {
    "caviar": Dataset(
        "caviar", "CCTV of an entrance hall (INRIA) and of a shopping centre, 384x288 at 25 frames/s, with CVML",
        _CAVIAR_LICENCE, _CAVIAR_CITE, ("CAVIARDATA1", "CAVIARDATA2"), label_format="cvml",
        # Of a frame's words the positive ones win (labels/cvml.py): whoever moves or stands about otherwise is normal.
        negative=("frame:empty", "movement:walking", "movement:running", "movement:active", "movement:inactive"),
        positive=(
            "context:fighting", "role:fighter", "role:fighters", "situation:fighting", "context:drop down",
            "context:leaving", "context:left object", "role:leaving object", "role:left object",
            "role:leaving victim", "role:left victim",
        ),
        # The last clip of each kind of scenario of the first set.
        test=tuple(f"CAVIARDATA1/{clip}/*" for clip in (
            "Browse4", "Browse_WhileWaiting2", "Fight_RunAway2", "LeftBag_PickedUp", "Meet_WalkTogether2",
            "Rest_WiggleOnFloor", "Walk3",
        )),
        files=_caviar("12", False),
    ),
    "caviar-shop": Dataset(
        "caviar-shop", "the clips of CAVIAR's second set (shopping centre) alone, without labels",
        _CAVIAR_LICENCE, _CAVIAR_CITE, ("videos",), files=_caviar("2", True),
    ),
    # Test004 and Test007 are held out because the published baseline (frozen MobileNetV2 features, mean pooled,
    # logistic regression: frame AUC .825) was measured on these two clips: the figures can be compared.
    "ped2": Dataset(
        "ped2", "UCSD Ped2, test clips: a walkway, where bicycles, carts and skaters are the abnormal",
        "none stated: research only", "V. Mahadevan et al., Anomaly Detection in Crowded Scenes, CVPR 2010",
        ("videos",), "frame_labels.csv", "csv", None, ("0",), ("1",), ("Test004.*", "Test007.*"),
        files=(File(
            "UCSD_Anomaly_Dataset.tar.gz", "http://www.svcl.ucsd.edu/projects/anomaly/UCSD_Anomaly_Dataset.tar.gz",
            740306953, "2329af326951f5097fdd114c50e853957d3e569493a49d22fc082a9fd791915b",
        ),),
        unpack="ped2",
    ),
    "bangla-digits": Dataset(
        "bangla-digits", "Bangla numerals, 50 of each class: the set-up of the published 500-picture experiment",
        media=("images50",), unpack="bangla_digits", **_CMATER,
    ),
    "cmaterdb": Dataset(
        "cmaterdb", "Bangla numerals, the 5,000 pictures that CMATERdb 3.1.1 trains with", unpack="cmaterdb", **_CMATER
    ),
    "numtadb": Dataset(
        "numtadb", "NumtaDB's Bangla numerals, a folder per class", "as its authors state (https://bengali.ai)",
        "S. Alam et al., NumtaDB: assembled Bengali handwritten digits, arXiv:1806.02452", labels=FOLDERS,
        by_hand="images/CLASS/*.png, as many pictures of each class as are wanted, from NumtaDB's archives",
    ),
    "mot15": Dataset(
        "mot15", "MOTChallenge 2015: sequences of pictures with people's boxes and identities", "CC BY-NC-SA 3.0",
        "L. Leal-Taixe et al., MOTChallenge 2015, arXiv:1504.01942", ("train",), label_format="mot",
        by_hand=_MOT_HOW.format("MOT15"),
    ),
    "mot17": Dataset(
        "mot17", "MOTChallenge 2017: sequences of pictures with people's boxes and identities", "CC BY-NC-SA 3.0",
        "A. Milan et al., MOT16, arXiv:1603.00831", ("train",), label_format="mot", by_hand=_MOT_HOW.format("MOT17"),
    ),
    "tud-campus": Dataset(
        "tud-campus", "TUD-Campus, one sequence of MOTChallenge 2015", "CC BY-NC-SA 3.0",
        "M. Andriluka et al., People-Tracking-by-Detection, CVPR 2008; arXiv:1504.01942", ("img1",), "gt/gt.txt", "mot",
        by_hand="img1/*.jpg and gt/gt.txt: the folder train/TUD-Campus of MOTChallenge's MOT15.zip",
    ),
    "camera-trap": Dataset(
        "camera-trap", "camera-trap pictures of three sites, empty or with a small mammal",
        "none stated: research only", "H. Boehner et al., Ecological Informatics 76, 2023; doi 10.5281/zenodo.7142734",
        ("",), "labels.csv", "csv", "class", ("empty",), ("cricetidae", "mus_erm", "lem_lem"),
        by_hand="SITE/**/*.JPG and labels.csv with the columns image and class",
    ),
    "raccoon": Dataset(
        "raccoon", "160 photographs of raccoons with boxes", "MIT; the photographs' own rights are unclear",
        "D. Tran, raccoon_dataset, 2017", labels="boxes.csv", label_format="csv", positive=("raccoon",),
        files=_table("raccoon", _RACCOON),
    ),
    "kangaroo": Dataset(
        "kangaroo", "163 photographs of kangaroos with boxes", "none stated: research only",
        "experiencor, kangaroo, https://github.com/experiencor/kangaroo", labels="annots", label_format="voc",
        positive=("kangaroo",), files=_table("kangaroo", _KANGAROO),
    ),
    "openimages": Dataset(
        "openimages", "a part of Open Images: pictures with boxes", "CC BY 4.0 (boxes), CC BY 2.0 (pictures)",
        "A. Kuznetsova et al., The Open Images Dataset V4, IJCV 2020", labels="boxes.csv", label_format="openimages",
        by_hand="images/IMAGEID.jpg, and boxes.csv with the columns ImageID, LabelName, XMin, XMax, YMin, YMax "
        "(https://storage.googleapis.com/openimages/web/download_v7.html)",
    ),
}  # fmt: skip

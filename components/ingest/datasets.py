"""The data sets known by name. Each lies below SIGHTLINE_MIRROR in a folder of its own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Dataset:
    """`folder` is below the mirror, `media` is the folder of footage in it; `test` names the files held out by default.

    `negative` and `positive` are the data set's words for the first other class and for the recipe's positive class.
    """

    folder: str
    media: str
    labels: str
    negative: str
    positive: str
    test: tuple[str, ...]


DATASETS = {
    # UCSD Ped2. Test004 and Test007 are held out because the published baseline (frozen MobileNetV2 features, mean
    # pooled, logistic regression: frame AUC .825) was measured on these two clips: the figures can be compared.
    "ped2": Dataset("ped2", "videos", "frame_labels.csv", "0", "1", ("Test004.mp4", "Test007.mp4")),
}

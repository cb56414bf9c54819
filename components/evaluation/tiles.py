"""The report's headline figures, each with a sentence that says what it means here."""

import numpy as np

from components.evaluation.content import Content, share

OF_ONE_BOX = ("CorLoc", "Mean IoU")  # tiles that say little where many are to be followed


def tiles(content: Content) -> list[dict[str, str]]:
    """Tiles in order, the main one first: title, figure, text."""
    boxes = _of_boxes(content) if "ap50" in content.metrics else []
    if "hota" in content.metrics:
        found = _of_tracks(content) + [one for one in boxes if one[0] not in OF_ONE_BOX]
    else:
        found = boxes
    if not content.two_sided:
        found += _of_one_side(content)
    else:
        found += _of_all(content) if content.recipe.task.positive is None else _of_positive(content)
    return [{"title": title, "figure": f"{value:.3f}", "text": text} for title, value, text in found]


def _of_tracks(content: Content) -> list[tuple[str, float, str]]:
    m, count = content.metrics, sum(row["boxes"] for row in content.sequences)
    many = len({row["sequence"] for row in content.sequences})
    return [
        (
            "HOTA", m["hota"],
            f"How well {m['tracks']} true tracks in {many} sequence{'' if many == 1 else 's'} are found and kept "
            f"apart: {m['deta']:.2f} for finding the boxes, {m['assa']:.2f} for giving each its identity.",
        ),
        (
            "MOTA", m["mota"],
            f"Of {count} true boxes {m['missed_boxes']} are missed, {m['false_positive_boxes']} more are found, and "
            f"{m['id_switches']} times an identity changes: the share that is left.",
        ),
        (
            "IDF1", m["idf1"],
            f"Precision and recall of the identities, each track taken whole. {m['fragmentations']} times one is lost "
            "on its way and found again.",
        ),
    ]  # fmt: skip


def _of_boxes(content: Content) -> list[tuple[str, float, str]]:
    m, boxes = content.metrics, int(content.metrics["boxes"])
    guess = f"The whole {content.unit} as a box gives {m['whole_picture_corloc']:.2f}, one in the middle "
    guess += f"{m['centred_corloc']:.2f}"
    taught = "lime_corloc" in m
    return [
        (
            "AP at IoU .5", m["ap50"],
            f"Average precision over {boxes} true boxes: how clean the ranking of the boxes found is.",
        ),
        (
            "CorLoc", m["corloc"],
            f"How often the surest box of a {content.unit} that shows something covers it (IoU .5). {guess}"
            + (f"; the boxes it learned from have {m['lime_corloc']:.2f}." if taught else "."),
        ),
        ("Mean IoU", m["mean_iou"], "Of the surest box with the true one it fits best."),
        ("Recall of boxes", m["recall50"], f"Of {boxes} true boxes, how many are found at IoU .5."),
        (
            "F1 of boxes", m["box_f1"],
            f"Of the boxes called, from a score of {content.box_threshold:.3f} on, {m['box_precision']:.2f} are right; "
            f"{m['box_recall']:.2f} of the true ones are among them.",
        ),
    ]  # fmt: skip


def _of_one_side(content: Content) -> list[tuple[str, float, str]]:
    names = [content.recipe.task.classes[kind] for kind in np.flatnonzero(content.counts.sum(1))]
    side = f"All are {names[0]}" if len(names) == 1 else f"None is {content.recipe.task.positive}"
    text = f"Share of labelled {content.unit}s called rightly. {side}, so it says how often that is seen, and no more."
    return [("Accuracy", content.metrics["accuracy"], text)]


def _of_positive(content: Content) -> list[tuple[str, float, str]]:
    m, task, unit = content.metrics, content.recipe.task, content.unit
    positive = task.positive
    found, called = m["true_positives"] + m["false_negatives"], m["true_positives"] + m["false_positives"]
    positives = share(found, m["labelled_frames"])
    at = f", at threshold {content.threshold:.3f}" if content.threshold is not None else ""
    rows = [
        (
            f"{unit.capitalize()} AUC", m["frame_auc"],
            f"Show the model one {positive} {unit} and one other: it scores the {positive} one higher "
            f"{100 * m['frame_auc']:.0f} times out of 100. Guessing gives 50.",
        ),
        (
            "Average precision", m["average_precision"],
            f"How clean the top of the ranking is. Guessing gives {positives:.2f}.",
        ),
        ("Precision", m["precision"], f"Of {called} {unit}s called {positive}, {m['true_positives']} are."),
        ("Recall", m["recall"], f"Of {found} {positive} {unit}s, {m['true_positives']} are found."),
        ("F1", m["f1"], f"Precision and recall in one figure{at}."),
        ("Accuracy", m["accuracy"], _accuracy(content)),
    ]  # fmt: skip
    if content.many:
        text = f"The mean over {m['classes']} classes, each against the rest."
        rows += [
            ("F1, all classes", m["f1_macro"], f"{text} Weighted by their {unit}s: {m['f1_weighted']:.3f}."),
            ("ROC AUC, all classes", m["roc_auc_macro"], text),
        ]
    return rows


def _of_all(content: Content) -> list[tuple[str, float, str]]:
    m, unit = content.metrics, content.unit
    over = f"Mean over {m['classes']} classes"
    return [
        ("Accuracy", m["accuracy"], _accuracy(content)),
        ("F1", m["f1_macro"], f"{over}. Weighted by their {unit}s: {m['f1_weighted']:.3f}."),
        (
            "Precision", m["precision_macro"],
            f"Of the {unit}s called a class, how many are. {over}; weighted: {m['precision_weighted']:.3f}.",
        ),
        (
            "Recall", m["recall_macro"],
            f"Of the {unit}s of a class, how many are called so. {over}; weighted: {m['recall_weighted']:.3f}.",
        ),
        (
            "ROC AUC", m["roc_auc_macro"],
            f"{over}, each against the rest, from the probabilities. Guessing gives 0.5.",
        ),
        (
            "AUC of the calls", m["roc_auc_binarised"],
            "What the published digits article reports as ROC AUC: of calls, not of scores. For comparison only.",
        ),
    ]  # fmt: skip


def _accuracy(content: Content) -> str:
    commonest = share(int(content.counts.sum(1).max()), content.metrics["labelled_frames"])
    return f"Share of labelled {content.unit}s called rightly. Always saying the commonest class gives {commonest:.2f}."

"""Findings about pictures as a table, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from tasks.vision.check.findings import Finding

COLUMNS = ("finding", "file", "split", "label", "measure", "note", "group")


def findings_csv(findings: Sequence[Finding]) -> bytes:
    """Return CSV in UTF-8 with a row for each finding.

    "measure" is the probability of a suspicious label; of a blank picture the standard deviation in grey
    levels, of a dark one the brightness of its lightest percent, of a blurred one the variance of the
    Laplacian in its sharpest tile.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for each in findings:
        measure = "" if each.value is None else f"{each.value:g}"
        group = "" if each.group is None else each.group
        writer.writerow([each.kind, each.file, each.split, each.label, measure, each.note, group])
    return text.getvalue().encode("utf-8", "surrogateescape")

# SPDX-License-Identifier: MIT
"""Runs the three halves of the proof and counts.

ours:    what `weir mkmodel` writes is read by the packages, with the values it should have.
theirs:  what the packages write is read by weir, with the same names, shapes, types and bytes.
refused: what the packages refuse, weir refuses.
"""

import sys

import ours
import refused
import theirs
from report import Report
from weirbin import Weir


def main():
    weir = Weir(sys.argv[1], sys.argv[2])
    report = Report()
    for part in (ours, theirs, refused):
        part.run(weir, report)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: MIT
"""Counts checks; a failure prints why, a success one line."""

import traceback


class Skip(Exception):
    """Raised by a check that lacks something; says what."""


class Report:
    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.skipped = 0

    def check(self, name, function, *args):
        """Runs one check: it passes when it returns, fails when it raises."""
        try:
            function(*args)
        except Skip as reason:
            self.skipped += 1
            print(f"skip  {name}: {reason}", flush=True)
        except AssertionError as error:
            self.failed += 1
            print(f"FAIL  {name}: {error}", flush=True)
        except Exception:
            self.failed += 1
            print(f"FAIL  {name}\n{traceback.format_exc()}", flush=True)
        else:
            self.passed += 1
            print(f"ok    {name}", flush=True)

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        if self.failed:
            return 1
        return 0 if self.passed else 4


def expect_equal(got, wanted, what):
    assert got == wanted, f"{what}: got {got!r}, wanted {wanted!r}"

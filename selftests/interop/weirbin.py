# SPDX-License-Identifier: MIT
"""Calls the binary under test and turns its --json into names, shapes, types and hashes."""

import json
import os
import subprocess
from dataclasses import dataclass

from report import Skip


@dataclass(frozen=True)
class Tensor:
    """What both sides say about a tensor; shape outermost first, xxh3 as 16 hex digits."""

    dtype: str
    shape: tuple
    xxh3: str


class Weir:
    def __init__(self, binary, work):
        self.binary = os.path.abspath(binary)
        self.work = os.path.abspath(work)
        self.commands = {}

    def path(self, *names):
        return os.path.join(self.work, *names)

    def run(self, *args):
        done = subprocess.run([self.binary, *args], capture_output=True, timeout=300)
        return done.returncode, done.stdout, done.stderr.decode(errors="replace")

    def need(self, command):
        """Skips the check when the binary was built without a command."""
        if command not in self.commands:
            self.commands[command] = self.run(command, "--help")[0] == 0
        if not self.commands[command]:
            raise Skip(f"there is no weir {command}")

    def json(self, *args):
        """The object that a command printed; fails unless it exited with 0."""
        status, out, err = self.run(*args, "--json")
        assert status == 0, f"weir {' '.join(args)}: exit {status}: {err or out.decode()}"
        return json.loads(out)

    def mkmodel(self, directory, *args):
        return self.json("mkmodel", *args, self.path(directory))

    def error(self, *args):
        """The error that a command must end with: exit 1, an object that says why."""
        status, out, err = self.run(*args, "--json")
        assert status == 1, f"weir {' '.join(args)}: exit {status}, wanted 1: {err}"
        error = json.loads(out)["error"]
        assert error["code"] and error["message"], f"an error without a reason: {error}"
        return error

    def tensors(self, path):
        """Every tensor of a model by name, as inspect describes and verify hashes it."""
        self.need("inspect")
        self.need("verify")
        described = {t["name"]: t for t in self.json("inspect", path)["tensors"]}
        verified = self.json("verify", path)
        assert verified["mismatches"] == 0, f"{verified['mismatches']} mismatches"
        hashes = {t["name"]: t["xxh3"] for t in verified["tensors"]}
        assert described.keys() == hashes.keys(), "inspect and verify name different tensors"
        return {
            name: Tensor(t["dtype"], tuple(t["shape"]), hashes[name])
            for name, t in described.items()
        }

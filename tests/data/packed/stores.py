"""What the tests of packed stores share: one written in this process, and a writer that dies."""

import os

import numpy as np

from kinema.data.packed import Job, Settings, claim, finish, plan_store, write_files

SIZE = (24, 32)


def job_of(manifest, folder, kind="frames", format="raw", size=SIZE, **settings):
    """A store that is begun and empty."""
    plan, layout = plan_store(manifest, Settings(kind, format, size, **settings))
    return Job(folder, manifest, *claim(folder, plan, layout))


def store_of(manifest, folder, kind="frames", format="raw", **settings):
    """The manifest of a finished store."""
    if kind == "flow":
        settings = {"preset": "dis-fast", **settings}
    job = job_of(manifest, folder, kind, format, **settings)
    assert write_files(job)
    return finish(job).manifest


def contents(folder):
    """The bytes of every file of a store but the manifest, whose format stores times."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "manifest.parquet"}


def numbers(*values):
    return np.array(values, np.int64)


class Deadly:
    """Writes nothing; the processes that come to one of the deadly (file, entry) pairs die there."""

    def __init__(self, deadly, entries=3):
        self.deadly, self.entries = deadly, entries

    def write_file(self, file, *, skip, notes):
        done = 0
        for entry in range(file * self.entries, (file + 1) * self.entries):
            if entry in skip:
                continue
            note = notes / f"{file}-{entry}"
            note.touch()
            if entry in self.deadly:
                os._exit(9)
            note.unlink()
            done += 1
        return done

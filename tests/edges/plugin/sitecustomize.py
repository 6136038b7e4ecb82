"""Make a function of the command fail, or wait for a signal. Python imports this module at start-up.

EDGE_AT names the function, `module:function`. EDGE_KIND says what it does instead. The time of its call is written to
the file EDGE_MARK.
"""

import errno
import importlib.abc
import importlib.machinery
import os
import pathlib
import sys
import threading
import time


def _raises(error):
    def raising(*_, **__):
        raise error

    return raising


def _waits(*_, **__):
    threading.Event().wait(60)


def _group(*_, **__):
    raise ExceptionGroup("unhandled errors in a TaskGroup", [RuntimeError("the innermost says it"), KeyError("x")])


def _inside(*_, **__):
    try:
        {}["image"]
    except KeyError as error:
        raise RuntimeError("the step failed") from error


KINDS = {
    "runtime error": _inside,
    "no words": _raises(AssertionError()),
    "a bug": _raises(KeyError("image")),
    "many lines": _raises(ValueError("it does not fit:\n  one \x1b[31mred\x1b[0m\n  two \u202eback")),
    "a traceback in its words": _raises(
        RuntimeError(
            "a worker failed:\nTraceback (most recent call last):\n  File x, line 1\nOSError: its disk is gone"
        )
    ),
    "a group": _group,
    "exit": _raises(SystemExit(3)),
    "no memory": _raises(MemoryError()),
    "disk full": _raises(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/where")),
    "an OSError without a mend": _raises(OSError(errno.EXDEV, os.strerror(errno.EXDEV), "/some/where")),
    "waits": _waits,
    "hangs afterwards": None,
}


def _hangs_afterwards(*_, **__):
    threading.Thread(target=time.sleep, args=(60,)).start()  # a thread that does not end with the step
    raise RuntimeError("the step failed")


KINDS["hangs afterwards"] = _hangs_afterwards


def _at(*given, **named):
    pathlib.Path(os.environ["EDGE_MARK"]).write_text(str(time.time()))
    return KINDS[os.environ["EDGE_KIND"]](*given, **named)


class _Loader(importlib.abc.Loader):
    def __init__(self, loader, name):
        self.loader, self.name = loader, name

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        assert hasattr(module, self.name), f"{module.__name__} has no {self.name}"
        setattr(module, self.name, _at)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, module, name):
        self.module, self.name = module, name

    def find_spec(self, name, path, target=None):
        if name != self.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None:
            spec.loader = _Loader(spec.loader, self.name)
        return spec


if os.environ.get("EDGE_AT"):
    if os.environ["EDGE_AT"] == "import":  # while the command is still importing

        class _Slow(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name == "rich.console":
                    _at()
                return None

        sys.meta_path.insert(0, _Slow())
    else:
        sys.meta_path.insert(0, _Finder(*os.environ["EDGE_AT"].split(":")))

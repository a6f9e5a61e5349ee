"""Which Python runs a cluster, and which process it ends with: read from the server's kernels.

Law: reads the kernelspec and kernel managers of the server, changes nothing in them, and turns
what does not fit into a `BadBody` with the name of the form's field.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

from jupyter_client.kernelspec import NoSuchKernel

from .bodies import BadBody

OWN_PYTHONS = frozenset(
    {"python", f"python{sys.version_info[0]}", f"python{sys.version_info[0]}.{sys.version_info[1]}"}
)


def get_interpreter(kernel_spec_manager: Any, kernel_name: str) -> str:
    """Return the path of the Python that a kernelspec starts. Raises BadBody (field `kernel_name`).

    As in jupyter_client, a bare `python` means the server's own interpreter.
    """

    def refuse(text: str) -> BadBody:
        return BadBody(text, {"kernel_name": text})

    try:
        spec = kernel_spec_manager.get_kernel_spec(kernel_name)
    except NoSuchKernel:
        raise refuse(f"There is no kernel '{kernel_name}'.") from None
    if spec.language.lower() != "python":
        raise refuse(f"Kernel '{kernel_name}' runs {spec.language}; a cluster needs Python.")
    program = spec.argv[0] if spec.argv else "python"
    if program in OWN_PYTHONS:
        return sys.executable
    path = shutil.which(program)
    if path is None:
        raise refuse(f"The interpreter of kernel '{kernel_name}', {program}, is not there.")
    return os.path.abspath(path)


def get_kernel_pid(kernel_manager: Any, kernel_id: str) -> int:
    """Return the process id of a running local kernel. Raises BadBody (field `lifetime`)."""

    def refuse(text: str) -> BadBody:
        return BadBody(text, {"lifetime": text})

    try:
        kernel = kernel_manager.get_kernel(kernel_id)
    except Exception:  # KeyError, or tornado's 404, depending on the manager
        raise refuse("The notebook's kernel is not running (any more).") from None
    pid = getattr(getattr(kernel, "provisioner", None), "pid", None)
    if not isinstance(pid, int) or pid <= 0:
        raise refuse("The notebook's kernel runs on another machine: choose another lifetime.")
    return pid

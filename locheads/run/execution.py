"""Executes one notebook with papermill, in a kernel of the running Python interpreter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill import execute_notebook
from papermill.exceptions import PapermillExecutionError
from traitlets import default

from locheads.errors import LocheadsError, NothingToMeasure
from locheads.files import replacing
from locheads.progress import HEADLESS
from locheads.run.leftovers import own_folder
from locheads.run.recorded import CHECKED
from locheads.run.relay import relayed

BARS = "progress"
INLINE = "module://matplotlib_inline.backend_inline"
"""The backend that puts figures into notebooks."""


class OwnKernel(AsyncKernelManager):
    """Starts ipykernel in the running interpreter, ignoring installed kernels and without a network port.

    `python3` may name a kernel of another environment (a user's or a folder's of `JUPYTER_PATH`).
    Without folders to search, jupyter_client is left with ipykernel's own specification, whose
    interpreter is `sys.executable`.
    """

    @default("transport")
    def _sockets_of_this_machine(self) -> str:
        return "tcp" if os.name == "nt" else "ipc"

    @default("ip")
    def _sockets_of_this_kernel(self) -> str:
        # jupyter_client would use one socket name for all kernels of a folder: two started together collide.
        return "127.0.0.1" if os.name == "nt" else str(Path(os.environ["IPYTHONDIR"]) / "kernel")

    @default("connection_file")
    def _in_the_folder_of_this_kernel(self) -> str:
        return str(Path(os.environ["IPYTHONDIR"]) / "kernel.json")

    @default("kernel_spec_manager")
    def _only_the_native_kernel(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])

    async def _async_interrupt_kernel(self) -> None:
        # An interrupted cell prints a traceback: a kernel that does not end by itself is terminated instead.
        if not self.shutting_down:
            await super()._async_interrupt_kernel()


def execute(notebook: Path | str, executed: Path | str, parameters: dict[str, Any]) -> str | None:
    """Executes a notebook in its own folder and keeps the executed copy, even after a failure.

    Args:
        notebook: The notebook; it is not changed.
        executed: Path of the executed copy, written atomically.
        parameters: Values that replace the defaults of its parameters cell.

    Returns:
        Why the notebook ended early with `NothingToMeasure`; None where it ran to its end.

    Raises:
        LocheadsError: A cell raised, or the kernel died: the message names notebook and cell.
            Or the disk is full.
    """
    notebook, failure, left_out = Path(notebook), None, None
    with replacing(executed) as partial, _kernel_environment() as folder, relayed(folder / BARS):
        try:
            _papermill(notebook, partial, parameters)
        except PapermillExecutionError as error:
            if error.ename == NothingToMeasure.__name__:
                left_out = _first_line(error.evalue)
            else:
                where = _cell(error.source, error.exec_count)
                failure = f"{where}: {error.ename}: {_first_line(error.evalue)}"
        except DeadKernelError:
            failure = f"{_last_started(partial)}: its kernel died, often for lack of memory"
    if failure:
        raise LocheadsError(f"{notebook.name} failed at {failure} (executed copy: {executed})")
    return left_out


@contextmanager
def _kernel_environment() -> Iterator[Path]:
    """Marks kernels as checked, with nothing of the user's: no start-up files, no backend of figures.

    Yields:
        The folder that is theirs, where the file `BARS` has their progress.
    """
    with own_folder() as empty:
        wanted = {CHECKED: "1", "IPYTHONDIR": str(empty), "MPLBACKEND": INLINE, HEADLESS: str(empty / BARS)}
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            yield empty
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def _papermill(notebook: Path, executed: Path, parameters: dict[str, Any]) -> None:
    execute_notebook(
        notebook,
        executed,
        parameters=parameters,
        cwd=notebook.parent,
        kernel_name="python3",
        language="python",
        kernel_manager_class=OwnKernel,
        record_timing=False,
        progress_bar={"desc": notebook.stem},
    )


def refresh(notebook: Path | str, executed: Path | str) -> None:
    """Replaces a notebook by its executed copy, without timestamps and papermill's metadata."""
    document = nbformat.read(executed, as_version=4)
    for part in (document, *document.cells):
        part.metadata.pop("papermill", None)
    for cell in document.cells:
        cell.metadata.pop("execution", None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
    document.metadata["language_info"] = {"name": "python"}
    with replacing(notebook) as partial:
        nbformat.write(document, partial)


def _cell(source: str, count: int | None) -> str:
    return f"In [{count}] `{_first_line(source)}`"


def _last_started(executed: Path) -> str:
    cells = nbformat.read(executed, as_version=4).cells
    started = [cell for cell in cells if cell.metadata.get("papermill", {}).get("start_time")]
    return f"`{_first_line(started[-1].source)}`" if started else "its start"


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")

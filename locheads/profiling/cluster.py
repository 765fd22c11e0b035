"""Profiles heads on several processes or machines, with Dask.

Each worker loads the model once and writes its own parts of the store, which must be on storage that all
workers share. A part whose worker died goes to another worker; finished parts are never computed again.

On a SLURM cluster, with the package dask-jobqueue and one GPU per job::

    from dask_jobqueue import SLURMCluster
    from locheads.profiling.cluster import profile_on

    jobs = SLURMCluster(cores=1, processes=1, memory="64GB", walltime="04:00:00",
                        queue="gpu", job_extra_directives=["--gres=gpu:1"])
    jobs.scale(jobs=8)
    profiled = profile_on(jobs.get_client(), ("llava-hf/llava-1.5-7b-hf", "cuda", "float16"), samples, store)

Or start `dask scheduler` and one `dask worker tcp://…:8786 --nthreads 1` per GPU, and run
`locheads profile --scheduler tcp://…:8786`.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import xarray as xr
from dask.distributed import Client, KilledWorker, as_completed
from distributed.comm.core import CommClosedError

from locheads.data.samples import Sample, by_image
from locheads.errors import LocheadsError
from locheads.locks import hold
from locheads.model.loading import load_lvlm
from locheads.model.lvlm import Lvlm
from locheads.profiling.claim import claim
from locheads.profiling.origin import IouOf, Kept, command, origin_of
from locheads.profiling.profile import BATCH, judged, profile
from locheads.profiling.store import PART, Part, keeps, opened, unfinished, write
from locheads.progress import progress

Loading = tuple[str, str, str]
"""Arguments of `load_lvlm`: model, device, precision."""
PATIENCE = 10
"""Seconds in which a scheduler's first worker has to appear."""


def profile_on(
    client: Client,
    loading: Loading,
    samples: Sequence[Sample],
    store: Path | str,
    maps: Kept | None = None,
    batch: int = BATCH,
    iou_of: IouOf = "raw",
) -> xr.Dataset:
    """Runs `locheads.profiling.profile.profile` on a Dask cluster: the same store, the same result.

    Samples of one image go to the same worker. All workers must find images and store under the same path.

    Args:
        client: Connected to a cluster whose workers have one thread each.
        loading: How each worker loads the model.
        samples: As for `profile`.
        store: As for `profile`.
        maps: As for `profile`.
        batch: As for `profile`.
        iou_of: As for `profile`.

    Raises:
        LocheadsError: As `profile`, or several workers died at the same part.
    """
    order, store = by_image(samples, PART), Path(store).resolve()
    ordered = [samples[position] for position in order]
    with hold(store, "writes this profile", wait=True), one_line():
        client.submit(_claim, loading, store, ordered, maps, iou_of, PART, command(), pure=False).result()
        parts = unfinished(store, ordered)
        missing = sum(len(one.samples) for one in parts)
        with progress(len(ordered), f"heads of {loading[0]}", len(ordered) - missing) as bar:
            filled = client.map(
                _fill, parts, loading=loading, store=store, batch=batch, iou_of=iou_of, pure=False
            )
            for one in as_completed(filled):
                bar.update(one.result())
    return opened(store, order)


def profile_anywhere(
    loading: Loading,
    samples: Sequence[Sample],
    store: Path | str,
    maps: Kept | None = None,
    batch: int = BATCH,
    iou_of: IouOf = "raw",
    workers: int | None = None,
    scheduler: str | None = None,
) -> xr.Dataset:
    """Profiles in this process, on `workers` new local Dask workers, or on those of a `scheduler`."""
    if workers is None and scheduler is None:
        return profile(load_lvlm(*loading), samples, store, maps, batch, iou_of)
    with connected(scheduler, workers) as client:
        return profile_on(client, loading, samples, store, maps, batch, iou_of)


@contextmanager
def connected(scheduler: str | None, workers: int | None) -> Iterator[Client]:
    """Yields a client of the scheduler at an address, or of `workers` new workers on this machine.

    Ctrl-C does not reach the new workers: they are ended with the client. From here on, what Dask logs is not
    shown; what the user can mend is raised.

    Raises:
        LocheadsError: No scheduler answers at the address, it has no workers after `PATIENCE` seconds, or a
            new worker ended while it started.
    """
    _silence()
    with _local(workers) if scheduler is None else _remote(scheduler) as client:
        yield client


def _local(workers: int | None) -> Client:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # new processes inherit it
    try:
        # No memory limit: a worker must not be killed for the memory that its model takes.
        return Client(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )
    except (RuntimeError, OSError, TimeoutError) as error:
        raise LocheadsError(
            "a Dask worker ended while it started, often for lack of memory; run again with fewer --workers: "
            "finished parts are kept"
        ) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _remote(scheduler: str) -> Client:
    try:
        client = Client(scheduler)
    except (OSError, ValueError, ImportError) as error:
        raise LocheadsError(f"no Dask scheduler answers at {scheduler}; start `dask scheduler`") from error
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as error:
        client.close()
        raise LocheadsError(
            f"the Dask scheduler at {scheduler} has no workers after {PATIENCE} seconds; start "
            f"`dask worker {scheduler} --nthreads 1` and run again"
        ) from error
    return client


def _silence() -> None:
    """Keeps what Dask logs, tracebacks of many lines, from stderr, also when Python ends."""
    for name in ("distributed", "distributed.client", "tornado", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@contextmanager
def one_line() -> Iterator[None]:
    """Turns the loss of workers or of the scheduler into one line."""
    try:
        yield
    except KilledWorker as error:
        raise LocheadsError(
            f"several workers died at the same part ({error.task}); look at their logs, give them more "
            "memory or a smaller batch, and run again: finished parts are kept"
        ) from error
    except (CancelledError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, CommClosedError):
            raise
        raise LocheadsError(
            "the Dask scheduler was lost; start it and run again: finished parts are kept"
        ) from error


@lru_cache(maxsize=1)
def _loaded(loading: Loading) -> Lvlm:
    return load_lvlm(*loading)


def _claim(
    loading: Loading,
    store: Path,
    samples: list[Sample],
    maps: Kept | None,
    iou_of: IouOf,
    part: int,
    made_by: str,
) -> None:
    lvlm = _loaded(loading)
    claim(store, lvlm, samples, origin_of(lvlm, samples, maps, iou_of), part, made_by)


def _fill(part: Part, loading: Loading, store: Path, batch: int, iou_of: IouOf) -> int:
    """Profiles one part on a worker; returns its number of samples."""
    write(store, part, judged(_loaded(loading), part.samples, batch, keeps(store), iou_of))
    return len(part.samples)

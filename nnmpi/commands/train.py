"""The command ``train``: a training on all ranks of a job, with its output, checkpoints, signals and recovery."""

import json
from contextlib import ExitStack
from signal import Signals

import numpy as np

from nnmpi.commands.screen import Screen
from nnmpi.commands.signals import Stopped, StopRequest
from nnmpi.config import Config
from nnmpi.environment import set_threads
from nnmpi.faults.recovery import recovering
from nnmpi.faults.watchdog import Watchdog
from nnmpi.mpi.checks import check_launcher, check_same, training_threads
from nnmpi.mpi.world import World
from nnmpi.reduction.choose import without_effect
from nnmpi.report.loggers import Logs
from nnmpi.report.recording import Recording
from nnmpi.report.write import check_extras, write_report
from nnmpi.training.events import CheckpointDue, EpochDone, Event, Finished, Requests
from nnmpi.training.loop import train as train_session
from nnmpi.training.output import Output
from nnmpi.training.place import RunPlace, agree_on_place
from nnmpi.training.resume import RunState, find_checkpoint
from nnmpi.training.run_description import changed_bits, code
from nnmpi.training.session import Session
from nnmpi.training.task import suggested_shards


def train(config: Config, world: World, screen: Screen | None = None) -> None:
    """Train with the settings `config` on all ranks of `world`; rank 0 writes the results and prints the final scores.

    If ranks die and the others can recover, the survivors agree on the state of the run and continue in a new session.

    Raises
    ------
    InputError
        On all ranks, before anything is written, if the settings do not fit the data or the world.
    RunError
        On all ranks, if the loss becomes NaN or infinite (the message says which model is kept), if a checkpoint
        cannot be written, or if the replicas are no longer equal.
    Stopped
        On all ranks, after a signal and the last checkpoint.
    """
    run = _Run(config, world, screen or Screen())
    with Watchdog(world, config.stall_timeout, world.recovers) as watchdog:

        def attempt() -> None:
            check_launcher(world)
            check_same(world, {"commands": b"train"})  # the first collective of every command
            world.addresses.meet()
            check_same(world, {"code": code(), "settings": json.dumps(config.as_json()).encode()})
            watchdog.start()
            run.train()
            world.agree_on_end()

        def agree() -> None:
            if world.rank == 0:
                watchdog.end_ranks(world.lost)
            run.agree()

        recovering(world, attempt, agree)
    if config.report and world.rank == 0:
        run.report()


class _Run:
    """The run on this rank, which continues after the death of other ranks."""

    def __init__(self, config: Config, world: World, screen: Screen) -> None:
        self._config, self._world, self._screen = config, world, screen
        self._state = RunState()
        self._requests = Requests()
        self._stop = StopRequest(self._requests)
        self._recording = Recording(config, world)
        self._place: RunPlace | None = None
        self._session: Session | None = None
        self._output: Output | None = None
        self._logs: Logs | None = None

    def agree(self) -> None:
        """Take over the state of the most advanced survivor. All survivors take part."""
        if self._session:
            self._session.note_seconds()
        self._print_note(self._state.agree(self._world))

    def train(self) -> None:
        """Train from the current state of the run to its end, on the ranks that are left."""
        config, world = self._config, self._world
        check_extras(config, world)
        place = agree_on_place(config, world, self._place)
        self._place = place
        self._recording.begin()
        threads = training_threads(world, config.deterministic, config.threads)
        set_threads(threads)
        survived = resumed = self._state.checkpoint
        if config.resume and not survived:
            resumed, notes = find_checkpoint(config, place.directory, world)
            for note in notes:
                self._print_note(note)
        self._session = session = Session(config, world, resumed=resumed, requests=self._requests)
        session.writes_model = True
        with ExitStack() as stack:
            stack.enter_context(self._recording)
            with world.together():
                if world.rank == 0:
                    history = self._state.epochs
                    self._output = Output(session, place.directory, bool(resumed), history, place.run_id)
                    stack.callback(self._output.close)
                    stack.callback(self._screen.close)
                    self._screen.begin(session, place.directory, threads)
                    self._logs = Logs(config.log, place.directory, session.description, self._print_note)
                    stack.callback(self._logs.close)
                    self._print_differences(session, resumed.metadata["bits"] if resumed else None)
                    if not survived:
                        self._print_note(session.task.source.note)
                        self._print_note(without_effect(config.compress, world))
            stack.enter_context(self._stop)
            stack.enter_context(np.errstate(over="ignore", invalid="ignore", divide="ignore"))  # the loss is checked
            self._recording.attach(session, self._output)
            self._state.checkpoint = session.checkpoint()  # from here on survivors continue from this state
            self._requests.checkpoint = bool(survived)
            for event in train_session(session):
                self._handle(event)

    def report(self) -> None:
        """Write the report of the finished run. A failure is only a note: the results are complete without it."""
        assert self._place
        try:
            path = write_report([self._place.directory])
        except Exception as error:  # any error of a library
            self._print_note(f"note: no report was written ({type(error).__name__}: {error})")
        else:
            self._print_note(f"report written to {path}")

    def _handle(self, event: Event) -> None:
        """Write, print or stop, as the event requires. All ranks take part."""
        match event:
            case EpochDone(metrics):
                self._state.epochs.append(metrics)
                if self._output:
                    self._output.write(event)
                if self._logs:
                    self._logs.epoch(metrics)
            case CheckpointDue(stopping):
                if self._output:
                    self._output.write(event)
                if stopping:
                    raise self._stopped()
            case Finished():
                with self._world.together():
                    if self._output:
                        self._output.write(event)
                if self._logs:
                    self._logs.finished()
        if self._output:
            self._screen.print_event(event)

    def _print_differences(self, session: Session, bits: dict[str, object] | None) -> None:
        """Print notes about idle ranks, and about software that changed since the checkpoint with these `bits`."""
        shards, size = session.layout.shards, self._world.size
        better = suggested_shards(shards, size)
        if bits is None and better:
            self._print_note(
                f"note: {shards} shards on {size} ranks leave some ranks waiting for others; use --shards {better}"
            )
        if bits is not None and self._config.deterministic:
            self._print_note(changed_bits(bits, session.description["bits"]))

    def _stopped(self) -> Stopped:
        """Wait until the last checkpoint is on disk and return the error that stops the run. All ranks take part."""
        with self._world.together():
            if self._output:
                self._output.flush()
        number = self._world.largest(self._stop.number)  # the signal may not have reached every rank
        assert self._session
        progress = self._session.progress
        has_checkpoint = self._config.checkpoint_every != "never"
        advice = "add --resume to go on" if has_checkpoint else "without a checkpoint (--checkpoint-every never)"
        return Stopped(
            number,
            f"stopped by {Signals(number).name} in epoch {progress.epoch + 1} after step {progress.step}; {advice}",
        )

    def _print_note(self, text: str) -> None:
        if text and self._world.rank == 0:
            self._screen.print_note(text)

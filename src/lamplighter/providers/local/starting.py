"""From a spec to a process that runs, and from a leftover to a replica that is ours again."""

from __future__ import annotations

import dataclasses
import os
import secrets

import msgspec
import structlog

from lamplighter.domain.endpoint import Spec
from lamplighter.engines.base import Engine, Launch
from lamplighter.errors import ProviderError
from lamplighter.providers.local.group import MARKER, Group
from lamplighter.providers.local.leftovers import Leftover
from lamplighter.providers.local.logs import LogFile
from lamplighter.providers.local.machine import Machine
from lamplighter.providers.local.names import file_name
from lamplighter.providers.local.process import spawn, start_mark
from lamplighter.providers.local.replica import Running
from lamplighter.providers.local.runfiles import RunFiles, RunRecord, launch_digest

log = structlog.get_logger("lamplighter.providers.local")


def start(machine: Machine, spec: Spec, engine: Engine, *, slot: int, model: str | None, logfile: LogFile) -> Running:
    """Start one replica's process on a free port. Raises EngineError, ProviderError; then nothing runs."""
    port = machine.ports.take()
    replica_id = f"{file_name(spec.name)}.{slot}.{secrets.token_hex(4)}"
    try:
        launch = engine.launch(spec.engine, name=spec.name, host=machine.host, port=port, model=model)
        record = RunRecord(
            id=replica_id,
            endpoint=spec.name,
            slot=slot,
            port=port,
            model=model,
            digest=launch_digest(spec.engine, launch),
            grace=spec.engine.stop_grace,
        )
        return _run(launch, record, machine, logfile)
    except BaseException:
        machine.forget(replica_id, port)
        raise


def adopt(machine: Machine, spec: Spec, engine: Engine, left: Leftover, logfile: LogFile) -> Running | None:
    """Take over a process, if it is alive and is what this spec would start; None if not, and it has to be ended."""
    record = left.record
    if record is None or not left.alive or record.slot >= spec.replicas:
        return None
    try:
        launch = engine.launch(spec.engine, name=spec.name, host=machine.host, port=record.port, model=record.model)
    except Exception:  # whatever is wrong with the engine: what runs must be ended, not forgotten
        log.exception("not adopted: this spec can't be launched", endpoint=spec.name)
        return None
    if launch_digest(spec.engine, launch) != record.digest:
        return None
    machine.ports.hold(record.port)
    _note_process(machine.runs, record, left.group)
    return _running(record, left.group, launch, logfile)


def _run(launch: Launch, record: RunRecord, machine: Machine, logfile: LogFile) -> Running:
    runs = machine.runs
    runs.write(record)
    marker = runs.marker_prefix + record.id
    log_start = logfile.end()
    output = logfile.open_for_engine()
    try:
        pid = spawn(launch, {MARKER: marker}, output, machine.withheld)
    finally:
        os.close(output)
    group = Group(leader=pid, mark=start_mark(pid), marker=marker)
    _note_process(runs, record, group)
    return dataclasses.replace(_running(record, group, launch, logfile), log_start=log_start)


def _note_process(runs: RunFiles, record: RunRecord, group: Group) -> None:
    """Write down which process it is. If that fails, the next server still finds it by its marker."""
    try:
        runs.write(msgspec.structs.replace(record, pid=group.leader, mark=group.mark))
    except ProviderError as error:
        log.warning("process id not written down", replica=record.id, error=str(error))


def _running(record: RunRecord, group: Group, launch: Launch, logfile: LogFile) -> Running:
    return Running(
        id=record.id,
        slot=record.slot,
        port=record.port,
        group=group,
        health_route=launch.health_route,
        logfile=logfile,
    )

"""This machine as a list of what endpoints can be made on."""

from __future__ import annotations

import dataclasses

import psutil
import pytest

from lamplighter.domain.endpoint import EngineSpec, Spec
from lamplighter.domain.hardware import Hardware
from lamplighter.providers.local.hardware import machine_hardware

ON_CPU = Spec(name="a", provider="local", engine=EngineSpec(engine="llamacpp"))
ON_GPU = dataclasses.replace(ON_CPU, resources={"gpu": 1.0}, replicas=2)


def by_type(kind: str, listed: list[Hardware]) -> list[Hardware]:
    return [one for one in listed if one.instance_type == kind]


def test_cpus_come_in_the_usual_sizes_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda: 6)
    listed = list(machine_hardware({}, [ON_CPU, ON_CPU], 0.1))
    assert [one.id for one in listed] == ["local-local-cpu-x1", "local-local-cpu-x2", "local-local-cpu-x4"]
    assert [one.price_per_hour for one in listed] == [0.1, 0.2, 0.4]
    assert {(one.vendor, one.region, one.accelerator, one.instance_type) for one in listed} == {
        ("local", "local", "cpu", "cpu")
    }
    assert all(one.deployable for one in listed), "CPUs are shared, not set aside"
    total = psutil.virtual_memory().total / 1e9
    assert listed[0].memory_gb == pytest.approx(total / 6, abs=0.1)


def test_gpus_are_what_the_configuration_has_and_those_of_awake_endpoints_are_used() -> None:
    listed = by_type("gpu", list(machine_hardware({"gpu": 3.0}, [ON_GPU, ON_CPU], 1.5)))
    assert [one.instance_size for one in listed] == ["x1", "x2", "x3"]
    assert [one.price_per_hour for one in listed] == [1.5, 3.0, 4.5]
    assert {(one.max_accelerators, one.used_accelerators) for one in listed} == {(3, 2)}
    assert [one.deployable for one in listed] == [True, False, False]


def test_a_price_is_that_of_gpus_where_there_are_some_and_nothing_costs_nothing_else() -> None:
    assert {one.price_per_hour for one in by_type("cpu", list(machine_hardware({"gpu": 1}, [], 2.0)))} == {0.0}
    assert {one.price_per_hour for one in machine_hardware({"gpu": 1}, [], 0.0)} == {0.0}


def test_without_gpus_there_are_none_to_be_had() -> None:
    assert by_type("gpu", list(machine_hardware({"memory_gb": 64.0}, [], 0.0))) == []

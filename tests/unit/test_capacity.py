"""Room: what fits, who is put to sleep for it, and who can never be had."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lamplighter.domain.capacity import Evict, Fits, Full, Holder, never_fits, plan

GPU = {"gpu": 2.0}


def test_what_fits_beside_the_others_fits() -> None:
    assert plan(GPU, [Holder("a", {"gpu": 1})], {"gpu": 1}) == Fits()


def test_a_resource_that_the_provider_does_not_name_is_not_bounded() -> None:
    assert plan(GPU, [Holder("a", {"disk": 1e9})], {"disk": 1e9}) == Fits()


def test_the_least_recently_used_goes_first_and_no_more_than_it_takes() -> None:
    holders = [Holder("new", {"gpu": 1}, 30.0), Holder("old", {"gpu": 1}, 10.0)]
    assert plan(GPU, holders, {"gpu": 1}) == Evict(("old",))
    assert plan(GPU, holders, {"gpu": 2}) == Evict(("old", "new"))


def test_one_that_holds_nothing_of_what_is_short_is_left_alone() -> None:
    holders = [Holder("other", {"memory_gb": 8}, 1.0), Holder("gpu", {"gpu": 2}, 20.0)]
    assert plan(GPU, holders, {"gpu": 1}) == Evict(("gpu",))


def test_nobody_is_put_to_sleep_when_that_were_not_enough() -> None:
    holders = [Holder("idle", {"gpu": 1}, 1.0), Holder("busy", {"gpu": 1})]
    assert plan(GPU, holders, {"gpu": 2}) == Full(("idle", "busy"))


def test_tenths_add_up() -> None:
    assert plan({"gpu": 0.3}, [Holder("a", {"gpu": 0.1}), Holder("b", {"gpu": 0.1})], {"gpu": 0.1}) == Fits()


def test_what_is_larger_than_everything_never_fits() -> None:
    assert never_fits(GPU, {"gpu": 3}) == "it needs 3 gpu, the provider has 2"
    assert never_fits(GPU, {"gpu": 2, "disk": 5}) is None


_HOLDERS = st.lists(st.tuples(st.integers(0, 3), st.none() | st.floats(0, 100)), max_size=6)


@given(st.integers(1, 6), _HOLDERS, st.integers(0, 4))
def test_a_plan_keeps_to_the_bound_and_evicts_only_what_is_idle(
    total: int, held: list[tuple[int, float | None]], need: int
) -> None:
    holders = [Holder(str(i), {"gpu": gpu}, idle) for i, (gpu, idle) in enumerate(held)]
    used = sum(gpu for gpu, _ in held)
    match plan({"gpu": total}, holders, {"gpu": need}):
        case Fits():
            assert not need or used + need <= total
        case Evict(names):
            leaving = [holders[int(name)] for name in names]
            assert all(holder.idle_since is not None for holder in leaving)
            assert used - sum(holder.needs["gpu"] for holder in leaving) + need <= total
        case Full():
            assert used - sum(gpu for gpu, idle in held if idle is not None) + need > total

"""Secrets are sealed with a key that is made once."""

import threading

import pytest

from lamplighter.errors import StoreError
from lamplighter.store.seal import Seal, SealBroken


def test_what_was_sealed_is_opened_by_the_same_key_alone(tmp_path):
    sealed = Seal(tmp_path / "key").seal({"a": {"TOKEN": "hush ä"}})
    assert "hush" not in sealed
    assert Seal(tmp_path / "key").unseal(sealed) == {"a": {"TOKEN": "hush ä"}}
    Seal(tmp_path / "other").seal({"x": 1})
    with pytest.raises(SealBroken, match="another key"):
        Seal(tmp_path / "other").unseal(sealed)


def test_nothing_needs_no_key(tmp_path):
    seal = Seal(tmp_path / "key")
    assert seal.seal({}) == ""
    assert seal.unseal("") == {}
    assert list(tmp_path.iterdir()) == []


def test_the_key_is_its_owner_s_alone_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "key"
    Seal(path).seal({"a": 1})
    assert [file.name for file in tmp_path.iterdir()] == ["key"]
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    Seal(path).seal({"a": 1})
    assert path.stat().st_mode & 0o777 == 0o600


def test_makers_at_once_end_up_with_one_key(tmp_path):
    path, sealed = tmp_path / "key", []
    makers = [threading.Thread(target=lambda: sealed.append(Seal(path).seal({"a": 1}))) for _ in range(8)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert [Seal(path).unseal(one) for one in sealed] == [{"a": 1}] * 8


def test_a_lost_key_is_told_and_not_made_anew(tmp_path):
    path = tmp_path / "key"
    sealed = Seal(path).seal({"a": 1})
    path.unlink()
    with pytest.raises(SealBroken, match="is gone"):
        Seal(path).unseal(sealed)
    assert not path.exists()


def test_a_key_is_made_only_where_that_is_wanted(tmp_path):
    path = tmp_path / "key"
    with pytest.raises(SealBroken, match="is gone"):
        Seal(path).seal({"a": 1}, make_key=False)
    assert not path.exists()
    assert Seal(path).unseal(Seal(path).seal({"a": 1})) == {"a": 1}
    assert Seal(path).seal({"a": 1}, make_key=False)


def test_an_old_key_that_is_put_behind_the_new_one_opens_what_it_sealed(tmp_path):
    old, new, both = tmp_path / "old", tmp_path / "new", tmp_path / "both"
    earlier, later = Seal(old).seal({"a": 1}), Seal(new).seal({"b": 2})
    both.write_bytes(new.read_bytes() + old.read_bytes())
    assert (Seal(both).unseal(earlier), Seal(both).unseal(later)) == ({"a": 1}, {"b": 2})
    assert Seal(new).unseal(Seal(both).seal({"c": 3})) == {"c": 3}


@pytest.mark.parametrize("content", ["", "junk", "x" * 44])
def test_a_damaged_key_is_told(tmp_path, content):
    (tmp_path / "key").write_text(content)
    with pytest.raises(SealBroken, match="key"):
        Seal(tmp_path / "key").unseal("gAAAAA")


def test_damaged_text_is_told(tmp_path):
    seal = Seal(tmp_path / "key")
    sealed = seal.seal({"a": 1})
    with pytest.raises(SealBroken):
        seal.unseal(sealed[:-4] + "AAAA")


def test_a_place_that_can_t_be_written_is_told(tmp_path):
    with pytest.raises(StoreError, match="can't be made"):
        Seal(tmp_path / "no" / "folder" / "key").seal({"a": 1})

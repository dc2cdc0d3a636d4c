from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pondflight.workers.naming import Naming, instance_of, user_in

NAMING = Naming("a secret", instance_of("a secret"))


@given(st.text(), st.text())
def test_different_users_never_share_a_name_and_every_name_is_harmless(
    one: str, other: str
) -> None:
    one, other = (s.encode("utf-8", "replace").decode() for s in (one, other))
    names = {NAMING.of_user(NAMING.key(one)), NAMING.of_user(NAMING.key(other))}
    assert len(names) == len({one, other})
    for name in names:
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert len(name) < 64
        assert user_in(name) in {NAMING.key(one), NAMING.key(other)}


def test_name_of_a_warm_worker_is_nobodys() -> None:
    assert user_in(NAMING.of_spare("00ff00ff00ff00ff")) == ""
    assert user_in("somebody-elses-container") == ""
    assert user_in("pondflight-x-spare-zz") == ""


def test_credential_follows_from_the_generation_the_secret_and_the_deployment() -> None:
    same = Naming("a secret", instance_of("a secret"))
    others = (Naming("b", NAMING.instance), Naming("a secret", instance_of("a secret", "blue")))
    assert NAMING.credential("1") == same.credential("1")
    credentials = {NAMING.credential("1"), NAMING.credential("2")}
    credentials |= {other.credential("1") for other in others}
    assert len(credentials) == 4


def test_deployments_differ_by_secret_and_by_name() -> None:
    instances = {instance_of("a"), instance_of("b"), instance_of("a", "x"), instance_of("a", "y")}
    assert len(instances) == 4
    assert all(len(instance) == 12 for instance in instances)
